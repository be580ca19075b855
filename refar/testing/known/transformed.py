"""Convolutions that are rounded as by an FFT: right, if their errors look like it, though not within the bound of products."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.golden.case import Case
from refar.golden.compare import as_dtype
from refar.golden.node_operators import named_gradients, own_parameters
from refar.golden.operator import Operator
from refar.rounding import transforms
from refar.testing.known.failures import Failure

_FEW = 256
"""With fewer numbers in all, errors may have one sign by chance."""
_CONSTANT, _FACTOR = 0.3, 0.8
"""The largest parts of errors that may be the same for all, or a multiple of the value.

FFTs in float32 had up to 0.02 and 0.36: their twiddle factors are rounded too, and rounded ones shrink a little. A constant of
10⁻⁶ gave 0.54, a factor of 1 + 10⁻⁶ gave 1.
"""


def as_by_transform(operator: Operator, case: Case, name: str, came: Array, unit: float) -> bool:
    """Say whether an array of the expected shape is within the bound of an FFT; of nothing but a convolution it never is."""
    arrays = as_dtype(case.arrays, "float64")
    op = operator.to_op(case.attributes, arrays)
    if not isinstance(op, ops.Conv1d | ops.Conv2d):
        return False
    found = transforms.convolution(op, arrays["x"], own_parameters(arrays), arrays.get("dy"))
    bounds = {"y": found.pop("y")} | named_gradients(arrays, found)
    return name in bounds and bool(np.all(np.abs(came.astype(np.float64) - case.expected[name]) <= bounds[name] * unit))


@dataclass
class _Seen:
    """What was seen of one law in one dtype: arrays within the bound of an FFT alone, and sizes of exact cases of integers."""

    transformed: list[Failure] = field(default_factory=list)
    exact: list[int] = field(default_factory=list)

    @property
    def systematic(self) -> str:
        """Say what no rounding is like in the errors; nothing if they scatter."""
        pairs = [(each.came.astype(np.float64) - each.case.expected[each.name], each) for each in self.transformed]
        count = sum(error.size for error, _ in pairs)
        if count >= _FEW:
            mean = sum(float(np.abs(error).sum()) for error, _ in pairs) / count
            signs = sum(error.size * _common(error, np.ones_like(error)) for error, _ in pairs) / count
            scaled = sum(error.size * _common(error, each.case.expected[each.name]) for error, each in pairs) / count
            for common, most, words in (
                (signs, _CONSTANT, "is the same for all"),
                (scaled, _FACTOR, "is a multiple of the value"),
            ):
                if abs(common) > most:
                    return f"{count} numbers are off by {mean:.2g} on average, of which {abs(common):.0%} {words}"
        real = [_size(each.case) for each in self.transformed if each.name in each.case.bound]
        if len(real) == len(self.transformed) and (large := sum(size >= min(real, default=0) for size in self.exact)):
            return f"{large} cases of small integers that are as large are exact"
        return ""


class Transforms:
    """Keeps what is within the bound of an FFT alone, by law and dtype, and tells whether it is rounding.

    Errors of an FFT scatter: about 0, largely without regard to the value, and on small integers as well as on other numbers.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], _Seen] = {}

    def note(self, law: str, failure: Failure) -> None:
        """Keep an array within the bound of an FFT, with what would be said of it."""
        self._seen.setdefault((law, failure.dtype), _Seen()).transformed.append(failure)

    def note_right(self, law: str, case: Case, dtype: str, name: str) -> None:
        """Keep that an array is right; of interest where it had to be exact."""
        if name not in case.bound:
            self._seen.setdefault((law, dtype), _Seen()).exact.append(_size(case))

    def systematic(self) -> Iterator[tuple[str, Failure]]:
        """Yield what is no rounding: the law, and the failure."""
        for (law, _), seen in self._seen.items():
            if seen.transformed and (said := seen.systematic):
                why = f"within the bound of an FFT, whose errors scatter, but {said}"
                yield from ((law, replace(failure, said=f"{failure.said}; {why}")) for failure in seen.transformed)


def _common(error: Array, other: Array) -> float:
    """Return the cosine between errors and other numbers: 1 where one is a positive multiple of the other."""
    sizes = math.sqrt(float((error**2).sum()) * float((other**2).sum()))
    return float((error * other).sum()) / sizes if sizes else 0.0


def _size(case: Case) -> int:
    """How many numbers the convolution has on its two sides."""
    return case.arrays["x"].size + case.arrays["w"].size if {"x", "w"} <= case.arrays.keys() else 0
