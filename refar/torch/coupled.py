"""What is trained: a network alone, or with an encoder that makes one of its conditions."""

from __future__ import annotations

from refar.torch.module import Module

Network = Module
