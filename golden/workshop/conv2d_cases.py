"""Golden cases of the masked convolution over images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from refar.arguments.arrays import Arrays
from workshop.draw import Draw
from workshop.making import Draft
from workshop.node_definitions import node_operator

NAME = "masked_conv2d"
Pair = tuple[int, int]


class _Row2d(NamedTuple):
    """Batch, channels in and out, image, kernel. Height and width differ, and so do the sides of most kernels."""

    id: str
    b: int
    i: int
    o: int
    image: Pair
    kernel: Pair
    mask: Literal["none", "A", "B"] = "none"
    anchor: Pair | None = None
    dilation: Pair = (1, 1)
    colours: int = 1
    groups: int = 1
    bias: bool = True
    exact: bool = True


_ROWS = (
    _Row2d("1x1", 2, 3, 4, (5, 6), (1, 1)),
    _Row2d("1x1-A-colours", 2, 6, 9, (2, 5), (1, 1), "A", colours=3),
    _Row2d("1x1-B-colours", 3, 9, 6, (4, 2), (1, 1), "B", colours=3),
    _Row2d("3x3-A", 2, 3, 4, (5, 6), (3, 3), "A"),
    _Row2d("3x3-B", 3, 2, 4, (6, 5), (3, 3), "B"),
    _Row2d("3x5-B-dilated", 2, 3, 2, (6, 7), (3, 5), "B", dilation=(2, 1)),
    _Row2d("5x3-A-dilated", 2, 2, 3, (7, 8), (5, 3), "A", dilation=(1, 3)),
    _Row2d("3x3-A-colours", 2, 6, 9, (3, 4), (3, 3), "A", colours=3),
    _Row2d("3x3-B-colours", 2, 9, 6, (4, 3), (3, 3), "B", colours=3),
    _Row2d("3x3-B-channels-no-multiple-of-the-colours", 2, 5, 7, (3, 4), (3, 3), "B", colours=3),
    _Row2d("3x3-B-colours-groups", 2, 12, 6, (3, 4), (3, 3), "B", colours=3, groups=2),
    _Row2d("3x3-A-groups-begin-with-another-colour", 2, 6, 12, (3, 4), (3, 3), "A", colours=3, groups=3),
    _Row2d("3x3-B-groups-begin-with-another-colour", 2, 12, 6, (4, 3), (3, 3), "B", colours=3, groups=3),
    _Row2d("2x4-even", 2, 3, 4, (5, 6), (2, 4), anchor=(1, 2)),
    _Row2d("4x2-even-B", 3, 2, 4, (6, 5), (4, 2), "B", anchor=(1, 0)),
    _Row2d("2x3-anchor-last-row", 2, 3, 4, (5, 4), (2, 3), anchor=(1, 1)),
    _Row2d("1x3-anchor-last", 3, 2, 5, (4, 6), (1, 3), anchor=(0, 2)),
    _Row2d("2x3-B-anchor-off-centre", 2, 4, 3, (5, 6), (2, 3), "B", anchor=(1, 0)),
    _Row2d("3x3-A-one-pixel", 3, 2, 4, (1, 1), (3, 3), "A"),
    _Row2d("5x5-B-image-smaller-than-the-kernel", 2, 2, 3, (2, 3), (5, 5), "B", bias=False),
    _Row2d("3x3-groups-dilated", 2, 4, 6, (6, 5), (3, 3), dilation=(1, 2), groups=2),
    _Row2d("generic-3x3-B", 2, 4, 3, (5, 6), (3, 3), "B", exact=False),
    _Row2d("generic-3x3-A-colours-dilated", 2, 6, 3, (5, 4), (3, 3), "A", dilation=(2, 1), colours=3, exact=False),
    _Row2d("generic-2x5-anchor", 3, 5, 2, (4, 6), (2, 5), anchor=(1, 2), bias=False, exact=False),
)


def _examples() -> Iterator[Draft]:
    for row in _ROWS:
        draw = Draw(f"{NAME}/{row.id}")
        numbers: Any = draw.integers if row.exact else draw.reals
        arrays: Arrays = {
            "x": numbers(row.b, row.i, *row.image),
            "w": numbers(row.o, row.i // row.groups, *row.kernel),
        }
        if row.bias:
            arrays["b"] = draw.integers(row.o, zero=False) if row.exact else draw.reals(row.o)
        arrays["dy"] = numbers(row.b, row.o, *row.image)
        anchor = None if row.anchor is None else list(row.anchor)
        attributes = {"mask": row.mask, "anchor": anchor, "dilation": list(row.dilation), "colours": row.colours}
        yield Draft(row.id, draw.seed, arrays, attributes | {"groups": row.groups}, row.exact)


MASKED_CONV2D = node_operator(
    f"{NAME}(x_bihw, w_oihw, b_o=None, *, mask='none', anchor=None, dilation=[1, 1], colours=1, groups=1) -> y_bohw",
    "y[b,o,r,s] = b[o] + Σ_{i,u,v} mask[o,i,u,v] · w[o,i,u,v] · x[b,i, r + (u-a)·D_h, s + (v-e)·D_w], x = 0 outside; "
    "an even side needs an anchor; "
    "refar.ops.Conv2d says what the masks are",
    _examples,
)
