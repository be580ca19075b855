"""What reads or moves positions: padding and cropping of time, convolutions, poolings."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.importing.draft import GraphDraft, Objections
from refar.importing.refusal import ImportRefused, Place, refuse
from refar.importing.values import Labelled

CHANNELS_FIRST = ("B", "C", "T")


def settled(draft: GraphDraft, value: Labelled) -> Labelled:
    """Return the value; one that is as long as the sequence and stands earlier was moved on purpose, and is delayed."""
    if value.first == value.end < 0:
        return draft.delay(value, -value.first)
    return value


def pad(draft: GraphDraft, x: Labelled, left: int, right: int, place: Place) -> Labelled:
    """Put zeros before and after in time; negative numbers cut away."""
    if not x.timed:
        if left > 0 or right > 0:
            raise refuse(place, "zeros around a value that does not change over time", "pad the sequence alone")
        return replace(x, end=x.end + left + right)
    if x.indexed and (left > 0 or right > 0):
        raise refuse(place, "class 0 is put around class indices, where a graph has no class", "look them up first, then pad")
    if x.before and left < 0:
        raise refuse(place, "classes that were put in front of class indices are cut away", "cut before")
    _require_room(draft, x, left, right, place)
    padded = replace(
        x,
        first=x.first - left,
        end=x.end + right,
        zero=x.zero_before,
        response=_answered(x, left),
        bare=x.bare if left >= 0 else False,
        inputs=(x,),
        again=lambda v: pad(draft, v, left, right, place),
        place=place,
    )
    return settled(draft, padded)


def _require_room(draft: GraphDraft, x: Labelled, left: int, right: int, place: Place) -> None:
    """Refuse zeros where values were cut away, and those before a value that looks ahead."""
    if left > 0 and not x.clear and x.end > 0:
        raise looks_ahead(draft, x)
    if left > 0 and not x.clear:
        raise refuse(place, f"{left} zeros are put where {x.first} values were cut away", "pad before cutting")
    if right > 0 and x.end < 0:
        raise refuse(place, f"{right} zeros are put behind, where {-x.end} values were cut away", "pad before cutting")


def looks_ahead(draft: GraphDraft, value: Labelled) -> ImportRefused:
    """Make the error of a value whose index i depends on inputs after i, naming the call that does it."""
    for source in value.inputs:
        moved = isinstance(draft.planned[source.node].op, ops.Shift)  # to meet another that looks ahead
        if source.timed and source.first > 0 and source.end > 0 and not moved:
            return looks_ahead(draft, source)
    return refuse(
        value.place,
        f"it looks ahead: the output at index i depends on the inputs up to i + {value.first}; a stream has them later",
        "pad on the left alone, by dilation · (kernel - 1), or cut the right end off",
    )


def _answered(x: Labelled, left: int) -> bool:
    """Whether `left` zeros before x, and what x holds at t < 0, are what its node gives for zeros."""
    return x.response_before and (left <= 0 or x.quiet)


def _read_before(x: Labelled, left: int, reach: int, place: Place) -> Objections:
    """What a window of `reach` steps back that begins `left` positions before x reads at t < 0, as objections to paddings."""
    against: list[tuple[str, str]] = []
    if reach == 0 or x.first - left >= 0:
        return against
    if not x.zero_before:
        against.append(("layer", str(refuse(place, "it reads values before the first position that are not zero"))))
    if not _answered(x, left):
        why = "it reads zeros before the first position, where the layers before it answer zeros with something else"
        against.append(("input", str(refuse(place, why))))
    return against


def _unread(weight_oik: Array) -> int:
    """Count the last taps that are 0 throughout, all but one at most."""
    read = np.flatnonzero(weight_oik.any(axis=(0, 1)))
    return weight_oik.shape[2] - 1 - int(read[-1]) if read.size else 0


def conv(
    draft: GraphDraft,
    x: Labelled,
    weight: Array,
    bias: Array | None,
    *,
    dilation: int,
    groups: int,
    padding: tuple[int, int],
    wish: str,
    origin: str,
    place: Place,
    folds: bool = False,
) -> Labelled:
    """Convolve over time; `weight` is weight_oik, `padding` how many zeros stand before and after.

    With `folds` the layer becomes a part of the convolution before it, if nothing else reads that.
    """
    (left, right), unread = padding, _unread(weight)
    weight, right = weight[:, :, : weight.shape[2] - unread], right - unread * dilation  # what a mask hides of later positions
    kernel = weight.shape[2]
    reach = (kernel - 1) * dilation
    if x.indexed:
        raise refuse(place, "a convolution of class indices", "look them up first: one-hot or an embedding")
    if not x.timed and reach:
        raise refuse(place, "a convolution over a value that does not change over time", "use kernel 1")
    _require_room(draft, x, left, right, place)
    params = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    op = ops.Conv1d(weight.shape[0], kernel, dilation, bias=bias is not None, groups=groups)
    node = draft.add(
        op, x.node, wish=wish, params=params, origin=origin, folds=folds, against=_read_before(x, left, reach, place)
    )

    def again(v: Labelled) -> Labelled:
        return conv(
            draft,
            v,
            weight,
            bias,
            dilation=dilation,
            groups=groups,
            padding=(left, right),
            wish=wish,
            origin=origin,
            place=place,
            folds=folds,
        )

    convolved = replace(
        x,
        node=node,
        size=weight.shape[0],
        first=x.first - left + reach,
        end=x.end + right,
        zero=x.zero_before and bias is None,
        response=_answered(x, left),
        quiet=x.quiet and bias is None,
        bare=False,
        inputs=(x,),
        again=again,
        place=place,
    )
    return settled(draft, convolved) if x.timed else convolved


def pool(
    draft: GraphDraft,
    x: Labelled,
    kind: Literal["avg", "max"],
    kernel: int,
    *,
    dilation: int,
    padding: tuple[int, int],
    place: Place,
) -> Labelled:
    """Pool over time with stride 1; an average counts the zeros around, a maximum leaves its padding out."""
    reach = (kernel - 1) * dilation
    if not x.timed or x.indexed:
        raise refuse(place, "pooling of a value that has no positions to pool")
    if kind == "avg":
        padded = pad(draft, x, *padding, place) if any(padding) else x
        rim: Literal["zero", "exclude"] = "zero"
        against = _read_before(padded, 0, reach, place)
        zero, quiet = padded.zero_before, padded.quiet
    elif any(padding):
        if x.first != 0:
            raise refuse(place, "a maximum whose padding lies beside padding by zeros", "use one of the two")
        padded, rim, zero, quiet = replace(x, first=-padding[0], end=x.end + padding[1]), "exclude", False, False
        against = [("input", str(refuse(place, "its maximum leaves out the positions before the first")))]
    else:
        padded, rim = x, "zero"
        against = _read_before(x, 0, reach, place)
        zero, quiet = x.zero_before, x.quiet
    ones = [draft.add(ops.Ones(), x.node, wish="ones")] if rim == "exclude" else []
    node = draft.add(ops.Pool1d(kind, kernel, rim, dilation), x.node, *ones, wish=place.call, against=against)
    pooled = replace(
        padded,
        node=node,
        first=padded.first + reach,
        zero=zero,
        quiet=quiet,
        response=padded.response_before if rim == "zero" else False,
        bare=False,
        inputs=(x,),
        again=lambda v: pool(draft, v, kind, kernel, dilation=dilation, padding=padding, place=place),
        place=place,
    )
    return settled(draft, pooled)
