"""Gumbel-softmax: samples that can be differentiated, so that generation itself can be trained through."""

from __future__ import annotations

import numpy as np

from refar import noise
from refar.arguments.arrays import Array
from refar.errors import InputError
from refar.oracle.pointwise import softmax


def gumbel_softmax(logits_bqt: Array, noise_bqt: Array, temperature: float, *, hard: bool = False) -> Array:
    """A relaxed sample y_bqt of the classes, over axis 1, for Gumbel(0, 1) noise of the same shape.

    y_q = exp((logits_q + noise_q)/τ) / Σ_j exp((logits_j + noise_j)/τ). With `hard` (straight-through) y is the one-hot of
    argmax_q (logits_q + noise_q), the first of equals: the token that `noise.sample` draws at temperature 1. Here τ sets how
    close to one-hot a sample is; it does not change which class is the largest.
    Raises InputError unless 0 < τ < ∞ and the shapes are equal.
    Source: Jang et al. 2017, equation 2; Maddison et al. 2017 (the concrete distribution), equation 10.
    """
    scores = _scores(logits_bqt, noise_bqt, temperature)
    if not hard:
        return softmax(scores / temperature)
    y = np.zeros_like(scores)
    np.put_along_axis(y, np.argmax(scores, axis=1)[:, None], 1, axis=1)
    return y


def gumbel_softmax_backward(logits_bqt: Array, noise_bqt: Array, temperature: float, dy_bqt: Array) -> Array:
    """The gradient of Σ dy·y with respect to the logits: s_q · (dy_q - Σ_j s_j·dy_j) / τ with the soft sample s.

    With `hard` it is the same by definition: straight-through uses the soft sample's gradient for the one-hot.
    """
    s = softmax(_scores(logits_bqt, noise_bqt, temperature) / temperature)
    return s * (dy_bqt - (s * dy_bqt).sum(axis=1, keepdims=True)) / temperature


def _scores(logits: Array, draws: Array, temperature: float) -> Array:
    noise.check_temperature(temperature, positive=True)
    if logits.shape != draws.shape:
        raise InputError(f"noise: expected the shape of the logits {logits.shape}, got {draws.shape}")
    return logits + draws
