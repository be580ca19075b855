"""The functions of `ops.Activation` over exact numbers, with their derivatives, in as many digits as the decimal context has.

One row for each function, written from the equations in `refar.ops` and sharing nothing with what is checked. Those that are
piecewise linear are sums of products, and stand in `exact.literal`.
"""

from __future__ import annotations

from decimal import Decimal, getcontext, localcontext
from fractions import Fraction
from functools import cache
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import DTypeLike

from refar import ops

Exact = Any  # an int or a Fraction

Curved = Literal[
    "tanh", "sigmoid", "elu", "selu", "gelu", "gelu_tanh", "silu", "softplus", "softsign", "hard_sigmoid", "hard_swish", "mish",
    "sin", "snake",
]  # fmt: skip
"""The functions that are not piecewise linear with the attributes as slopes."""


def decimal(x: Exact) -> Decimal:
    """Return the number in decimals, exactly if it is a float and the context has enough digits."""
    return Decimal(x.numerator) / Decimal(x.denominator)


def number(attribute: float, dtype: DTypeLike) -> Fraction:
    """Return the exact value that an attribute has in a dtype."""
    return Fraction(np.asarray(attribute, dtype).item())


def value(kind: Curved, op: ops.Activation, x: Exact, dtype: DTypeLike) -> Decimal:
    """Return f(x); attributes enter as they are in `dtype`."""
    v, alpha = decimal(x), decimal(number(op.alpha, dtype))
    match kind:
        case "tanh":
            return tanh(v)
        case "sigmoid":
            return sigmoid(v)
        case "elu":
            return v if x > 0 else alpha * (v.exp() - 1)
        case "selu":
            selu_alpha, scale = _selu(dtype)
            return scale * (v if x > 0 else selu_alpha * (v.exp() - 1))
        case "gelu":
            return v * _normal(v)
        case "gelu_tanh":
            return v * sigmoid(2 * _cubic(v))  # ½·(1 + tanh(z)), without a difference
        case "silu":
            return v * sigmoid(v)
        case "softplus":
            return _softplus(v)
        case "softsign":
            return v / (1 + abs(v))
        case "hard_sigmoid":
            return _hard_sigmoid(v)
        case "hard_swish":
            return v * _hard_sigmoid(v)
        case "mish":
            return v * tanh(_softplus(v))
        case "sin":
            return _sin(v)
        case "snake":
            return v + _sin(alpha * v) ** 2 / alpha
        case _:
            assert_never(kind)


def slope(kind: Curved, op: ops.Activation, x: Exact, dtype: DTypeLike) -> Decimal:
    """Return f'(x), at a kink what `ops.Activation` says."""
    v, alpha = decimal(x), decimal(number(op.alpha, dtype))
    match kind:
        case "tanh":
            return tanh_slope(v)
        case "sigmoid":
            return sigmoid_slope(v)
        case "elu":
            return Decimal(1) if x > 0 else alpha * v.exp()
        case "selu":
            selu_alpha, scale = _selu(dtype)
            return scale * (1 if x > 0 else selu_alpha * v.exp())
        case "gelu":
            return _normal(v) + v * (-v * v / 2).exp() / (2 * _pi()).sqrt()
        case "gelu_tanh":
            inner = (2 / _pi()).sqrt() * (1 + 3 * _CUBIC * v * v)
            return sigmoid(2 * _cubic(v)) + v * tanh_slope(_cubic(v)) * inner / 2
        case "silu":
            return sigmoid(v) + v * sigmoid_slope(v)
        case "softplus":
            return sigmoid(v)
        case "softsign":
            return 1 / (1 + abs(v)) ** 2
        case "hard_sigmoid":
            return Decimal(int(-3 < x < 3)) / 6
        case "hard_swish":
            return v / 3 + Decimal("0.5") if -3 < x < 3 else Decimal(int(x > 0))
        case "mish":
            return tanh(_softplus(v)) + v * tanh_slope(_softplus(v)) * sigmoid(v)
        case "sin":
            return _sin(v + _pi() / 2)
        case "snake":
            return 1 + _sin(2 * alpha * v)
        case _:
            assert_never(kind)


_CUBIC = Decimal("0.044715")


def tanh(v: Decimal) -> Decimal:
    """Return (exp(v) - exp(-v)) / (exp(v) + exp(-v))."""
    up, down = v.exp(), (-v).exp()
    return (up - down) / (up + down)


def tanh_slope(v: Decimal) -> Decimal:
    """Return 1 - tanh(v)², without a difference."""
    return 4 / (v.exp() + (-v).exp()) ** 2


def sigmoid(v: Decimal) -> Decimal:
    """Return 1 / (1 + exp(-v))."""
    return 1 / (1 + (-v).exp())


def sigmoid_slope(v: Decimal) -> Decimal:
    """Return σ(v)·(1 - σ(v)), without a difference."""
    return sigmoid(v) * sigmoid(-v)


def _selu(dtype: DTypeLike) -> tuple[Decimal, Decimal]:
    return decimal(number(ops.SELU_ALPHA, dtype)), decimal(number(ops.SELU_SCALE, dtype))


def _hard_sigmoid(v: Decimal) -> Decimal:
    return min(max(v + 3, Decimal(0)), Decimal(6)) / 6


def _cubic(v: Decimal) -> Decimal:
    return (2 / _pi()).sqrt() * (v + _CUBIC * v**3)


def _softplus(v: Decimal) -> Decimal:
    """log(1 + exp(v)); where exp(v) is small, of more digits, which 1 takes away."""
    with localcontext(prec=getcontext().prec + max(0, -int(v / 2))):
        return (1 + v.exp()).ln()


def _sin(v: Decimal) -> Decimal:
    """v - v³/3! + v⁵/5! - …, of so many digits more as its largest term has."""
    with localcontext(prec=getcontext().prec + int(abs(v)) + 5):
        total = term = v
        least, n = Decimal(10) ** (min(0, v.adjusted()) - getcontext().prec), 1
        while abs(term) > least:
            term *= -v * v / ((n + 1) * (n + 2))
            total += term
            n += 2
        return total


def _normal(v: Decimal) -> Decimal:
    """The distribution function of a standard normal, ½·erfc(-v/√2)."""
    z = abs(v) / Decimal(2).sqrt()
    tail = (_erfc_of_large(z) if z > 6 else 1 - _erf(z)) / 2
    return tail if v < 0 else 1 - tail


def _erf(z: Decimal) -> Decimal:
    """2/√π · exp(-z²) · Σ 2ⁿ·z²ⁿ⁺¹/(1·3·…·(2n+1)), terms that are all positive; Abramowitz and Stegun 7.1.6."""
    with localcontext(prec=getcontext().prec + 20):  # of which 1 - erf(6) takes 17 away
        total, term, n = z, z, 0
        while term and term.adjusted() > total.adjusted() - getcontext().prec:
            n += 1
            term *= 2 * z * z / (2 * n + 1)
            total += term
        return 2 * total * (-z * z).exp() / _pi().sqrt()


def _erfc_of_large(z: Decimal) -> Decimal:
    """exp(-z²)/√π · 1/(z + ½/(z + 1/(z + (3/2)/(z + 2/(z + …))))); Abramowitz and Stegun 7.1.14, in enough steps."""
    rest = z
    for n in range(int((Decimal("1.2") * getcontext().prec / z) ** 2) + 20, 0, -1):
        rest = z + Decimal(n) / 2 / rest
    return (-z * z).exp() / _pi().sqrt() / rest


def _pi() -> Decimal:
    return _pi_of(getcontext().prec + 5)


@cache
def _pi_of(digits: int) -> Decimal:
    """π by Machin's formula, 16·arctan(1/5) - 4·arctan(1/239)."""
    with localcontext(prec=digits):
        return 16 * _arctan_of_inverse(5) - 4 * _arctan_of_inverse(239)


def _arctan_of_inverse(n: int) -> Decimal:
    power, total, k = Decimal(1) / n, Decimal(0), 0
    while power.adjusted() > -getcontext().prec:
        total += (-1) ** k * power / (2 * k + 1)
        power /= n * n
        k += 1
    return total
