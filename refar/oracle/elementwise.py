"""The functions of `ops.Activation` in NumPy, element by element, with their derivatives.

Values are computed of complex x too, whose imaginary part is infinitely small: comparisons look at the real part.
"""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array

_CUBIC, _INNER = 0.044715, math.sqrt(2 / math.pi)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), computed as (1 + tanh(x/2)) / 2, which overflows nowhere."""
    y = 0.5 * x
    np.tanh(y, out=y)
    y *= 0.5
    y += 0.5
    return y


def activation(op: ops.Activation, x: Array) -> Array:
    """f(x)."""
    match op.kind:
        case "relu":
            return np.where(x.real > 0, x, 0)
        case "leaky_relu":
            return np.where(x.real > 0, x, op.slope * x)
        case "tanh":
            return np.tanh(x)
        case "sigmoid":
            return sigmoid(x)
        case "elu":
            return _elu(x, op.alpha)
        case "selu":
            return ops.SELU_SCALE * _elu(x, ops.SELU_ALPHA)
        case "gelu":
            return x * _normal(x)
        case "gelu_tanh":
            return 0.5 * x * (1 + np.tanh(_cubic(_near(x))))
        case "silu":
            return x * sigmoid(x)
        case "softplus":
            return np.where(x.real > 0, x, 0) + np.log1p(np.exp(-_size(x)))
        case "softsign":
            return x / (1 + _size(x))
        case "clip":
            return _clip(x, op.low, op.high)
        case "hard_sigmoid":
            return _hard_sigmoid(x)
        case "hard_swish":
            return x * _hard_sigmoid(x)
        case "mish":
            return x * _tanh_of_softplus(x)
        case "sin":
            return np.sin(x)
        case "snake":
            return x + np.sin(op.alpha * x) ** 2 / op.alpha
        case _:
            assert_never(op.kind)


def activation_slope(op: ops.Activation, x: Array, y: Array) -> Array:
    """f'(x), where y = f(x); at a kink what `ops.Activation` says."""
    match op.kind:
        case "relu":
            return (x.real > 0).astype(x.dtype)
        case "leaky_relu":
            return np.where(x.real > 0, 1, op.slope).astype(x.dtype)
        case "tanh":
            return 1 - y * y
        case "sigmoid":
            return y * (1 - y)
        case "elu":
            return _elu_slope(x, op.alpha)
        case "selu":
            return ops.SELU_SCALE * _elu_slope(x, ops.SELU_ALPHA)
        case "gelu":
            near = _near(x)
            return _normal(x) + near * np.exp(-0.5 * near * near) / math.sqrt(2 * math.pi)
        case "gelu_tanh":
            near = _near(x)
            t, inner = np.tanh(_cubic(near)), _INNER * (1 + 3 * _CUBIC * near * near)
            return 0.5 * (1 + t) + 0.5 * near * (1 - t * t) * inner
        case "silu":
            s = sigmoid(x)
            return s * (1 + x * (1 - s))
        case "softplus":
            return sigmoid(x)
        case "softsign":
            return (1 / (1 + _size(x))) ** 2
        case "clip":
            return ((x > op.low) & (x < op.high)).astype(x.dtype)
        case "hard_sigmoid":
            return np.where(np.abs(x) < 3, 1 / 6, 0).astype(x.dtype)
        case "hard_swish":
            return np.where(np.abs(x) < 3, x / 3 + 0.5, x > 0).astype(x.dtype)
        case "mish":
            t = _tanh_of_softplus(x)
            return t + x * sigmoid(x) * (1 - t * t)
        case "sin":
            return np.cos(x)
        case "snake":
            return 1 + np.sin(2 * op.alpha * x)
        case _:
            assert_never(op.kind)


def _size(x: Array) -> Array:
    """|x|, as a function that is differentiable but at 0."""
    return np.where(x.real > 0, x, -x)


def _near(x: Array) -> Array:
    """x itself, or 50 on its side: further out tanh and Φ are 0 or 1 in every digit, and squares may overflow."""
    return np.where(np.abs(x.real) < 50, x, 50 * np.sign(x.real)).astype(x.dtype)


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x.real > 0, x, alpha * np.expm1(np.where(x.real > 0, 0, x)))


def _elu_slope(x: Array, alpha: float) -> Array:
    return np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0))).astype(x.dtype)


def _normal(x: Array) -> Array:
    """The distribution function of a standard normal, ½·erfc(-x/√2), of which no part is lost in a difference."""
    real = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x.real.flat], x.real.dtype).reshape(x.shape)
    if not np.iscomplexobj(x):
        return real
    density = np.exp(-0.5 * x.real * x.real) / math.sqrt(2 * math.pi)
    return np.asarray(real + 1j * density * x.imag)


def _cubic(x: Array) -> Array:
    return _INNER * x * (1 + _CUBIC * x * x)


def _clip(x: Array, low: float, high: float) -> Array:
    return np.where(x.real <= low, low, np.where(x.real >= high, high, x)).astype(x.dtype)


def _hard_sigmoid(x: Array) -> Array:
    return _clip(x / 6 + 0.5, 0, 1)


def _tanh_of_softplus(x: Array) -> Array:
    """((1 + eˣ)² - 1) / ((1 + eˣ)² + 1), multiplied by e⁻²ˣ where x > 0: no power overflows, and nothing cancels."""
    e = np.exp(-_size(x))
    positive, negative = 1 + 2 * e, e * (e + 2)
    return np.where(x.real > 0, positive / (positive + 2 * e * e), negative / (negative + 2))
