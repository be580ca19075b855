"""How far a convolution by FFT may be off: not the bound of each product, but one by the norms of what is transformed.

Higham 2002, theorem 24.2: an FFT of N points is off by log₂N·η relative to its 2-norm, η = u + γ_4·(√2 + u) < 7u. A product of
two transforms, transformed back, is off at every point by at most (3·7·log₂N + 4)·u·‖x‖₂·‖w‖₂. Summed over I channels, I - 1
roundings come on top. The same holds for the gradients, which are convolutions too; fast algorithms with short transforms,
such as Winograd's of tiles of 2 and 4, stay well below it.
"""

from __future__ import annotations

import math

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays


def convolution(op: ops.Conv1d | ops.Conv2d, x: Array, own: Arrays, dy: Array | None) -> Arrays:
    """Bound the errors in units of u: "y", and with dy "0" for the gradient of x, "weight" for that of the weights.

    `own` holds "weight" and perhaps "bias". N is taken to be four times what a transform without overlap needs.
    """
    weight, space = own["weight"], tuple(range(2, x.ndim))
    dilation = (op.dilation,) if isinstance(op, ops.Conv1d) else op.dilation
    points = [4 * (n + k * d) for n, k, d in zip(x.shape[2:], weight.shape[2:], dilation, strict=True)]
    factor = 21 * sum(math.log2(n) for n in points) + 4
    sizes_bi, sizes_oi = np.sqrt((x**2).sum(axis=space)), _dense(np.sqrt((weight**2).sum(axis=space)), op.groups)
    bias = np.abs(own["bias"])[None] if "bias" in own else 0.0
    y_bo = (factor + x.shape[1]) * sizes_bi @ sizes_oi.T + 2 * bias
    found = {"y": _spread(y_bo, (len(x), len(weight), *x.shape[2:]))}
    if dy is None:
        return found
    sizes_bo = np.sqrt((dy**2).sum(axis=space))
    dx_bi, dw_oi = (factor + len(weight)) * sizes_bo @ sizes_oi, (factor + len(x)) * sizes_bo.T @ sizes_bi
    starts = zip(dw_oi, _firsts(weight, op.groups), strict=True)
    own_dw = np.stack([row[first : first + weight.shape[1]] for row, first in starts])
    return found | {"0": _spread(dx_bi, x.shape), "weight": _spread(own_dw, weight.shape)}


def _firsts(weight: Array, groups: int) -> list[int]:
    """The first input channel of each output channel's group."""
    return [o // (len(weight) // groups) * weight.shape[1] for o in range(len(weight))]


def _dense(sizes_oi: Array, groups: int) -> Array:
    """With a column for every input channel, 0 in those of other groups."""
    wide = np.zeros((len(sizes_oi), sizes_oi.shape[1] * groups))
    for row, first, sizes in zip(wide, _firsts(sizes_oi, groups), sizes_oi, strict=True):
        row[first : first + len(sizes)] = sizes
    return wide


def _spread(sizes: Array, shape: tuple[int, ...]) -> Array:
    """The same number at every position."""
    return np.broadcast_to(sizes.reshape(*sizes.shape, *[1] * (len(shape) - 2)), shape)
