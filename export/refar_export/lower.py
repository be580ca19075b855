"""Operators to ONNX nodes, opset 18, put into the `Emitter` of a graph under construction.

In a graph of whole sequences values over time are (B, C, T); in steps and blocks they are rows (R, C), like the constants, so the
pointwise operators are written once for all. Only the operators that read other positions have a rule for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import assert_never

import numpy as np
import onnx
from numpy.typing import NDArray

from refar import ops
from refar.analysis.types import Type
from refar.analysis.windows import offsets_of_node
from refar_export.emitter import Emitter

LAST = np.iinfo(np.int64).max

_MANY_TAPS = 4
"""Taps from which on one Gather for all of them, and what brings their classes together, cost less than a Gather for each."""


def rename(nodes: Iterable[onnx.NodeProto], value: str, name: str) -> None:
    """Give a value another name, wherever it stands."""
    for node in nodes:
        for names in (node.input, node.output):
            for place, each in enumerate(names):
                if each == value:
                    names[place] = name


def pointwise(e: Emitter, op: ops.PointwiseOp, args: Sequence[str], kinds: Sequence[Type], *, sequence: bool) -> str:
    """An operator that looks at one position only. `kinds` are the types of its arguments; `sequence` tells the layout."""
    x, kind = args[0], kinds[0]
    match op:
        case ops.OneHot():
            depth, values = e.constant([kind.size]), e.constant([0, 1], np.float32)
            return _by_colour(e, e.emit("OneHot", x, depth, values, axis=1), kind)
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
        case ops.Dropout():
            return x
        case ops.Affine():
            scaled = e.emit("Mul", x, e.constant(op.scale, np.float32))
            return e.emit("Add", scaled, e.constant(op.shift, np.float32))
        case ops.ScaleShift():
            return _scale_shift(e, op.bias, x, _meets(kind, sequence))
        case ops.PRelu():
            return e.emit("PRelu", x, e.weight(f"{e.owner}.weight", _meets(kind, sequence)))
        case ops.Norm():
            return _scale_shift(e, op.bias, _normed(e, op, x, kind.size), _meets(kind, sequence))
        case ops.Concat():
            return e.emit("Concat", *_repeated(e, args, kinds, sequence), axis=1)
        case ops.Slice():
            return e.emit("Slice", x, e.constant([op.start]), e.constant([op.stop]), e.constant([1]))
        case ops.Softmax():
            return e.emit("Softmax", x, axis=1)
        case ops.PadChannels():
            # Every axis is named: onnxruntime 1.31 moves a Transpose through a Pad with `axes` and then reads beyond its pads.
            others = [0] * (len((kind if sequence else kind.at_once).axes) - 2)
            return e.emit("Pad", x, e.constant([0, op.before, *others, 0, op.after, *others]))
        case ops.Ones():
            no_channels = kind.indexed and not kind.image
            first = x if no_channels else e.emit("Slice", x, e.constant([0]), e.constant([1]), e.constant([1]))
            ones = e.emit("Cast", e.emit("Equal", first, first), to=onnx.TensorProto.FLOAT)
            return e.emit("Unsqueeze", ones, e.constant([1])) if no_channels else ones
        case ops.Position():
            return _position(e, op, x)
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
        case "elu":
            return e.emit("Elu", x, alpha=op.alpha)
        case "selu":
            return e.emit("Selu", x, alpha=ops.SELU_ALPHA, gamma=ops.SELU_SCALE)
        case "gelu":
            error = e.emit("Erf", e.emit("Mul", x, e.constant(math.sqrt(0.5), np.float32)))
            both = e.emit("Add", error, e.constant(1, np.float32))
            return e.emit("Mul", e.emit("Mul", x, e.constant(0.5, np.float32)), both)
        case "gelu_tanh":
            square = e.emit("Mul", e.emit("Mul", x, x), e.constant(0.044715, np.float32))
            inner = e.emit("Mul", x, e.emit("Add", square, e.constant(1, np.float32)))
            tanh = e.emit("Tanh", e.emit("Mul", inner, e.constant(math.sqrt(2 / math.pi), np.float32)))
            both = e.emit("Add", tanh, e.constant(1, np.float32))
            return e.emit("Mul", e.emit("Mul", x, e.constant(0.5, np.float32)), both)
        case "silu":
            return e.emit("Mul", x, e.emit("Sigmoid", x))
        case "softplus":
            return e.emit("Softplus", x)
        case "softsign":
            return e.emit("Softsign", x)
        case "clip":
            return e.emit("Clip", x, e.constant(op.low, np.float32), e.constant(op.high, np.float32))
        case "hard_sigmoid":
            return e.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5)
        case "hard_swish":
            return e.emit("Mul", x, e.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5))
        case "mish":
            return e.emit("Mul", x, e.emit("Tanh", e.emit("Softplus", x)))
        case "sin":
            return e.emit("Sin", x)
        case "snake":
            alpha = e.constant(op.alpha, np.float32)
            sine = e.emit("Sin", e.emit("Mul", x, alpha))
            return e.emit("Add", x, e.emit("Div", e.emit("Mul", sine, sine), alpha))
        case _:
            assert_never(op.kind)


def _meets(kind: Type, sequence: bool) -> list[int]:
    """The shape in which one number for each channel meets values of a type: rows, or with axes of positions."""
    return [-1, *[1] * (len((kind if sequence else kind.at_once).axes) - 2)]


def _scale_shift(e: Emitter, bias: bool, x: str, shape: Sequence[int]) -> str:
    scaled = e.emit("Mul", x, e.weight(f"{e.owner}.weight", shape))
    return e.emit("Add", scaled, e.weight(f"{e.owner}.bias", shape)) if bias else scaled


def _normed(e: Emitter, op: ops.Norm, x: str, channels: int) -> str:
    """d / √(Σ d²/C + eps), of operators that no optimiser joins: LayerNormalization may take Σ x²/C - m², which cancels."""
    axis = e.constant([1])
    d = e.emit("Sub", x, e.emit("ReduceMean", x, axis)) if op.kind == "layer" else x
    mean = e.emit("Div", e.emit("ReduceSumSquare", d, axis), e.constant(channels, np.float32))
    return e.emit("Div", d, e.emit("Sqrt", e.emit("Add", mean, e.constant(op.eps, np.float32))))


def _lookup(e: Emitter, table_qc: str, x: str, kind: Type, sequence: bool) -> str:
    rows = e.emit("Gather", table_qc, x, axis=0)
    if kind.image:
        return _by_colour(e, e.emit("Transpose", rows, perm=[0, 4, 1, 2, 3]), kind)
    return e.emit("Transpose", rows, perm=[0, 2, 1]) if sequence and kind.timed else rows


def one_hot(e: Emitter, classes: str, count: int) -> str:
    """Emit the one-hots (R, Q) of class indices (R). An index beyond the last class gives zeros."""
    return e.emit("OneHot", classes, e.constant([count]), e.constant([0, 1], np.float32), axis=1)


def looked_up(e: Emitter, op: ops.Conv1d, classes: Sequence[str]) -> str:
    """A convolution of one-hots, (R, C): `classes` are those that each tap reads, (R), and Q for none.

    A table has a row for each class. Those of many taps stand one below the other, so that one Gather reads a row for each tap.
    """
    weight_oik, taps = e.params[f"{e.owner}.weight"], len(classes)
    none = np.zeros((taps, 1, op.channels), np.float32)
    tables = np.concatenate([weight_oik.transpose(2, 1, 0), none], axis=1)
    if op.bias:
        tables[0] += e.params[f"{e.owner}.bias"]
    if taps < _MANY_TAPS:
        each = [e.emit("Gather", e.constant(table, np.float32), x, axis=0) for table, x in zip(tables, classes, strict=True)]
        return each[0] if taps == 1 else e.emit("Sum" if taps > 2 else "Add", *each)
    by_tap = e.emit("Reshape", e.emit("Concat", *classes, axis=0), e.constant([taps, -1]))
    places = e.emit("Add", by_tap, e.constant(np.arange(taps)[:, None] * tables.shape[1]))
    rows = e.emit("Gather", e.constant(tables.reshape(-1, op.channels), np.float32), places, axis=0)
    return e.emit("ReduceSum", rows, e.constant([0]), keepdims=0)


def _by_colour(e: Emitter, found: str, kind: Type) -> str:
    """(B, K, C, H, W) → (B, K·C, H, W); what is not over an image has no axis of colours."""
    if not kind.image:
        return found
    batch, place = e.emit("Shape", found, start=0, end=1), e.emit("Shape", found, start=3, end=5)
    return e.emit("Reshape", found, e.emit("Concat", batch, e.constant([-1]), place, axis=0))


def _position(e: Emitter, op: ops.Position, x: str) -> str:
    """The bits of 0..H-1 down the rows and of 0..W-1 along the columns, spread over an image and the batch."""
    weights = e.constant([1 << i for i in range(op.bits)])
    extent = e.emit("Shape", x, start=2, end=4)
    batch = e.emit("Shape", x, start=0, end=1)
    target = e.emit("Concat", batch, e.constant([op.bits]), extent, axis=0)
    bits = []
    for axis in (0, 1):
        count = e.emit("Gather", extent, e.constant(axis))
        numbers = e.emit("Range", e.constant(0), count, e.constant(1))
        each = e.emit("Div", e.emit("Unsqueeze", numbers, e.constant([0])), e.emit("Unsqueeze", weights, e.constant([1])))
        bit = e.emit("Cast", e.emit("Mod", each, e.constant(2)), to=onnx.TensorProto.FLOAT)
        bits.append(e.emit("Expand", e.emit("Unsqueeze", bit, e.constant([0, 3 if axis == 0 else 2])), target))
    return e.emit("Concat", *bits, axis=1)


def _aligned(e: Emitter, args: Sequence[str], kinds: Sequence[Type], sequence: bool) -> list[str]:
    """Constants get axes of length 1 beside values over time or an image, so that they broadcast."""
    if not sequence or len({kind.timed for kind in kinds}) == 1:
        return list(args)
    axes = [2, 3] if any(kind.image for kind in kinds) else [2]
    return [x if k.timed else e.emit("Unsqueeze", x, e.constant(axes)) for x, k in zip(args, kinds, strict=True)]


def _repeated(e: Emitter, args: Sequence[str], kinds: Sequence[Type], sequence: bool) -> list[str]:
    """Constants repeated at every position beside values over time or an image."""
    aligned = _aligned(e, args, kinds, sequence)
    if aligned == list(args):
        return aligned
    timed = next(x for x, kind in zip(args, kinds, strict=True) if kind.timed)
    length = e.emit("Shape", timed, start=2)
    target = e.emit("Concat", e.constant([1, 1]), length, axis=0)
    return [x if k.timed else e.emit("Expand", x, target) for x, k in zip(aligned, kinds, strict=True)]


def dense(e: Emitter, op: ops.Conv1d, flat: str) -> str:
    """The weights of a convolution on its taps side by side, (B, K·C_in), to (B, C_out)."""
    bias = [e.weight(f"{e.owner}.bias")] if op.bias else []
    by_tap = e.params[f"{e.owner}.weight"].swapaxes(1, 2)  # (C_out, K, C_in of a group)
    fan_out, taps, fan_in = by_tap.shape
    if op.groups == 1:
        return e.emit("Gemm", flat, e.initializer(f"{e.owner}.weight", by_tap.reshape(fan_out, -1)), *bias, transB=1)
    grouped = e.emit("Reshape", flat, e.constant([-1, taps, op.groups, fan_in]))
    rows = e.emit("Reshape", e.emit("Transpose", grouped, perm=[0, 2, 1, 3]), e.constant([-1, op.groups, 1, taps * fan_in]))
    weight = by_tap.reshape(op.groups, fan_out // op.groups, -1).swapaxes(1, 2)
    products = e.emit("MatMul", rows, e.constant(np.ascontiguousarray(weight), np.float32))
    y = e.emit("Reshape", products, e.constant([-1, op.channels]))
    return e.emit("Add", y, *bias) if bias else y


def conv1d_sequence(e: Emitter, op: ops.Conv1d, x: str, before: str | None) -> str:
    """The values at t < 0 on the left, explicitly; a strict convolution drops the output past the end."""
    weights = _weights(e, op)
    past = max(offsets_of_node(op))
    extended, pads = (x, [past, 0]) if before is None else (extend(e, x, past, before), [0, 0])
    y = _convolved(e, op, extended, weights, pads)
    return without_last(e, y, 1) if op.strict else y


def _weights(e: Emitter, op: ops.Conv1d) -> list[str]:
    return [e.weight(f"{e.owner}.weight"), *([e.weight(f"{e.owner}.bias")] if op.bias else [])]


def _convolved(e: Emitter, op: ops.Conv1d, x: str, weights: list[str], pads: list[int]) -> str:
    return e.emit("Conv", x, *weights, dilations=[op.dilation], group=op.groups, kernel_shape=[op.kernel], pads=pads, strides=[1])


def mask_oihw(op: ops.Conv2d, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Say which weights see anything: whole rows above the anchor, its own row to the left, and at the anchor by colours."""
    (fan_out, fan_in, *_), mask = shape, np.zeros(shape, bool)
    if op.mask == "none":
        return ~mask
    row, column = op.anchor or (op.kernel[0] // 2, op.kernel[1] // 2)
    mask[:, :, :row] = True
    mask[:, :, row, :column] = True
    for o in range(fan_out):
        first = o // (fan_out // op.groups) * fan_in  # of the group of o, channels counted through all groups
        for i in range(fan_in):
            given, wanted = (first + i) % op.colours, o % op.colours
            mask[o, i, row, column] = given < wanted or (given == wanted and op.mask == "B")
    return mask


def conv2d(e: Emitter, op: ops.Conv2d, x: str) -> str:
    """The mask is baked into the weights; zeros on each side as far as the kernel reaches beyond its anchor there."""
    name = f"{e.owner}.weight"
    mask = mask_oihw(op, e.params[name].shape)
    weights = [e.initializer(name, np.where(mask, e.params[name], np.float32(0)))]
    weights += [e.weight(f"{e.owner}.bias")] if op.bias else []
    a, b = op.anchor or (op.kernel[0] // 2, op.kernel[1] // 2)
    (kh, kw), (dh, dw) = op.kernel, op.dilation
    pads = [a * dh, b * dw, (kh - 1 - a) * dh, (kw - 1 - b) * dw]
    return e.emit(
        "Conv", x, *weights, dilations=[dh, dw], group=op.groups, kernel_shape=[kh, kw], pads=pads, strides=[1, 1]
    )  # fmt: skip


def shift2d(e: Emitter, op: ops.Shift2d, x: str) -> str:
    """x[b,c,r-down,s-right], 0 outside: padded where values come in from, then cut to the size of x."""
    down, right = op.down, op.right
    padded = e.emit("Pad", x, e.constant([0, 0, max(down, 0), max(right, 0), 0, 0, max(-down, 0), max(-right, 0)]))
    first = e.constant([max(-down, 0), max(-right, 0)])
    end = e.emit("Add", first, e.emit("Shape", x, start=2, end=4))
    return e.emit("Slice", padded, first, end, e.constant([2, 3]))


def window_sequence(e: Emitter, x: str, offset: int, before: str | None) -> str:
    """x[b,c,t-offset] for every t: `before` (default 0) at t < 0, or zeros past the end."""
    if offset > 0:
        return without_last(e, extend(e, x, offset, before), offset)
    if offset == 0:
        return x
    padded = e.emit("Pad", x, e.constant([0, 0, 0, 0, 0, -offset]))
    return e.emit("Slice", padded, e.constant([-offset]), e.constant([LAST]), e.constant([2]))


def extend(e: Emitter, x: str, count: int, before: str | None) -> str:
    """`count` more positions on the left, which hold `before` (B, C, 1), or zero."""
    if before is None:
        return e.emit("Pad", x, e.constant([0, 0, count, 0, 0, 0]))
    return e.emit("Concat", e.emit("Expand", before, e.constant([1, 1, count])), x, axis=2) if count else x


def zeros_before(e: Emitter, x: str, channels: int) -> str:
    """(B, C, 1) of zeros, with the batch of x."""
    shape = e.emit("Concat", e.emit("Shape", x, start=0, end=1), e.constant([1, 1]), axis=0)
    return e.emit("Expand", e.constant(np.zeros((1, channels, 1)), np.float32), shape)


def pool1d(e: Emitter, op: ops.Pool1d, windows: Sequence[str], there: Sequence[str] | None) -> str:
    """Maximum or average of windows of any layout; with `there`, of those where it is 1."""
    if op.kind == "avg":
        count = e.constant(op.kernel, np.float32) if there is None else e.emit("Sum", *there)
        return e.emit("Div", e.emit("Sum", *windows), count)
    if there is not None:
        lowest = e.constant(-np.inf, np.float32)
        known = [e.emit("Cast", mark, to=onnx.TensorProto.BOOL) for mark in there]
        windows = [e.emit("Where", mark, window, lowest) for mark, window in zip(known, windows, strict=True)]
    return e.emit("Max", *windows)


def without_last(e: Emitter, x: str, count: int) -> str:
    """All positions but the last `count`."""
    return e.emit("Slice", x, e.constant([0]), e.constant([-count]), e.constant([2]))


def windowed_step(e: Emitter, op: ops.WindowedOp, windows: Sequence[list[str]]) -> str:
    """One position of an operator on past values: of each argument the value at each tap, (B, C), oldest first."""
    match op:
        case ops.Shift():
            return windows[0][0]
        case ops.Conv1d():
            flat = windows[0][0] if op.kernel == 1 else e.emit("Concat", *windows[0], axis=1)
            return dense(e, op, flat)
        case ops.Pool1d():
            return pool1d(e, op, windows[0], windows[1] if op.pad == "exclude" else None)
        case _:
            assert_never(op)


def conv1d_block(e: Emitter, op: ops.Conv1d, buffer: str, where: Sequence[int], kept: int) -> str:
    """A convolution over time at T positions: `buffer` is (B, C, kept + T), `where` the taps of the first position in it."""
    return _convolved(e, op, span(e, buffer, where, kept), _weights(e, op), [0, 0])


def span(e: Emitter, buffer: str, where: Sequence[int], kept: int) -> str:
    """All that T windows see in a (B, C, kept + T), if `where` are the places of the first: T + newest - oldest positions."""
    oldest, newest = where[0], where[-1]
    if (oldest, newest) == (0, kept):
        return buffer
    end = LAST if newest == kept else newest - kept
    return e.emit("Slice", buffer, e.constant([oldest]), e.constant([end]), e.constant([2]))
