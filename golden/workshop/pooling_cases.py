"""Golden cases of dilated pooling, and of shifts over time and over images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from workshop.draw import Draw
from workshop.making import Draft
from workshop.node_definitions import node_operator


class _Pool(NamedTuple):
    """Integers from -most to most: few of them make equal values in a window, negative ones show the padding."""

    id: str
    b: int
    c: int
    t: int
    kind: Literal["avg", "max"]
    kernel: int
    dilation: int
    pad: Literal["zero", "exclude"]
    most: int = 8
    exact: bool = True


_POOLS = (
    _Pool("max-zero", 2, 3, 9, "max", 3, 1, "zero"),
    _Pool("max-zero-dilated", 3, 2, 11, "max", 3, 2, "zero"),
    _Pool("max-zero-equal-values", 2, 3, 13, "max", 4, 2, "zero", most=1),
    _Pool("max-exclude", 2, 4, 9, "max", 2, 1, "exclude"),
    _Pool("max-exclude-dilated", 2, 3, 10, "max", 3, 4, "exclude"),
    _Pool("max-exclude-equal-values", 3, 2, 11, "max", 3, 3, "exclude", most=1),
    _Pool("max-shorter-than-the-field", 2, 4, 5, "max", 4, 3, "zero"),
    _Pool("max-kernel-1", 2, 3, 5, "max", 1, 2, "zero"),
    _Pool("avg-zero", 2, 3, 7, "avg", 2, 1, "zero"),
    _Pool("avg-zero-dilated", 3, 2, 13, "avg", 4, 3, "zero"),
    _Pool("avg-zero-thirds", 2, 4, 11, "avg", 3, 2, "zero", exact=False),
    _Pool("avg-exclude-dilated", 2, 3, 10, "avg", 2, 4, "exclude"),
    _Pool("avg-exclude-thirds", 3, 4, 11, "avg", 3, 2, "exclude", exact=False),
    _Pool("generic-avg", 2, 5, 13, "avg", 4, 2, "zero", most=0, exact=False),
    _Pool("generic-avg-exclude", 2, 3, 17, "avg", 5, 3, "exclude", most=0, exact=False),
    _Pool("generic-max", 2, 3, 13, "max", 3, 2, "zero", most=0),
)


def _pools() -> Iterator[Draft]:
    for row in _POOLS:
        draw = Draw(f"causal_pool1d/{row.id}")
        shape = (row.b, row.c, row.t)
        x = draw.integers(*shape, most=row.most) if row.most else draw.reals(*shape)
        # the gradient of a maximum sums up to K of these: integers keep that exact
        arrays = {"x": x, "dy": draw.integers(*shape)}
        attributes = {"kind": row.kind, "kernel": row.kernel, "dilation": row.dilation, "pad": row.pad}
        yield Draft(row.id, draw.seed, arrays, attributes, row.exact)


def _shifts() -> Iterator[Draft]:
    rows = [("delay-1", 2, 3, 5, 1), ("delay-3", 3, 2, 7, 3), ("delay-beyond-the-end", 2, 3, 4, 5), ("none", 2, 3, 4, 0)]
    rows += [("ahead-1", 2, 3, 5, -1), ("ahead-2", 3, 2, 7, -2), ("ahead-beyond-the-end", 2, 4, 3, -6)]
    rows += [("one-position", 2, 3, 1, 1), ("one-position-ahead", 2, 3, 1, -1)]
    for id, b, c, t, steps in rows:
        draw = Draw(f"shift1d/{id}")
        yield Draft(id, draw.seed, {"x": draw.reals(b, c, t), "dy": draw.reals(b, c, t)}, {"steps": steps}, True)


def _shifts_2d() -> Iterator[Draft]:
    rows = [("down", 2, 3, 4, 5, 1, 0), ("right", 2, 3, 5, 4, 0, 1), ("down-right", 3, 2, 4, 6, 2, 1)]
    rows += [("up-left", 2, 3, 5, 4, -1, -2), ("down-left", 2, 3, 6, 5, 1, -1), ("beyond-the-edge", 2, 3, 4, 2, 1, 3)]
    for id, b, c, h, w, down, right in rows:
        draw = Draw(f"shift2d/{id}")
        arrays = {"x": draw.reals(b, c, h, w), "dy": draw.reals(b, c, h, w)}
        yield Draft(id, draw.seed, arrays, {"down": down, "right": right}, True)


CAUSAL_POOL1D = node_operator(
    "causal_pool1d(x_bct, *, kind, kernel, dilation=1, pad) -> y_bct",
    "the maximum or average of x[b,c, t - k·dilation], k = 0..kernel-1; pad='zero' takes in zeros before the start, 'exclude' "
    "leaves them out; the gradient of a maximum goes to the most recent of equal values; refar.ops.Pool1d",
    _pools,
)
SHIFT1D = node_operator(
    "shift1d(x_bct, *, steps) -> y_bct",
    "y[b,c,t] = x[b,c,t-steps], 0 outside the sequence; steps < 0 looks ahead; refar.ops.Shift",
    _shifts,
)
SHIFT2D = node_operator(
    "shift2d(x_bchw, *, down=0, right=0) -> y_bchw",
    "y[b,c,r,s] = x[b,c,r-down,s-right], 0 outside the image; refar.ops.Shift2d",
    _shifts_2d,
)
