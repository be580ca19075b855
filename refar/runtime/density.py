"""Log-probabilities of an output, position by position: NumPy on what onnxruntime returned."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array


def log_prob(head: ops.AnyHead, y_bct: Array, x: Array) -> Array:
    """log p(x_t | x_<t) in nats for every position, float64 of shape (B, T); see the equations in `refar.ops`."""
    y = y_bct.astype(np.float64)
    match head:
        case ops.Categorical():
            return np.take_along_axis(y, x[:, None], axis=1)[:, 0] - logsumexp(y, axis=1)
        case ops.Gaussian():
            deviations = (x - y) / head.std
            return (-0.5 * deviations**2 - math.log(head.std * math.sqrt(2 * math.pi))).sum(axis=1)
        case ops.MixtureLogistics():
            return _mixture(head, y, x[:, None])
        case ops.LearntGaussian():
            return _log_normal(head.floor, x, y[:, : x.shape[1]], y[:, x.shape[1] :]).sum(axis=1)
        case ops.MixtureGaussians():
            weight, mean, log_scale = np.split(y.reshape(len(y), 3 * head.components, *x.shape[1:]), 3, axis=1)  # each y_bkct
            each = weight + _log_normal(head.floor, x[:, None], mean, log_scale)
            return (logsumexp(each, axis=1) - logsumexp(weight, axis=1)).sum(axis=1)
        case _:
            assert_never(head)


def logsumexp(v: Array, axis: int) -> Array:
    """log Σ exp(v) along an axis, relative to its largest."""
    top = v.max(axis=axis, keepdims=True)
    return top.squeeze(axis) + np.log(np.exp(v - top).sum(axis=axis))


def _log_normal(floor: float, x: Array, mean: Array, log_scale: Array) -> Array:
    """log N(x; mean, std²) of each number, with log std no less than the floor."""
    log_std = np.fmax(log_scale, floor)
    with np.errstate(over="ignore"):  # a scale beyond all numbers
        std = np.exp(log_std)
    return -(((x - mean) / std) ** 2 + math.log(2 * math.pi)) / 2 - log_std


def _mixture(head: ops.MixtureLogistics, y: Array, x_b1t: Array) -> Array:
    """F(b) - F(a) = (1 - exp(a - b)) / ((1 + exp(-b))·(1 + exp(a))), in logarithms, with the outermost edges open."""
    k, last = head.components, head.classes - 1
    weight, mean, log_scale = y[:, :k], y[:, k : 2 * k], y[:, 2 * k :]
    a, b = (((2 * (x_b1t + side) - 1) / last - 1 - mean) / np.exp(log_scale) for side in (0, 1))
    log_width = math.log(2) - math.log(last) - log_scale
    narrow = log_width < -40  # 1 - exp(-δ) = δ, to rounding
    inside = np.where(narrow, log_width, np.log(-np.expm1(-np.exp(np.clip(log_width, -40, 40)))))
    inside = np.where((x_b1t > 0) & (x_b1t < last), inside, 0)
    outside = np.where(x_b1t < last, np.logaddexp(0, -b), 0) + np.where(x_b1t > 0, np.logaddexp(0, a), 0)
    return logsumexp(weight + inside - outside, axis=1) - logsumexp(weight, axis=1)
