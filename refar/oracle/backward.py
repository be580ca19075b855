"""The backward table: the gradients of each operator. One match over all operators, beside `oracle.forward`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.oracle import elementwise, pointwise
from refar.oracle.convolution import convolve_backward
from refar.oracle.norm import norm_backward
from refar.oracle.pooling import pool_backward


def backward(op: ops.AnyOp, args: Sequence[Array], own: Arrays, y: Array, dy: Array) -> tuple[list[Array | None], Arrays]:
    """Return the gradients of Σ dy·y: one for each argument (None where nothing flows), and those of `own` by their last names.

    `args` and `own` as in `oracle.forward`, `y` the value. Nothing flows into class indices, ones and positions.
    """
    x = args[0]
    match op:
        case ops.Input() | ops.OneHot() | ops.Standardize() | ops.Ones() | ops.Position():
            return [None] * len(args), {}
        case ops.Conv1d() | ops.Conv2d():
            dwindows, dweight, dbias = convolve_backward(x, own["weight"], dy, op.groups)
            return [dwindows], {"weight": dweight, "bias": dbias} if op.bias else {"weight": dweight}
        case ops.Shift() | ops.Shift2d():
            return [dy[:, :, None]], {}
        case ops.Pool1d(pad="exclude"):
            return [pool_backward(op.kind, x, args[1], dy), None], {}
        case ops.Pool1d():
            return [pool_backward(op.kind, x, None, dy)], {}
        case ops.Embedding():
            return [None], {"weight": pointwise.lookup_backward(own["weight"], x, dy)}
        case ops.Activation():
            return [dy * elementwise.activation_slope(op, x, y)], {}
        case ops.Gate():
            return [pointwise.gate_backward(x, dy)], {}
        case ops.Add():
            return [pointwise.like(dy, arg) for arg in args], {}
        case ops.Multiply():
            others = [[b for j, b in enumerate(args) if j != i] for i in range(len(args))]
            products = [pointwise.fold(np.multiply, [dy, *rest]) for rest in others]
            return [pointwise.like(product, arg) for product, arg in zip(products, args, strict=True)], {}
        case ops.Dropout():
            return [dy], {}
        case ops.Affine():
            return [op.scale * dy], {}
        case ops.ScaleShift():
            dweight, dbias = pointwise.over_positions(dy * x), pointwise.over_positions(dy)
            dx = pointwise.by_channel(own["weight"], x) * dy
            return [dx], {"weight": dweight, "bias": dbias} if op.bias else {"weight": dweight}
        case ops.PRelu():
            slopes = np.where(x.real > 0, 1, pointwise.by_channel(own["weight"], x))
            return [slopes * dy], {"weight": pointwise.over_positions(np.where(x.real > 0, 0, x) * dy)}
        case ops.Norm():
            dx, dweight, dbias = norm_backward(op, x, own["weight"], dy)
            return [dx], {"weight": dweight, "bias": dbias} if op.bias else {"weight": dweight}
        case ops.Concat():
            parts = np.split(dy, np.cumsum([arg.shape[1] for arg in args])[:-1], axis=1)
            return [pointwise.like(part, arg) for part, arg in zip(parts, args, strict=True)], {}
        case ops.Slice():
            dx = np.zeros(x.shape, dy.dtype)
            dx[:, op.start : op.stop] = dy
            return [dx], {}
        case ops.PadChannels():
            return [dy[:, op.before : op.before + x.shape[1]]], {}
        case ops.Softmax():
            return [y * (dy - (dy * y).sum(axis=1, keepdims=True))], {}
        case _:
            assert_never(op)
