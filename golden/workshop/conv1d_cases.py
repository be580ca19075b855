"""Golden cases of the causal convolution, 1-D."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from refar.arguments.arrays import Arrays
from workshop.draw import Draw
from workshop.making import Draft
from workshop.node_definitions import node_operator

NAME = "causal_conv1d"


class _Row1d(NamedTuple):
    """Sizes, all distinct: they must not be taken for each other."""

    id: str
    b: int
    i: int
    o: int
    k: int
    d: int
    t: int
    strict: bool = False
    groups: int = 1
    bias: bool = True
    exact: bool = True


_ROWS = (
    _Row1d("k1", 2, 3, 4, 1, 1, 6),
    _Row1d("k1-strict", 3, 2, 5, 1, 1, 7, strict=True),
    _Row1d("k1-dilated", 2, 5, 3, 1, 4, 7),
    _Row1d("k2", 3, 2, 4, 2, 1, 7),
    _Row1d("k2-one-position", 3, 2, 4, 2, 1, 1),
    _Row1d("k2-one-position-strict", 2, 3, 4, 2, 3, 1, strict=True),
    _Row1d("k2-dilated", 2, 3, 5, 2, 4, 11),
    _Row1d("k2-phases", 2, 3, 5, 2, 4, 20),
    _Row1d("k3-shorter-than-the-field", 2, 4, 3, 3, 5, 7),
    _Row1d("k3-as-long-as-the-field", 3, 4, 2, 3, 2, 5),
    _Row1d("k3-strict", 2, 4, 5, 3, 1, 8, strict=True),
    _Row1d("k3-dilated-strict", 3, 2, 4, 3, 2, 11, strict=True),
    _Row1d("k3-without-bias", 2, 5, 4, 3, 2, 9, bias=False),
    _Row1d("k4-dilated", 3, 2, 4, 4, 3, 23),
    _Row1d("k4-long", 2, 3, 5, 4, 1, 37),
    _Row1d("groups", 2, 6, 9, 2, 3, 11, groups=3),
    _Row1d("groups-depthwise-strict", 3, 4, 4, 3, 2, 10, strict=True, groups=4),
    _Row1d("generic-k3", 2, 4, 5, 3, 2, 13, exact=False),
    _Row1d("generic-k2-strict", 3, 5, 4, 2, 4, 11, strict=True, exact=False),
    _Row1d("generic-groups-without-bias", 2, 6, 4, 4, 1, 9, groups=2, bias=False, exact=False),
    _Row1d("generic-sum-of-many", 1, 16, 2, 4, 8, 29, exact=False),
)


def _examples() -> Iterator[Draft]:
    for row in _ROWS:
        draw = Draw(f"{NAME}/{row.id}")
        numbers: Any = draw.integers if row.exact else draw.reals
        arrays: Arrays = {
            "x": numbers(row.b, row.i, row.t),
            "w": numbers(row.o, row.i // row.groups, row.k),
        }
        if row.bias:
            arrays["b"] = draw.integers(row.o, zero=False) if row.exact else draw.reals(row.o)
        arrays["dy"] = numbers(row.b, row.o, row.t)
        attributes = {"dilation": row.d, "groups": row.groups, "strict": row.strict}
        yield Draft(row.id, draw.seed, arrays, attributes, row.exact)


CAUSAL_CONV1D = node_operator(
    f"{NAME}(x_bit, w_oik, b_o=None, *, dilation=1, groups=1, strict=False) -> y_bot",
    "y[b,o,t] = b[o] + Σ_{i,k} w[o,i,k] · x[b,i, t - strict - (K-1-k)·dilation], x = 0 before the start; refar.ops.Conv1d",
    _examples,
)
