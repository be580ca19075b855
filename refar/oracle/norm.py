"""The normalisation over channels, `ops.Norm`, with its derivative. The channel axis is 1."""

from __future__ import annotations

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.oracle.pointwise import by_channel, over_positions, scale_shift


def deviations(op: ops.Norm, x: Array) -> tuple[Array, Array]:
    """Return d = x - m and s = √(Σ_c d²/C + eps), of one channel; m is 0 but for the kind "layer"."""
    d = x - x.mean(axis=1, keepdims=True) if op.kind == "layer" else x
    return d, root_mean_square(d, op.eps)


def root_mean_square(d: Array, eps: float = 0.0) -> Array:
    """Return √(Σ_c d²/C + eps), of one channel; d is divided by a power of two before, so that no square overflows."""
    _, exponent = np.frexp(np.abs(d).max(axis=1, keepdims=True, initial=1))
    scale = np.ldexp(d.real.dtype.type(1), exponent - 1)
    scaled = d / scale
    return scale * np.sqrt((scaled * scaled).mean(axis=1, keepdims=True) + eps / scale / scale)


def norm(op: ops.Norm, x: Array, weight_c: Array, bias_c: Array | None) -> Array:
    """weight[c] · d/s + bias[c]."""
    d, s = deviations(op, x)
    return scale_shift(d / s, weight_c, bias_c)


def norm_backward(op: ops.Norm, x: Array, weight_c: Array, dy: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of Σ dy·norm(x) for x, the weight and the bias.

    With z = d/s and g = weight·dy: dx = (g - z·mean(g·z) - mean(g)) / s, the means over channels, the last one of "layer" alone.
    """
    d, s = deviations(op, x)
    z, g = d / s, by_channel(weight_c, x) * dy
    dx = g - z * (g * z).mean(axis=1, keepdims=True)
    if op.kind == "layer":
        dx -= g.mean(axis=1, keepdims=True)
    return dx / s, over_positions(dy * z), over_positions(dy)
