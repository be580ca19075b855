"""The operators that look at other pixels of a plane: masked dilated convolution and shifts.

Written over *windows*, as over time: the window at step (up, left) holds x[b,c,r-up,s-left] for every pixel of the output,
so that a convolution is the same sum of products, over the pixels in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from refar import ops
from refar.arrays import Array, Arrays, mask_oihw
from refar.plane import Step, kernel_steps
from refar.spec.causal1d import conv1d, conv1d_backward


def shifted(x_bchw: Array, step: Step) -> Array:
    """x[b,c,r-up,s-left] for every pixel, zero outside the image."""
    result = np.zeros_like(x_bchw)
    there, here = zip(*(_overlap(length, move) for length, move in zip(x_bchw.shape[2:], step, strict=True)), strict=True)
    result[:, :, *here] = x_bchw[:, :, *there]
    return result


def _overlap(length: int, move: int) -> tuple[slice, slice]:
    """Along one axis: what is read, and where it goes."""
    size = max(length - abs(move), 0)
    return slice(max(-move, 0), max(-move, 0) + size), slice(max(move, 0), max(move, 0) + size)


def visible(op: ops.Conv2d, weight_oihw: Array) -> tuple[list[Step], list[tuple[int, int]]]:
    """The steps at which the mask leaves some weight, in the order of the kernel, and where each stands in it."""
    mask, places = mask_oihw(op, weight_oihw.shape), kernel_steps(op)
    kept = [(u, v) for u in range(op.kernel[0]) for v in range(op.kernel[1]) if mask[:, :, u, v].any()]
    return [places[u][v] for u, v in kept], kept


def forward(op: ops.PlaneOp, x_bchw: Array, params: Arrays) -> Array:
    """The value of one operator over a whole plane. `params` may hold "weight" and "bias"."""
    match op:
        case ops.Conv2d():
            seen, _ = visible(op, params["weight"])
            return conv2d(op, seen, [shifted(x_bchw, step) for step in seen], params, x_bchw)
        case ops.Shift2d():
            return shifted(x_bchw, (op.down, op.right))
        case _:
            assert_never(op)


def conv2d(op: ops.Conv2d, seen: Sequence[Step], windows: Sequence[Array], params: Arrays, like: Array) -> Array:
    """bias + Σ over some of the steps that the mask leaves, one window (B, C_in, H, W) for each of them.

    `like` has the batch, the rows and the columns of the output.
    """
    steps, places = visible(op, params["weight"])
    chosen = [places[steps.index(step)] for step in seen]
    batch, _, *plane = like.shape
    if not chosen:
        y = np.zeros((batch, op.channels, *plane), params["weight"].dtype)
        return y + params["bias"][:, None, None] if op.bias else y
    flat = [window.reshape(batch, window.shape[1], -1) for window in windows]
    return conv1d(flat, _taps(op, params["weight"], chosen), params.get("bias"), op.groups).reshape(batch, op.channels, *plane)


def backward(op: ops.PlaneOp, x_bchw: Array, dy: Array, params: Arrays) -> tuple[Array, Arrays]:
    """The gradients of Σ dy·y, for x and for the parameters; exactly 0 for masked weights."""
    match op:
        case ops.Conv2d():
            return _conv2d_backward(op, x_bchw, dy, params)
        case ops.Shift2d():
            return shifted(dy, (-op.down, -op.right)), {}
        case _:
            assert_never(op)


def _conv2d_backward(op: ops.Conv2d, x_bchw: Array, dy: Array, params: Arrays) -> tuple[Array, Arrays]:
    """As for `conv1d`: x gets the window gradients from where its windows came."""
    weight = params["weight"]
    steps, places = visible(op, weight)
    dx, dweight, dbias = np.zeros(x_bchw.shape, dy.dtype), np.zeros(weight.shape, dy.dtype), dy.sum((0, 2, 3))
    if steps:
        flat = [shifted(x_bchw, step).reshape(*x_bchw.shape[:2], -1) for step in steps]
        dwindows, dtaps, _ = conv1d_backward(flat, _taps(op, weight, places), dy.reshape(*dy.shape[:2], -1), op.groups)
        for (up, left), dwindow in zip(steps, dwindows, strict=True):
            dx += shifted(dwindow.reshape(x_bchw.shape), (-up, -left))
        dweight[:, :, *np.transpose(places)] = dtaps
    own = {"weight": np.where(mask_oihw(op, weight.shape), dweight, 0)}
    return dx, own | ({"bias": dbias} if op.bias else {})


def _taps(op: ops.Conv2d, weight_oihw: Array, places: Sequence[tuple[int, int]]) -> Array:
    """The masked weights at these places of the kernel, side by side: weight_oik."""
    masked = np.where(mask_oihw(op, weight_oihw.shape), weight_oihw, 0)
    return np.stack([masked[:, :, u, v] for u, v in places], axis=2)
