"""The forward table: the value of each operator from what it reads. One match over all operators.

Operators that read other positions are given windows, (B, C, K, …), see `oracle.windows`; the others the values at their own
position, x_b… of class indices, x_bc of constants, x_bct, x_bchw. The channel axis is always 1. Definitions: `refar.ops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.oracle import elementwise, pointwise
from refar.oracle.convolution import convolve
from refar.oracle.norm import norm
from refar.oracle.pooling import pool


def forward(op: ops.AnyOp, args: Sequence[Array], own: Arrays, classes: int, dtype: np.dtype) -> Array:
    """Return the value of one operator.

    `own` holds its parameters by their last names, of a convolution the weight by tap; `classes` is that of an argument of
    class indices; `dtype` is that of values which no argument or parameter has.
    """
    x = args[0]
    match op:
        case ops.Input():
            return x
        case ops.Conv1d() | ops.Conv2d():
            return convolve(x, own["weight"], own.get("bias"), op.groups)
        case ops.Shift() | ops.Shift2d():
            return x[:, :, 0]
        case ops.Pool1d():
            return pool(op.kind, x, args[1] if op.pad == "exclude" else None)
        case ops.OneHot():
            return pointwise.one_hot(x, classes, dtype)
        case ops.Embedding():
            return pointwise.lookup(own["weight"], x)
        case ops.Standardize():
            return pointwise.lookup(((np.arange(classes) - op.mean) / op.std).astype(dtype)[:, None], x)
        case ops.Activation():
            return elementwise.activation(op, x)
        case ops.Gate():
            return pointwise.gate(x)
        case ops.Add():
            return pointwise.fold(np.add, args)
        case ops.Multiply():
            return pointwise.fold(np.multiply, args)
        case ops.Dropout():
            return x
        case ops.Affine():
            return op.scale * x + op.shift
        case ops.ScaleShift():
            return pointwise.scale_shift(x, own["weight"], own.get("bias"))
        case ops.PRelu():
            return np.where(x.real > 0, x, pointwise.by_channel(own["weight"], x) * x)
        case ops.Norm():
            return norm(op, x, own["weight"], own.get("bias"))
        case ops.Concat():
            return np.concatenate(pointwise.repeated(args), axis=1)
        case ops.Slice():
            return x[:, op.start : op.stop]
        case ops.Softmax():
            return pointwise.softmax(x)
        case ops.PadChannels():
            return np.pad(x, ((0, 0), (op.before, op.after), *[(0, 0)] * (x.ndim - 2)))
        case ops.Ones():
            return pointwise.ones(x, dtype)
        case ops.Position():
            return pointwise.position(op, x.shape).astype(dtype)
        case _:
            assert_never(op)
