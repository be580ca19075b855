"""What looks at one position only: activations, sums, products, lookups, channels; values are lined up in time first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.importing.beginnings import Lookup, rows_before, rows_of
from refar.importing.draft import GraphDraft
from refar.importing.in_time import conv
from refar.importing.refusal import Place, refuse
from refar.importing.values import Labelled
from refar.ops import AnyOp


def pointwise(
    draft: GraphDraft, op: AnyOp, x: Labelled, place: Place, *, size: int | None = None, keeps_zero: bool = True
) -> Labelled:
    """Apply an operator to one value; `keeps_zero` says whether it gives 0 for 0."""
    if x.indexed:
        raise refuse(place, "arithmetic on class indices", "look them up first: one-hot or an embedding")
    return replace(
        x,
        node=draft.add(op, x.node, wish=place.call),
        size=x.size if size is None else size,
        zero=x.zero_before and (keeps_zero or x.first >= 0),
        quiet=x.quiet and keeps_zero,
        bare=x.bare and keeps_zero,
        inputs=(x,),
        again=lambda v: pointwise(draft, op, v, place, size=size, keeps_zero=keeps_zero),
        place=place,
    )


def affine(draft: GraphDraft, x: Labelled, scale: float, shift: float, place: Place) -> Labelled:
    """Return scale·x + shift."""
    if (scale, shift) == (1.0, 0.0):
        return x
    return pointwise(draft, ops.Affine(scale, shift), x, place, keeps_zero=shift == 0)


def of_channels(
    draft: GraphDraft,
    x: Labelled,
    scale: Array,
    shift: Array | None,
    *,
    wish: str,
    origin: str,
    place: Place,
    folds: bool = False,
) -> Labelled:
    """Return scale[c]·x + shift[c], as a convolution of kernel 1 that keeps channels apart."""
    weight = np.broadcast_to(scale, (x.size,)).reshape(-1, 1, 1).copy()
    bias = None if shift is None else np.broadcast_to(shift, (x.size,)).copy()
    return conv(
        draft, x, weight, bias, dilation=1, groups=x.size, padding=(0, 0), wish=wish, origin=origin, place=place, folds=folds
    )


def dense(draft: GraphDraft, x: Labelled, weight: Array, bias: Array | None, *, wish: str, origin: str, place: Place) -> Labelled:
    """Apply a dense layer, weight_oi, to the channels at each position."""
    return conv(draft, x, weight[:, :, None], bias, dilation=1, groups=1, padding=(0, 0), wish=wish, origin=origin, place=place)


def channels(draft: GraphDraft, x: Labelled, start: int, stop: int, place: Place) -> Labelled:
    """Return channels start..stop-1."""
    return x if (start, stop) == (0, x.size) else pointwise(draft, ops.Slice(start, stop), x, place, size=stop - start)


def lookup(
    draft: GraphDraft,
    x: Labelled,
    op: Lookup,
    size: int,
    place: Place,
    *,
    table: Array | None = None,
    wish: str = "",
    origin: str = "",
) -> Labelled:
    """Look class indices up, those that were put in front of the sequence too, for which a table may have more rows."""
    if not x.indexed:
        raise refuse(place, "a lookup of numbers that are no class indices of an input")
    params = {} if table is None else {"weight": table[: x.size]}
    named = wish or place.call
    node = draft.add(op, x.node, wish=named, params=params, origin=origin)
    end = x.end - len(x.before)
    found = replace(x, node=node, size=size, indexed=False, before=(), end=end, inputs=(x,), again=None, place=place)
    if not x.before:
        return found
    rows = rows_of(op, x.before, table, size)
    if max(x.before) >= len(rows):
        raise refuse(place, f"class {max(x.before)} stands in front of the sequence, and is looked up among {len(rows)}")
    if table is None and len(rows) == size > x.size:
        found = replace(found, node=draft.add(ops.PadChannels(after=size - x.size), node, wish=f"{named}_wide"))
    return rows_before(draft, found, rows[list(x.before)], wish=named, origin=origin or "fixed numbers", place=place)


def lined_up(draft: GraphDraft, values: Sequence[Labelled], place: Place) -> list[Labelled]:
    """Return the values with index 0 at the same time: the latest of them, to which the others are delayed."""
    moving = [v for v in values if v.timed]
    if not moving:
        return list(values)
    first = max(v.first for v in moving)
    return [draft.delay(v, first - v.first) for v in values]


def spread(draft: GraphDraft, x: Labelled, size: int, place: Place) -> Labelled:
    """Return a single channel as many equal ones."""
    if x.size == size:
        return x
    if x.size != 1:
        raise refuse(place, f"channels do not meet: {x.size} and {size}")
    ones = np.ones((size, 1))
    return dense(draft, x, ones, None, wish=f"{place.call}_repeated", origin="ones that repeat a channel", place=place)


def joined(draft: GraphDraft, op: AnyOp, values: Sequence[Labelled], place: Place) -> Labelled:
    """Sum, multiply or concatenate values at equal times."""
    if any(v.indexed for v in values):
        raise refuse(place, "arithmetic on class indices", "look them up first: one-hot or an embedding")
    if not isinstance(op, ops.Concat):
        size = max(v.size for v in values)
        values = [spread(draft, v, size, place) for v in values]
    values = lined_up(draft, values, place)
    moving = [v for v in values if v.timed]
    some, every = (any, all) if isinstance(op, ops.Multiply) else (all, all)
    counted = moving if isinstance(op, ops.Multiply) else values
    widest = max(values, key=lambda v: (v.timed, len(v.axes)))
    result = replace(
        widest,
        node=draft.add(op, *(v.node for v in values), wish=place.call),
        size=sum(v.size for v in values) if isinstance(op, ops.Concat) else values[0].size,
        zero=some(v.timed and v.zero_before for v in counted) if counted else False,
        response=every(v.response_before for v in moving),
        quiet=some(v.timed and v.quiet for v in counted) if counted else False,
        bare=some(v.timed and v.bare for v in counted) if counted else False,
        inputs=tuple(values),
        again=lambda *vs: joined(draft, op, vs, place),
        place=place,
    )
    if moving and len({v.end for v in moving}) > 1:
        raise refuse(place, f"values of unequal length meet: their last positions are T - 1 + {sorted({v.end for v in moving})}")
    return result
