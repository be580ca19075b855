"""Moves along the axes of positions: zeros around a value, and parts of it; and what is wrong with those that look ahead."""

from __future__ import annotations

from dataclasses import replace

from refar import ops
from refar.importing.axes import NAMES
from refar.importing.draft import GraphDraft
from refar.importing.refusal import ImportRefused, Place, refuse
from refar.importing.values import Labelled, Span


def settled(draft: GraphDraft, value: Labelled) -> Labelled:
    """Return the value; along an axis on which it is as long as the input and stands elsewhere, it was moved on purpose.

    It then stands where the input does. Down an image as in time it can be moved to what comes later alone.
    """
    steps = {
        axis: -span.first for axis, span in value.spans.items() if span.first == span.end != 0 and (span.first < 0 or axis == "W")
    }
    return draft.moved(value, steps)


def pad(draft: GraphDraft, x: Labelled, axis: str, before: int, after: int, place: Place) -> Labelled:
    """Put zeros before and after along an axis; negative numbers cut away."""
    span = x.spans[axis].padded(before, after)
    if not x.timed:
        if before > 0 or after > 0:
            raise refuse(place, "zeros around a value that does not change over time", "pad the sequence alone")
        return x.spanning(**{axis: span})
    if x.indexed and (before > 0 or after > 0):
        raise refuse(place, "class 0 is put around class indices, where a graph has no class", "look them up first, then pad")
    if x.before and before < 0:
        raise refuse(place, "classes that were put in front of class indices are cut away", "cut before")
    require_room(draft, x, axis, before, after, place)
    padded = replace(
        x.spanning(**{axis: span}),
        zero=x.zero_before,
        response=answered(x, before),
        bare=x.bare if before >= 0 else False,
        inputs=(x,),
        later=lambda steps: pad(draft, draft.moved(x, steps), axis, before, after, place),
        place=place,
    )
    return settled(draft, padded)


def require_room(draft: GraphDraft, x: Labelled, axis: str, before: int, after: int, place: Place) -> None:
    """Refuse zeros where values were cut away, and those before a value that looks ahead."""
    span = x.spans[axis]
    cut = span.first > 0 and not x.bare
    if before > 0 and cut and span.end > 0:
        raise looks_ahead(draft, x)
    if before > 0 and cut:
        raise refuse(place, f"{before} zeros are put where {span.first} values were cut away", "pad before cutting")
    if after > 0 and span.end < 0:
        raise refuse(place, f"{after} zeros are put behind, where {-span.end} values were cut away", "pad before cutting")


def ahead(span: Span) -> bool:
    """Return whether the value at index i depends on inputs after i, up to the end of the sequence."""
    return span.first > 0 and span.end > 0


def looks_ahead(draft: GraphDraft, value: Labelled) -> ImportRefused:
    """Make the error of a value whose index i depends on inputs after i, naming the call that does it."""
    axis = next(axis for axis, span in value.spans.items() if ahead(span))
    for source in value.inputs:
        moved = isinstance(draft.planned[source.node].op, ops.Shift | ops.Shift2d)  # to meet another that looks ahead
        if source.timed and ahead(source.spans[axis]) and not moved:
            return looks_ahead(draft, source)
    first = value.spans[axis].first
    if axis == "T":
        return refuse(
            value.place,
            f"it looks ahead: the output at index i depends on the inputs up to i + {first}; a stream has them later",
            "pad on the left alone, by dilation · (kernel - 1), or cut the right end off",
        )
    return refuse(
        value.place,
        f"it looks ahead: the output in row r depends on the {NAMES[axis]} up to r + {first}, which come later in raster order",
        "put a mask on the weights of the rows below, or pad above alone",
    )


def answered(x: Labelled, before: int) -> bool:
    """Whether so many zeros before x, and what x holds there, are what its node gives for zeros."""
    return x.response_before and (before <= 0 or x.quiet)
