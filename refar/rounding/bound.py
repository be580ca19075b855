"""How far one operator may be off in floating point: bounds derived, not guessed.

In arithmetic with unit roundoff u every operation gives fl(a ∘ b) = (a ∘ b)(1 + δ), |δ| ≤ u. A sum of m products, in any
order, with or without fused multiply-add, then obeys |ŷ - y| ≤ γ_m · Σ|a_i·b_i| with γ_m = m·u / (1 - m·u), where a product
with a zero counts nothing: the bound of Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1, and
its lemma 3.1 for the other formulas. It holds for direct convolution and for matrix products, not for Winograd or FFT.

All bounds are *local*: the arguments, and the parameters as rounded to the dtype, are taken as exact, so depth does not
matter. Each is absolute, an array of the shape of what it bounds. To every rounding one `tiny` is added, the smallest normal
number, since a result below it may be flushed to 0; arguments, parameters and attributes are taken to be normal or 0, and
nothing to overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.oracle import node, pointwise
from refar.rounding import elementwise, norm_bounds
from refar.rounding.units import BFLOAT16 as BFLOAT16
from refar.rounding.units import EXP as EXP
from refar.rounding.units import FLOAT16 as FLOAT16
from refar.rounding.units import FLOAT32 as FLOAT32
from refar.rounding.units import FLOAT64 as FLOAT64
from refar.rounding.units import SIGMOID as SIGMOID
from refar.rounding.units import SUBNORMAL as SUBNORMAL
from refar.rounding.units import TANH as TANH
from refar.rounding.units import TF32 as TF32
from refar.rounding.units import gamma as gamma
from refar.rounding.units import tiny as tiny


def forward(
    op: ops.AnyOp,
    args: Sequence[Array],
    own: Arrays,
    classes: int = 0,
    unit: float = FLOAT32,
    *,
    before: node.Before | None = None,
    reduced: float = 0.0,
    off: Sequence[Array] | None = None,
) -> Array:
    """Bound |ŷ - y| of one operator, in the shape of y.

    Copies (inputs, lookups of unit vectors, shifts, slices, maxima, relu) are exact. Convolution: γ_m·(|w|∗|x| + |b|), m the
    products that are not 0 and the bias; where a backend first rounds weights and values to a format with unit roundoff r,
    `reduced` (TF32, float16, bfloat16), each product w·x is off by (2r + r²)·|w·x| + η·(1 + r)·(|w| + |x|) + η² more, η = 2⁻²⁵.
    Sum of n: γ_{n-1}·Σ|x|. Product of n: γ_{n-1}·|Πx|, and n·tiny·Π max(1, |x|), since what is lost by underflow may be
    multiplied up again. scale·x + shift, both numbers rounded first: γ_3·(|scale·x| + |shift|). Average of n: γ_{n+1}·Σ|x|/n.
    (c - mean)/std, mean rounded first: γ_3·(|y| + |mean|/std).
    Activations: `elementwise.rounding`. Gate: TANH·u·σ + SIGMOID·u·|tanh| + u·|y|, and their product.
    weight·x + bias: γ_2·(|weight·x| + |bias|). Learnt slopes: γ_1·|weight·x| unless x > 0. Norms: `norm_bounds`.
    Softmax over n: with r_j = u·|x_j - max x| + EXP·u, y_i·(r_i + Σ_j y_j·r_j + γ_{n+1}), each factor 1 + δ.

    If `off` is given, the largest bound wherever each argument lies within its `off`, which broadcasts, of the one in `args`:
    mostly that of |x| + off. Softmax: every y at most e^(2·max off) times
    as large, and x_j - max x at most 2·max off further. `before` then holds |values at t < 0| + off already.
    """
    given = args
    if off is not None:
        args = [x if x.dtype == np.int64 else np.abs(x) + e for x, e in zip(args, off, strict=True)]
    before = [None] * len(args) if before is None else before
    dtype = np.dtype(np.float64)

    def apply(arrays: Sequence[Array], parameters: Arrays, earlier: node.Before) -> Array:
        return node.forward(op, arrays, earlier, parameters, classes, dtype)

    match op:
        case ops.Conv1d() | ops.Conv2d():
            whole = _abs(args), _abs_all(own), _abs_before(before)
            there = _there(args), _there_all(own), _there_before(before)
            spread = apply(whole[0], there[1], whole[2]) + apply(there[0], whole[1], there[2]) if reduced else 0.0
            return _products(apply(*whole), apply(*there), unit, reduced, spread)
        case ops.Input() | ops.Shift() | ops.Shift2d() | ops.PadChannels() | ops.Ones() | ops.Position() | ops.Dropout():
            return np.zeros(apply(args, own, before).shape)
        case ops.OneHot() | ops.Embedding() | ops.Concat() | ops.Slice():
            return np.zeros(apply(args, own, before).shape)
        case ops.Standardize():
            return gamma(3, unit) * (np.abs(apply(args, own, before)) + abs(op.mean) / op.std) + tiny(unit)
        case ops.Pool1d(kind="max"):
            return np.zeros(args[0].shape)
        case ops.Pool1d():
            sizes = apply([np.abs(args[0]), *args[1:]], own, _abs_before(before))
            return gamma(op.kernel + 1, unit) * sizes + op.kernel * tiny(unit)
        case ops.Activation():
            return elementwise.rounding(op, given[0], unit, 0.0 if off is None else off[0])
        case ops.Gate():
            a, b = np.split(args[0], 2, axis=1)
            t, s = np.abs(np.tanh(a)), pointwise.sigmoid(b)
            et, es = TANH * unit, SIGMOID * unit
            return (et * s + es * t + et * es + unit * (t + et) * (s + es)) + tiny(unit)
        case ops.Add():
            return gamma(len(args) - 1, unit) * apply(_abs(args), own, before) + len(args) * tiny(unit)
        case ops.Multiply():
            lost = len(args) * tiny(unit) * apply(_at_least_1(args), own, before)
            return gamma(len(args) - 1, unit) * apply(_abs(args), own, before) + lost
        case ops.Affine():
            return gamma(3, unit) * (np.abs(op.scale * args[0]) + abs(op.shift)) + 2 * tiny(unit)
        case ops.ScaleShift():
            products = apply(_abs(args), _abs_all(own), before)
            return gamma(1 + op.bias, unit) * products + (1 + op.bias) * tiny(unit)
        case ops.PRelu():
            below = unit * np.abs(pointwise.by_channel(own["weight"], args[0]) * args[0]) + tiny(unit)
            return np.where(given[0] - (0.0 if off is None else off[0]) > 0, 0, below)
        case ops.Norm():
            return norm_bounds.forward(op, given[0], own, unit, 0.0 if off is None else off[0])
        case ops.Softmax():
            return _softmax(given[0], unit, 0.0 if off is None else 2 * np.max(off[0], axis=1, keepdims=True))
        case _:
            assert_never(op)


def backward(
    op: ops.AnyOp,
    args: Sequence[Array],
    dy: Array,
    own: Arrays,
    unit: float = FLOAT32,
    *,
    before: node.Before | None = None,
    reduced: float = 0.0,
) -> tuple[list[Array | None], Arrays]:
    """Bound the errors of the gradients of Σ dy·y, for the arguments (None for class indices) and the parameters.

    Everything linear in dy is a sum of products: γ_m times the same sum of magnitudes, m its terms that are not 0, and for
    every further factor one more; of convolutions with what `reduced` adds to each product, as in `forward`.
    Activations: `elementwise.slope_rounding`; norms: `norm_bounds`; learnt slopes: products where x ≤ 0, else copies; gate
    and softmax by the product rule from these.
    """
    before = [None] * len(args) if before is None else before
    unread = dy  # in place of y, which none of the gradients asked for below depends on
    match op:
        case ops.Input() | ops.Shift() | ops.Shift2d() | ops.PadChannels() | ops.Slice() | ops.Dropout():
            return [np.zeros(arg.shape) for arg in args], {}
        case ops.OneHot() | ops.Standardize() | ops.Ones() | ops.Position():
            return [None] * len(args), {}
        case ops.Activation():
            return [np.abs(dy) * elementwise.slope_rounding(op, args[0], unit) + 2 * tiny(unit)], {}
        case ops.Gate():
            return [_gate_backward(args[0], dy, unit)], {}
        case ops.Softmax():
            return [_softmax_backward(args[0], dy, unit)], {}
        case ops.Pool1d(kind="max"):
            sizes, _, _ = node.backward(op, args, before, own, unread, np.abs(dy))
            return [None if s is None else gamma(op.kernel - 1, unit) * s for s in sizes], {}
        case ops.Pool1d():
            sizes, _, _ = node.backward(op, args, before, own, unread, np.abs(dy))
            return [None if s is None else _linear(s, op.kernel, 2, unit) for s in sizes], {}
        case ops.Affine():
            return [gamma(2, unit) * np.abs(op.scale * dy) + tiny(unit)], {}
        case ops.PRelu():
            x, below = args[0], np.where(args[0] > 0, 0, 1.0)
            dx = below * (unit * np.abs(pointwise.by_channel(own["weight"], x) * dy) + tiny(unit))
            products = below * np.abs(x * dy)
            met = pointwise.over_positions((products != 0).astype(np.float64))
            return [dx], {"weight": gamma(met, unit) * pointwise.over_positions(products) + 2 * met * tiny(unit)}
        case ops.Norm():
            dx, dparams = norm_bounds.backward(op, args[0], own, dy, unit)
            return [dx], dparams
        case ops.Multiply():
            given = [
                (_abs(args), np.abs(dy)),
                (_there(args), (dy != 0).astype(np.float64)),
                (_at_least_1(args), np.maximum(np.abs(dy), 1)),
            ]
            parts = [[np.asarray(d) for d in node.backward(op, xs, before, own, unread, d)[0]] for xs, d in given]
            lost = (len(args) + 1) * tiny(unit)
            return [gamma(count + len(args), unit) * size + lost * large for size, count, large in zip(*parts, strict=True)], {}
        case ops.Conv1d() | ops.Conv2d() | ops.Embedding() | ops.Add() | ops.Concat() | ops.ScaleShift():
            whole = _abs(args), _abs_before(before), _abs_all(own)
            there = _there(args), _there_before(before), _there_all(own)
            size, met = np.abs(dy), (dy != 0).astype(np.float64)
            both = [(whole, size), (there, met)]
            if reduced and isinstance(op, ops.Conv1d | ops.Conv2d):
                both += [(there, size), (whole, met)]
            (sizes, _, dsizes), (counts, _, dcounts), *apart = [node.backward(op, *each, unread, d) for each, d in both]
            errors: list[Array | None] = []
            for n, (s, c) in enumerate(zip(sizes, counts, strict=True)):
                spread = sum(np.asarray(dargs[n]) for dargs, _, _ in apart)
                errors.append(None if s is None or c is None else _products(s, c, unit, reduced if apart else 0.0, spread))
            own_errors = {}
            for name in dsizes:
                spread = sum(own_sizes[name] for _, _, own_sizes in apart)
                own_errors[name] = _products(dsizes[name], dcounts[name], unit, reduced if apart else 0.0, spread)
            return errors, own_errors
        case _:
            assert_never(op)


def _products(sizes: Array, count: Array, unit: float, reduced: float, spread: Array | float) -> Array:
    """A sum of `count` products a·b with Σ|a·b| = `sizes`, and Σ(|a| + |b|) = `spread` where the factors are rounded first."""
    g, rounded, lost = gamma(count, unit), 2 * reduced + reduced**2, SUBNORMAL if reduced else 0.0
    inexact = rounded * sizes + lost * (1 + reduced) * spread + lost**2 * count
    return np.asarray(g * (sizes + inexact) + inexact + 2 * count * tiny(unit))


def _linear(sizes: Array, count: int, factors: int, unit: float) -> Array:
    return gamma(count + factors, unit) * sizes + (count + factors) * tiny(unit)


def _gate_backward(x: Array, dy: Array, unit: float) -> Array:
    """dy·σ·(1 - t²) and dy·t·σ·(1 - σ)."""
    a, b = np.split(x, 2, axis=1)
    t, s, size = np.abs(np.tanh(a)), pointwise.sigmoid(b), np.abs(dy)
    et, es, g = TANH * unit, SIGMOID * unit, gamma(4, unit)
    bend_t, bend_s = 2 * et * t + et**2 + 2 * unit, es * (1 + 2 * s) + es**2 + 2 * unit
    da = size * (es * (1 - t**2) + (s + es) * bend_t + g * (s + es) * (1 - t**2 + bend_t))
    db = size * (et * s * (1 - s) + (t + et) * bend_s + g * (t + et) * (s * (1 - s) + bend_s))
    return np.concatenate([da, db], axis=1) + 4 * tiny(unit)


def _softmax(x: Array, unit: float, further: Array | float = 0.0) -> Array:
    """`further`: how much further apart than they are any two of x may be."""
    with np.errstate(over="ignore"):
        y = np.minimum(pointwise.softmax(x) * np.exp(further), 1)
    off = (np.abs(x - x.max(axis=1, keepdims=True)) + further + EXP) * unit
    relative = off + (y * off).sum(axis=1, keepdims=True) + gamma(x.shape[1] + 1, unit)
    return y * relative * (1 + relative) + x.shape[1] * tiny(unit)


def _softmax_backward(x: Array, dy: Array, unit: float) -> Array:
    """y·(dy - Σ dy·y): the error of y in both places, and of an inner product over the channels."""
    y, off, size = pointwise.softmax(x), _softmax(x, unit), np.abs(dy)
    inner = (size * y).sum(axis=1, keepdims=True)
    spread = (size * off).sum(axis=1, keepdims=True)
    inner_off = spread + gamma(x.shape[1], unit) * (inner + spread)
    return (y + off) * (inner_off + gamma(3, unit) * (size + inner + inner_off)) + off * (size + inner) + x.shape[1] * tiny(unit)


def _abs(arrays: Sequence[Array]) -> list[Array]:
    return [array if array.dtype == np.int64 else np.abs(array) for array in arrays]


def _at_least_1(arrays: Sequence[Array]) -> list[Array]:
    return [np.maximum(np.abs(array), 1) for array in arrays]


def _abs_all(arrays: Arrays) -> Arrays:
    return {name: np.abs(array) for name, array in arrays.items()}


def _abs_before(arrays: node.Before) -> list[Array | None]:
    return [None if array is None else np.abs(array) for array in arrays]


def _there(arrays: Sequence[Array]) -> list[Array]:
    """1 where a number is not 0; class indices as they are."""
    return [array if array.dtype == np.int64 else (array != 0).astype(np.float64) for array in arrays]


def _there_all(arrays: Arrays) -> Arrays:
    return {name: (array != 0).astype(np.float64) for name, array in arrays.items()}


def _there_before(arrays: node.Before) -> list[Array | None]:
    return [None if array is None else (array != 0).astype(np.float64) for array in arrays]
