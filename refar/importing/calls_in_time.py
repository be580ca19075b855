"""The calls that read, move or cut positions; each decodes its arguments and hands them to `in_time`."""

from __future__ import annotations

from typing import Any

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.importing import axes, beginnings, in_time, moves, pointwise
from refar.importing.context import Arguments, Context
from refar.importing.refusal import ImportRefused
from refar.importing.values import Constant, Filled, Labelled, Part, Varying, size_of

TIMED = ("B", "C", "T")


def over_time(c: Context, given: Any) -> Labelled:
    """Return a value with the axes that a convolution needs."""
    x = c.value(given)
    if x.axes != TIMED and not (x.axes == ("B", "C", "1") and not x.timed):
        raise c.refuse(f"expected the axes B, C, T, got {', '.join(x.axes)}", "transpose before, or say the axes of the example")
    return x


def without_stride(c: Context, stride: Any, otherwise: int = 1) -> None:
    """Refuse a stride."""
    found = c.whole(stride, "the stride") if stride else otherwise
    if found != 1:
        do = "use dilation in place of strides, see refar.conceptual and docs/networks.md"
        raise c.refuse(f"stride {found}: it gives fewer positions than it takes", do)


def both_ends(c: Context, given: Any) -> tuple[int, int]:
    """Return the padding before and after the sequence; `given` is one number for both ends, or a pair."""
    match given:
        case (before, after):
            return c.whole(before, "the padding"), c.whole(after, "the padding")
        case number:
            return (c.whole(number, "the padding"),) * 2


def conv1d(c: Context, a: Arguments) -> Labelled:
    """A convolution, padded by a number of zeros at both ends, or by one at each, or "same", or "valid"."""
    x = over_time(c, a["input"])
    weight, bias = c.array(a["weight"], "its weight"), c.optional(a["bias"], "its bias")
    without_stride(c, a["stride"])
    dilation = c.whole(a["dilation"], "the dilation")
    match a["padding"]:
        case "valid":
            padding = (0, 0)
        case "same":
            whole = (weight.shape[2] - 1) * dilation
            padding = (whole // 2, whole - whole // 2)
        case number:
            padding = both_ends(c, number)
    wish, origin = c.named(a["weight"], a["bias"])
    groups = c.whole(a["groups"], "the groups")
    return in_time.conv(
        c.draft, x, weight, bias, dilation=dilation, groups=groups, padding=padding, wish=wish, origin=origin, place=c.place
    )


def max_pool1d(c: Context, a: Arguments) -> Labelled:
    """A maximum over a window."""
    kernel = c.whole(a["kernel_size"], "the kernel")
    without_stride(c, a["stride"], kernel)
    dilation, padding = c.whole(a["dilation"], "the dilation"), both_ends(c, a["padding"])
    return in_time.pool(c.draft, over_time(c, a["self"]), "max", kernel, dilation=dilation, padding=padding, place=c.place)


def avg_pool1d(c: Context, a: Arguments) -> Labelled:
    """An average over a window that counts the zeros around."""
    kernel, padding = c.whole(a["kernel_size"], "the kernel"), both_ends(c, a["padding"])
    without_stride(c, a["stride"], kernel)
    if any(padding) and not a["count_include_pad"]:
        raise c.refuse("an average that leaves its padding out", "count_include_pad=True, or pad with zeros before")
    return in_time.pool(c.draft, over_time(c, a["self"]), "avg", kernel, dilation=1, padding=padding, place=c.place)


def pad(c: Context, a: Arguments) -> Labelled:
    """Zeros around: those of time move it, those of channels are channels."""
    x = c.value(a["self"])
    if a.get("mode", "constant") != "constant":
        do = "pad with zeros"
        raise c.refuse(f"{a['mode']} padding: before the first position stand values of later or other positions", do)
    numbers = [c.whole(n, "the padding") for n in a["pad"]]
    if x.indexed and x.axes[-1] == "T" and numbers[0] > 0 and not any(numbers[2:]):
        x = beginnings.classes_before(x, [_class(c, a["value"] or 0)] * numbers[0], c.place)
        return moves.pad(c.draft, x, "T", 0, numbers[1], c.place) if numbers[1] else x
    if (a["value"] or 0) != 0 and any(numbers):
        raise c.refuse(f"padding with {a['value']}", "pad with zeros")
    for i, (before, after) in enumerate(zip(numbers[::2], numbers[1::2], strict=True)):
        axis = x.axes[-1 - i]
        if (before, after) == (0, 0):
            continue
        if axis in x.spans and x.timed:
            x = moves.pad(c.draft, x, axis, before, after, c.place)
        elif axis == "C":
            x = padded_channels(c, x, before, after)
        else:
            raise c.refuse(f"padding of axis {axis}", "pad positions or channels alone")
    return x


def _class(c: Context, number: float) -> int:
    """Return a number that stands among class indices."""
    if number != int(number) or number < 0:
        raise c.refuse(f"{number} is put in front of class indices", "put a class there")
    return int(number)


def padded_channels(c: Context, x: Labelled, before: int, after: int) -> Labelled:
    """Zero channels before and after, or fewer channels where a number is negative."""
    x = pointwise.channels(c.draft, x, max(0, -before), x.size - max(0, -after), c.place)
    more = ops.PadChannels(max(0, before), max(0, after))
    if more == ops.PadChannels():
        return x
    return pointwise.pointwise(c.draft, more, x, c.place, size=x.size + more.before + more.after)


def slice_(c: Context, a: Arguments) -> Labelled | Part:
    """A part of an axis."""
    x, low, high = c.value(a["self"]), a["start"], a["end"]
    axis = x.axes[axes.position(x, a["dim"])]
    if c.whole(a["step"], "the step") != 1:
        raise c.refuse(f"a slice with step {a['step']}: it gives fewer positions than it takes", "keep all")
    if axis in x.spans:
        try:
            before, after = axes.lengths(x, axis, c.place, low, high, c.runs)
        except ImportRefused as error:
            return Part(axes.cut(x, axis, low, high, c.runs), error)
        return x if (before, after) == (0, 0) else moves.pad(c.draft, x, axis, -before, -after, c.place)
    if axis == "C" and not isinstance(low, Varying) and not isinstance(high, Varying):
        start, stop, _ = slice(low, high).indices(x.size)
        return pointwise.channels(c.draft, x, start, stop, c.place)
    sizes = size_of(x, axis, c.runs)
    whole = high is None or all(n >= size for n, size in zip(axes.sizes_of(high, c.runs), sizes, strict=True))
    if low in (None, 0) and whole:
        return x
    raise c.refuse(f"a part of axis {axis}", "cut positions or channels alone")


def concatenated(c: Context, parts: list[Any], dim: int) -> Labelled:
    """One value with fixed numbers before, and zeros behind: padding, or a start, written with cat."""
    where = [i for i, part in enumerate(parts) if isinstance(part, Labelled)]
    if not where:
        raise c.refuse("a concatenation of fixed numbers alone")
    axis = parts[where[0]].axes[dim]
    if len(where) > 1:
        what = f"two computed values, one behind the other along axis {axis}"
        raise c.refuse(what, "only fixed numbers may be put before one")
    (at,) = where
    found, front = parts[at], parts[:at]
    after = sum(zeros(c, part, dim) for part in parts[at + 1 :])
    if axis != "T":
        return moves.pad(c.draft, found, axis, sum(zeros(c, part, dim) for part in front), after, c.place)
    rows = [_rows(c, part, found, dim) for part in front]
    if found.indexed and rows:
        found = beginnings.classes_before(found, [_class(c, float(n)) for n in np.concatenate(rows).reshape(-1)], c.place)
    elif any(part.any() for part in rows):
        wish, origin = c.named(*front)
        found = beginnings.rows_before(c.draft, found, np.concatenate(rows), wish=wish, origin=origin, place=c.place)
    else:
        return moves.pad(c.draft, found, axis, sum(map(len, rows)), after, c.place)
    return moves.pad(c.draft, found, axis, 0, after, c.place) if after else found


def _rows(c: Context, part: Any, x: Labelled, dim: int) -> Array:
    """Return the constants that `cat` puts in front of x: rows_nc, for n positions and all channels, equal in every sequence."""
    channels = 1 if x.indexed else x.size
    match part:
        case Filled(number, sizes) if sizes[dim] == c.runs.same(sizes[dim][0]):
            return np.full((sizes[dim][0], channels), number)
        case Constant() if part.array.ndim == len(x.axes):
            kept = [i for i, axis in enumerate(x.axes) if i != dim and axis != "C"]
            if any(part.array.shape[i] != 1 for i in kept):
                raise c.refuse("fixed numbers that differ between the sequences are put before", "one for all is taken")
            rows = np.moveaxis(np.asarray(part.array, np.float64), dim, 0).reshape(part.array.shape[dim], -1)
            return np.broadcast_to(rows, (len(rows), channels))
        case _:
            raise c.refuse("something other than fixed numbers is put before", "pad with zeros")


def zeros(c: Context, part: Any, dim: int) -> int:
    """Count the zeros that a fixed tensor puts along an axis; anything but zeros is refused."""
    match part:
        case Filled(number, sizes) if number == 0 and sizes[dim] == c.runs.same(sizes[dim][0]):
            return sizes[dim][0]
        case Constant() if not part.array.any():
            return int(part.array.shape[dim])
        case _:
            raise c.refuse("something other than zeros is put before or behind", "pad with zeros")
