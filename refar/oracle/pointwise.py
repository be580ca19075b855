"""The operators that look at one position only, forward and backward.

Arguments are x_bct or x_bchw or, where constant, x_bc; the channel axis is always 1. Definitions stand in `refar.ops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), computed as (1 + tanh(x/2)) / 2, which overflows nowhere."""
    y = 0.5 * x
    np.tanh(y, out=y)
    y *= 0.5
    y += 0.5
    return y


def softmax(x: Array) -> Array:
    """exp(x_j) / Σ_j exp(x_j) over axis 1, shifted by the largest x_j so that nothing overflows."""
    e = np.exp(x - x.real.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def activation(op: ops.Activation, x: Array) -> Array:
    """f(x), element by element."""
    match op.kind:
        case "relu":
            return np.where(x.real > 0, x, 0)
        case "leaky_relu":
            return np.where(x.real > 0, x, op.slope * x)
        case "tanh":
            return np.tanh(x)
        case "sigmoid":
            return sigmoid(x)
        case _:
            assert_never(op.kind)


def activation_slope(op: ops.Activation, x: Array, y: Array) -> Array:
    """f'(x), where y = f(x)."""
    match op.kind:
        case "relu":
            return (x.real > 0).astype(x.dtype)
        case "leaky_relu":
            return np.where(x.real > 0, 1, op.slope).astype(x.dtype)
        case "tanh":
            return 1 - y * y
        case "sigmoid":
            return y * (1 - y)
        case _:
            assert_never(op.kind)


def _gate_backward(th: Array, sg: Array, dy: Array) -> Array:
    """The gradients of Σ dy·tanh(a)·sigmoid(b) beside each other, a's dy·sg·(1 - th²) and b's dy·th·sg·(1 - sg).

    Works in place, since new memory costs more than the arithmetic: th and sg are lost.
    """
    dx = np.concatenate([dy, dy], axis=1)
    da, db = np.split(dx, 2, axis=1)
    da *= sg
    np.multiply(da, th, out=db)
    th *= th
    da *= np.subtract(1, th, out=th)
    db *= np.subtract(1, sg, out=sg)
    return dx


def table(op: ops.OneHot | ops.Embedding | ops.Standardize, classes: int, weight: Array | None, dtype: np.dtype) -> Array:
    """What class q is mapped to: table_qc."""
    match op:
        case ops.OneHot():
            return np.eye(classes, dtype=dtype)
        case ops.Embedding():
            assert weight is not None
            return weight
        case ops.Standardize():
            return ((np.arange(classes) - op.mean) / op.std).astype(dtype)[:, None]
        case _:
            assert_never(op)


def position(op: ops.Position, shape: Sequence[int]) -> Array:
    """Bit i of each pixel's row, then bit i of its column, for images of shape (B, C, H, W): integers (B, 2·bits, H, W)."""
    batch, _, *plane = shape
    bits_2hw = np.indices(plane)[:, None] >> np.arange(op.bits)[:, None, None] & 1
    return np.broadcast_to(bits_2hw.reshape(1, 2 * op.bits, *plane), (batch, 2 * op.bits, *plane))


def forward(op: ops.PointwiseOp, args: Sequence[Array], classes: int, weight: Array | None, dtype: np.dtype) -> Array:
    """The value of one operator. `classes`, `weight` and `dtype` matter to the lookups only."""
    x = args[0]
    match op:
        case ops.OneHot() | ops.Embedding() | ops.Standardize():
            found = np.moveaxis(table(op, classes, weight, dtype)[x], -1, 1)
            return found.reshape(len(x), found.shape[1] * x.shape[1], *x.shape[2:]) if x.ndim == 4 else found
        case ops.Activation():
            return activation(op, x)
        case ops.Gate():
            a, b = np.split(x, 2, axis=1)
            y = np.tanh(a)
            y *= sigmoid(b)
            return y
        case ops.Add():
            return _fold(np.add, args)
        case ops.Multiply():
            return _fold(np.multiply, args)
        case ops.Affine():
            return op.scale * x + op.shift
        case ops.Concat():
            return np.concatenate(_over_time(args), axis=1)
        case ops.Slice():
            return x[:, op.start : op.stop]
        case ops.Softmax():
            return softmax(x)
        case ops.PadChannels():
            return np.pad(x, ((0, 0), (op.before, op.after), *[(0, 0)] * (x.ndim - 2)))
        case ops.Ones():
            return np.ones(
                (x.shape[0], 1, *x.shape[2:]) if x.dtype != np.int64 or x.ndim == 4 else (x.shape[0], 1, *x.shape[1:]), dtype
            )
        case ops.Position():
            return position(op, x.shape).astype(dtype)
        case _:
            assert_never(op)


def backward(
    op: ops.PointwiseOp, args: Sequence[Array], y: Array, dy: Array, weight: Array | None
) -> tuple[list[Array | None], Array | None]:
    """The gradients of Σ dy·y: one for each argument (None for class indices), and the weight's where there is one."""
    x = args[0]
    match op:
        case ops.OneHot() | ops.Standardize():
            return [None], None
        case ops.Embedding():
            assert weight is not None
            dweight = np.zeros(weight.shape, dy.dtype)
            np.add.at(dweight, x, np.moveaxis(dy.reshape(len(x), weight.shape[1], *x.shape[1:]), 1, -1))
            return [None], dweight
        case ops.Activation():
            return [dy * activation_slope(op, x, y)], None
        case ops.Gate():
            a, b = np.split(x, 2, axis=1)
            return [_gate_backward(np.tanh(a), sigmoid(b), dy)], None
        case ops.Add():
            return [_like(dy, arg) for arg in args], None
        case ops.Multiply():
            others = [[b for j, b in enumerate(args) if j != i] for i in range(len(args))]
            return [_like(_fold(np.multiply, [dy, *rest]), arg) for arg, rest in zip(args, others, strict=True)], None
        case ops.Affine():
            return [op.scale * dy], None
        case ops.Concat():
            parts = np.split(dy, np.cumsum([arg.shape[1] for arg in args])[:-1], axis=1)
            return [_like(part, arg) for part, arg in zip(parts, args, strict=True)], None
        case ops.Slice():
            dx = np.zeros(x.shape, dy.dtype)
            dx[:, op.start : op.stop] = dy
            return [dx], None
        case ops.PadChannels():
            return [dy[:, op.before : op.before + x.shape[1]]], None
        case ops.Ones() | ops.Position():
            return [None], None
        case ops.Softmax():
            return [y * (dy - (dy * y).sum(axis=1, keepdims=True))], None
        case _:
            assert_never(op)


def _fold(function: np.ufunc, args: Sequence[Array]) -> Array:
    first, *rest = _with_time_axis(args)
    total = np.empty(np.broadcast_shapes(first.shape, *(arg.shape for arg in rest)), np.result_type(first, *rest))
    for arg in rest:
        first = function(first, arg, out=total)
    return first


def _with_time_axis(args: Sequence[Array]) -> list[Array]:
    """Constants get axes of length 1 where any argument is over time or a plane, so that they broadcast."""
    ndim = max(arg.ndim for arg in args)
    return [arg.reshape(arg.shape + (1,) * (ndim - arg.ndim)) for arg in args]


def _over_time(args: Sequence[Array]) -> list[Array]:
    """Constants repeated at every position where any argument is over time or a plane."""
    extent = max((arg.shape[2:] for arg in args), default=())
    return [np.broadcast_to(arg, arg.shape[:2] + extent) for arg in _with_time_axis(args)]


def _like(dy: Array, arg: Array) -> Array:
    """The gradient of a broadcast argument: summed over time or the plane if the argument is constant."""
    return dy.sum(axis=tuple(range(2, dy.ndim))) if arg.ndim == 2 < dy.ndim else dy
