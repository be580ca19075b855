"""Nodes that look at several positions: convolutions and poolings; one of the two axes of an image may have one element."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from refar.importing.onnx_call import NodeCall
from refar.importing.values import Anything, Constant, Labelled


@dataclass(frozen=True)
class _Window:
    """What a window is along the axis of time, and how its result gets the other axis back."""

    x: Labelled
    at: int
    count: int
    kernel: int
    dilation: int
    stride: int
    padding: tuple[int, int]

    def back(self, y: Labelled) -> Labelled:
        """Put the axis of one element back."""
        if self.count == 1:
            return y
        axes = list(y.axes)
        axes.insert(3 - self.at, "1")
        return replace(y, axes=tuple(axes))


def _window(n: NodeCall, kernel: list[int]) -> _Window:
    x = n.value(0)
    count = len(kernel)
    if len(x.axes) != count + 2:
        raise n.refuse(
            f"a window over {count} axes of a value with the axes {', '.join(x.axes)}", "use Conv1d and poolings of time"
        )
    at, flat = 0, x
    if count == 2 and x.axes[:2] == ("B", "C") and sorted(x.axes[2:]) in (["1", "T"], ["1", "1"]):
        at = x.axes.index("T") - 2 if "T" in x.axes else 1
        flat = replace(x, axes=("B", "C", x.axes[2 + at]))
    elif count > 1:
        raise n.refuse(f"a window over the axes {', '.join(x.axes[2:])}", "sequences are read from ONNX, images are not yet")
    dilations, strides = n.ints("dilations", [1] * count), n.ints("strides", [1] * count)
    paddings = _paddings(n, kernel, dilations)
    for i in range(count):
        if i != at and (kernel[i], strides[i], paddings[i]) != (1, 1, (0, 0)):
            raise n.refuse("a window over an axis of one element", "use Conv1d and poolings of time")
    return _Window(flat, at, count, kernel[at], dilations[at], strides[at], paddings[at])


def _paddings(n: NodeCall, kernel: list[int], dilations: list[int]) -> list[tuple[int, int]]:
    """Return the zeros before and after, along each axis; "same" is that of stride 1."""
    whole = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    match n.attribute("auto_pad", "NOTSET"):
        case "NOTSET":
            given = n.ints("pads", [0] * 2 * len(kernel))
            return list(zip(given[: len(kernel)], given[len(kernel) :], strict=True))
        case "VALID":
            return [(0, 0) for _ in kernel]
        case "SAME_UPPER":
            return [(w // 2, w - w // 2) for w in whole]
        case "SAME_LOWER":
            return [(w - w // 2, w // 2) for w in whole]
        case other:
            raise n.refuse(f"auto_pad {other!r}", "give the padding in numbers")


def _conv(n: NodeCall) -> Anything:
    weight = n.constant(1, "its weight")
    bias = None if n.input(2) is None else n.constant(2, "its bias")
    w = _window(n, list(weight.array.shape[2:]))
    flat = weight.array.reshape(*weight.array.shape[:2], w.kernel)
    more = {"dilation": w.dilation, "stride": w.stride, "padding": w.padding, "groups": n.attribute("group", 1)}
    return w.back(n.core("conv1d", input=w.x, weight=Constant(flat, weight.origins), bias=bias, **more))


def _pool(name: str) -> Callable[[NodeCall], Anything]:
    def pool(n: NodeCall) -> Anything:
        w = _window(n, n.ints("kernel_shape", []))
        more: dict[str, Any] = {"kernel_size": w.kernel, "stride": w.stride, "dilation": w.dilation, "padding": w.padding}
        if name == "avg_pool1d" and w.dilation != 1:
            raise n.refuse("an average with dilation", "use a convolution of fixed weights")
        return w.back(n.core(name, self=w.x, count_include_pad=n.attribute("count_include_pad", 0), **more))

    return pool


WINDOWS: dict[str, Callable[[NodeCall], Anything]] = {
    "Conv": _conv,
    "MaxPool": _pool("max_pool1d"),
    "AveragePool": _pool("avg_pool1d"),
}
"""The meaning of each node that looks at several positions."""
