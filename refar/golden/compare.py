"""Compare what came with what was expected: equal, or within the bound; else where they differ first, and how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from refar.arguments.arrays import Array, Arrays
from refar.golden.case import UNITS, Case
from refar.golden.ties import chosen


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


def as_dtype(arrays: Arrays, dtype: DTypeLike) -> Arrays:
    """Copy the arrays, numbers in `dtype`; class indices stay integers."""
    return {name: a.copy() if a.dtype == np.int64 else a.astype(dtype) for name, a in arrays.items()}


def allowed(case: Case, name: str, unit: float) -> Array:
    """Return how far each number of a tensor may be off in arithmetic with this unit roundoff."""
    return case.bound[name].astype(np.float64) * unit if name in case.bound else np.zeros(case.expected[name].shape)


def wrong_at(case: Case, name: str, came: Array, unit: float) -> Array:
    """Say where `came`, of the expected shape, is wrong in arithmetic with this unit roundoff. At ties any choice is right."""
    expected, bound = case.expected[name], allowed(case, name, unit)
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(came.astype(np.float64) - expected) <= bound)
    wrong &= came != expected  # integers beyond 2^53, and infinities
    if name in case.one_of and wrong.any():
        wrong &= ~chosen(case.operator, case.attributes, case.arrays, came, bound, unit)
    return np.asarray(wrong)


def differs(case: Case, found: Arrays) -> bool:
    """Return whether any of these arrays, in float64, is not what the case expects."""
    return any(
        array.shape != case.expected[name].shape or wrong_at(case, name, array, UNITS["float64"]).any()
        for name, array in found.items()
        if name in case.expected
    )


def difference(case: Case, name: str, came: Array, unit: float, axes: str = "") -> Difference | None:
    """Return None if `came`, of the expected shape, is right in arithmetic with this unit roundoff. `axes` name the places."""
    wrong = wrong_at(case, name, came, unit)
    if not wrong.any():
        return None
    expected, place = case.expected[name], tuple(int(i) for i in np.argwhere(wrong)[0])
    here = allowed(case, name, unit)[place]
    rule = f"bound {here:.3g} for u = {unit:.3g}" if name in case.bound and here > 0 else "must be equal"
    rule += ", or what another choice at ties gives" if name in case.one_of else ""
    return Difference(name, spell(place, axes), *_numbers(expected[place], came[place]), rule, wrong)


def ratio(case: Case, name: str, came: Array, unit: float) -> float:
    """Return the largest observed / allowed; 0 where nothing is off, infinite where something is off that must be equal."""
    off, bound = np.abs(came.astype(np.float64) - case.expected[name]), allowed(case, name, unit)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(off == 0, 0, off / bound).max(initial=0))


def spell(place: Iterable[int], axes: str = "") -> str:
    """Write a place as [b=0, o=2, t=5], or as [0, 2, 5] without names."""
    each = list(place)
    named = [f"{axis}={n}" for axis, n in zip(axes, each, strict=True)] if len(axes) == len(each) else list(map(str, each))
    return f"[{', '.join(named)}]"


def _numbers(expected: object, came: object) -> tuple[str, str]:
    """Write two numbers that differ in as many digits as show it."""
    short, long = ((_number(expected, digits), _number(came, digits)) for digits in (9, 17))
    return long if short[0] == short[1] else short


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float | np.floating) else str(value)
