"""Which offsets are seen and which were meant, in words: over a sequence, over an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from refar.testing.explain.dependence import Dependence
from refar.testing.explain.words import Rule, counted, first, spell

Offsets = frozenset[Any]
HERE = frozenset([(0, 0)])


def spacing(numbers: Iterable[int]) -> int:
    """Return the greatest common divisor of the differences; 0 for a single number."""
    return math.gcd(*(b - a for a, b in pairwise(sorted(numbers))))


def even(numbers: Iterable[int]) -> bool:
    """Return whether all neighbours lie equally far apart."""
    return len({b - a for a, b in pairwise(sorted(numbers))}) <= 1


class Sets:
    """The offsets that are `seen` and those that were `meant`; of `faint` ones rounding decides, they count for neither."""

    def __init__(self, seen: Offsets, meant: Offsets, faint: Offsets = frozenset()) -> None:
        self.seen, self.meant, self.words, self.meant_words = seen, meant, spell(seen), spell(meant)
        self.missing, self.surplus = meant - seen - faint, seen - meant - faint
        self.fewer = frozenset() if self.surplus else self.missing
        self.more = frozenset() if self.missing else self.surplus

    def is_meant(self, change: Callable[[Any], Any]) -> bool:
        """Return whether what is seen is what was meant, each offset changed."""
        return self.seen == {change(offset) for offset in self.meant}

    def __str__(self) -> str:
        lists = [f"{what} {spell(some)}" for what, some in (("missing", self.missing), ("surplus", self.surplus)) if some]
        return f"the offsets {self.words}, expected {self.meant_words}: {', '.join(lists)}"


class OverTime(Sets):
    """Those of a sequence."""

    def __init__(self, seen: Offsets, meant: Offsets, faint: Offsets = frozenset()) -> None:
        super().__init__(seen, meant, faint)
        self.first, self.meant_first = min(seen, default=0), min(meant, default=0)
        self.last, self.meant_last = max(seen, default=-1), max(meant, default=-1)
        self.field, self.meant_field = self.last - self.first + 1, self.meant_last - self.meant_first + 1
        self.apart, self.meant_apart = spacing(seen), spacing(meant)
        self.respaced = len(seen) == len(meant) > 1 and even(seen) and even(meant)
        self.moved = self.is_meant(lambda o: o + self.first - self.meant_first)
        self.mirrored = self.is_meant(lambda o: self.meant_first + self.meant_last - o)
        self.size = f"{self.field} or more" if max(faint, default=0) > self.last else f"{self.field}"
        by = self.first - self.meant_first
        self.further = f"{counted(abs(by))} {'further back' if by > 0 else 'nearer'}"


class OverImage(Sets):
    """Those of an image, as (rows up, columns left)."""

    def __init__(self, seen: Offsets, meant: Offsets, faint: Offsets = frozenset()) -> None:
        super().__init__(seen, meant, faint)
        self.up, self.left = (a - b for a, b in zip(min(seen), min(meant, default=(0, 0)), strict=True))
        ways = (self.up, "row", "up", "down"), (self.left, "column", "to the left", "to the right")
        self.where = " and ".join(f"{counted(abs(by), noun)} too far {a if by > 0 else b}" for by, noun, a, b in ways if by)


SEQUENCE: list[Rule[OverTime]] = [
    ("nothing", lambda s: not s.meant, "it should depend on nothing"),
    ("moved", lambda s: s.moved, "each offset is {s.further} than expected"),
    ("respaced", lambda s: s.respaced, "they lie {s.apart} apart where {s.meant_apart} was meant"),
    ("mirrored", lambda s: s.mirrored, "they are the expected ones mirrored"),
    ("field", lambda s: s.field != s.meant_field, "R = {s.size}, not {s.meant_field}"),
    ("holes", lambda s: s.fewer, "R = {s.field} as expected, but there are holes"),
    ("filled", lambda s: s.more, "R = {s.field} as expected, but holes are filled"),
    ("elsewhere", lambda s: True, "R = {s.field} as expected, but the holes are at other places"),
]  # fmt: skip
IMAGE: list[Rule[OverImage]] = [
    ("seen itself", lambda s: s.more == HERE, "the pixel itself is seen"),
    ("not itself", lambda s: s.fewer == HERE, "the pixel itself is not seen"),
    ("transposed", lambda s: s.is_meant(lambda o: o[::-1]), "they are the expected ones with rows and columns swapped"),
    ("left and right", lambda s: s.is_meant(lambda o: (o[0], -o[1])), "they are the expected ones with left and right swapped"),
    ("reversed", lambda s: s.is_meant(lambda o: (-o[0], -o[1])), "they are the expected ones mirrored at the pixel"),
    ("moved", lambda s: s.is_meant(lambda o: (o[0] + s.up, o[1] + s.left)), "everything lies {s.where}"),
    ("blind spot", lambda s: s.fewer and all(up > 0 > left for up, left in s.missing),
     "a blind spot: these pixels above to the right are never reached"),
    ("too short", lambda s: not s.surplus and max(s.seen)[0] < max(s.meant)[0], "it does not reach far enough up"),
    ("surplus", lambda s: s.more, "pixels are seen that should not be"),
    ("missing", lambda s: True, "pixels are not seen that should be"),
]  # fmt: skip


def against(found: Dependence, meant: Offsets, seen: Offsets, faint: Offsets) -> str:
    """Say what is missing, what is surplus, and how the two sets relate, with one surplus value where none lies in the future.

    `seen` are the offsets that count as seen, `faint` those that count as nothing.
    """
    sets = (OverImage if found.domain.image else OverTime)(seen, meant, faint)
    how = first(IMAGE, sets) if isinstance(sets, OverImage) else first(SEQUENCE, sets)
    shown = f"; {found.evidence(found.at(sets.surplus))}" if sets.surplus and not np.triu(found.seen, 1).any() else ""
    return f"it sees {sets}; {how}{shown}"
