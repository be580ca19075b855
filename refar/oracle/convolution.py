"""Convolution, forward and backward, as a sum of products over windows; and the masks of images."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, assert_never

import numpy as np

from refar import ops
from refar.analysis.windows import Step, kernel_steps
from refar.arguments.arrays import Array, Arrays
from refar.oracle.windows import Place, Windows, window_offsets

_FALSE_ALARM: Literal["ignore"] = "ignore"
"""What to do with the flag "invalid value" of a product. OpenBLAS can raise it although every operand and result is finite: seen
in 0.3.31 on AVX-512, for float32 products of a matrix of five columns and a vector, where the stack held signalling NaNs before
the call. A product of finite numbers is invalid only after an overflow, which has a flag and a warning of its own.
"""


def convolve(windows_bik: Windows, weight_oik: Array, bias_o: Array | None, groups: int) -> Array:
    """y[b,o,…] = bias[o] + Σ_{i,k} weight[o,i,k] · windows[b,i,k,…], i over the channels of o's group.

    Returns y_bo… in the dtype of its arguments. Source: `ops.Conv1d`, `ops.Conv2d`.
    """
    batch, channels, taps, *place = windows_bik.shape
    windows_bgnt = windows_bik.reshape(batch, groups, channels // groups * taps, math.prod(place))
    with np.errstate(invalid=_FALSE_ALARM):
        y_bgot = np.matmul(weight_of_groups(weight_oik, groups), windows_bgnt)
    y = y_bgot.reshape(batch, len(weight_oik), *place)
    if bias_o is not None:
        y += bias_o.reshape(-1, *[1] * len(place))
    return y


def convolve_backward(windows_bik: Windows, weight_oik: Array, dy_bo: Array, groups: int) -> tuple[Windows, Array, Array]:
    """Return the gradients of Σ dy·y.

    For the windows: Σ_o weight[o,i,k]·dy[b,o,…]. For the weight: Σ_{b,…} dy[b,o,…]·windows[b,i,k,…]. For the bias: Σ_{b,…} dy.
    """
    batch, channels, taps, *place = windows_bik.shape
    windows_bgnt = windows_bik.reshape(batch, groups, channels // groups * taps, math.prod(place))
    dy_bgot = dy_bo.reshape(batch, groups, len(weight_oik) // groups, math.prod(place))
    with np.errstate(invalid=_FALSE_ALARM):
        dwindows_bgnt = np.matmul(weight_of_groups(weight_oik, groups).swapaxes(1, 2), dy_bgot)
        dweight_gon = np.matmul(dy_bgot, windows_bgnt.swapaxes(2, 3)).sum(0)
    axes = (0, *range(2, dy_bo.ndim))
    return dwindows_bgnt.reshape(windows_bik.shape), dweight_gon.reshape(weight_oik.shape), dy_bo.sum(axes)


def weight_of_groups(weight_oik: Array, groups: int) -> Array:
    """Make a matrix for each group, over its input channels and their taps, n: weight_gon."""
    return weight_oik.reshape(groups, len(weight_oik) // groups, math.prod(weight_oik.shape[1:]))


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


@lru_cache(maxsize=256)
def visible(op: ops.Conv2d, shape: tuple[int, ...]) -> tuple[list[Step], list[int], Array]:
    """List the steps at which the mask leaves some weight, in the order of the kernel, their numbers in it, and the mask_oin."""
    mask_oin = mask_oihw(op, shape).reshape(*shape[:2], -1)
    mask_oin.setflags(write=False)  # one for all that ask
    numbers = [int(n) for n in np.flatnonzero(mask_oin.any(axis=(0, 1)))]
    flat = [step for row in kernel_steps(op) for step in row]
    return [flat[n] for n in numbers], numbers, mask_oin


def by_tap(op: ops.WindowedOp | ops.ImageOp, own: Arrays) -> tuple[list[Place], Arrays]:
    """List the places that the operator reads, and give its own parameters with the weight by tap, weight_oik, masked."""
    match op:
        case ops.Conv2d():
            steps, numbers, mask_oin = visible(op, own["weight"].shape)
            weight_oin = np.where(mask_oin, own["weight"].reshape(mask_oin.shape), 0)
            return list(steps), {**own, "weight": weight_oin[:, :, numbers]}
        case ops.Shift2d():
            return [(op.down, op.right)], own
        case ops.Conv1d() | ops.Shift() | ops.Pool1d():
            return list(window_offsets(op)), own
        case _:
            assert_never(op)


def by_tap_backward(op: ops.WindowedOp | ops.ImageOp, own: Arrays, dparams: Arrays) -> Arrays:
    """Return the gradients of the own parameters from those by tap: exactly 0 for masked weights."""
    match op:
        case ops.Conv2d():
            _, numbers, mask_oin = visible(op, own["weight"].shape)
            dweight_oin = np.zeros(mask_oin.shape, dparams["weight"].dtype)
            dweight_oin[:, :, numbers] = dparams["weight"]
            return {**dparams, "weight": np.where(mask_oin, dweight_oin, 0).reshape(own["weight"].shape)}
        case ops.Conv1d() | ops.Shift() | ops.Pool1d() | ops.Shift2d():
            return dparams
        case _:
            assert_never(op)
