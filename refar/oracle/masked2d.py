"""The operators that look at other pixels of a plane: masked dilated convolution and shifts.

Written over *windows*, as over time: the window at step (up, left) holds x[b,c,r-up,s-left] for every pixel of the output,
so that a convolution is the same sum of products, over the pixels in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from refar import ops
from refar.analysis.windows import Step, kernel_steps
from refar.arguments.arrays import Array, Arrays
from refar.oracle.causal1d import conv1d, conv1d_backward, overlap


def shifted(x_bchw: Array, step: Step) -> Array:
    """x[b,c,r-up,s-left] for every pixel, zero outside the image."""
    result = np.zeros_like(x_bchw)
    there, here = zip(*(overlap(length, move) for length, move in zip(x_bchw.shape[2:], step, strict=True)), strict=True)
    result[:, :, *here] = x_bchw[:, :, *there]
    return result


def mask_oihw(op: ops.Conv2d, shape: tuple[int, ...]) -> Array:
    """Say which weights of shape `shape` see anything: all before the anchor in raster order, and at the anchor by colours.

    Source: `ops.Conv2d`.
    """
    if op.mask == "none":
        return np.ones(shape, bool)
    fan_out, fan_in, rows, columns = shape
    a, e = op.anchor or (op.kernel[0] // 2, op.kernel[1] // 2)
    order_hw = np.arange(rows * columns).reshape(rows, columns) - (a * columns + e)
    wanted_o1 = np.arange(fan_out)[:, None]
    given_oi = wanted_o1 // (fan_out // op.groups) * fan_in + np.arange(fan_in)
    earlier_oi = given_oi % op.colours < wanted_o1 % op.colours + (op.mask == "B")
    return (order_hw < 0) | ((order_hw == 0) & earlier_oi[:, :, None, None])


def taps(op: ops.Conv2d, weight_oihw: Array) -> tuple[list[Step], Array]:
    """The steps at which the mask leaves some weight, in the order of the kernel, and the masked weights there: weight_oik."""
    mask, steps, places = mask_oihw(op, weight_oihw.shape), kernel_steps(op), _visible(op, weight_oihw.shape)
    masked_oin = np.where(mask, weight_oihw, 0).reshape(*weight_oihw.shape[:2], -1)
    return [steps[u][v] for u, v in places], masked_oin[:, :, [u * op.kernel[1] + v for u, v in places]]


def _visible(op: ops.Conv2d, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    mask = mask_oihw(op, shape)
    return [(u, v) for u in range(op.kernel[0]) for v in range(op.kernel[1]) if mask[:, :, u, v].any()]


def weighted(
    windows: Sequence[Array], weight_oik: Array, bias_o: Array | None, groups: int, extent: tuple[int, int, int]
) -> Array:
    """bias + Σ_{i,k} weight[o,i,k] · windows[k][b,i,r,s], (B, C_out, H, W) with `extent` (B, H, W): of no window the bias."""
    batch, *plane = extent
    if not windows:
        y_bo11 = np.zeros((batch, len(weight_oik), 1, 1), weight_oik.dtype)
        return np.repeat(np.repeat(y_bo11 if bias_o is None else y_bo11 + bias_o[:, None, None], plane[0], 2), plane[1], 3)
    return conv1d(_side_by_side(windows), weight_oik, bias_o, groups).reshape(batch, len(weight_oik), *plane)


def _side_by_side(windows_kbchw: Sequence[Array]) -> Array:
    """The pixels of each window in a row: (B, C, K, H·W)."""
    batch, channels, height, width = windows_kbchw[0].shape
    return np.stack(windows_kbchw, axis=2).reshape(batch, channels, len(windows_kbchw), height * width)


def forward(op: ops.ImageOp, x_bchw: Array, params: Arrays) -> Array:
    """The value of one operator over a whole plane. `params` may hold "weight" and "bias"."""
    match op:
        case ops.Conv2d():
            steps, weight_oik = taps(op, params["weight"])
            batch, _, height, width = x_bchw.shape
            windows = [shifted(x_bchw, step) for step in steps]
            return weighted(windows, weight_oik, params.get("bias"), op.groups, (batch, height, width))
        case ops.Shift2d():
            return shifted(x_bchw, (op.down, op.right))
        case _:
            assert_never(op)


def backward(op: ops.ImageOp, x_bchw: Array, dy: Array, params: Arrays) -> tuple[Array, Arrays]:
    """The gradients of Σ dy·y, for x and for the parameters; exactly 0 for masked weights."""
    match op:
        case ops.Conv2d():
            return _conv2d_backward(op, x_bchw, dy, params)
        case ops.Shift2d():
            return shifted(dy, (-op.down, -op.right)), {}
        case _:
            assert_never(op)


def _conv2d_backward(op: ops.Conv2d, x_bchw: Array, dy: Array, params: Arrays) -> tuple[Array, Arrays]:
    """As for `conv1d`: x gets the gradients of its windows from where they came."""
    weight = params["weight"]
    steps, weight_oik = taps(op, weight)
    dx, dweight = np.zeros(x_bchw.shape, dy.dtype), np.zeros(weight.shape, dy.dtype)
    if steps:
        windows = _side_by_side([shifted(x_bchw, step) for step in steps])
        dwindows, dtaps, _ = conv1d_backward(windows, weight_oik, _side_by_side([dy])[:, :, 0], op.groups)
        for k, (up, left) in enumerate(steps):
            dx += shifted(dwindows[:, :, k].reshape(x_bchw.shape), (-up, -left))
        for k, (u, v) in enumerate(_visible(op, weight.shape)):
            dweight[:, :, u, v] = dtaps[:, :, k]
    own = {"weight": np.where(mask_oihw(op, weight.shape), dweight, 0)}
    return dx, own | ({"bias": dy.sum((0, 2, 3))} if op.bias else {})
