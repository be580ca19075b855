"""The operators that look into the past, 1-D: causal dilated convolution, delay, pooling.

All are written over *windows*: the window at offset d holds x[b,c,t-d] for every t of the output. Where the past comes
from is the caller's business: zeros before the start in a whole pass, the kept history in a stream.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays

Windows = Array
"""The windows of one input beside each other, in the order of `window_offsets`: (B, C, K, T)."""


def window_offsets(op: ops.WindowedOp) -> list[int]:
    """The offsets that the operator reads, oldest first: weight k of a convolution sees strict + (K-1-k)·D."""
    match op:
        case ops.Conv1d():
            return [int(op.strict) + (op.kernel - 1 - k) * op.dilation for k in range(op.kernel)]
        case ops.Shift():
            return [op.steps]
        case ops.Pool1d():
            return [(op.kernel - 1 - k) * op.dilation for k in range(op.kernel)]
        case _:
            assert_never(op)


def windows_of(x_bct: Array, offsets: Sequence[int], before_bc1: Array | None = None) -> Windows:
    """x[b,c,t-offset] for every offset and t: (B, C, K, T). Before the sequence stands `before` or else zero, after it zero."""
    if list(offsets) == [0]:
        return x_bct[:, :, None]
    batch, channels, length = x_bct.shape
    windows = np.zeros((batch, channels, len(offsets), length), x_bct.dtype)
    for k, offset in enumerate(offsets):
        there, here = overlap(length, offset)
        windows[:, :, k, here] = x_bct[:, :, there]
        if before_bc1 is not None:
            windows[:, :, k, : max(offset, 0)] = before_bc1
    return windows


def windows_backward(d_bckt: Windows, offsets: Sequence[int]) -> tuple[Array, Array]:
    """The adjoint of `windows_of`: the gradients of x_bct, and of what stands before it, (B, C, 1)."""
    batch, channels, _, length = d_bckt.shape
    dbefore_bc1 = np.zeros((batch, channels, 1), d_bckt.dtype)
    if list(offsets) == [0]:
        return d_bckt.reshape(batch, channels, length), dbefore_bc1
    dx_bct = np.zeros((batch, channels, length), d_bckt.dtype)
    for k, offset in enumerate(offsets):
        there, here = overlap(length, offset)
        dx_bct[:, :, there] += d_bckt[:, :, k, here]
        dbefore_bc1 += d_bckt[:, :, k, : max(offset, 0)].sum(axis=2, keepdims=True)
    return dx_bct, dbefore_bc1


def overlap(length: int, offset: int) -> tuple[slice, slice]:
    """Along an axis of so many values: those that come to lie on the axis again when moved on by `offset`, and where."""
    size = max(length - abs(offset), 0)
    return slice(max(-offset, 0), max(-offset, 0) + size), slice(max(offset, 0), max(offset, 0) + size)


def at_rest(op: ops.WindowedOp, args: Sequence[Array], params: Arrays) -> Array:
    """The value where nothing changes, so that every tap sees the same: args (B, C, 1), or constants (B, C)."""
    y = forward(op, _resting(op, args), params)
    return y if args[0].ndim == 3 else y[:, :, 0]


def at_rest_backward(op: ops.WindowedOp, args: Sequence[Array], dy: Array, params: Arrays) -> tuple[list[Array | None], Arrays]:
    """The gradients of Σ dy·at_rest."""
    dwindows, own = backward(op, _resting(op, args), dy if dy.ndim == 3 else dy[:, :, None], params)
    dargs: list[Array | None] = [None] * len(args)
    for n, each in enumerate(dwindows):
        dargs[n] = each.sum(axis=2).reshape(args[n].shape)
    return dargs, own


def _resting(op: ops.WindowedOp, args: Sequence[Array]) -> list[Windows]:
    return [np.repeat(x.reshape(*x.shape[:2], 1, 1), len(window_offsets(op)), axis=2) for x in args]


def forward(op: ops.WindowedOp, windows: Sequence[Windows], params: Arrays) -> Array:
    """The value of one operator over the windows of each of its inputs. `params` may hold "weight" and "bias"."""
    match op:
        case ops.Conv1d():
            return conv1d(windows[0], params["weight"], params.get("bias"), op.groups)
        case ops.Shift():
            return windows[0][:, :, 0]
        case ops.Pool1d():
            return pool1d(op.kind, windows[0], windows[1] if len(windows) > 1 else None)
        case _:
            assert_never(op)


def backward(op: ops.WindowedOp, windows: Sequence[Windows], dy: Array, params: Arrays) -> tuple[list[Windows], Arrays]:
    """The gradients of Σ dy·y: for the windows of each input (none for the ones of a pool), and for the parameters."""
    match op:
        case ops.Conv1d():
            dwindows, dweight, dbias = conv1d_backward(windows[0], params["weight"], dy, op.groups)
            return [dwindows], {"weight": dweight} | ({"bias": dbias} if op.bias else {})
        case ops.Shift():
            return [dy[:, :, None]], {}
        case ops.Pool1d():
            return [pool1d_backward(op.kind, windows[0], windows[1] if len(windows) > 1 else None, dy)], {}
        case _:
            assert_never(op)


def conv1d(windows_bikt: Windows, weight_oik: Array, bias_o: Array | None, groups: int) -> Array:
    """y[b,o,t] = bias[o] + Σ_{i,k} weight[o,i,k] · windows[b,i,k,t], i over the channels of o's group.

    Returns y_bot in the dtype of its arguments. Source: `ops.Conv1d`.
    """
    y_bgot = np.matmul(_weight_of_groups(weight_oik, groups), _windows_of_groups(windows_bikt, groups))
    y_bot = y_bgot.reshape(len(y_bgot), len(weight_oik), y_bgot.shape[-1])
    if bias_o is not None:
        y_bot += bias_o[:, None]
    return y_bot


def conv1d_backward(windows_bikt: Windows, weight_oik: Array, dy_bot: Array, groups: int) -> tuple[Windows, Array, Array]:
    """The gradients of Σ dy·y.

    For the windows: Σ_o weight[o,i,k]·dy[b,o,t]. For the weight: Σ_{b,t} dy[b,o,t]·windows[b,i,k,t]. For the bias: Σ_{b,t} dy.
    """
    dy_bgot = _grouped(dy_bot, 1, groups)
    dwindows_bgnt = np.matmul(_weight_of_groups(weight_oik, groups).swapaxes(1, 2), dy_bgot)
    dweight_gon = np.matmul(dy_bgot, _windows_of_groups(windows_bikt, groups).swapaxes(2, 3)).sum(0)
    return dwindows_bgnt.reshape(windows_bikt.shape), dweight_gon.reshape(weight_oik.shape), dy_bot.sum((0, 2))


def _weight_of_groups(weight_oik: Array, groups: int) -> Array:
    """A matrix for each group, over its input channels and their taps, n: weight_gon."""
    return weight_oik.reshape(groups, len(weight_oik) // groups, math.prod(weight_oik.shape[1:]))


def _windows_of_groups(windows_bikt: Windows, groups: int) -> Array:
    """A matrix for each group, so that a convolution is one product: windows_bgnt."""
    batch, channels, taps, length = windows_bikt.shape
    return windows_bikt.reshape(batch, groups, channels // groups * taps, length)


def pool1d(kind: str, windows_bckt: Windows, there_b1kt: Windows | None) -> Array:
    """max_k or the average over k of windows[b,c,k,t]; with `there`, which is 1 or 0, over those k alone where it is 1."""
    if kind == "max":
        return np.take_along_axis(windows_bckt, _largest(windows_bckt, there_b1kt), axis=2)[:, :, 0]
    return windows_bckt.sum(axis=2) / (windows_bckt.shape[2] if there_b1kt is None else there_b1kt.sum(axis=2))


def pool1d_backward(kind: str, windows_bckt: Windows, there_b1kt: Windows | None, dy_bct: Array) -> Windows:
    """The gradient for every window: to the most recent of the largest, or dy over the number of values averaged."""
    taps, dy_bc1t = windows_bckt.shape[2], dy_bct[:, :, None]
    if kind == "max":
        return np.where(_largest(windows_bckt, there_b1kt) == np.arange(taps)[:, None], dy_bc1t, 0)
    if there_b1kt is None:
        return np.repeat(dy_bc1t / taps, taps, axis=2)
    return dy_bc1t * there_b1kt / there_b1kt.sum(axis=2, keepdims=True)


def _largest(windows_bckt: Windows, there_b1kt: Windows | None) -> Array:
    """The window k that holds the maximum, the most recent of equal ones: (B, C, 1, T)."""
    values_bckt = windows_bckt.real if there_b1kt is None else np.where(there_b1kt.real > 0, windows_bckt.real, -np.inf)
    return windows_bckt.shape[2] - 1 - np.argmax(values_bckt[:, :, ::-1], axis=2, keepdims=True)


def _grouped(array: Array, axis: int, groups: int) -> Array:
    """One axis split into (groups, channels of a group)."""
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
