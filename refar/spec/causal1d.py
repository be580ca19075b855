"""The operators that look into the past, 1-D: causal dilated convolution and delay.

Both are written over *windows*: the window at offset d holds x[b,c,t-d] for every t of the output. Where the past comes
from is the caller's business: zeros before the start in a whole pass, the kept history in a stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refar import ops
from refar.arrays import Array


def conv_offsets(op: ops.Conv1d) -> list[int]:
    """The offset that weight k sees, for k = 0..K-1: strict + (K-1-k)·D, so the last weight sees the most recent sample."""
    return [int(op.strict) + (op.kernel - 1 - k) * op.dilation for k in range(op.kernel)]


def past_window(x_bct: Array, offset: int) -> Array:
    """x[b,c,t-offset] for every t, zero before the start. Shape (B, C, T)."""
    shifted = np.zeros_like(x_bct)
    length = x_bct.shape[2]
    if offset < length:
        shifted[:, :, offset:] = x_bct[:, :, : length - offset]
    return shifted


def unwindow(d_bct: Array, offset: int) -> Array:
    """The adjoint of `past_window`: what the gradient of a window is to its source."""
    source = np.zeros_like(d_bct)
    length = d_bct.shape[2]
    if offset < length:
        source[:, :, : length - offset] = d_bct[:, :, offset:]
    return source


def conv1d(windows_kbit: Sequence[Array], weight_oik: Array, bias_o: Array | None) -> Array:
    """y[b,o,t] = bias[o] + Σ_{i,k} weight[o,i,k] · windows[k][b,i,t].

    `windows_kbit` holds one window per weight. Returns y_bot in the dtype of its arguments.
    Source: `ops.Conv1d`.
    """
    y_bot = np.matmul(weight_oik[:, :, 0], windows_kbit[0])
    for k in range(1, len(windows_kbit)):
        y_bot += np.matmul(weight_oik[:, :, k], windows_kbit[k])
    if bias_o is not None:
        y_bot += bias_o[:, None]
    return y_bot


def conv1d_backward(windows_kbit: Sequence[Array], weight_oik: Array, dy_bot: Array) -> tuple[list[Array], Array, Array]:
    """The gradients of Σ dy·y.

    For window k: Σ_o weight[o,i,k]·dy[b,o,t]. For the weight: Σ_{b,t} dy[b,o,t]·windows[k][b,i,t]. For the bias: Σ_{b,t} dy.
    """
    dweight_oik = np.empty(weight_oik.shape, dy_bot.dtype)
    dwindows = []
    for k, window in enumerate(windows_kbit):
        dwindows.append(np.matmul(weight_oik[:, :, k].T, dy_bot))
        dweight_oik[:, :, k] = np.matmul(dy_bot, window.transpose(0, 2, 1)).sum(0)
    return dwindows, dweight_oik, dy_bot.sum((0, 2))
