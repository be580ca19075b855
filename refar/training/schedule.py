"""The learning rate of each step."""

from __future__ import annotations

import math

from refar.training.config import TrainConfig


def learning_rate(options: TrainConfig, step: int) -> float:
    """Return the rate of step 0, 1, …: linear warmup, and a cosine over all steps where asked for."""
    rate = options.learning_rate * min(1.0, (step + 1) / options.warmup if options.warmup else 1.0)
    return rate * 0.5 * (1 + math.cos(math.pi * step / options.steps)) if options.schedule == "cosine" else rate
