"""What rounding does to `ops.Norm` and its derivative, and how far its value moves.

With d = x - m, s = √(Σ d²/C + eps) and z = d/s, y = weight·z + bias. Two facts carry all of it. First, s is the length of
(d/√C, √eps): where d moves by e, s moves by no more than the root mean square of e, and never falls below √eps. Second,

    (d + e)/s' - d/s = (e + z·(s - s'))/s',

so that z is off by at most (|e| + |z|·rms(e))/s'. Mean and squares are computed one after the other, as here and in all backends
of refar; the formula Σ x²/C - m² has no such bound. As s is taken of the d that it divides, no |z| is computed that exceeds √C by
more than a few roundings; so none is off by more than |z| + √C and these. Where Σ|x| or Σ d² may overflow, z is computed as 0 or
as no number, and all bounds are infinite. Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", sections 1.9
and 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.oracle.norm import deviations, root_mean_square
from refar.oracle.pointwise import by_channel, over_positions
from refar.rounding.units import gamma, largest, tiny


@dataclass(frozen=True)
class NormBounds:
    """The largest |z| wherever x may lie, and `error`, how far z may be off in floating point.

    `s` is the smallest that is computed, and `s_off` how far it may be off, both but for its own roundings.
    """

    z: Array
    error: Array
    s: Array
    s_off: Array


@np.errstate(over="ignore", invalid="ignore")
def spread(op: ops.Norm, x: Array, off: Array) -> Array:
    """Bound how far z moves where each x may be off by `off`."""
    d, s = deviations(op, x)
    z, nearest = np.abs(d) / s, _nearest(op, s, _rms(off))
    return np.fmin((_moved(op, off) + z * _rms(off)) / nearest, z + _largest(op, x))


@np.errstate(over="ignore", invalid="ignore")
def forward(op: ops.Norm, x: Array, own: Arrays, unit: float, off: Array | float) -> Array:
    """Bound |ŷ - y| wherever each x lies within `off`: |weight|·|ẑ - z|, and γ_2 of both terms."""
    found, weight = normed(op, x, unit, off), np.abs(by_channel(own["weight"], x))
    shift = np.abs(by_channel(own["bias"], x)) if "bias" in own else 0.0
    return _known(weight * found.error * (1 + gamma(2, unit)) + gamma(2, unit) * (weight * found.z + shift) + 2 * tiny(unit))


@np.errstate(over="ignore", invalid="ignore")
def normed(op: ops.Norm, x: Array, unit: float, off: Array | float = 0.0) -> NormBounds:
    """Bound z, s and |ẑ - z| wherever each x lies within `off`.

    The mean is off by at most γ_C·Σ|x|/C, and d by that and a rounding: e. s is taken of d + e, with γ_{C+4} more, and the
    quotient with a few more, of whatever form. Squares that underflow are small against eps.
    """
    count, off = x.shape[1], np.broadcast_to(off, x.shape)
    d, s = deviations(op, x)
    s = _nearest(op, s, _rms(off))
    size = np.abs(d) + _moved(op, off)
    z = np.minimum(size / s, _largest(op, x))
    e = np.zeros(x.shape)
    if op.kind == "layer":
        mean = gamma(count, unit) * (np.abs(x) + off).mean(axis=1, keepdims=True) + tiny(unit)
        e = mean * (1 + unit) + unit * size + tiny(unit)
    s_off = _rms(e)
    computed = _nearest(op, s, s_off)
    moved = (e + z * s_off) / computed
    few = gamma(count + 9, unit) + tiny(unit) / op.eps
    error = np.fmin(moved + few * (z + moved), z + np.sqrt(count) * (1 + few)) + tiny(unit)
    return NormBounds(z, np.where(_overflows(np.abs(x) + off, size + e, op.eps, unit), np.inf, error), computed, s_off)


@np.errstate(over="ignore", invalid="ignore")
def backward(op: ops.Norm, x: Array, own: Arrays, dy: Array, unit: float) -> tuple[Array, Arrays]:
    """Bound the errors of the gradients of x, weight and bias.

    With g = weight·dy and P = mean(g·z), dx = (g - z·P - mean(g))/s, in this order or another, and of PyTorch with the mean over
    z·P, which is 0, subtracted as well. Each part is off by what its factors are, and by γ of its roundings.
    """
    found, count = normed(op, x, unit), x.shape[1]
    z, error, s = found.z, found.error, found.s
    g, many, few = np.abs(by_channel(own["weight"], x) * dy), gamma(2 * count + 16, unit), gamma(count + 9, unit)
    inner = _mean(g * z)
    inner_off = _mean(g * error) + many * _mean(g * (z + error))
    part = (z + error) * (inner + inner_off)
    part_off = error * (inner + inner_off) + z * inner_off + many * part
    total, total_off = g + part, many * g + part_off
    if op.kind == "layer":
        total = total + _mean(g) + _mean(part)
        total_off = total_off + many * _mean(g) + _mean(part_off) + many * _mean(part)
    lost = (
        (count + 6) * tiny(unit) * (1 + z) * (1 + g + _mean(g)) * (s * s + 1 + 1 / s)
    )  # such as 1/s³, which is multiplied by d² again
    dx = (total_off * (1 + few) + (few + found.s_off / deviations(op, x)[1]) * total) / s + lost
    met = over_positions((dy != 0).astype(np.float64))
    sizes, moved = over_positions(np.abs(dy) * (z + error)), over_positions(np.abs(dy) * error)
    own_errors = {"weight": _known(moved + gamma(met + 1, unit) * sizes + 2 * met * tiny(unit))}
    if op.bias:
        own_errors["bias"] = gamma(met, unit) * over_positions(np.abs(dy)) + met * tiny(unit)
    return _known(dx), own_errors


def _overflows(x: Array, d: Array, eps: float, unit: float) -> Array:
    """Whether Σ x or Σ d² + eps may be beyond the largest number, or within a factor of 2 of it; of one channel."""
    most = largest(unit)
    squares = ((d / np.sqrt(most)) ** 2).sum(axis=1, keepdims=True) + eps / most
    return np.maximum((x / most).sum(axis=1, keepdims=True), squares) > 0.5


def _known(bound: Array) -> Array:
    """A bound in which 0 met infinity is infinite."""
    return np.where(np.isnan(bound), np.inf, bound)


def _rms(off: Array) -> Array:
    return root_mean_square(off)


def _mean(array: Array) -> Array:
    return array.mean(axis=1, keepdims=True)


def _moved(op: ops.Norm, off: Array) -> Array:
    """How far d moves: with x, and with its mean."""
    return off + _mean(off) if op.kind == "layer" else off


def _nearest(op: ops.Norm, s: Array, by: Array) -> Array:
    """The least s, where it moves by so much."""
    return np.maximum(s - by, np.sqrt(op.eps))


def _largest(op: ops.Norm, x: Array) -> float:
    """The largest |z| of any x: all of Σ z² ≤ C in one channel, less the mean of it."""
    return float(np.sqrt(x.shape[1] - (op.kind == "layer")))
