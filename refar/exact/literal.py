"""The definitions once more, as nested loops over exact numbers: what the fast NumPy is checked against, sharing no code.

A polynomial or piecewise-linear operator is a list of *terms*, one for each product that its definition adds to y:

    y[index] += coefficient · Π factors        with factors such as weight[o,i,k] and x[b,i,s].

Value and gradient are read off that list: by the product rule a term gives each of its factors
coefficient · (the other factors) · dy[index]. Numbers are Python's integers and fractions, so nothing rounds.
The operators with exponentials are computed with at least 50 decimal digits and rounded to float64 once, at the end.
Source: the equations in `refar.ops`, index by index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import product
from math import prod
from typing import Any, assert_never

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from refar import ops

Array = NDArray[Any]
Exact = Any  # an int or a Fraction; NumPy's types do not say what an object array holds
Index = tuple[int, ...]
Factor = tuple[str, Index]
"""A number in an array: "0", "1", … are the arguments, "weight" and "bias" the parameters."""
Term = tuple[Index, Fraction | int, tuple[Factor, ...]]
"""Where in y it is added, its coefficient, its factors."""

Rounded = ops.Activation | ops.Gate | ops.Softmax
"""The operators that may have an exponential."""

_DIGITS = 60


def evaluate(
    op: ops.AnyOp,
    args: Sequence[ArrayLike],
    params: Mapping[str, ArrayLike] | None = None,
    *,
    classes: int = 0,
    dtype: DTypeLike = np.float64,
    rounded: bool = True,
) -> Array:
    """The value of one operator: integers and fractions (an object array), or float64 where the definition has an exponential.

    `args` as in `refar.ops`; `params` may hold "weight" and "bias"; `classes` is that of an argument of class indices, else 0.
    Attributes such as a slope enter as the exact value that they have in `dtype`. Unless `rounded`, the values with an
    exponential too are fractions, with all their digits.
    """
    arrays = _exact_arrays(op, args, params)
    if isinstance(op, Rounded) and not is_exact(op):
        return _finished(_transcendental(op, arrays["0"]), rounded)
    y = _zeros(_shape(op, arrays, classes))
    for index, coefficient, factors in _terms(op, arrays, y.shape, dtype):
        y[index] += coefficient * prod(arrays[name][at] for name, at in factors)
    return y


def gradient(
    op: ops.AnyOp,
    args: Sequence[ArrayLike],
    dy: ArrayLike,
    params: Mapping[str, ArrayLike] | None = None,
    *,
    dtype: DTypeLike = np.float64,
    rounded: bool = True,
) -> dict[str, Array]:
    """The gradients of Σ dy·y, {"0", "1", …: of the arguments, "weight", "bias": of the parameters}.

    Exact or rounded as in `evaluate`. For class indices the entry is 0: nothing flows into them.
    """
    arrays = _exact_arrays(op, args, params)
    upstream = exact(dy)
    if isinstance(op, Rounded) and not is_exact(op):
        return {"0": _finished(_transcendental_gradient(op, arrays["0"], upstream), rounded)}
    gradients = {name: _zeros(array.shape) for name, array in arrays.items()}
    for index, coefficient, factors in _terms(op, arrays, upstream.shape, dtype):
        for n, (name, at) in enumerate(factors):
            others = prod(arrays[other][where] for other, where in factors[:n] + factors[n + 1 :])
            gradients[name][at] += coefficient * others * upstream[index]
    return gradients


def is_exact(op: ops.AnyOp) -> bool:
    """Whether the operator is polynomial or piecewise linear, so that its value on rationals is rational."""
    match op:
        case ops.Gate() | ops.Softmax():
            return False
        case ops.Activation():
            return op.kind in ("relu", "leaky_relu")
        case ops.Input() | ops.Conv1d() | ops.Shift() | ops.Pool1d() | ops.OneHot() | ops.Embedding() | ops.Standardize():
            return True
        case ops.PadChannels() | ops.Ones() | ops.Position() | ops.Conv2d() | ops.Shift2d():
            return True
        case ops.Add() | ops.Multiply() | ops.Affine() | ops.Concat() | ops.Slice():
            return True
        case _:
            assert_never(op)


def exact(array: ArrayLike) -> Array:
    """The same numbers as Python integers and fractions."""
    source = np.asarray(array)
    result = np.empty(source.shape, object)
    for index in np.ndindex(source.shape):
        value: Exact = source[index]
        fraction = Fraction(value if isinstance(value, int | Fraction | Decimal) else value.item())
        result[index] = fraction.numerator if fraction.denominator == 1 else fraction
    return result


def squared_error(y_bct: ArrayLike, x_bct: ArrayLike) -> Array:
    """Σ_c (y[b,c,t] - x[b,c,t])², exact, shape (B, T)."""
    y, x = exact(y_bct), exact(x_bct)
    result = _zeros((y.shape[0], y.shape[2]))
    for b, c, t in np.ndindex(y.shape):
        result[b, t] += (y[b, c, t] - x[b, c, t]) ** 2
    return result


def squared_error_gradient(y_bct: ArrayLike, x_bct: ArrayLike, d_bt: ArrayLike) -> Array:
    """d[b,t] · 2·(y[b,c,t] - x[b,c,t]), exact."""
    y, x, d = exact(y_bct), exact(x_bct), exact(d_bt)
    result = np.empty(y.shape, object)
    for b, c, t in np.ndindex(y.shape):
        result[b, c, t] = d[b, t] * 2 * (y[b, c, t] - x[b, c, t])
    return result


def cross_entropy(y_bqt: ArrayLike, x_bt: ArrayLike) -> Array:
    """log Σ_j exp(y[b,j,t]) - y[b,x,t] with x = x[b,t], float64, shape (B, T).

    Computed as log Σ_j exp(y_j - y_x), which is the same number.
    """
    y, x = exact(y_bqt), np.asarray(x_bt)
    result = np.empty(x.shape)
    for b, t in np.ndindex(x.shape):
        with localcontext(prec=_digits(y[b, :, t])):
            logits = [_decimal(value) for value in y[b, :, t]]
            result[b, t] = float(sum(((v - logits[x[b, t]]).exp() for v in logits), Decimal(0)).ln())
    return result


def cross_entropy_gradient(y_bqt: ArrayLike, x_bt: ArrayLike, d_bt: ArrayLike) -> Array:
    """d[b,t] · (exp(y_q) / Σ_j exp(y_j) - [q = x[b,t]]), float64."""
    y, x, d = exact(y_bqt), np.asarray(x_bt), exact(d_bt)
    result = np.empty(y.shape)
    for b, t in np.ndindex(x.shape):
        with localcontext(prec=_digits(y[b, :, t])):
            e = [_decimal(value).exp() for value in y[b, :, t]]
            for q in range(len(e)):
                result[b, q, t] = float(_decimal(d[b, t]) * (e[q] / sum(e) - (q == x[b, t])))
    return result


def _exact_arrays(op: ops.AnyOp, args: Sequence[ArrayLike], params: Mapping[str, ArrayLike] | None) -> dict[str, Array]:
    indexed = isinstance(op, ops.OneHot | ops.Embedding | ops.Standardize)
    arrays = {str(n): np.asarray(arg) if indexed else exact(arg) for n, arg in enumerate(args)}
    return arrays | {name: exact(array) for name, array in (params or {}).items()}


def _finished(decimals: Array, rounded: bool) -> Array:
    return decimals.astype(np.float64) if rounded else exact(decimals)


def _zeros(shape: Index) -> Array:
    return np.full(shape, 0, object)


def _shape(op: ops.AnyOp, arrays: dict[str, Array], classes: int) -> Index:
    x = arrays["0"].shape
    args = [array.shape for name, array in arrays.items() if name.isdecimal()]
    time = max((shape[2:] for shape in args), default=())
    rows = x[2:] if len(x) == 4 else x[1:]  # of class indices, which over a plane have a channel axis: their colours
    colours = x[1] if len(x) == 4 else 1
    match op:
        case ops.Conv1d() | ops.Conv2d():
            return (x[0], op.channels, *x[2:])
        case ops.OneHot():
            return (x[0], classes * colours, *rows)
        case ops.Embedding():
            return (x[0], op.channels * colours, *rows)
        case ops.Standardize():
            return (x[0], colours, *rows)
        case ops.Position():
            return (x[0], 2 * op.bits, *x[2:])
        case ops.Gate():
            return (x[0], x[1] // 2, *x[2:])
        case ops.Concat():
            return (x[0], sum(shape[1] for shape in args), *time)
        case ops.Slice():
            return (x[0], op.stop - op.start, *x[2:])
        case ops.Add() | ops.Multiply():
            return (x[0], x[1], *time)
        case ops.PadChannels():
            return (x[0], op.before + x[1] + op.after, *x[2:])
        case ops.Ones():
            return (x[0], 1, *(rows if classes else x[2:]))
        case ops.Input() | ops.Shift() | ops.Shift2d() | ops.Pool1d() | ops.Activation() | ops.Affine() | ops.Softmax():
            return x
        case _:
            assert_never(op)


def _terms(op: ops.AnyOp, arrays: dict[str, Array], shape: Index, dtype: DTypeLike) -> Iterator[Term]:
    """Every product that the definition adds to y, which has this shape."""
    x = arrays["0"]
    args = [name for name in arrays if name.isdecimal()]
    for index in np.ndindex(shape):
        b, c, *rest = index
        match op:
            case ops.Conv1d():
                if "bias" in arrays:
                    yield index, 1, (("bias", (c,)),)
                size = x.shape[1] // op.groups
                first = c // (op.channels // op.groups) * size
                for i, k in product(range(size), range(op.kernel)):
                    if not rest:
                        yield index, 1, (("weight", (c, i, k)), ("0", (b, first + i)))
                    elif (s := rest[0] - op.strict - (op.kernel - 1 - k) * op.dilation) >= 0:
                        yield index, 1, (("weight", (c, i, k)), ("0", (b, first + i, s)))
            case ops.Shift():
                if 0 <= rest[0] - op.steps < x.shape[2]:
                    yield index, 1, (("0", (b, c, rest[0] - op.steps)),)
            case ops.PadChannels():
                if 0 <= c - op.before < x.shape[1]:
                    yield index, 1, (("0", (b, c - op.before, *rest)),)
            case ops.Ones():
                yield index, 1, ()
            case ops.Pool1d():
                yield from _pooled(op, x, index)
            case ops.Conv2d():
                yield from _masked(op, x, index, "bias" in arrays)
            case ops.Shift2d():
                r, s = rest[0] - op.down, rest[1] - op.right
                if 0 <= r < x.shape[2] and 0 <= s < x.shape[3]:
                    yield index, 1, (("0", (b, c, r, s)),)
            case ops.Position():
                place = rest[0] if c < op.bits else rest[1]
                yield index, place // 2 ** (c % op.bits) % 2, ()
            case ops.OneHot() | ops.Embedding() | ops.Standardize():
                # over a plane channel k·C + c is number k of colour c
                number, colour = (c // x.shape[1], (c % x.shape[1],)) if x.ndim == 4 else (c, ())
                value = int(x[b, *colour, *rest])
                if isinstance(op, ops.OneHot):
                    yield index, int(value == number), ()
                elif isinstance(op, ops.Embedding):
                    yield index, 1, (("weight", (value, number)),)
                else:
                    yield index, (value - _number(op.mean, dtype)) / _number(op.std, dtype), ()
            case ops.Activation():
                slope = _number(op.slope, dtype) if op.kind == "leaky_relu" else 0
                yield index, 1 if x[index] > 0 else slope, (("0", index),)
            case ops.Affine():
                yield index, _number(op.scale, dtype), (("0", index),)
                yield index, _number(op.shift, dtype), ()
            case ops.Add():
                for name in args:
                    yield index, 1, ((name, index[: arrays[name].ndim]),)
            case ops.Multiply():
                yield index, 1, tuple((name, index[: arrays[name].ndim]) for name in args)
            case ops.Concat():
                first = 0
                for name in args:
                    if first <= c < first + arrays[name].shape[1]:
                        yield index, 1, ((name, (b, c - first, *rest)[: arrays[name].ndim]),)
                    first += arrays[name].shape[1]
            case ops.Slice():
                yield index, 1, (("0", (b, op.start + c, *rest)),)
            case ops.Input() | ops.Gate() | ops.Softmax():
                raise TypeError(f"{type(op).__name__} is no sum of products")
            case _:
                assert_never(op)


def _masked(op: ops.Conv2d, x: Array, index: Index, bias: bool) -> Iterator[Term]:
    b, o, r, s = index
    if bias:
        yield index, 1, (("bias", (o,)),)
    size = x.shape[1] // op.groups
    first = o // (op.channels // op.groups) * size
    a, e = op.anchor if op.anchor is not None else (op.kernel[0] // 2, op.kernel[1] // 2)
    for i, u, v in product(range(size), range(op.kernel[0]), range(op.kernel[1])):
        if op.mask != "none":
            if u > a or (u == a and v > e):
                continue
            given, wanted = (first + i) % op.colours, o % op.colours
            if u == a and v == e and not (given < wanted or (given == wanted and op.mask == "B")):
                continue
        row, column = r + (u - a) * op.dilation[0], s + (v - e) * op.dilation[1]
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            yield index, 1, (("weight", (o, i, u, v)), ("0", (b, first + i, row, column)))


def _pooled(op: ops.Pool1d, x: Array, index: Index) -> Iterator[Term]:
    b, c, t = index
    places = [t - k * op.dilation for k in range(op.kernel)]
    if op.pad == "exclude":
        places = [s for s in places if s >= 0]
    if op.kind == "avg":
        for s in places:
            if s >= 0:
                yield index, Fraction(1, len(places)), (("0", (b, c, s)),)
        return
    largest = max(x[b, c, s] if s >= 0 else 0 for s in places)
    first = next(s for s in places if (x[b, c, s] if s >= 0 else 0) == largest)
    if first >= 0:
        yield index, 1, (("0", (b, c, first)),)


def _transcendental(op: Rounded, x: Array) -> Array:
    y = np.empty(_shape(op, {"0": x}, 0), object)
    for index in np.ndindex(y.shape):
        b, c, *rest = index
        with localcontext(prec=_digits(x)):
            match op:
                case ops.Activation():
                    y[index] = _tanh(x[index]) if op.kind == "tanh" else _sigmoid(x[index])
                case ops.Gate():
                    y[index] = _tanh(x[index]) * _sigmoid(x[b, y.shape[1] + c, *rest])
                case ops.Softmax():
                    column = [_decimal(x[b, j, *rest]).exp() for j in range(x.shape[1])]
                    y[index] = column[c] / sum(column)
                case _:
                    assert_never(op)
    return y


def _transcendental_gradient(op: Rounded, x: Array, dy: Array) -> Array:
    """tanh' = 1 / cosh², σ'(x) = σ(x)·σ(-x), ∂softmax_j/∂x_c = y_j·([j = c] - y_c)."""
    dx = np.full(x.shape, Decimal(0), object)
    for index in np.ndindex(dy.shape):
        b, c, *rest = index
        with localcontext(prec=_digits(x)):
            d = _decimal(dy[index])
            match op:
                case ops.Activation():
                    dx[index] = d * (_tanh_slope(x[index]) if op.kind == "tanh" else _sigmoid_slope(x[index]))
                case ops.Gate():
                    other = (b, dy.shape[1] + c, *rest)
                    dx[index] = d * _tanh_slope(x[index]) * _sigmoid(x[other])
                    dx[other] = d * _tanh(x[index]) * _sigmoid_slope(x[other])
                case ops.Softmax():
                    e = [_decimal(x[b, j, *rest]).exp() for j in range(x.shape[1])]
                    for j in range(x.shape[1]):
                        dx[b, j, *rest] += d * e[c] / sum(e) * ((j == c) - e[j] / sum(e))
                case _:
                    assert_never(op)
    return dx


def _tanh(x: Exact) -> Decimal:
    up, down = _decimal(x).exp(), _decimal(-x).exp()
    return (up - down) / (up + down)


def _tanh_slope(x: Exact) -> Decimal:
    return 4 / (_decimal(x).exp() + _decimal(-x).exp()) ** 2


def _sigmoid(x: Exact) -> Decimal:
    return 1 / (1 + _decimal(-x).exp())


def _sigmoid_slope(x: Exact) -> Decimal:
    return _sigmoid(x) * _sigmoid(-x)


def _digits(x: Array) -> int:
    """Enough digits that, whatever cancels between these numbers and their exponentials, more than 50 remain."""
    values = [_decimal(value) for value in x.flat if value]
    smallest = min((value.adjusted() for value in values), default=0)
    largest = max((abs(value) for value in values), default=Decimal(0))
    return _DIGITS + max(0, -2 * smallest) + int(2 * largest)


def _decimal(x: Exact) -> Decimal:
    """The number in decimals, exactly if it is a float of any size that `_digits` allows for."""
    return Decimal(x.numerator) / Decimal(x.denominator)


def _number(attribute: float, dtype: DTypeLike) -> Fraction:
    return Fraction(np.asarray(attribute, dtype).item())
