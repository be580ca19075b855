"""How far two computations of the same may lie apart when nothing is known of how they compute."""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array

EPSILONS = 1000
"""Roundings of the largest value. Mistakes of alignment, masks and queues show at the scale of the values themselves."""


def allowed(expected: Array, x: Array, relative: float | None = None) -> float:
    """A thousand roundings of the largest value, in the coarser dtype of input and output; 0 where both are integers."""
    if relative is None:
        eps = [float(np.finfo(array.dtype).eps) for array in (expected, x) if array.dtype.kind == "f"]
        relative = EPSILONS * max(eps, default=0.0)
    finite = np.abs(expected[np.isfinite(expected)].astype(np.float64))
    return relative * float(finite.max(initial=0.0))


def differences(actual: Array, expected: Array) -> Array:
    """|actual - expected| in float64; 0 for equal infinities, ∞ for others."""
    with np.errstate(invalid="ignore"):
        found = np.where(actual == expected, 0.0, np.abs(actual.astype(np.float64) - expected.astype(np.float64)))
    found[np.isnan(found)] = np.inf
    return found


def furthest(actual: Array, expected: Array, most: float) -> tuple[int, ...] | None:
    """Where the two differ the most, if by more than `most`."""
    error = differences(actual, expected)
    if not error.size or error.max() <= most:
        return None
    return tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
