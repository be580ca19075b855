"""What wrong numbers have in common, in words: how they relate to the right ones, and where they stand."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.closeness import differences, shifted
from refar.testing.explain.words import MOVED, Rule, counted, first, late, spell

_AXES = {"b": "row", "t": "position", "o": "output channel", "c": "channel", "h": "image row", "w": "image column", "q": "class"}
_AXES |= {"i": "input channel", "k": "tap"}
_NEAR = 2.0**-16
_ROUNDED = 2.0**-18
"""What differs by less than this, relative to the largest number, is not told as moved, scaled or confined."""


class Wrong:
    """Wrong numbers beside the right ones; `axes` has a letter for each axis."""

    @np.errstate(all="ignore")
    def __init__(self, expected: Array, came: Array, wrong: Array, axes: str) -> None:
        odd = {"NaN": int(np.isnan(came.astype(np.float64)).sum()), "infinite": int(np.isinf(came.astype(np.float64)).sum())}
        self.odd = ", ".join(f"{count} numbers are {kind}" for kind, count in odd.items() if count)
        came = expected if self.odd else came.astype(np.float64)
        self._largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)) or 1.0
        exact, by, there = expected.dtype == np.int64, differences(came, expected), np.abs(expected) > _NEAR * self._largest
        self.off = np.inf if exact else float(by.max(initial=0.0)) / self._largest
        self.classes = exact and not np.ptp(came - expected)
        factor = float(np.median(came[there] / expected[there])) if there.any() and not exact else 0.0
        self.factor = factor * self._near(came, factor * expected)
        channels = np.moveaxis(came - expected, 1, 0) if expected.ndim > 1 and not exact else [[0, np.inf]]
        self.bias = all(np.ptp(channel) <= _NEAR * self._largest for channel in channels)
        self.by = shifted(came, expected, expected.shape[-1] // 2 - 1, self._near) if axes.endswith("t") else 0
        self.late = late(self.by)
        self.places = " and ".join(filter(None, (_places(wrong, n, axis) for n, axis in enumerate(axes))))

    def _near(self, a: Array, b: Array) -> bool:
        return bool(np.allclose(a, b, rtol=_NEAR, atol=_NEAR * self._largest) and np.abs(b).any())


def _places(wrong: Array, n: int, axis: str) -> str:
    """Say where along an axis something is wrong; nothing where it is everywhere."""
    along = np.asarray(wrong.any(axis=tuple(m for m in range(wrong.ndim) if m != n)))
    at, noun = np.flatnonzero(along).tolist(), _AXES.get(axis, f"index {axis}")
    if along.all():
        return ""
    if at == list(range(len(at))):
        return f"the first {counted(len(at), noun, '')}"
    return f"{noun}s from {at[0]} on" if along[at[0] :].all() else f"{noun} {spell(at)}"


ODD: list[Rule[Wrong]] = [
    ("no numbers", lambda s: s.odd, "{s.odd}"),
    ("small", lambda s: s.off <= _ROUNDED, "off by at most {s.off:.2g} of the largest number"),
]
RELATIONS: list[Rule[Wrong]] = [
    ("classes", lambda s: s.classes, "every class is off by the same number"),
    ("factor", lambda s: s.factor, "all numbers are {s.factor:.6g} times the right ones"),
    ("bias", lambda s: s.bias, "in every channel all numbers are off by one constant"),
    ("moved", lambda s: s.by, MOVED),
]
PLACES: list[Rule[Wrong]] = [
    ("confined", lambda s: s.places, "wrong only at {s.places}"),
]  # fmt: skip


def describe(shown: Wrong, others: Iterable[Wrong]) -> str:
    """Say what wrong numbers have in common: how they relate to the right ones if that holds of `others` too, or where they are.

    Returns nothing where no rule fits.
    """
    if said := first(ODD, shown):
        return said
    relation = first(RELATIONS, shown)
    if relation and all(first(RELATIONS, other) == relation for other in others):
        return relation
    return first(PLACES, shown)
