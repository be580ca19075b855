"""Convolutions and poolings over time: the layers that read other positions than their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.importing.draft import GraphDraft, Objections
from refar.importing.moves import ahead, answered, pad, require_room, settled
from refar.importing.refusal import Place, refuse
from refar.importing.values import Labelled, Steps


def _read_before(x: Labelled, left: int, reach: int, place: Place) -> Objections:
    """What a window of `reach` steps back that begins `left` positions before x reads at t < 0, as objections to paddings."""
    against: list[tuple[str, str]] = []
    if reach == 0 or x.first - left >= 0:
        return against
    if not x.zero_before:
        against.append(("layer", str(refuse(place, "it reads values before the first position that are not zero"))))
    if not answered(x, left):
        why = "it reads zeros before the first position, where the layers before it answer zeros with something else"
        against.append(("input", str(refuse(place, why))))
    return against


def _hidden(x: Labelled, weight: Array, dilation: int, padding: tuple[int, int]) -> int:
    """Count the last weights of a kernel that are zero, if some of them look ahead, as those of a mask do."""
    span = x.spans["T"].padded(padding[0] - (weight.shape[2] - 1) * dilation, padding[1])
    seen = np.flatnonzero(weight.any(axis=(0, 1)))
    if not ahead(span) or not seen.size:
        return 0
    return weight.shape[2] - 1 - int(seen[-1])


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

    Of a kernel that would look ahead the last weights are left out where they are zero, as those of a mask.
    With `folds` the layer becomes a part of the convolution before it, if nothing else reads that.
    """
    left, right = padding
    hidden = _hidden(x, weight, dilation, padding) if x.timed else 0
    weight, right, kernel = weight[:, :, : weight.shape[2] - hidden], right - hidden * dilation, weight.shape[2] - hidden
    reach = (kernel - 1) * dilation
    if x.indexed:
        raise refuse(place, "a convolution of class indices", "look them up first: one-hot or an embedding")
    if not x.timed and reach:
        raise refuse(place, "a convolution over a value that does not change over time", "use kernel 1")
    if x.timed:
        require_room(draft, x, "T", left, right, place)
    params = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    op = ops.Conv1d(weight.shape[0], kernel, dilation, bias=bias is not None, groups=groups)
    node = draft.add(
        op, x.node, wish=wish, params=params, origin=origin, folds=folds, against=_read_before(x, left, reach, place)
    )

    def later(steps: Steps) -> Labelled:
        return conv(
            draft,
            draft.moved(x, steps),
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
        x.spanning(T=x.spans["T"].padded(left - reach, right)) if x.timed else x,
        node=node,
        size=weight.shape[0],
        zero=x.zero_before and bias is None,
        response=answered(x, left),
        quiet=x.quiet and bias is None,
        bare=False,
        inputs=(x,),
        later=later,
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
        padded = pad(draft, x, "T", *padding, place) if any(padding) else x
        rim: Literal["zero", "exclude"] = "zero"
        against = _read_before(padded, 0, reach, place)
        zero, quiet = padded.zero_before, padded.quiet
    elif any(padding):
        if x.first != 0:
            raise refuse(place, "a maximum whose padding lies beside padding by zeros", "use one of the two")
        padded, rim, zero, quiet = x.spanning(T=x.spans["T"].padded(*padding)), "exclude", False, False
        against = [("input", str(refuse(place, "its maximum leaves out the positions before the first")))]
    else:
        padded, rim = x, "zero"
        against = _read_before(x, 0, reach, place)
        zero, quiet = x.zero_before, x.quiet
    ones = [draft.add(ops.Ones(), x.node, wish="ones")] if rim == "exclude" else []
    node = draft.add(ops.Pool1d(kind, kernel, rim, dilation), x.node, *ones, wish=place.call, against=against)
    pooled = replace(
        padded.spanning(T=padded.spans["T"].padded(-reach, 0)),
        node=node,
        zero=zero,
        quiet=quiet,
        response=padded.response_before if rim == "zero" else False,
        bare=False,
        inputs=(x,),
        later=lambda steps: pool(draft, draft.moved(x, steps), kind, kernel, dilation=dilation, padding=padding, place=place),
        place=place,
    )
    return settled(draft, pooled)
