"""How far the value of one operator moves when its arguments are off: one table over all operators.

Two measures, for the two bounds of all orders: element by element (`network.composed`), and as a Euclidean norm over the
channels (`norms`). And which values are so near a kink that rounding may have chosen another piece of the function.
Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", sections 3.5 and 3.7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.oracle import node, pointwise
from refar.oracle.convolution import by_tap, mask_oihw
from refar.oracle.windows import whole_windows, window_offsets, windows_of

_FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True)
class Situation:
    """One operator with its exact arguments, and how far off they are.

    `off` are the errors of the arguments, element by element (B, C, …) or as norms (B, …); `earlier` those of their values at
    t < 0, (B, C, 1) or (B, 1), None for 0. `own` are the parameters, `classes` those of a lookup, `y` is the exact value.
    """

    op: ops.AnyOp
    args: Sequence[Array]
    off: Sequence[Array]
    earlier: Sequence[Array | None]
    own: Arrays
    classes: int
    y: Array

    @property
    def place(self) -> tuple[int, ...]:
        """The shape of a norm of y: (B, …)."""
        return (len(self.y), *self.y.shape[2:])

    def apply(self, args: Sequence[Array], own: Arrays | None = None) -> Array:
        """The operator on other arguments, such as errors."""
        return node.forward(self.op, args, self.earlier, self.own if own is None else own, self.classes, _FLOAT64)

    def at_place(self, norms: Sequence[Array]) -> list[Array]:
        """Norms of constants repeated at every position."""
        return [np.broadcast_to(e.reshape(e.shape + (1,) * (len(self.place) - e.ndim)), self.place) for e in norms]

    def windows(self, norms: Array, earlier: Array | None) -> list[Array]:
        """The norms that the operator reads, one array (B, …) for each tap, or a single zero if it has none."""
        assert isinstance(self.op, ops.WindowedOp | ops.ImageOp)
        places, _ = by_tap(self.op, self.own)
        windows = whole_windows(norms[:, None], places, None if earlier is None else earlier[:, None])
        return list(np.moveaxis(windows[:, 0], 1, 0)) or [np.zeros(self.place)]


@dataclass(frozen=True)
class Spread:
    """The rule of one operator: `each`, `norm`, and `near` of one with kinks: where arguments may lie on both sides of one.

    `near(args, norms)` takes the arguments and the norm of the first one's error.
    """

    each: Callable[[Situation], Array]
    norm: Callable[[Situation], Array]
    near: Callable[[Sequence[Array], Array], Array] | None = None


def spread(op: ops.AnyOp) -> Spread:
    """Return the rule of an operator. Sources: the definitions in `refar.ops`."""
    match op:
        case ops.Input() | ops.OneHot() | ops.Embedding() | ops.Standardize() | ops.Ones() | ops.Position():
            return Spread(lambda s: np.zeros(s.y.shape), lambda s: np.zeros(s.place))
        case ops.Conv1d() | ops.Conv2d():
            return Spread(
                _products, lambda s: _spectral(op, s.own["weight"]) * _root_of_squares(s.windows(s.off[0], s.earlier[0]))
            )
        case ops.Shift() | ops.Shift2d():
            return Spread(lambda s: s.apply(s.off), lambda s: s.windows(s.off[0], s.earlier[0])[0])
        case ops.Pool1d(kind="avg"):
            return Spread(lambda s: s.apply([s.off[0], *s.args[1:]]), _average)
        case ops.Pool1d():
            return Spread(
                lambda s: s.apply([s.off[0], *s.args[1:]]),
                lambda s: _root_of_squares(s.windows(s.off[0], s.earlier[0])),
                lambda args, norm: _near_another_winner(op, args, norm),
            )
        case ops.Activation():
            return _activation(op)
        case ops.Gate():
            return Spread(_gate, lambda s: _gate_slope(s.args[0], s.off[0][:, None]) * s.off[0])
        case ops.Add():
            return Spread(lambda s: s.apply(s.off), lambda s: np.asarray(sum(s.at_place(s.off))))
        case ops.Multiply():
            return Spread(_product, _product_norm)
        case ops.Affine():
            return Spread(lambda s: abs(op.scale) * s.off[0], lambda s: abs(op.scale) * s.off[0])
        case ops.Concat():
            return Spread(lambda s: s.apply(s.off), lambda s: _root_of_squares(s.at_place(s.off)))
        case ops.Slice() | ops.PadChannels() | ops.Dropout():
            return Spread(lambda s: s.apply(s.off), lambda s: s.off[0])
        case ops.Softmax():  # its Jacobian diag(y) - y·yᵀ has norm ≤ 1/2, and y is at most 1
            return Spread(
                lambda s: np.broadcast_to(np.minimum(s.off[0].max(axis=1, keepdims=True) / 2, 1), s.y.shape),
                lambda s: 0.5 * s.off[0],
            )
        case _:
            assert_never(op)


def _activation(op: ops.Activation) -> Spread:
    """Slopes at most 1, `slope`, 1 and 1/4; tanh and σ move no further than their ranges 2 and 1."""
    match op.kind:
        case "relu":
            return Spread(lambda s: s.off[0], lambda s: s.off[0], _near_zero)
        case "leaky_relu":
            steepest = max(1.0, op.slope)
            return Spread(lambda s: steepest * s.off[0], lambda s: steepest * s.off[0], _near_zero)
        case "tanh":
            return Spread(
                lambda s: np.minimum(s.off[0], 2),
                lambda s: np.asarray(_tanh_slope(s.args[0], s.off[0][:, None]).max(axis=1)) * s.off[0],
            )
        case "sigmoid":
            return Spread(
                lambda s: np.minimum(s.off[0] / 4, 1),
                lambda s: np.asarray(_sigmoid_slope(s.args[0], s.off[0][:, None]).max(axis=1)) * s.off[0],
            )
        case _:
            assert_never(op.kind)


def _products(s: Situation) -> Array:
    """|w| ∗ off, without the bias."""
    own = {"weight": np.abs(s.own["weight"])}
    return s.apply(s.off, own | {"bias": np.zeros_like(s.own["bias"])} if "bias" in s.own else own)


def _spectral(op: ops.Conv1d | ops.Conv2d, weight: Array) -> float:
    """The largest singular value of the taps side by side, (C_out, C_in·K): of each group, whose channels do not meet."""
    masked = np.where(mask_oihw(op, weight.shape), weight, 0) if isinstance(op, ops.Conv2d) else weight
    return max(float(np.linalg.norm(part.reshape(len(part), -1), 2)) for part in np.split(masked, op.groups))


def _average(s: Situation) -> Array:
    windows = s.windows(s.off[0], s.earlier[0])
    there = s.windows(s.args[1][:, 0], None) if len(s.args) > 1 else [np.ones(())] * len(windows)
    return np.asarray(sum(windows)) / sum(there)


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


def _product_norm(s: Situation) -> Array:
    """Σ_i N_i · Π_{j≠i} (largest |x_j| + N_j): each factor moves while the others are as large as they may be."""
    wide = s.at_place([np.abs(x).max(axis=1) + e for x, e in zip(s.args, s.off, strict=True)])
    others = [np.prod([w for j, w in enumerate(wide) if j != i], axis=0) for i in range(len(wide))]
    return np.asarray(sum(moved * other for moved, other in zip(s.at_place(s.off), others, strict=True)))


def _gate_slope(x: Array, off: Array) -> Array:
    """|Δ(tanh(a)·σ(b))| ≤ tanh'·σ·|Δa| + |tanh|·σ'·|Δb|, each factor the largest that it may be, in any channel."""
    a, b = np.split(x, 2, axis=1)
    by_a = _tanh_slope(a, off) * pointwise.sigmoid(b + off)
    by_b = np.tanh(np.abs(a) + off) * _sigmoid_slope(b, off)
    return np.asarray(np.hypot(by_a, by_b).max(axis=1))


def _tanh_slope(x: Array, off: Array) -> Array:
    return 1 - np.tanh(np.maximum(np.abs(x) - off, 0)) ** 2


def _sigmoid_slope(x: Array, off: Array) -> Array:
    """σ'(x) = (1 - tanh²(x/2)) / 4."""
    return _tanh_slope(x / 2, off / 2) / 4


def _root_of_squares(norms: Sequence[Array]) -> Array:
    return np.sqrt(sum(each**2 for each in norms))


def _near_zero(args: Sequence[Array], norm: Array) -> Array:
    """Where a relu's argument may have the other sign."""
    off = norm[:, None]
    return (np.abs(args[0]) <= off) & (off > 0)


def _near_another_winner(op: ops.Pool1d, args: Sequence[Array], norm: Array) -> Array:
    """Where another value of the window may be the maximum; equal and exact is no kink."""
    offsets, x, e = window_offsets(op), args[0], norm[:, None]
    lowest, highest = windows_of(x - e, offsets), windows_of(x + e, offsets)
    if len(args) > 1:
        there = windows_of(args[1], offsets) > 0
        lowest, highest = np.where(there, lowest, -np.inf), np.where(there, highest, -np.inf)
    winners = highest >= lowest.max(axis=2, keepdims=True)
    return (winners.sum(axis=2) > 1) & (winners & (highest > lowest)).any(axis=2)
