"""A linear autoregression of sound whose noise depends on a class, scored on classes of the amplitude as a network is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refar.quantize import Quantizer

Array = NDArray[Any]


@dataclass(frozen=True)
class NoisyAR:
    """x_t = Σ_i lags[i]·x_{t-1-i} + std[k_t]·ε_t, where ε_t is a standard normal and k_t a class that is known."""

    lags: Array
    std: Array

    def nats(self, quantizer: Quantizer, classes: Array, known: Array) -> Array:
        """Return -log p of each class of a sequence, x = 0 before its start: the probability of all amplitudes of that class."""
        from scipy.special import log_ndtr

        mean = predicted(quantizer.decode(classes), self.lags)
        edges = quantizer.edges.copy()
        edges[0], edges[-1] = -np.inf, np.inf
        low, high = ((edges[classes + end] - mean) / self.std[known] for end in (0, 1))
        swap = low > 0  # by symmetry, so that neither end is in the upper tail
        low, high = np.where(swap, -high, low), np.where(swap, -low, high)
        return -(log_ndtr(high) + np.log1p(-np.exp(log_ndtr(low) - log_ndtr(high))))


def predicted(x: Array, lags: Array) -> Array:
    """Return Σ_i lags[i]·x_{t-1-i} for each t, x = 0 before the start."""
    from scipy.signal import lfilter

    return lfilter(np.concatenate([[0.0], lags]), [1.0], x)


def fit(sounds: Array, known: Array, order: int, kinds: int) -> NoisyAR:
    """Fit to sequences x_bt: lags by least squares weighted by the noise of each class, in three rounds from equal noise."""
    std = np.full(kinds, sounds.std())
    for _ in range(3):
        moments, right = np.zeros((order, order)), np.zeros(order)
        for x, k in zip(sounds, known, strict=True):
            rows = np.lib.stride_tricks.sliding_window_view(np.pad(x, (order, 0))[:-1], order)[:, ::-1]
            weighted = rows / std[k][:, None] ** 2
            moments += weighted.T @ rows
            right += weighted.T @ x
        lags = np.linalg.solve(moments + 1e-9 * np.trace(moments) * np.eye(order), right)
        left = np.stack([x - predicted(x, lags) for x in sounds])
        square = np.bincount(known.ravel(), (left**2).ravel(), kinds)
        std = np.sqrt(square / np.maximum(np.bincount(known.ravel(), minlength=kinds), 1) + 1e-10)
    return NoisyAR(lags, std)
