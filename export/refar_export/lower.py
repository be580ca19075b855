"""Operators to ONNX nodes, opset 18. One `Emitter` holds a graph under construction.

In a sequence graph values over time are (B, C, T); in a step graph they are (B, C), like the constants, so the pointwise
operators are written once for both. Only convolution and shift, which look into the past, have a rule for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from refar import ops
from refar.infer import Stream, Type, taps

PointwiseOp = (
    ops.OneHot
    | ops.Embedding
    | ops.Standardize
    | ops.Activation
    | ops.Gate
    | ops.Add
    | ops.Multiply
    | ops.Affine
    | ops.Concat
    | ops.Slice
    | ops.Softmax
)
LAST = np.iinfo(np.int64).max


class Emitter:
    """Nodes and initialisers under construction. Names of values derive from the refar node that they belong to."""

    def __init__(self, params: dict[str, NDArray[Any]], types: dict[str, Type]) -> None:
        self.params = params
        self.types = types
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, NDArray[Any]] = {}
        self.owner = ""
        self.count = 0

    def own(self, name: str) -> None:
        """The refar node that the next values belong to."""
        self.owner, self.count = name, 0

    def fresh(self) -> str:
        """A name that no other value has: a node's name cannot hold a slash."""
        self.count += 1
        return f"{self.owner}/{self.count}"

    def emit(self, kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """One ONNX node; returns its first output."""
        names = list(outputs) or [self.fresh()]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"{kind}:{names[0]}", **attributes))
        return names[0]

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """An initialiser with this value."""
        return self.initializer(self.fresh(), np.asarray(value, dtype))

    def initializer(self, name: str, value: NDArray[Any]) -> str:
        """A named initialiser, stored once."""
        self.initializers[name] = value
        return name

    def weight(self, name: str, shape: Sequence[int] | None = None) -> str:
        """A parameter under its own name, in another shape if that is asked for."""
        value = self.params[name]
        return self.initializer(name, value if shape is None else value.reshape(shape))

    def protos(self) -> list[onnx.TensorProto]:
        """The initialisers, as ONNX holds them."""
        return [numpy_helper.from_array(value, name) for name, value in self.initializers.items()]


def pointwise(e: Emitter, op: PointwiseOp, args: Sequence[str], kinds: Sequence[Type], *, sequence: bool) -> str:
    """An operator that looks at one position only. `kinds` are the types of its arguments; `sequence` tells the layout."""
    x, kind = args[0], kinds[0]
    match op:
        case ops.OneHot():
            depth, values = e.constant([kind.size]), e.constant([0, 1], np.float32)
            return e.emit("OneHot", x, depth, values, axis=1)
        case ops.Embedding():
            return _lookup(e, e.weight(f"{e.owner}.weight"), x, kind, sequence)
        case ops.Standardize():
            table = (np.arange(kind.size) - op.mean) / op.std
            return _lookup(e, e.constant(table[:, None], np.float32), x, kind, sequence)
        case ops.Activation():
            return _activation(e, op, x)
        case ops.Gate():
            a, b = e.fresh(), e.fresh()
            e.emit("Split", x, outputs=[a, b], axis=1, num_outputs=2)
            return e.emit("Mul", e.emit("Tanh", a), e.emit("Sigmoid", b))
        case ops.Add():
            return e.emit("Sum" if len(args) > 2 else "Add", *_aligned(e, args, kinds, sequence))
        case ops.Multiply():
            product, *rest = _aligned(e, args, kinds, sequence)
            for factor in rest:
                product = e.emit("Mul", product, factor)
            return product
        case ops.Affine():
            scaled = e.emit("Mul", x, e.constant(op.scale, np.float32))
            return e.emit("Add", scaled, e.constant(op.shift, np.float32))
        case ops.Concat():
            return e.emit("Concat", *_repeated(e, args, kinds, sequence), axis=1)
        case ops.Slice():
            return e.emit("Slice", x, e.constant([op.start]), e.constant([op.stop]), e.constant([1]))
        case ops.Softmax():
            return e.emit("Softmax", x, axis=1)
        case _:
            assert_never(op)


def _activation(e: Emitter, op: ops.Activation, x: str) -> str:
    match op.kind:
        case "relu":
            return e.emit("Relu", x)
        case "leaky_relu":
            return e.emit("LeakyRelu", x, alpha=op.slope)
        case "tanh":
            return e.emit("Tanh", x)
        case "sigmoid":
            return e.emit("Sigmoid", x)
        case _:
            assert_never(op.kind)


def _lookup(e: Emitter, table_qc: str, x: str, kind: Type, sequence: bool) -> str:
    rows = e.emit("Gather", table_qc, x, axis=0)
    return e.emit("Transpose", rows, perm=[0, 2, 1]) if sequence and kind.timed else rows


def _aligned(e: Emitter, args: Sequence[str], kinds: Sequence[Type], sequence: bool) -> list[str]:
    """Constants get a time axis of length 1 beside values over time, so that they broadcast."""
    if not sequence or len({kind.timed for kind in kinds}) == 1:
        return list(args)
    return [x if k.timed else e.emit("Unsqueeze", x, e.constant([2])) for x, k in zip(args, kinds, strict=True)]


def _repeated(e: Emitter, args: Sequence[str], kinds: Sequence[Type], sequence: bool) -> list[str]:
    """Constants repeated at every t beside values over time."""
    aligned = _aligned(e, args, kinds, sequence)
    if aligned == list(args):
        return aligned
    timed = next(x for x, kind in zip(args, kinds, strict=True) if kind.timed)
    length = e.emit("Shape", timed, start=2, end=3)
    target = e.emit("Concat", e.constant([1, 1]), length, axis=0)
    return [x if k.timed else e.emit("Expand", x, target) for x, k in zip(aligned, kinds, strict=True)]


def conv1d_constant(e: Emitter, op: ops.Conv1d, x: str, kind: Type) -> str:
    """A dense layer on a value that is constant over time."""
    bias = [e.weight(f"{e.owner}.bias")] if op.bias else []
    return e.emit("Gemm", x, e.weight(f"{e.owner}.weight", (op.channels, kind.size)), *bias, transB=1)


def conv1d_sequence(e: Emitter, op: ops.Conv1d, x: str) -> str:
    """Zeros on the left, explicitly; a strict convolution has one more and drops the output past the end."""
    pads = [max(taps(op)), 0]
    weights = [e.weight(f"{e.owner}.weight"), *([e.weight(f"{e.owner}.bias")] if op.bias else [])]
    y = e.emit("Conv", x, *weights, dilations=[op.dilation], kernel_shape=[op.kernel], pads=pads, strides=[1])
    return without_last(e, y, 1) if op.strict else y


def shift_sequence(e: Emitter, op: ops.Shift, x: str) -> str:
    """Zeros on the left, then as many positions as before."""
    return without_last(e, pad_left(e, x, op.steps), op.steps)


def pad_left(e: Emitter, x: str, count: int) -> str:
    """`count` zeros before the first position."""
    return e.emit("Pad", x, e.constant([0, 0, count, 0, 0, 0]))


def without_last(e: Emitter, x: str, count: int) -> str:
    """All positions but the last `count`."""
    return e.emit("Slice", x, e.constant([0]), e.constant([-count]), e.constant([2]))


def past_step(e: Emitter, op: ops.Conv1d | ops.Shift, source: str, buffer: str, run: Stream, kind: Type) -> str:
    """Convolution or shift at one position, reading its taps from the source's history and newest value.

    `buffer` is (B, C, history + 1), oldest first; the source and this node may stand at different positions (`run.lead`).
    """
    newest = run.history.get(source, 0)
    offsets = sorted(taps(op), reverse=True)
    places = [newest + run.lead[e.owner] - run.lead[source] - offset for offset in offsets]
    match op:
        case ops.Shift():
            return e.emit("Gather", buffer, e.constant(places[0]), axis=2)
        case ops.Conv1d():
            window = e.emit("Gather", buffer, e.constant(places), axis=2)
            flat = e.emit("Reshape", window, e.constant([-1, kind.size * op.kernel]))
            weight = e.weight(f"{e.owner}.weight", (op.channels, kind.size * op.kernel))
            return e.emit("Gemm", flat, weight, *([e.weight(f"{e.owner}.bias")] if op.bias else []), transB=1)
        case _:
            assert_never(op)
