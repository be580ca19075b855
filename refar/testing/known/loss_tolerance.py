"""How far a training loss and its gradient may be off, from the bounds of the nats that it adds up."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.rounding import bound, learnt_scale_bounds, loss_bounds
from refar.testing.explain.averaged import Averaged, Reading

_UNITS = {
    "float64": bound.FLOAT64,
    "float32": bound.FLOAT32,
    "float16": bound.FLOAT16,
    "bfloat16": bound.BFLOAT16,
}
_STEPS = 4
"""Roundings of a gradient behind that of the nats: by the weight, its quotient, and two products."""

_GROWN = 2.0**20
"""By how much a share that a dtype cannot hold, and takes for 0, would have been multiplied: 1/s and z of a mixture are less."""


def unit(dtype: str, came: Array, given: str) -> float:
    """Return the unit roundoff of the coarsest dtype that took part: that of the result, or of what was `given`.

    float32 is seen in float64 numbers too: it computed them if all are float32 numbers.
    """
    single = came.dtype == np.float64 and bool((came == came.astype(np.float32)).all())
    return max(_UNITS[given], _UNITS.get(dtype, bound.FLOAT64), bound.FLOAT32 if single else 0.0)


def of_value(averaged: Averaged, reading: Reading, u: float) -> Array:
    """Bound the error of what a loss returns.

    Each of the nats is off by its own bound, and a sum of m of them by m·u times the sizes of what is added up. That may be
    parts of the nats, log Σ exp(y_j) and y_x, which are at most half of the bound together.
    """
    off = reading.of(_nats(averaged.head, *averaged.by_channel)[0].reshape(averaged.by_value.shape))
    terms = averaged.by_value.size // max(1, off.size)
    return np.asarray(u * (1 + terms / 2) * off)


def of_gradient(averaged: Averaged, reading: Reading, right: Array, u: float) -> Array:
    """Bound the error of the gradient with respect to y, which is `right`, in the shape of y as it was given."""
    y, _ = averaged.pairs
    off = _nats(averaged.head, *averaged.by_channel)[1]
    if len(off) != len(y):
        off = np.moveaxis(off.reshape(len(y), averaged.values, -1, y.shape[-1]), 1, 2).reshape(y.shape)
    return np.asarray(u * (averaged.as_given(off * reading.weight) + _STEPS * np.abs(right)) + _GROWN * bound.tiny(u))


def _nats(head: ops.AnyHead, y: Array, x: Array) -> tuple[Array, Array]:
    """Bound the error of the nats of one channel, (B, N), and of their gradient, (B, K, N), in units of u."""
    match head:
        case ops.Categorical():
            nats = np.take_along_axis(loss_bounds.log_softmax(y), x[:, None], axis=1)[:, 0]
            return nats, loss_bounds.cross_entropy_backward(y, x, np.ones(x.shape))
        case ops.Gaussian():
            return loss_bounds.gaussian(y, x, head.std), 6 * np.abs((y - x) / head.std**2)
        case ops.MixtureLogistics():
            return loss_bounds.mixture(head.components, head.classes, y, x)
        case ops.LearntGaussian():
            return learnt_scale_bounds.gaussian(head.floor, y, x)
        case ops.MixtureGaussians():
            return learnt_scale_bounds.mixture(head.components, head.floor, y, x)
        case _:
            assert_never(head)
