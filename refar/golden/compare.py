"""What came beside what was expected: equal, or within the bound; else where they differ first, and how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from refar.arguments.arrays import Array
from refar.golden.case import Case
from refar.golden.operator import allowed


@dataclass(frozen=True)
class Difference:
    """One tensor that is not as expected. `where` is True where it is not; `place` is the first of those."""

    name: str
    place: str
    expected: str
    came: str
    rule: str
    where: Array

    def __str__(self) -> str:
        differ = f"{int(self.where.sum())} of {self.where.size} differ"
        return f"{self.name} at {self.place}: expected {self.expected}, got {self.came} ({differ}; {self.rule})"


def difference(case: Case, name: str, came: Array, unit: float, axes: str = "") -> Difference | None:
    """None if `came`, of the expected shape, is right in arithmetic with this unit roundoff. `axes` name the places."""
    expected, bound = case.expected[name], allowed(case, name, unit)
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(came.astype(np.float64) - expected) <= bound)
    wrong &= came != expected  # integers beyond 2^53, and infinities
    if not wrong.any():
        return None
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    here = bound[place]
    rule = f"bound {here:.3g} for u = {unit:.3g}" if name in case.bound and here > 0 else "must be equal"
    return Difference(name, spell(place, axes), _number(expected[place]), _number(came[place]), rule, wrong)


def ratio(case: Case, name: str, came: Array, unit: float) -> float:
    """The largest observed / allowed; 0 where nothing is off, infinite where something is off that must be equal."""
    off, bound = np.abs(came.astype(np.float64) - case.expected[name]), allowed(case, name, unit)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(off == 0, 0, off / bound).max(initial=0))


def spell(place: Iterable[int], axes: str = "") -> str:
    """[b=0, o=2, t=5], or [0, 2, 5] without names."""
    each = list(place)
    named = [f"{axis}={n}" for axis, n in zip(axes, each, strict=True)] if len(axes) == len(each) else list(map(str, each))
    return f"[{', '.join(named)}]"


def _number(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float | np.floating) else str(value)
