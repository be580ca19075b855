"""The arithmetic of the operators that look at one position only.

Arguments are x_bct or x_bchw or, where constant, x_bc; the channel axis is always 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.oracle.elementwise import sigmoid as sigmoid


def softmax(x: Array) -> Array:
    """exp(x_j) / Σ_j exp(x_j) over axis 1, shifted by the largest x_j so that nothing overflows."""
    e = np.exp(x - x.real.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def gate(x: Array) -> Array:
    """tanh of the first half of the channels times σ of the second."""
    a, b = np.split(x, 2, axis=1)
    y = np.tanh(a)
    y *= sigmoid(b)
    return y


def gate_backward(x: Array, dy: Array) -> Array:
    """Return the gradient of Σ dy·gate(x)."""
    a, b = np.split(x, 2, axis=1)
    return _gate_slopes(np.tanh(a), sigmoid(b), dy)


def _gate_slopes(th: Array, sg: Array, dy: Array) -> Array:
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


def by_channel(weight_c: Array, x: Array) -> Array:
    """Return one number for each channel with the axes of x, so that it meets x at every position."""
    return weight_c.reshape(-1, *[1] * (x.ndim - 2))


def over_positions(dy: Array) -> Array:
    """Return the sum of each channel over the batch and all positions."""
    return dy.sum(axis=(0, *range(2, dy.ndim)))


def scale_shift(x: Array, weight_c: Array, bias_c: Array | None) -> Array:
    """weight[c]·x + bias[c]."""
    y = by_channel(weight_c, x) * x
    return y if bias_c is None else y + by_channel(bias_c, x)


def one_hot(x: Array, classes: int, dtype: np.dtype) -> Array:
    """Return 1 in the channel of each class and 0 elsewhere; of an image, class q of colour c is channel q·C + c."""
    each = np.arange(classes).reshape(classes, *[1] * (x.ndim - 1))
    found = (x[:, None] == each).astype(dtype)
    return found.reshape(len(x), classes * x.shape[1], *x.shape[2:]) if x.ndim == 4 else found


def lookup(table_qc: Array, x: Array) -> Array:
    """Return row x of the table as channels; of an image, number k of colour c becomes channel k·C + c."""
    found = np.moveaxis(table_qc[x], -1, 1)
    return found.reshape(len(x), found.shape[1] * x.shape[1], *x.shape[2:]) if x.ndim == 4 else found


def lookup_backward(table_qc: Array, x: Array, dy: Array) -> Array:
    """Return the gradient of the table: each row gets the sum over where it was looked up."""
    dtable_qc = np.zeros(table_qc.shape, dy.dtype)
    np.add.at(dtable_qc, x, np.moveaxis(dy.reshape(len(x), table_qc.shape[1], *x.shape[1:]), 1, -1))
    return dtable_qc


def ones(x: Array, dtype: np.dtype) -> Array:
    """Return one channel of ones at every position of x, which may be class indices without a channel axis."""
    no_channels = x.dtype == np.int64 and x.ndim < 4
    return np.ones((len(x), 1, *x.shape[1 if no_channels else 2 :]), dtype)


def position(op: ops.Position, shape: Sequence[int]) -> Array:
    """Bit i of each pixel's row, then bit i of its column, for images of shape (B, C, H, W): integers (B, 2·bits, H, W)."""
    batch, _, *place = shape
    bits_2hw = np.indices(place)[:, None] >> np.arange(op.bits)[:, None, None] & 1
    return np.broadcast_to(bits_2hw.reshape(1, 2 * op.bits, *place), (batch, 2 * op.bits, *place))


def fold(function: np.ufunc, args: Sequence[Array]) -> Array:
    """Combine all arguments in turn, constants broadcast over time or the image."""
    first, *rest = _with_time_axis(args)
    total = np.empty(np.broadcast_shapes(first.shape, *(arg.shape for arg in rest)), np.result_type(first, *rest))
    for arg in rest:
        first = function(first, arg, out=total)
    return first


def _with_time_axis(args: Sequence[Array]) -> list[Array]:
    """Constants get axes of length 1 where any argument is over time or an image, so that they broadcast."""
    ndim = max(arg.ndim for arg in args)
    return [arg.reshape(arg.shape + (1,) * (ndim - arg.ndim)) for arg in args]


def repeated(args: Sequence[Array]) -> list[Array]:
    """Constants repeated at every position where any argument is over time or an image."""
    extent = max((arg.shape[2:] for arg in args), default=())
    return [np.broadcast_to(arg, arg.shape[:2] + extent) for arg in _with_time_axis(args)]


def like(dy: Array, arg: Array) -> Array:
    """The gradient of a broadcast argument: summed over time or the image if the argument is constant."""
    return dy.sum(axis=tuple(range(2, dy.ndim))) if arg.ndim == 2 < dy.ndim else dy
