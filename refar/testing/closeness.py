"""How far two computations of the same may lie apart when nothing is known of how they compute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refar.arguments.arrays import Array

EPSILONS = 1000
"""Roundings of the largest value. Mistakes of alignment, masks and queues show at the scale of the values themselves."""


def allowed(expected: Array, x: Array, relative: float | None = None) -> float:
    """Return a thousand roundings of the largest value, in the coarser dtype of input and output; 0 where both are integers."""
    if relative is None:
        relative = EPSILONS * max(float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0 for array in (expected, x))
    return relative * float(np.abs(expected[np.isfinite(expected)].astype(np.float64)).max(initial=0.0))


def differences(actual: Array, expected: Array) -> Array:
    """Return |actual - expected| in float64; 0 for equal infinities, ∞ for others."""
    with np.errstate(invalid="ignore"):
        found = np.where(actual == expected, 0.0, np.abs(actual.astype(np.float64) - expected.astype(np.float64)))
    found[np.isnan(found)] = np.inf
    return found


def furthest(actual: Array, expected: Array, most: float | Array) -> tuple[int, ...] | None:
    """Return where the two differ the most, if by more than `most`, one number or one for each channel."""
    error = differences(actual, expected)
    error = np.where(error > most, error, 0)
    if not error.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))


def wrong_at(actual: Array, expected: Array, most: float | Array) -> Array:
    """Return at which positions, the last axis, two outputs differ by more than `most`, one number or one for each channel."""
    return np.asarray((differences(actual, expected) > most).reshape(-1, expected.shape[-1]).any(axis=0))


def shifted(actual: Array, expected: Array, most: int, equal: Callable[[Array, Array], bool]) -> int:
    """Return by how many positions, `most` at most, `actual` is late, negative if it is early; 0 if it is neither."""
    for by in range(1, most + 1):
        if equal(actual[..., by:], expected[..., :-by]):
            return by
        if equal(actual[..., :-by], expected[..., by:]):
            return -by
    return 0
