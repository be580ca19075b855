"""The definition of each operator once more, over exact numbers: what the fast NumPy is checked against, sharing no code.

`definition` is one table over all operators. A polynomial or piecewise-linear operator is a `Sum`: for each number of y the
*terms* that its definition adds up,

    y[index] = Σ coefficient · Π factors        with factors such as weight[o,i,k] and x[b,i,s].

Value and gradient are read off those terms: by the product rule a term gives each of its factors
coefficient · (the other factors) · dy[index]. Numbers are Python's integers and fractions, so nothing rounds.
Any other operator is a `Curve`, computed with at least 50 decimal digits and rounded to float64 once, at the end.
Source: the equations in `refar.ops`, index by index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction
from functools import cache
from itertools import product
from math import prod
from typing import Any, assert_never

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from refar import ops
from refar.exact import curves, norms
from refar.exact.curves import Exact, decimal, number

Array = NDArray[Any]
Index = tuple[int, ...]
Factor = tuple[str, Index]
"""A number in an array: "0", "1", … are the arguments, "weight" and "bias" the parameters."""
Term = tuple[Fraction | int, tuple[Factor, ...]]
"""A coefficient and the factors beside it."""
Slopes = Iterator[tuple[Factor, Decimal]]

_DIGITS = 60
_WIDE = Context(Emin=MIN_EMIN, Emax=MAX_EMAX)
"""A context of decimals in which no exponential overflows."""
_NOTHING = np.zeros((0, 0, 0), object)
"""An argument without a number: which kind of definition an operator has does not depend on its arguments."""


@dataclass(frozen=True)
class Sum:
    """An operator that adds up products: the shape of y, and the terms of y[index]."""

    shape: Index
    terms: Callable[[Index], Iterator[Term]]


@dataclass(frozen=True)
class Curve:
    """An operator that is no such sum: the shape of y, y[index] in many digits, and what flows back from d = dy[index].

    `back(index, d)` gives the numbers that y[index] depends on, and d · ∂y[index]/∂number. `digits` are those that it is computed
    with; None for as many as exponentials of its argument need.
    """

    shape: Index
    value: Callable[[Index], Decimal]
    back: Callable[[Index, Decimal], Slopes]
    digits: int | None = None


def evaluate(
    op: ops.AnyOp,
    args: Sequence[ArrayLike],
    params: Mapping[str, ArrayLike] | None = None,
    *,
    classes: int = 0,
    dtype: DTypeLike = np.float64,
    rounded: bool = True,
) -> Array:
    """Return the value of one operator: integers and fractions (an object array), or float64 where it has an exponential.

    `args` as in `refar.ops`; `params` may hold "weight" and "bias"; `classes` is that of an argument of class indices, else 0.
    Attributes such as a slope enter as the exact value that they have in `dtype`. Unless `rounded`, the values with an
    exponential too are fractions, with all their digits.
    """
    arrays = _exact_arrays(args, params)
    found = definition(op, arrays, classes, dtype)
    if isinstance(found, Sum):
        y = _zeros(found.shape)
        for index in np.ndindex(found.shape):
            for coefficient, factors in found.terms(index):
                y[index] += coefficient * prod(arrays[name][at] for name, at in factors)
        return y
    y = np.empty(found.shape, object)
    for index in np.ndindex(found.shape):
        with localcontext(_WIDE, prec=found.digits or digits_for(arrays["0"])):
            y[index] = found.value(index)
    return _finished(y, rounded)


def gradient(
    op: ops.AnyOp,
    args: Sequence[ArrayLike],
    dy: ArrayLike,
    params: Mapping[str, ArrayLike] | None = None,
    *,
    dtype: DTypeLike = np.float64,
    rounded: bool = True,
) -> dict[str, Array]:
    """Return the gradients of Σ dy·y, {"0", "1", …: of the arguments, "weight", "bias": of the parameters}.

    Exact or rounded as in `evaluate`. For class indices the entry is 0: nothing flows into them.
    """
    arrays, upstream = _exact_arrays(args, params), exact(dy)
    found = definition(op, arrays, 0, dtype)
    if isinstance(found, Sum):
        gradients = {name: _zeros(array.shape) for name, array in arrays.items()}
        for index in np.ndindex(upstream.shape):
            for coefficient, factors in found.terms(index):
                for n, (name, at) in enumerate(factors):
                    others = prod(arrays[other][where] for other, where in factors[:n] + factors[n + 1 :])
                    gradients[name][at] += coefficient * others * upstream[index]
        return gradients
    # -0 + slope is the slope, also where that is -0
    sums = {name: np.full(array.shape, Decimal("-0"), object) for name, array in arrays.items()}
    for index in np.ndindex(upstream.shape):
        with localcontext(_WIDE, prec=found.digits or digits_for(arrays["0"])):
            for (name, place), slope in found.back(index, decimal(upstream[index])):
                sums[name][place] += slope
    return {name: _finished(total, rounded) for name, total in sums.items()}


def is_exact(op: ops.AnyOp) -> bool:
    """Return whether the definition of `op` is a `Sum`: a polynomial or piecewise linear, rational on rational numbers."""
    return isinstance(definition(op, {"0": _NOTHING}, 0, np.float64), Sum)


def definition(op: ops.AnyOp, arrays: Mapping[str, Array], classes: int, dtype: DTypeLike) -> Sum | Curve:
    """Return the definition of an operator for these arguments and parameters. `classes` matters to lookups only."""
    x = arrays["0"]
    args = [name for name in arrays if name.isdecimal()]
    batch, place = x.shape[0], x.shape[2:]
    everywhere = max((arrays[name].shape[2:] for name in args), default=())  # a constant is used at every position
    match op:
        case ops.Input():
            return Sum(x.shape, lambda i: iter([(1, (("0", i),))]))
        case ops.Conv1d():
            return Sum((batch, op.channels, *place), lambda i: _convolved(op, x, i, "bias" in arrays))
        case ops.Conv2d():
            return Sum((batch, op.channels, *place), lambda i: _masked(op, x, i, "bias" in arrays))
        case ops.Shift():
            return Sum(x.shape, lambda i: _inside(x, (*i[:2], i[2] - op.steps)))
        case ops.Shift2d():
            return Sum(x.shape, lambda i: _inside(x, (*i[:2], i[2] - op.down, i[3] - op.right)))
        case ops.Pool1d():
            return Sum(x.shape, lambda i: _pooled(op, x, i))
        case ops.PadChannels():
            return Sum((batch, op.before + x.shape[1] + op.after, *place), lambda i: _inside(x, (i[0], i[1] - op.before, *i[2:])))
        case ops.Ones():
            return Sum((batch, 1, *(_rows(x) if classes else place)), lambda i: iter([(1, ())]))
        case ops.Position():
            return Sum(
                (batch, 2 * op.bits, *place),
                lambda i: iter([((i[2] if i[1] < op.bits else i[3]) // 2 ** (i[1] % op.bits) % 2, ())]),
            )
        case ops.OneHot():
            return _looked_up(x, classes, lambda value, number: (int(value == number), ()))
        case ops.Embedding():
            return _looked_up(x, op.channels, lambda value, number: (1, (("weight", (value, number)),)))
        case ops.Standardize():
            mean, std = number(op.mean, dtype), number(op.std, dtype)
            return _looked_up(x, 1, lambda value, number: ((value - mean) / std, ()))
        case ops.Activation():
            return _activation(op, x, dtype)
        case ops.Gate():
            return _gate(x)
        case ops.Affine():
            scale, shift = number(op.scale, dtype), number(op.shift, dtype)
            return Sum(x.shape, lambda i: iter([(scale, (("0", i),)), (shift, ())]))
        case ops.ScaleShift():
            return Sum(x.shape, lambda i: _scaled_and_shifted(i, "bias" in arrays))
        case ops.PRelu():
            return Sum(x.shape, lambda i: iter([(1, (("0", i),) if x[i] > 0 else (("weight", (i[1],)), ("0", i)))]))
        case ops.Norm():
            return _norm(op, arrays, number(op.eps, dtype))
        case ops.Dropout():
            return Sum(x.shape, lambda i: iter([(1, (("0", i),))]))
        case ops.Add():
            return Sum((*x.shape[:2], *everywhere), lambda i: iter([(1, ((n, i[: arrays[n].ndim]),)) for n in args]))
        case ops.Multiply():
            return Sum((*x.shape[:2], *everywhere), lambda i: iter([(1, tuple((n, i[: arrays[n].ndim]) for n in args))]))
        case ops.Concat():
            size = sum(arrays[name].shape[1] for name in args)
            return Sum((batch, size, *everywhere), lambda i: _joined([(name, arrays[name]) for name in args], i))
        case ops.Slice():
            return Sum((batch, op.stop - op.start, *place), lambda i: iter([(1, (("0", (i[0], op.start + i[1], *i[2:])),))]))
        case ops.Softmax():
            return _softmax(x)
        case _:
            assert_never(op)


def _rows(x: Array) -> Index:
    """The places of class indices, which of an image have an axis of colour channels."""
    return x.shape[2:] if x.ndim == 4 else x.shape[1:]


def _looked_up(x: Array, size: int, term: Callable[[int, int], Term]) -> Sum:
    """y[b, number, …] is `term` of the class there and the number; of an image channel k·C + c is number k of colour c."""
    colours = x.shape[1] if x.ndim == 4 else 1

    def terms(index: Index) -> Iterator[Term]:
        b, c, *rest = index
        number, colour = (c // colours, (c % colours,)) if x.ndim == 4 else (c, ())
        yield term(int(x[b, *colour, *rest]), number)

    return Sum((x.shape[0], size * colours, *_rows(x)), terms)


def _inside(x: Array, at: Index) -> Iterator[Term]:
    """The number at a place, or nothing outside the array."""
    if all(0 <= n < length for n, length in zip(at, x.shape, strict=True)):
        yield 1, (("0", at),)


def _joined(parts: Sequence[tuple[str, Array]], index: Index) -> Iterator[Term]:
    (b, c, *rest), first = index, 0
    for name, array in parts:
        if first <= c < first + array.shape[1]:
            yield 1, ((name, (b, c - first, *rest)[: array.ndim]),)
        first += array.shape[1]


def _convolved(op: ops.Conv1d, x: Array, index: Index, bias: bool) -> Iterator[Term]:
    b, o, *rest = index
    if bias:
        yield 1, (("bias", (o,)),)
    size = x.shape[1] // op.groups
    first = o // (op.channels // op.groups) * size
    for i, k in product(range(size), range(op.kernel)):
        if not rest:
            yield 1, (("weight", (o, i, k)), ("0", (b, first + i)))
        elif (s := rest[0] - op.strict - (op.kernel - 1 - k) * op.dilation) >= 0:
            yield 1, (("weight", (o, i, k)), ("0", (b, first + i, s)))


def _activation(op: ops.Activation, x: Array, dtype: DTypeLike) -> Sum | Curve:
    match op.kind:
        case "relu":
            return Sum(x.shape, lambda i: iter([(1 if x[i] > 0 else 0, (("0", i),))]))
        case "leaky_relu":
            slope = number(op.slope, dtype)
            return Sum(x.shape, lambda i: iter([(1 if x[i] > 0 else slope, (("0", i),))]))
        case "clip":
            low, high = number(op.low, dtype), number(op.high, dtype)
            return Sum(x.shape, lambda i: iter([(1, (("0", i),)) if low < x[i] < high else (low if x[i] <= low else high, ())]))
        case (
            "tanh" | "sigmoid" | "elu" | "selu" | "gelu" | "gelu_tanh" | "silu" | "softplus" | "softsign"
            | "hard_sigmoid" | "hard_swish" | "mish" | "sin" | "snake"
        ):  # fmt: skip
            kind: curves.Curved = op.kind
            return Curve(
                x.shape,
                lambda i: curves.value(kind, op, x[i], dtype),
                lambda i, d: iter([(("0", i), d * curves.slope(kind, op, x[i], dtype))]),
            )
        case _:
            assert_never(op.kind)


def _gate(x: Array) -> Curve:
    half = x.shape[1] // 2

    def other(i: Index) -> Index:
        return (i[0], half + i[1], *i[2:])

    def back(i: Index, d: Decimal) -> Slopes:
        a, b = decimal(x[i]), decimal(x[other(i)])
        yield ("0", i), d * curves.tanh_slope(a) * curves.sigmoid(b)
        yield ("0", other(i)), d * curves.tanh(a) * curves.sigmoid_slope(b)

    def value(i: Index) -> Decimal:
        return curves.tanh(decimal(x[i])) * curves.sigmoid(decimal(x[other(i)]))

    return Curve((x.shape[0], half, *x.shape[2:]), value, back)


def _scaled_and_shifted(i: Index, bias: bool) -> Iterator[Term]:
    yield 1, (("weight", (i[1],)), ("0", i))
    if bias:
        yield 1, (("bias", (i[1],)),)


def _norm(op: ops.Norm, arrays: Mapping[str, Array], eps: Fraction) -> Curve:
    x = arrays["0"]

    @cache
    def at(place: Index) -> norms.Normed:
        batch, *rest = place
        return norms.Normed(op.kind, [x[batch, j, *rest] for j in range(x.shape[1])], eps)

    def normed(i: Index) -> norms.Normed:
        return at((i[0], *i[2:]))

    def value(i: Index) -> Decimal:
        y = decimal(arrays["weight"][i[1]]) * normed(i).value(i[1])
        return y + decimal(arrays["bias"][i[1]]) if "bias" in arrays else y

    def back(i: Index, d: Decimal) -> Slopes:
        found, c = normed(i), i[1]
        for j in range(x.shape[1]):
            yield ("0", (i[0], j, *i[2:])), d * decimal(arrays["weight"][c]) * found.slope(c, j)
        yield ("weight", (c,)), d * found.value(c)
        if "bias" in arrays:
            yield ("bias", (c,)), d

    return Curve(x.shape, value, back, digits=2 * _DIGITS)  # all but a root is of fractions


def _softmax(x: Array) -> Curve:
    def column(i: Index) -> list[Decimal]:
        return [decimal(x[i[0], j, *i[2:]]).exp() for j in range(x.shape[1])]

    def value(i: Index) -> Decimal:
        return column(i)[i[1]] / sum(column(i))

    def back(i: Index, d: Decimal) -> Slopes:
        """∂softmax_c/∂x_j = y_c·([j = c] - y_j)."""
        e, c = column(i), i[1]
        for j in range(x.shape[1]):
            yield ("0", (i[0], j, *i[2:])), 0 + d * e[c] / sum(e) * ((j == c) - e[j] / sum(e))  # a sum has no -0

    return Curve(x.shape, value, back)


def exact(array: ArrayLike) -> Array:
    """The same numbers as Python integers and fractions."""
    source = np.asarray(array)
    result = np.empty(source.shape, object)
    for index in np.ndindex(source.shape):
        value: Exact = source[index]
        fraction = Fraction(value if isinstance(value, int | Fraction | Decimal) else value.item())
        result[index] = fraction.numerator if fraction.denominator == 1 else fraction
    return result


def _exact_arrays(args: Sequence[ArrayLike], params: Mapping[str, ArrayLike] | None) -> dict[str, Array]:
    arrays = {str(n): exact(arg) for n, arg in enumerate(args)}
    return arrays | {name: exact(array) for name, array in (params or {}).items()}


def _finished(decimals: Array, rounded: bool) -> Array:
    return decimals.astype(np.float64) if rounded else exact(decimals)


def _zeros(shape: Index) -> Array:
    return np.full(shape, 0, object)


def _masked(op: ops.Conv2d, x: Array, index: Index, bias: bool) -> Iterator[Term]:
    b, o, r, s = index
    if bias:
        yield 1, (("bias", (o,)),)
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
            yield 1, (("weight", (o, i, u, v)), ("0", (b, first + i, row, column)))


def _pooled(op: ops.Pool1d, x: Array, index: Index) -> Iterator[Term]:
    b, c, t = index
    places = [t - k * op.dilation for k in range(op.kernel)]
    if op.pad == "exclude":
        places = [s for s in places if s >= 0]
    if op.kind == "avg":
        for s in places:
            if s >= 0:
                yield Fraction(1, len(places)), (("0", (b, c, s)),)
        return
    largest = max(x[b, c, s] if s >= 0 else 0 for s in places)
    first = next(s for s in places if (x[b, c, s] if s >= 0 else 0) == largest)
    if first >= 0:
        yield 1, (("0", (b, c, first)),)


def digits_for(x: Array) -> int:
    """Enough digits that, whatever cancels between these numbers and their exponentials, more than 50 remain."""
    values = [decimal(value) for value in x.flat if value]
    smallest = min((value.adjusted() for value in values), default=0)
    largest = max((abs(value) for value in values), default=Decimal(0))
    return _DIGITS + max(0, -2 * smallest) + int(2 * largest)
