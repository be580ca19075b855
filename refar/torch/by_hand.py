"""A module's trained parameters for a graph built by hand: see `refar.importing.torch_parameters`."""

from __future__ import annotations

from refar.importing.torch_parameters import parameters

__all__ = ["parameters"]
