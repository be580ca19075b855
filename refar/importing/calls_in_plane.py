"""The calls that read other pixels; each decodes its arguments and hands them to `in_plane`."""

from __future__ import annotations

from typing import Any

from refar.importing import pointwise
from refar.importing.calls_in_time import both_ends
from refar.importing.context import Arguments, Context
from refar.importing.in_plane import Pair, conv2d
from refar.importing.values import Labelled

PLANE = ("B", "C", "H", "W")
CONSTANT = ("B", "C", "1", "1")


def two(c: Context, given: Any, what: str) -> Pair:
    """Return one number for rows and one for columns; `given` is one for both, or a pair."""
    match given:
        case (rows, columns):
            return c.whole(rows, what), c.whole(columns, what)
        case number:
            return (c.whole(number, what),) * 2


def convolution(c: Context, a: Arguments) -> Labelled:
    """A convolution, padded by numbers of zeros along rows and columns, or "same", or "valid"."""
    x = c.value(a["input"])
    weight, bias = c.array(a["weight"], "its weight"), c.optional(a["bias"], "its bias")
    strides = two(c, a["stride"], "the stride")
    if strides != (1, 1):
        do = "a stream has one value for each pixel; import the part without strides"
        raise c.refuse(f"stride {strides[0]} x {strides[1]}: it gives fewer pixels than it takes", do)
    dilation, groups = two(c, a["dilation"], "the dilation"), c.whole(a["groups"], "the groups")
    reach = [(side - 1) * gap for side, gap in zip(weight.shape[2:], dilation, strict=True)]
    match a["padding"]:
        case "valid":
            padding = ((0, 0), (0, 0))
        case "same":
            padding = ((reach[0] // 2, reach[0] - reach[0] // 2), (reach[1] // 2, reach[1] - reach[1] // 2))
        case ((_, _), (_, _)) as ends:
            padding = (both_ends(c, ends[0]), both_ends(c, ends[1]))
        case number:
            rows, columns = two(c, number, "the padding")
            padding = ((rows, rows), (columns, columns))
    wish, origin = c.named(a["weight"], a["bias"])
    if x.axes == CONSTANT and not x.timed and (reach, padding) == ([0, 0], ((0, 0), (0, 0))):
        return pointwise.grouped(c.draft, x, weight[:, :, 0, 0], bias, groups, wish=wish, origin=origin, place=c.place)
    if x.axes != PLANE or not x.timed:
        do = "line the axes up before, or say those of the example"
        raise c.refuse(f"expected the axes B, C, H, W, got {', '.join(x.axes)}", do)
    return conv2d(
        c.draft, x, weight, bias, dilation=dilation, groups=groups, padding=padding, wish=wish, origin=origin, place=c.place
    )
