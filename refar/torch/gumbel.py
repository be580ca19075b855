"""Gumbel-softmax in PyTorch: samples that gradients flow through."""

from __future__ import annotations

import torch
from torch import Tensor

from refar import noise
from refar.errors import InputError


def gumbel_softmax(logits_bqt: Tensor, noise_bqt: Tensor, temperature: float, *, hard: bool = False) -> Tensor:
    """softmax((logits + noise) / temperature) over axis 1, for Gumbel(0, 1) noise of the same shape.

    With `hard` (straight-through) the value is exactly the one-hot of the largest, and the gradient that of the soft sample.
    Raises InputError unless 0 < temperature < ∞ and the shapes are equal.
    Source: Jang et al. 2017, equation 2 and section 2.2; Maddison et al. 2017, equation 10.
    """
    noise.check_temperature(temperature, positive=True)
    if logits_bqt.shape != noise_bqt.shape:
        raise InputError(f"noise: expected the shape of the logits {tuple(logits_bqt.shape)}, got {tuple(noise_bqt.shape)}")
    scores = logits_bqt + noise_bqt
    soft = torch.softmax(scores / temperature, dim=1)
    if not hard:
        return soft
    one_hot = torch.zeros_like(soft).scatter(1, scores.argmax(dim=1, keepdim=True), 1.0)
    return one_hot + (soft - soft.detach())  # the bracket is exactly 0
