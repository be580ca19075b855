"""What rounding does to the functions of `ops.Activation` and their derivatives, how steep they are, and where their kinks are.

Bounds are derived as in `rounding.bound`, from the steps of the formula: the error of each factor times the others, and γ_m for
m roundings. Several formulas are in use for most functions; each bound has room for all of them. Source: Higham 2002, "Accuracy
and Stability of Numerical Algorithms", lemma 3.1 and section 1.6.
"""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.oracle.elementwise import activation
from refar.rounding.units import ERF, EXP, LOG, SIGMOID, SIN, TANH, gamma, tiny

_SELU = ops.SELU_SCALE * ops.SELU_ALPHA


def rounding(op: ops.Activation, x: Array, unit: float, off: Array | float = 0.0) -> Array:
    """Bound |ŷ - y| wherever the argument lies within `off` of x.

    relu copies. leaky_relu: γ_2·slope·|x| unless x > 0. tanh, σ, sin: as libraries keep to.
    elu: α·(EXP·u·eˣ + γ_3·(1 - eˣ)) unless x > 0; selu: two factors more, and γ_2·1.05·x for x > 0.
    silu, gelu, mish, hard_swish: |x| times the error of the other factor. Φ: half of ERF·u and of z·erf'(z)·γ_2 < 0.49·γ_2,
    z = x/√2. gelu_tanh: half of TANH·u and of z·tanh'(z)·γ_8 < 0.45·γ_8. mish: TANH·u, and tanh' times the error of softplus,
    which is at most 6·u. softplus: EXP·u·σ(x) from exp, u from 1 + exp(x), (LOG + 1)·u·y from logarithm and sum.
    softsign: γ_4·|y|. clip: the ends are rounded. hard_sigmoid: γ_4. snake: with s = min(α·|x|, 1) the sine is off by
    δ = s·SIN·u + α·|x|·γ_2, its square by 2s·δ + δ²; divided by α and added to x.
    """
    size = np.abs(x) + off
    most = np.exp(np.minimum(x + off, 0))  # of eˣ where x ≤ 0; and its least
    least = np.exp(np.minimum(x - off, 0))
    match op.kind:
        case "relu":
            return np.zeros(x.shape)
        case "leaky_relu":
            return np.where(x - off > 0, 0, gamma(2, unit) * op.slope * size + tiny(unit))
        case "tanh":
            return np.full(x.shape, TANH * unit)
        case "sigmoid":
            return np.full(x.shape, SIGMOID * unit)
        case "elu":
            return np.where(x - off > 0, 0, op.alpha * (EXP * unit * most + gamma(3, unit) * (1 - least)) + 2 * tiny(unit))
        case "selu":
            negative = _SELU * (gamma(EXP + 2, unit) * most + gamma(5, unit) * (1 - least))
            positive = gamma(2, unit) * ops.SELU_SCALE * np.maximum(x + off, 0)
            return np.where(x - off > 0, 0, negative) + positive + 2 * tiny(unit)
        case "gelu":
            return gamma(ERF // 2 + 5, unit) * size + 2 * tiny(unit)
        case "gelu_tanh":
            return gamma(TANH // 2 + 8, unit) * size + 2 * tiny(unit)
        case "silu":
            return gamma(SIGMOID + 1, unit) * size + tiny(unit)
        case "softplus":
            return unit * (EXP + 1 + (LOG + 1) * activation(op, x + off)) + tiny(unit)
        case "softsign":
            return gamma(4, unit) * size / (1 + size) + tiny(unit)
        case "clip":
            low, high = abs(op.low) * unit, abs(op.high) * unit
            return np.maximum(np.where(x - off <= op.low + low, low, 0), np.where(x + off >= op.high - high, high, 0))
        case "hard_sigmoid":
            return np.full(x.shape, float(gamma(4, unit)))
        case "hard_swish":
            return gamma(5, unit) * size + tiny(unit)
        case "mish":
            return gamma(TANH + 8, unit) * size + tiny(unit)
        case "sin":
            return np.minimum(size, 1) * SIN * unit + tiny(unit)
        case "snake":
            s, error = _sine(op, size, unit)
            square = (2 * s * error + error**2) / op.alpha
            return (1 + gamma(3, unit)) * square + gamma(4, unit) * (s**2 / op.alpha + size) + 3 * tiny(unit) / op.alpha
        case _:
            assert_never(op.kind)


def slope_rounding(op: ops.Activation, x: Array, unit: float) -> Array:
    """Bound the error of f'(x)·dy relative to |dy|.

    relu copies. leaky_relu: γ_2·slope. tanh' = 1 - y²: 2·TANH·u·|y| and two roundings. σ' = y·(1 - y): SIGMOID·u·(1 + 2|y|),
    which is at least what |1 - 2y| allows, and two. elu, selu: an exponential and four or six roundings. softplus: as σ. sin: as
    cos. silu, gelu, mish: the sum of the other factor and of |x| times its derivative, each off as its parts are; of gelu
    x·φ(x)·x²/2·γ_2 is below γ_1. softsign: γ_6/(1 + |x|), which a difference of two such terms needs. clip: where x is within one
    rounding of an end, either side may be taken. snake: 2·sin·cos, each off by δ as in `rounding`.
    """
    size = np.abs(x)
    match op.kind:
        case "relu":
            return np.zeros(x.shape)
        case "leaky_relu":
            return np.full(x.shape, float(gamma(2, unit)) * op.slope)
        case "tanh":
            return 2 * TANH * unit * np.abs(np.tanh(x)) + (TANH * unit) ** 2 + gamma(3, unit)
        case "sigmoid":
            return SIGMOID * unit * (1 + 2 * activation(op, x)) + (SIGMOID * unit) ** 2 + gamma(3, unit)
        case "elu":
            return np.where(x > 0, 0, op.alpha * gamma(EXP + 4, unit) * np.exp(np.minimum(x, 0)))
        case "selu":
            exponential = _SELU * gamma(EXP + 6, unit) * np.exp(np.minimum(x, 0))
            return np.where(x > 0, ops.SELU_SCALE * gamma(2, unit), exponential)
        case "gelu":
            return np.full(x.shape, 1.2 * float(gamma(ERF // 2 + EXP + 10, unit)))
        case "gelu_tanh":
            tanh, inner = gamma(TANH + 4, unit), math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
            return tanh + size * inner * (tanh * (1 + tanh) + gamma(6, unit))
        case "silu":
            return gamma(SIGMOID + 5, unit) * (1 + size)
        case "softplus":
            return np.full(x.shape, float(gamma(SIGMOID + 2, unit)))
        case "softsign":
            return gamma(6, unit) / (1 + size)
        case "clip":
            return np.any([np.abs(x - end) <= unit * abs(end) for end in (op.low, op.high)], axis=0).astype(float)
        case "hard_sigmoid":
            return np.where(size < 3, gamma(2, unit) / 6, 0)
        case "hard_swish":
            return np.where(size < 3, gamma(4, unit) * (size / 3 + 0.5), gamma(1, unit))
        case "mish":
            return gamma(TANH + SIGMOID + 10, unit) * (1 + 3 * size)
        case "sin":
            return np.full(x.shape, float(gamma(SIN + 1, unit)))
        case "snake":
            _, error = _sine(op, size, unit)
            return 4 * error + 2 * error**2 + gamma(6, unit) * 2
        case _:
            assert_never(op.kind)


def steepest(op: ops.Activation) -> float:
    """Return the largest |f'(x)|, or a little more: how far f moves for each unit that x moves."""
    match op.kind:
        case "relu" | "tanh" | "softplus" | "softsign" | "clip" | "sin":
            return 1.0
        case "leaky_relu":
            return max(1.0, op.slope)
        case "sigmoid":
            return 0.25
        case "elu":
            return max(1.0, op.alpha)
        case "selu":
            return _SELU
        case "gelu":  # at √2
            return 1.129
        case "gelu_tanh":
            return 1.13
        case "silu":  # at 2.4
            return 1.0999
        case "hard_sigmoid":
            return 1 / 6
        case "hard_swish":  # at 3
            return 1.5
        case "mish":  # at 1.5
            return 1.0886
        case "snake":
            return 2.0
        case _:
            assert_never(op.kind)


def span(op: ops.Activation) -> float:
    """Return the difference of the largest and the smallest value, so far as it is finite."""
    match op.kind:
        case "tanh" | "softsign" | "sin":
            return 2.0
        case "sigmoid" | "hard_sigmoid":
            return 1.0
        case "clip":
            return op.high - op.low
        case "relu" | "leaky_relu" | "elu" | "selu" | "gelu" | "gelu_tanh":
            return math.inf
        case "silu" | "softplus" | "hard_swish" | "mish" | "snake":
            return math.inf
        case _:
            assert_never(op.kind)


def kinks(op: ops.Activation) -> tuple[float, ...]:
    """Return where f has no derivative."""
    match op.kind:
        case "relu" | "leaky_relu" | "elu" | "selu":
            return (0.0,)
        case "clip":
            return (op.low, op.high)
        case "hard_sigmoid" | "hard_swish":
            return (-3.0, 3.0)
        case "tanh" | "sigmoid" | "gelu" | "gelu_tanh" | "silu" | "softplus" | "softsign" | "mish" | "sin" | "snake":
            return ()
        case _:
            assert_never(op.kind)


def _sine(op: ops.Activation, size: Array, unit: float) -> tuple[Array, Array]:
    """The largest |sin(α·x)| for |x| up to `size`, and how far it is off."""
    angle = op.alpha * size
    s = np.minimum(angle, 1)
    return s, np.minimum(SIN * unit * s + gamma(2, unit) * angle, 2)
