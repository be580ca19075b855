"""What wrong numbers have in common, where no known mistake explains them: where they stand, how they relate to right ones."""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array

_AXES = {"b": "row", "t": "position", "o": "output channel", "c": "channel", "h": "image row", "w": "image column", "q": "class"}
_AXES |= {"i": "input channel", "k": "tap"}
_NEAR = 2.0**-16
_ROUNDED = 2.0**-18
"""What float32 arithmetic may be off by, relative to the largest number."""
_FINER = 2.0**-38
"""What it is off by at least, where float64 was asked for."""


def trait(expected: Array, came: Array, wrong: Array, axes: str, dtype: str) -> str:
    """A sentence, or nothing. `dtype` is the one asked for."""
    counts = {"NaN": int(np.isnan(came.astype(np.float64)).sum()), "infinite": int(np.isinf(came.astype(np.float64)).sum())}
    if any(counts.values()):
        return ", ".join(f"{count} numbers are {kind}" for kind, count in counts.items() if count)
    return (
        _rounded(expected, came.astype(np.float64), dtype)
        or _related(expected, came.astype(np.float64))
        or _late(expected, came, axes)
        or _confined(wrong, axes)
    )


def _rounded(expected: Array, came: Array, dtype: str) -> str:
    """Right but for rounding, more than the bound allows."""
    if expected.dtype == np.int64:
        return ""
    off = float(np.abs(came - expected).max(initial=0.0) / (np.abs(expected).max(initial=0.0) or 1.0))
    if off > _ROUNDED:
        return ""
    said = f"off by at most {off:.2g} of the largest number: "
    if dtype == "float64" and off > _FINER:
        return f"{said}computed in float32?"
    return f"{said}the rounding of another algorithm, like FFT or Winograd, where the cases are for direct ones?"


def _related(expected: Array, came: Array) -> str:
    """One number times the right ones, or added to them."""
    if expected.dtype == np.int64:
        return "every class is off by the same number" if len({*np.unique(came - expected).tolist()}) == 1 else ""
    sizes = np.abs(expected).max(initial=0.0) or 1.0
    there = np.abs(expected) > _NEAR * sizes
    if there.any():
        factor = float(np.median(came[there] / expected[there]))
        if factor != 0 and np.allclose(came, factor * expected, rtol=_NEAR, atol=_NEAR * sizes):
            return f"all numbers are {factor:.6g} times the right ones"
    if expected.ndim > 1:
        by_channel = np.moveaxis(came - expected, 1, 0).reshape(expected.shape[1], -1)
        if (np.ptp(by_channel, axis=1) <= _NEAR * sizes).all():
            return "in every channel all numbers are off by one constant: a bias?"
    return ""


def _late(expected: Array, came: Array, axes: str) -> str:
    """The right numbers at other positions."""
    if not axes.endswith("t"):
        return ""
    for by in range(1, expected.shape[-1] // 2):
        for sign, word in ((1, "late"), (-1, "early")):
            a, b = (came[..., by:], expected[..., :-by]) if sign > 0 else (came[..., :-by], expected[..., by:])
            if np.allclose(a, b, rtol=_NEAR, atol=_NEAR * float(np.abs(expected).max(initial=0.0))) and np.abs(b).any():
                return f"the right numbers, {by} position{'s' if by > 1 else ''} {word}"
    return ""


def _confined(wrong: Array, axes: str) -> str:
    """Wrong at some places along an axis only."""
    found = []
    for n, axis in enumerate(axes):
        along = np.asarray(wrong.any(axis=tuple(m for m in range(wrong.ndim) if m != n)))
        if not along.all() and len(along) > 1:
            at = np.flatnonzero(along).tolist()
            what = _AXES.get(axis, f"index {axis}")
            if at == list(range(len(at))):
                found.append(f"the first {len(at)} {what}s" if len(at) > 1 else f"the first {what}")
            elif at == list(range(at[0], len(along))):
                found.append(f"{what}s from {at[0]} on")
            else:
                found.append(f"{what} {', '.join(map(str, at[:8]))}")
    return f"wrong only at {' and '.join(found)}" if found else ""
