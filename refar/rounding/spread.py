"""How far the value of one operator moves when its arguments are off, element by element: one table over all operators.

And which values are so near a kink that rounding may have chosen another piece of the function. `network.composed` goes through a
graph by these rules. That each one holds, and is not far above what happens, tests/rounding/test_bounds_hold.py shows.
Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", sections 3.5 and 3.7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from refar import ops
from refar.analysis.kinks import bends
from refar.arguments.arrays import Array, Arrays
from refar.oracle import node, pointwise
from refar.oracle.windows import window_offsets, windows_of
from refar.rounding import elementwise, norm_bounds

_FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True)
class Situation:
    """One operator with its exact arguments, and how far off they are.

    `off` are the errors of the arguments, `earlier` those of their values at t < 0, (B, C, 1), None for 0. `own` are the
    parameters, `classes` those of a lookup, `y` is the exact value.
    """

    op: ops.AnyOp
    args: Sequence[Array]
    off: Sequence[Array]
    earlier: Sequence[Array | None]
    own: Arrays
    classes: int
    y: Array

    def apply(self, args: Sequence[Array], own: Arrays | None = None) -> Array:
        """The operator on other arguments, such as errors."""
        return node.forward(self.op, args, self.earlier, self.own if own is None else own, self.classes, _FLOAT64)


@dataclass(frozen=True)
class Spread:
    """The rule of one operator: how far each value moves, and `near` of one with kinks: where arguments may lie on both sides.

    `near(args, off)` takes the arguments and the errors of the first one.
    """

    each: Callable[[Situation], Array]
    near: Callable[[Sequence[Array], Array], Array] | None = None


def spread(op: ops.AnyOp) -> Spread:
    """Return the rule of an operator. Sources: the definitions in `refar.ops`."""
    match op:
        case ops.Input() | ops.OneHot() | ops.Embedding() | ops.Standardize() | ops.Ones() | ops.Position():
            return Spread(lambda s: np.zeros(s.y.shape))
        case ops.Conv1d() | ops.Conv2d():
            return Spread(_products)
        case ops.Pool1d(kind="avg"):
            return Spread(lambda s: s.apply([s.off[0], *s.args[1:]]))
        case ops.Pool1d():
            return Spread(lambda s: s.apply([s.off[0], *s.args[1:]]), lambda args, off: _near_another_winner(op, args, off))
        case ops.Activation():
            return _activation(op)
        case ops.Gate():
            return Spread(_gate)
        case ops.Multiply():
            return Spread(_product)
        case ops.Affine():
            return Spread(lambda s: abs(op.scale) * s.off[0])
        case ops.Shift() | ops.Shift2d() | ops.Add() | ops.Concat() | ops.Slice() | ops.PadChannels() | ops.Dropout():
            return Spread(lambda s: s.apply(s.off))
        case ops.ScaleShift():
            return Spread(_products)
        case ops.PRelu():
            return Spread(lambda s: np.maximum(1, np.abs(_weight(s))) * s.off[0], _near_a_bend(op))
        case ops.Norm():
            return Spread(lambda s: np.abs(_weight(s)) * norm_bounds.spread(op, s.args[0], s.off[0]))
        case ops.Softmax():
            return Spread(_softmax)
        case _:
            assert_never(op)


def _activation(op: ops.Activation) -> Spread:
    """As far as the steepest slope takes it, and no further than from the smallest value to the largest."""
    steepest, span = elementwise.steepest(op), elementwise.span(op)
    return Spread(lambda s: np.minimum(steepest * s.off[0], span), _near_a_bend(op))


def _near_a_bend(op: ops.AnyOp) -> Callable[[Sequence[Array], Array], Array] | None:
    """Where a kink lies within the error of the argument."""
    bent = bends(op)

    def near(args: Sequence[Array], off: Array) -> Array:
        return (off > 0) & np.any([np.abs(args[0] - at) <= off for at in bent], axis=0)

    return near if bent else None


def _weight(s: Situation) -> Array:
    """One number for each channel, where it meets the value."""
    return pointwise.by_channel(s.own["weight"], s.y)


def _products(s: Situation) -> Array:
    """|w| ∗ off, without the bias."""
    own = {"weight": np.abs(s.own["weight"])}
    return s.apply(s.off, own | {"bias": np.zeros_like(s.own["bias"])} if "bias" in s.own else own)


def _gate(s: Situation) -> Array:
    """|Δ(t·σ)| ≤ |Δt|·σ + |t|·|Δσ| + |Δt|·|Δσ|, at most 2."""
    (a, b), (ea, eb) = np.split(s.args[0], 2, axis=1), np.split(s.off[0], 2, axis=1)
    t, sigma = np.abs(np.tanh(a)), pointwise.sigmoid(b)
    ea, eb = np.minimum(ea, 2), np.minimum(eb / 4, 1)
    return np.minimum(ea * sigma + eb * t + ea * eb, 2)


def _product(s: Situation) -> Array:
    """Π(|x| + off) - Π|x|."""
    sizes = [np.abs(x) for x in s.args]
    return s.apply([x + e for x, e in zip(sizes, s.off, strict=True)]) - s.apply(sizes)


def _softmax(s: Situation) -> Array:
    """Its Jacobian diag(y) - y·yᵀ takes errors up to e to at most e/2, and y is at most 1."""
    return np.broadcast_to(np.minimum(s.off[0].max(axis=1, keepdims=True) / 2, 1), s.y.shape)


def _near_another_winner(op: ops.Pool1d, args: Sequence[Array], e: Array) -> Array:
    """Where another value of the window may be the maximum; equal and exact is no kink."""
    offsets, x = window_offsets(op), args[0]
    lowest, highest = windows_of(x - e, offsets), windows_of(x + e, offsets)
    if len(args) > 1:
        there = windows_of(args[1], offsets) > 0
        lowest, highest = np.where(there, lowest, -np.inf), np.where(there, highest, -np.inf)
    winners = highest >= lowest.max(axis=2, keepdims=True)
    return (winners.sum(axis=2) > 1) & (winners & (highest > lowest)).any(axis=2)
