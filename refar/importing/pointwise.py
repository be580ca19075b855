"""What looks at one position only: activations, sums, products, lookups, channels; values are lined up in time first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.importing.beginnings import Lookup, rows_before, rows_of
from refar.importing.draft import GraphDraft
from refar.importing.in_plane import conv2d
from refar.importing.in_time import conv
from refar.importing.refusal import Place, refuse
from refar.importing.values import Labelled, Steps
from refar.ops import AnyOp


def pointwise(
    draft: GraphDraft, op: AnyOp, x: Labelled, place: Place, *, size: int | None = None, keeps_zero: bool = True
) -> Labelled:
    """Apply an operator to one value; `keeps_zero` says whether it gives 0 for 0."""

    def later(steps: Steps) -> Labelled:
        return pointwise(draft, op, draft.moved(x, steps), place, size=size, keeps_zero=keeps_zero)

    return _computed(draft.add(op, x.node, wish=place.call), x, x.size if size is None else size, keeps_zero, later, place)


def _computed(node: str, x: Labelled, size: int, keeps_zero: bool, later: Callable[[Steps], Labelled], place: Place) -> Labelled:
    """Return what a node makes of one value, at each position by itself."""
    if x.indexed:
        raise refuse(place, "arithmetic on class indices", "look them up first: one-hot or an embedding")
    return replace(
        x,
        node=node,
        size=size,
        zero=x.zero_before and (keeps_zero or x.inside),
        quiet=x.quiet and keeps_zero,
        bare=x.bare and keeps_zero,
        inputs=(x,),
        later=later,
        place=place,
    )


def learnt(
    draft: GraphDraft,
    op: AnyOp,
    x: Labelled,
    params: dict[str, Array],
    *,
    wish: str,
    origin: str,
    place: Place,
    folds: bool = False,
) -> Labelled:
    """Apply an operator that has numbers for each channel of one value; it gives 0 for 0 unless it has a bias that is not."""
    keeps_zero = not params.get("bias", np.zeros(1)).any()
    node = draft.add(op, x.node, wish=wish, params=params, origin=origin, folds=folds)

    def later(steps: Steps) -> Labelled:
        return learnt(draft, op, draft.moved(x, steps), params, wish=wish, origin=origin, place=place, folds=folds)

    return _computed(node, x, x.size, keeps_zero, later, place)


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
    """Return scale[c]·x + shift[c]; see `draft.folded` for what becomes of it."""
    params = {"weight": np.broadcast_to(scale, (x.size,)).copy()}
    if shift is not None:
        params["bias"] = np.broadcast_to(shift, (x.size,)).copy()
    op = ops.ScaleShift(bias=shift is not None)
    return learnt(draft, op, x, params, wish=wish, origin=origin, place=place, folds=folds)


def dense(draft: GraphDraft, x: Labelled, weight: Array, bias: Array | None, *, wish: str, origin: str, place: Place) -> Labelled:
    """Apply a dense layer, weight_oi, to the channels at each position."""
    return grouped(draft, x, weight, bias, 1, wish=wish, origin=origin, place=place)


def grouped(
    draft: GraphDraft,
    x: Labelled,
    weight: Array,
    bias: Array | None,
    groups: int,
    *,
    wish: str,
    origin: str,
    place: Place,
    folds: bool = False,
) -> Labelled:
    """Apply a dense layer to each group of channels, weight_oi, as a convolution of kernel 1 over time or over an image."""
    if x.timed and x.image:
        return conv2d(
            draft,
            x,
            weight[:, :, None, None],
            bias,
            dilation=(1, 1),
            groups=groups,
            padding=((0, 0), (0, 0)),
            wish=wish,
            origin=origin,
            place=place,
            folds=folds,
        )
    return conv(
        draft,
        x,
        weight[:, :, None],
        bias,
        dilation=1,
        groups=groups,
        padding=(0, 0),
        wish=wish,
        origin=origin,
        place=place,
        folds=folds,
    )


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
    """Look class indices up: `size` numbers for each; of an image with colours channel k of colour c becomes k·N + c.

    Those that were put in front of the sequence are looked up too; for them a table may have more rows.
    """
    if not x.indexed:
        raise refuse(place, "a lookup of numbers that are no class indices of an input")
    params = {} if table is None else {"weight": table[: x.size]}
    named = wish or place.call
    node = draft.add(op, x.node, wish=named, params=params, origin=origin)
    found = replace(x, node=node, size=size * x.inner, indexed=False, before=(), inputs=(x,), later=None, place=place)
    if not x.before:
        return found
    found = found.spanning(T=x.spans["T"].padded(0, -len(x.before)))
    rows = rows_of(op, x.before, table, size)
    if max(x.before) >= len(rows):
        raise refuse(place, f"class {max(x.before)} stands in front of the sequence, and is looked up among {len(rows)}")
    if table is None and len(rows) == size > x.size:
        found = replace(found, node=draft.add(ops.PadChannels(after=size - x.size), node, wish=f"{named}_wide"))
    return rows_before(draft, found, rows[list(x.before)], wish=named, origin=origin or "fixed numbers", place=place)


def numbers(draft: GraphDraft, x: Labelled, place: Place) -> Labelled:
    """Return class indices as numbers; the colours of an image are channels from here on."""
    found = lookup(draft, x, ops.Standardize(0.0, 1.0), 1, place)
    one = "N" if "N" in x.axes else "1"  # of an image without colours this axis is the channel
    if one not in x.axes:
        return found
    at = x.axes.index(one)
    return replace(found, axes=(*x.axes[:at], "C", *x.axes[at + 1 :]), inner=1)


def lined_up(draft: GraphDraft, values: Sequence[Labelled], place: Place) -> list[Labelled]:
    """Return the values with index 0 at the same position: the latest of them, to which the others are moved."""
    moving = [v.spans for v in values if v.timed]
    first = {axis: max(spans[axis].first for spans in moving) for axis in (moving[0] if moving else ())}
    return [draft.moved(v, {axis: n - v.spans[axis].first for axis, n in first.items()}) if v.timed else v for v in values]


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
        given=all(v.given for v in values),
        inputs=tuple(values),
        later=lambda steps: joined(draft, op, [draft.moved(v, steps) for v in values], place),
        place=place,
    )
    for axis in moving[0].spans if moving else ():
        if len(ends := {v.spans[axis].end for v in moving}) > 1:
            raise refuse(place, f"values of unequal length meet: their last positions are {axis} - 1 + {sorted(ends)}")
    return result
