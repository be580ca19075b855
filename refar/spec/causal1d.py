"""The operators that look into the past, 1-D: causal dilated convolution, delay, pooling.

All are written over *windows*: the window at offset d holds x[b,c,t-d] for every t of the output. Where the past comes
from is the caller's business: zeros before the start in a whole pass, the kept history in a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from refar import ops
from refar.arrays import Array, Arrays

Windows = Sequence[Array]
"""One window per offset, in the order of `window_offsets`."""


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


def past_window(x_bct: Array, offset: int, before_bc1: Array | None = None) -> Array:
    """x[b,c,t-offset] for every t, `before` (zero if not given) before the sequence and zero after it. Shape (B, C, T)."""
    if offset == 0:
        return x_bct
    shifted = np.zeros_like(x_bct)
    if before_bc1 is not None and offset > 0:
        shifted[:, :, :offset] = before_bc1
    length = x_bct.shape[2]
    if abs(offset) < length:
        shifted[:, :, max(offset, 0) : length + min(offset, 0)] = x_bct[:, :, max(-offset, 0) : length - max(offset, 0)]
    return shifted


def unwindow(d_bct: Array, offset: int) -> tuple[Array, Array]:
    """The adjoint of `past_window`: what the gradient of a window is to its source, and to what stands before it."""
    return past_window(d_bct, -offset), d_bct[:, :, : max(offset, 0)].sum(axis=2, keepdims=True)


def at_rest(op: ops.WindowedOp, args: Sequence[Array], params: Arrays) -> Array:
    """The value where nothing changes, so that every tap sees the same: args (B, C, 1), or constants (B, C)."""
    count = len(window_offsets(op))
    y = forward(op, [[x if x.ndim == 3 else x[:, :, None]] * count for x in args], params)
    return y if args[0].ndim == 3 else y[:, :, 0]


def at_rest_backward(op: ops.WindowedOp, args: Sequence[Array], dy: Array, params: Arrays) -> tuple[list[Array | None], Arrays]:
    """The gradients of Σ dy·at_rest."""
    count = len(window_offsets(op))
    windows = [[x if x.ndim == 3 else x[:, :, None]] * count for x in args]
    dwindows, own = backward(op, windows, dy if dy.ndim == 3 else dy[:, :, None], params)
    dargs: list[Array | None] = [None] * len(args)
    for n, each in enumerate(dwindows):
        dargs[n] = np.sum(each, axis=0).reshape(args[n].shape)
    return dargs, own


def forward(op: ops.WindowedOp, windows: Sequence[Windows], params: Arrays) -> Array:
    """The value of one operator over the windows of each of its inputs. `params` may hold "weight" and "bias"."""
    match op:
        case ops.Conv1d():
            return conv1d(windows[0], params["weight"], params.get("bias"), op.groups)
        case ops.Shift():
            return windows[0][0]
        case ops.Pool1d():
            return pool1d(op.kind, windows[0], windows[1] if len(windows) > 1 else None)
        case _:
            assert_never(op)


def backward(op: ops.WindowedOp, windows: Sequence[Windows], dy: Array, params: Arrays) -> tuple[list[list[Array]], Arrays]:
    """The gradients of Σ dy·y: for every window of each input (none for the ones of a pool), and for the parameters."""
    match op:
        case ops.Conv1d():
            dwindows, dweight, dbias = conv1d_backward(windows[0], params["weight"], dy, op.groups)
            return [dwindows], {"weight": dweight} | ({"bias": dbias} if op.bias else {})
        case ops.Shift():
            return [[dy]], {}
        case ops.Pool1d():
            return [pool1d_backward(op.kind, windows[0], windows[1] if len(windows) > 1 else None, dy)], {}
        case _:
            assert_never(op)


def conv1d(windows_kbit: Windows, weight_oik: Array, bias_o: Array | None, groups: int = 1) -> Array:
    """y[b,o,t] = bias[o] + Σ_{i,k} weight[o,i,k] · windows[k][b,i,t], i over the channels of o's group.

    `windows_kbit` holds one window per weight. Returns y_bot in the dtype of its arguments. Source: `ops.Conv1d`.
    """
    weight_goik = _grouped(by_tap(weight_oik), 0, groups)
    y_bgot = np.matmul(weight_goik[..., 0], _grouped(windows_kbit[0], 1, groups))
    for k in range(1, len(windows_kbit)):
        y_bgot += np.matmul(weight_goik[..., k], _grouped(windows_kbit[k], 1, groups))
    y_bot = y_bgot.reshape(len(y_bgot), len(weight_oik), y_bgot.shape[-1])
    if bias_o is not None:
        y_bot += bias_o[:, None]
    return y_bot


def conv1d_backward(windows_kbit: Windows, weight_oik: Array, dy_bot: Array, groups: int) -> tuple[list[Array], Array, Array]:
    """The gradients of Σ dy·y.

    For window k: Σ_o weight[o,i,k]·dy[b,o,t]. For the weight: Σ_{b,t} dy[b,o,t]·windows[k][b,i,t]. For the bias: Σ_{b,t} dy.
    """
    weight_goik, dy_bgot = _grouped(by_tap(weight_oik), 0, groups), _grouped(dy_bot, 1, groups)
    dweight_oik = np.empty(weight_oik.shape, dy_bot.dtype)
    dwindows = []
    for k, window in enumerate(windows_kbit):
        dwindows.append(np.matmul(weight_goik[..., k].swapaxes(1, 2), dy_bgot).reshape(window.shape))
        products = np.matmul(dy_bgot, _grouped(window, 1, groups).swapaxes(2, 3)).sum(0)
        dweight_oik[:, :, k] = products.reshape(weight_oik.shape[:2])
    return dwindows, dweight_oik, dy_bot.sum((0, 2))


def by_tap(weight: Array) -> Array:
    """The same weight_oik with the weights of each tap side by side in memory, without which no product is fast."""
    return np.ascontiguousarray(weight.transpose(2, 0, 1)).transpose(1, 2, 0) if weight.ndim == 3 else weight


def pool1d(kind: str, windows_kbct: Windows, there_kb1t: Windows | None) -> Array:
    """max_k or the average over k of windows[k][b,c,t]; with `there`, which is 1 or 0, over those k alone where it is 1."""
    if kind == "max":
        return np.take_along_axis(np.stack(windows_kbct), _largest(windows_kbct, there_kb1t)[None], axis=0)[0]
    return np.sum(windows_kbct, axis=0) / (len(windows_kbct) if there_kb1t is None else np.sum(there_kb1t, axis=0))


def pool1d_backward(kind: str, windows_kbct: Windows, there_kb1t: Windows | None, dy_bct: Array) -> list[Array]:
    """The gradient for every window: to the most recent of the largest, or dy over the number of values averaged."""
    if kind == "max":
        largest_bct = _largest(windows_kbct, there_kb1t)
        return [np.where(largest_bct == k, dy_bct, 0) for k in range(len(windows_kbct))]
    if there_kb1t is None:
        return [dy_bct / len(windows_kbct) for _ in windows_kbct]
    count = np.sum(there_kb1t, axis=0)
    return [dy_bct * there / count for there in there_kb1t]


def _largest(windows_kbct: Windows, there_kb1t: Windows | None) -> Array:
    """The window k that holds the maximum, the most recent of equal ones: (B, C, T)."""
    values_kbct = np.stack(windows_kbct).real
    if there_kb1t is not None:
        values_kbct = np.where(np.stack(there_kb1t).real > 0, values_kbct, -np.inf)
    return len(windows_kbct) - 1 - np.argmax(values_kbct[::-1], axis=0)


def _grouped(array: Array, axis: int, groups: int) -> Array:
    """One axis split into (groups, channels of a group)."""
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
