"""Sums, products and what is made of them, of values with values, with fixed tensors and with numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.importing import pointwise
from refar.importing.context import Arguments, Context
from refar.importing.functions import ErrorFunction, gelu_of, softsign
from refar.importing.norms import Root, divided, inverse
from refar.importing.values import Constant, Filled, Labelled, Part, StackedValues, Varying, shape


def add(c: Context, a: Arguments) -> Labelled | ErrorFunction:
    """self + alpha·other. Here and below, numbers of channels that `folds` become a part of the convolution before them."""
    match a["self"], a["other"]:
        case (ErrorFunction() as error, given) | (given, ErrorFunction() as error) if (number := _single(given)) is not None:
            return error.plus(number)
    return _plus(c, a["self"], a["other"], float(a.get("alpha", 1)), a.get("folds", False))


def sub(c: Context, a: Arguments) -> Labelled:
    """self - alpha·other."""
    return _plus(c, a["self"], a["other"], -float(a.get("alpha", 1)), a.get("folds", False))


def rsub(c: Context, a: Arguments) -> Labelled:
    """other - alpha·self."""
    return _plus(c, a["other"], a["self"], -float(a.get("alpha", 1)))


def mul(c: Context, a: Arguments) -> Labelled | ErrorFunction | Root:
    """self · other."""
    one, other = a["self"], a["other"]
    if not isinstance(one, Labelled):
        one, other = other, one
    match one, other:
        case (ErrorFunction() as error, given) | (given, ErrorFunction() as error):
            number = _single(given)
            return gelu_of(c, c.value(given), error) if number is None else error.scaled(number)
        case (Root() as by, given) | (given, Root() as by):
            number = _single(given)
            return divided(c, given, by, inverse=True) if number is None else by.scaled(number)
    return _times(c, one, other, a.get("folds", False))


def div(c: Context, a: Arguments) -> Labelled | Root:
    """self / other, where other is fixed, or 1 + |self|, or the root of the mean square of self."""
    if a.get("rounding_mode"):
        raise c.refuse("a division that rounds", "divide real numbers")
    if (found := softsign(c, a["self"], a["other"])) is not None:
        return found
    match a["other"]:
        case Root() as by:
            number = _single(a["self"])
            return divided(c, a["self"], by) if number is None else inverse(c, {"self": by}).scaled(number)
        case given if isinstance(a["self"], Root) and (number := _single(given)) is not None:
            return a["self"].scaled(1 / number)
        case Labelled() | StackedValues():
            raise c.refuse("a division by a computed value", "refar has no operator for it")
        case Constant(array, origins):
            return _times(c, a["self"], Constant(1 / np.asarray(array, np.float64), origins), a.get("folds", False))
        case Filled(number, sizes):
            return _times(c, a["self"], Filled(1 / number, sizes))
        case Varying():
            return _times(c, a["self"], a["other"])  # which is refused
        case number:
            return _times(c, a["self"], 1 / number)


def _single(given: Any) -> float | None:
    """Return what is fixed as one number, and None for anything else."""
    match given:
        case int() | float():
            return float(given)
        case Filled(number):
            return number
        case Constant(array) if array.size == 1:
            return float(array.reshape(()))
        case _:
            return None


def _plus(c: Context, one: Any, other: Any, scale: float, folds: bool = False) -> Labelled:
    """one + scale·other."""
    if isinstance(one, Labelled) and isinstance(other, Labelled):
        return _joined(c, ops.Add(), one, pointwise.affine(c.draft, other, scale, 0.0, c.place))
    if isinstance(other, Labelled):
        x, fixed = pointwise.affine(c.draft, other, scale, 0.0, c.place), _number(c, other, one)
    else:
        x, fixed = c.value(one), scale * _number(c, c.value(one), other)
    x = _real(c, x)
    if fixed.size == 1:
        return pointwise.affine(c.draft, x, 1.0, float(fixed.reshape(())), c.place)
    x = pointwise.spread(c.draft, x, fixed.size, c.place)
    wish, origin = c.named(one, other)
    ones = np.ones(x.size)
    return pointwise.of_channels(c.draft, x, ones, fixed, wish=wish, origin=origin, place=c.place, folds=folds)


def _times(c: Context, one: Any, other: Any, folds: bool = False) -> Labelled:
    x = _real(c, c.value(one))
    if isinstance(other, Labelled):
        return _joined(c, ops.Multiply(), x, other)
    fixed = _number(c, x, other)
    if fixed.size == 1:
        return pointwise.affine(c.draft, x, float(fixed.reshape(())), 0.0, c.place)
    x = pointwise.spread(c.draft, x, fixed.size, c.place)
    wish, origin = c.named(other)
    return pointwise.of_channels(c.draft, x, fixed, None, wish=wish, origin=origin, place=c.place, folds=folds)


def _real(c: Context, x: Labelled) -> Labelled:
    """Class indices that are reckoned with are numbers from here on."""
    return pointwise.numbers(c.draft, x, c.place) if x.indexed else x


def _number(c: Context, x: Labelled, given: Any) -> Array:
    """Return what is fixed as one number, or as one for each channel of x."""
    match given:
        case bool() | int() | float():
            return np.asarray(float(given))
        case Filled(number, sizes):
            whole = shape(x, c.runs)[len(x.axes) - len(sizes) :]
            if len(sizes) > len(x.axes) or any(n not in (c.runs.same(1), m) for n, m in zip(sizes, whole, strict=True)):
                raise c.refuse("a tensor of one number widens the value that it meets")
            return np.asarray(number)
        case Constant():
            return _of_channels(c, x, np.asarray(given.array, np.float64))
        case Part():
            raise given.error
        case Varying():
            raise c.refuse("a number that follows from the length: it would change while a stream runs", "use a fixed number")
        case _:
            raise c.refuse(f"arithmetic with {type(given).__name__}")


def _of_channels(c: Context, x: Labelled, fixed: Array) -> Array:
    if fixed.size == 1 and fixed.ndim <= len(x.axes):
        return fixed
    for axis, size in zip(reversed(x.axes), reversed(fixed.shape), strict=False):
        if size != 1 and axis != "C":
            raise c.refuse(f"fixed numbers along axis {axis}: they would depend on the position", "one for each channel is taken")
    if fixed.ndim > len(x.axes):
        raise c.refuse("fixed numbers with more axes than the value that they meet")
    return fixed.reshape(-1)


def _joined(c: Context, op: ops.Add | ops.Multiply, one: Labelled, other: Labelled) -> Labelled:
    """Put two values together, of which axes of one element are repeated."""
    found = pointwise.joined(c.draft, op, [_real(c, one), _real(c, other)], c.place)
    return replace(found, axes=_met(c, one, other))


def _met(c: Context, one: Labelled, other: Labelled) -> tuple[str, ...]:
    """Return the axes of two values together. Raises ImportRefused where different axes meet."""
    count = max(len(one.axes), len(other.axes))
    pairs = zip(*(["1"] * (count - len(v.axes)) + list(v.axes) for v in (one, other)), strict=True)
    met = []
    for a, b in pairs:
        if a != b and "1" not in (a, b):
            raise c.refuse(f"values with the axes {', '.join(one.axes)} and {', '.join(other.axes)} meet", "line the axes up")
        met.append(b if a == "1" else a)
    if len(set("".join(met)) - {"1"}) < len("".join(met).replace("1", "")):
        raise c.refuse(f"values with the axes {', '.join(one.axes)} and {', '.join(other.axes)} meet", "line the axes up")
    return tuple(met)


def linear(c: Context, a: Arguments) -> Labelled:
    """A dense layer over the last axis, which must hold the channels."""
    x, weight, bias = c.value(a["input"]), c.array(a["weight"], "its weight"), c.optional(a["bias"], "its bias")
    if x.axes[-1] != "C":
        what = f"a dense layer over axis {x.axes[-1]}, not over channels"
        raise c.refuse(what, "put channels last; over positions it is no stream")
    wish, origin = c.named(a["weight"], a["bias"])
    return pointwise.dense(c.draft, x, weight, bias, wish=wish, origin=origin, place=c.place)


def batch_norm(c: Context, a: Arguments) -> Labelled:
    """(x - mean)/√(var + eps)·weight + bias with running statistics: a scale and a shift for each channel."""
    if a["training"] or a["running_mean"] is None:
        raise c.refuse("batch norm by the statistics of the batch: a position then depends on all others", "call .eval()")
    x = c.value(a["input"])
    if len(x.axes) < 2 or x.axes[1] != "C":
        raise c.refuse(f"batch norm over axis {x.axes[1] if len(x.axes) > 1 else '?'}, not over channels", "transpose before")
    mean, var = c.array(a["running_mean"], "its mean"), c.array(a["running_var"], "its variance")
    weight, bias = c.optional(a["weight"], "its weight"), c.optional(a["bias"], "its bias")
    scale = (1.0 if weight is None else weight) / np.sqrt(var + float(a["eps"]))
    shift = (0.0 if bias is None else bias) - mean * scale
    names = [a[name] for name in ("weight", "bias", "running_mean", "running_var")]
    wish, origin = c.named(*names)
    return pointwise.of_channels(c.draft, x, scale, shift, wish=wish, origin=origin, place=c.place, folds=True)
