"""Nodes that move, cut, join or count axes; what they say of a shape may follow from the length."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refar.importing.onnx_call import NodeCall, together
from refar.importing.refusal import REFUSED, refuse_call
from refar.importing.values import Anything, Constant, Filled, Part, Sizes, Varying, shape, size_of


def _sizes(n: NodeCall) -> tuple[Sizes, ...]:
    """Return the sizes of input 0 in each run."""
    given = n.input(0)
    return given.sizes if isinstance(given, Part) else shape(n.value(0), n.c.runs)


def _shape(n: NodeCall) -> Anything:
    sizes = _sizes(n)
    stop = n.attribute("end")
    part = sizes[slice(n.attribute("start", 0), stop)]
    return together([np.array(column, np.int64) for column in zip(*part, strict=True)] or [np.zeros(0, np.int64)])


def _size(n: NodeCall) -> Anything:
    columns = zip(*_sizes(n), strict=True)
    return together([np.array(np.prod(column), np.int64) for column in columns])


def _reshape(n: NodeCall) -> Anything:
    x, target = n.value(0), n.numbers(1, "its shape") or []
    if not n.attribute("allowzero", 0):
        target = [Varying(size_of(x, x.axes[i], n.c.runs)) if size == 0 else size for i, size in enumerate(target)]
    return n.core("reshape", self=x, shape=target)


def _flatten(n: NodeCall) -> Anything:
    x = n.value(0)
    at = n.attribute("axis", 1) % (len(x.axes) + 1)
    sizes, target = shape(x, n.c.runs), []
    for part in (sizes[:at], sizes[at:]):
        target.append(Varying(tuple(int(np.prod(column)) for column in zip(*part, strict=True)) or n.c.runs.same(1)))
    return n.core("reshape", self=x, shape=target)


def _squeeze(n: NodeCall) -> Anything:
    dims = n.fixed("axes", 1, 13)
    return n.core("squeeze", self=n.operand(0)) if dims is None else n.core("squeeze", self=n.operand(0), dim=dims)


def _unsqueeze(n: NodeCall) -> Anything:
    x, dims = n.value(0), n.fixed("axes", 1, 13) or []
    rank = len(x.axes) + len(dims)
    for dim in sorted(d % rank for d in dims):
        x = n.core("unsqueeze", self=x, dim=dim)
    return x


def _transpose(n: NodeCall) -> Anything:
    x = n.value(0)
    return n.core("permute", self=x, dims=n.ints("perm", range(len(x.axes))[::-1]))


def _expand(n: NodeCall) -> Anything:
    """Repeat axes of one element; a size of 1 keeps what is there."""
    x, target = n.value(0), n.numbers(1, "its shape") or []
    wide = [-1] * (len(x.axes) - len(target)) + [-1 if size == 1 else size for size in target]
    return n.core("expand", self=x, size=wide)


def _tile(n: NodeCall) -> Anything:
    return n.core("repeat", self=n.value(0), repeats=n.numbers(1, "its counts"))


def _concat(n: NodeCall) -> Anything:
    parts = [n.operand(i) for i in range(len(n.given))]
    return n.core("cat", tensors=parts, dim=n.attribute("axis"))


def _split(n: NodeCall) -> Anything:
    x, widths, axis = n.operand(0), n.listed("split", 1, 13), n.attribute("axis", 0)
    if widths is None:
        return n.core("split", self=x, dim=axis, chunks=n.attribute("num_outputs", len(n.node.output)))
    return n.core("split", self=x, dim=axis, split_sizes=widths)


def _slice(n: NodeCall) -> Anything:
    starts, ends = n.listed("starts", 1, 10) or [], n.listed("ends", 2, 10) or []
    axes = n.fixed("axes", 3, 10) or list(range(len(starts)))
    steps = (None if n.opset < 10 else n.fixed("steps", 4, 10)) or [1] * len(starts)
    x = n.operand(0)
    for axis, start, stop, step in zip(axes, starts, ends, steps, strict=True):
        if step < 0:
            raise refuse_call(n.c.place, f"a slice with step {step}", {f"a slice with step {step}": REFUSED["flip"]})
        x = n.core("slice", self=x, dim=axis, start=start, end=stop, step=step)
    return x


def _pad(n: NodeCall) -> Anything:
    x, pads = n.value(0), n.listed("pads", 1, 11) or []
    rank = len(x.axes)
    axes = n.numbers(3, "its axes") if n.opset >= 18 else None
    chosen = [n.c.whole(axis, "its axis") % rank for axis in axes] if axes is not None else list(range(rank))
    around: dict[int, tuple[int | Varying, int | Varying]] = {
        axis: (pads[i], pads[i + len(chosen)]) for i, axis in enumerate(chosen)
    }
    torch_order = [number for axis in reversed(range(rank)) for number in around.get(axis, (0, 0))]
    return n.core("pad", self=x, pad=torch_order, mode=n.attribute("mode", "constant"), value=_filling(n))


def _filling(n: NodeCall) -> float:
    if n.opset < 11:
        return float(n.attribute("value", 0.0))
    match n.operand(2):
        case None:
            return 0.0
        case Constant(array):
            return float(array.reshape(-1)[0]) if array.size else 0.0
        case Filled(number):
            return number
        case _:
            raise n.refuse("padding with a value that is computed", "pad with zeros")


SHAPES: dict[str, Callable[[NodeCall], Anything]] = {
    "Shape": _shape,
    "Size": _size,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
}
"""The meaning of each node that moves, cuts, joins or counts axes."""
