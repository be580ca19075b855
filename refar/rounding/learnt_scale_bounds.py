"""Bounds of the losses of heads whose scale is learnt, in units of u, for the usual ways to compute them.

With z = (x - μ)/σ and log σ = max(λ, floor), a float32 number: a z² is off by 2·EXP + 8, relative, where σ² is exp(2·log σ) or
the square of exp(log σ). log σ is exact, or the logarithm of such a σ². Where λ < floor the gradient of λ is 0, exactly.
Second-order terms are left out; the constants have room for them.
"""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array
from refar.oracle import pointwise
from refar.rounding.bound import EXP, FLOAT32
from refar.rounding.loss_bounds import LOG, log_softmax, probability, sum_of_responsibilities

_SQUARE, _SLOPE = 2 * EXP + 8, 2 * EXP + 10
_CONSTANT = np.log(2 * np.pi) / 2
_TINY = 2.0**-126 / FLOAT32


def gaussian(floor: float, y: Array, x: Array) -> tuple[Array, Array]:
    """Bound the error of Σ_c [z²/2 + log σ + log(2π)/2], and of its gradient for d = 1: -z/σ and 1 - z²."""
    means, log_scales = np.split(y, 2, axis=1)
    z, inverse, size, off = _normal(floor, means, log_scales, x)
    gradient = [_SLOPE * np.abs(z) * inverse, np.where(log_scales < floor, 0, _SLOPE * (1 + z**2))]
    return (off + 3 * x.shape[1] * size).sum(axis=1), np.concatenate(gradient, axis=1)


def mixture(components: int, floor: float, y: Array, x: Array) -> tuple[Array, Array]:
    """Bound the error of the negative log-likelihood, and of its gradient for d = 1; see `ops.MixtureGaussians`.

    A responsibility is off, relative, by what its own logarithm and that of the sum are off by, and by the whole of it where
    float32 has no such number. The gradient for a logit is p - r, or p·Σr - r where log softmax is differentiated step by step:
    see `loss_bounds.mixture`.
    """
    channels = x.shape[1]
    parts = y.reshape(len(y), 3 * components, channels, -1)
    logits, means, log_scales = np.split(parts, 3, axis=1)
    z, inverse, size, off = _normal(floor, means, log_scales, x[:, None])
    weights = np.log(pointwise.softmax(logits))
    joint = weights - z**2 / 2 - np.maximum(log_scales, floor) - _CONSTANT
    top = joint.max(axis=1, keepdims=True)
    responsibility, nats = pointwise.softmax(joint), top + np.log(np.exp(joint - top).sum(axis=1, keepdims=True))
    each = off + 3 * size + log_softmax(logits) + 2 * np.abs(weights) + np.abs(joint - top)
    total = (responsibility * each).sum(axis=1, keepdims=True) + EXP + components + 2 + LOG * np.abs(nats)
    relative = responsibility * (each + total + _SLOPE) + _TINY
    p = pointwise.softmax(logits)
    dlogits = probability(logits) + relative + p * sum_of_responsibilities(relative) + 3 * p
    dmeans, dscales = relative * np.abs(z) * inverse, np.where(log_scales < floor, 0, relative * (1 + z**2))
    value = (total + channels * np.abs(nats)).sum(axis=(1, 2))
    return value, np.concatenate([dlogits, dmeans, dscales], axis=1).reshape(y.shape)


def _normal(floor: float, means: Array, log_scales: Array, x: Array) -> tuple[Array, Array, Array, Array]:
    """Compute z, 1/σ, the size of the terms of -log N, and what they are off by."""
    log_std = np.maximum(log_scales, floor)
    inverse = np.exp(-log_std)
    z = (x - means) * inverse
    size = z**2 / 2 + np.abs(log_std) + _CONSTANT
    return z, inverse, size, _SQUARE * z**2 / 2 + EXP + 1 + (LOG + 1) * np.abs(log_std) + (LOG + 2) * _CONSTANT
