"""Windows: the values that an operator reads, one array for each of its taps, and their adjoint.

The windows of one input are (B, C, K, …): K taps, then the axes of the value that is computed from them. Where the values come
from is what tells a whole pass, a stream and an image apart; the arithmetic on windows (`oracle.forward`) is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import assert_never

import numpy as np

from refar import ops
from refar.analysis.windows import Step
from refar.arguments.arrays import Array

Windows = Array
"""(B, C, K, T) of a sequence, (B, C, K, H, W) of an image, (B, C, K) of a constant."""

Place = int | Step
"""Where a tap looks: an offset over time, or (rows up, columns left) in an image."""


@lru_cache(maxsize=1024)
def window_offsets(op: ops.WindowedOp) -> tuple[int, ...]:
    """List the offsets that the operator reads, oldest first: weight k of a convolution sees strict + (K-1-k)·D."""
    match op:
        case ops.Conv1d():
            return tuple(int(op.strict) + (op.kernel - 1 - k) * op.dilation for k in range(op.kernel))
        case ops.Shift():
            return (op.steps,)
        case ops.Pool1d():
            return tuple((op.kernel - 1 - k) * op.dilation for k in range(op.kernel))
        case _:
            assert_never(op)


def whole_windows(x: Array, places: Sequence[Place], before_bc1: Array | None) -> Windows:
    """Read every position at once: from x_bct at offsets, from x_bchw at steps; a constant x_bc is the same at every tap."""
    if x.ndim == 2:
        return steady_windows(x, len(places))
    if x.ndim == 4:
        return image_windows(x, [place for place in places if isinstance(place, tuple)])
    return windows_of(x, [place for place in places if isinstance(place, int)], before_bc1)


def whole_windows_backward(d: Windows, x: Array, places: Sequence[Place]) -> tuple[Array, Array | None]:
    """Return the gradients of `x` and, of a sequence, of its values at t < 0, (B, C, 1): the adjoint of `whole_windows`."""
    if x.ndim == 2:
        return steady_windows_backward(d), None
    if x.ndim == 4:
        dx = np.zeros(x.shape, d.dtype)
        for k, place in enumerate(places):
            assert isinstance(place, tuple)
            dx += shifted(d[:, :, k], (-place[0], -place[1]))
        return dx, None
    return windows_backward(d, [place for place in places if isinstance(place, int)])


def windows_of(x_bct: Array, offsets: Sequence[int], before_bc1: Array | None = None) -> Windows:
    """x[b,c,t-offset] for every offset and t, (B, C, K, T). Positions t < 0 hold `before_bc1` (default 0), past the end 0."""
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
    """Return the gradients of x_bct, and of its values at t < 0, (B, C, 1): the adjoint of `windows_of`."""
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


def image_windows(x_bchw: Array, steps: Sequence[Step]) -> Windows:
    """x[b,c,r-up,s-left] for every step and pixel: (B, C, K, H, W), zero outside the image."""
    return stacked([shifted(x_bchw, step) for step in steps], x_bchw)


def stacked(windows: Sequence[Array], like: Array) -> Windows:
    """Put windows beside each other, axis 2; of none, which a mask may leave, an empty array with the axes of `like`."""
    if not windows:
        return np.zeros((*like.shape[:2], 0, *like.shape[2:]), like.dtype)
    return np.stack(windows, axis=2)


def shifted(x_bchw: Array, step: Step) -> Array:
    """x[b,c,r-up,s-left] for every pixel, zero outside the image."""
    result = np.zeros_like(x_bchw)
    there, here = zip(*(overlap(length, move) for length, move in zip(x_bchw.shape[2:], step, strict=True)), strict=True)
    result[:, :, *here] = x_bchw[:, :, *there]
    return result


def steady_windows(x: Array, taps: int) -> Windows:
    """Read a value that does not change, x_bc or x_bc1: every tap sees the same."""
    return np.repeat(x[:, :, None], taps, axis=2)


def steady_windows_backward(d: Windows) -> Array:
    """Return the gradient of the value: the adjoint of `steady_windows`."""
    return np.asarray(d.sum(axis=2))


def overlap(length: int, offset: int) -> tuple[slice, slice]:
    """Along an axis of this length, slice what stays on it when moved on by `offset`, and where it comes to lie."""
    size = max(length - abs(offset), 0)
    return slice(max(-offset, 0), max(-offset, 0) + size), slice(max(offset, 0), max(offset, 0) + size)
