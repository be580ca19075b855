"""Each operator in ball arithmetic: its value over the real numbers, enclosed. One match over all operators.

A ball is a midpoint and a radius, `flint.arb`: every operation gives a ball that holds all results for numbers of its arguments,
at a precision of `flint.ctx.prec` bits. So depth, cancellation and kinks need no thought of ours; only more bits.
Source: Johansson 2017, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic". Definitions: `refar.ops`.

Values are of one sequence or image: rows of balls, a row for each channel, in it a ball for each place that is asked for. A
place is the number of a position, of an image row·W + column; what is constant has one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import product
from operator import add, mul
from typing import assert_never

import numpy as np
from flint import arb, arb_mat
from numpy.typing import NDArray

from refar import ops
from refar.analysis.windows import kernel_steps, sees, taps
from refar.arguments.arrays import Array

Row = Sequence[arb]
Rows = Sequence[Row]
Indices = NDArray[np.int64]

ZERO, ONE = arb(0), arb(1)

OUTSIDE = -1
"""The place of all that lies outside the sequence or the image."""


@dataclass(frozen=True)
class Products:
    """A sum of convolutions, computed when it is read: Σ_n weight[o,n] · windows[n][p] + bias[o], one product of matrices."""

    weight: Sequence[Sequence[float]]
    windows: Rows
    bias: Row
    places: int

    @cached_property
    def rows(self) -> Rows:
        """The value."""
        weight = arb_mat([[*row, bias] for row, bias in zip(self.weight, self.bias, strict=True)])
        return (weight * arb_mat([*self.windows, [ONE] * self.places])).tolist()

    @property
    def read(self) -> bool:
        """Whether it was computed."""
        return "rows" in vars(self)

    def plus(self, other: Products) -> Products:
        """The sum of both."""
        weight = [[*a, *b] for a, b in zip(self.weight, other.weight, strict=True)]
        return Products(weight, [*self.windows, *other.windows], _sum(self.bias, other.bias), self.places)

    def raised(self, column: Row) -> Products:
        """The sum with a number for each channel."""
        return Products(self.weight, self.windows, _sum(self.bias, column), self.places)


@dataclass(frozen=True)
class Numbers:
    """The value of a node at the places where it is known, and `outside`: one ball for each channel, None of a constant."""

    value: Products | Rows
    outside: Row | None = None

    @property
    def rows(self) -> Rows:
        """The balls, computed by now."""
        return self.value.rows if isinstance(self.value, Products) else self.value

    @property
    def column(self) -> Row:
        """The one number of each channel of a constant."""
        return [ball for (ball,) in self.rows]


@dataclass(frozen=True)
class Classes:
    """Class indices, (colours, places), of `count` classes."""

    indices: Indices
    count: int


Value = Numbers | Classes


@dataclass(frozen=True)
class Frame:
    """Where a node is computed: `at` these places of a sequence (T,), of an image (H, W), or of a constant ().

    `columns[n]` says in which column of argument n each place stands; its last entry is the column of what lies outside.
    """

    extent: tuple[int, ...]
    at: Indices
    columns: Sequence[Indices]


def reads(op: ops.AnyOp, extent: tuple[int, ...], at: Indices) -> list[Indices]:
    """For each tap the places that an operator reads so that it can be computed `at` these, `OUTSIDE` where there is none."""
    if isinstance(op, ops.WindowedOp):
        return [_inside(at - offset, (extent or (1,))[0]) for offset in taps(op)]
    if isinstance(op, ops.ImageOp):
        rows, columns = np.divmod(at, extent[1])
        found = []
        for up, left in (step for line in kernel_steps(op) for step in line):
            r, s = _inside(rows - up, extent[0]), _inside(columns - left, extent[1])
            found.append(np.where((r == OUTSIDE) | (s == OUTSIDE), OUTSIDE, r * extent[1] + s))
        return found
    return [at]


def enclose(op: ops.AnyOp, args: Sequence[Value], own: Mapping[str, Array], frame: Frame) -> Products | Rows:
    """Return the value of one operator. `own` may hold "weight" and "bias", exact numbers as all attributes are."""

    def taken(n: int) -> Rows:
        return _windows(op, n, args, frame)[0]

    match op:
        case ops.Input() | ops.Shift() | ops.Shift2d() | ops.Dropout():
            return taken(0)
        case ops.Conv1d() | ops.Conv2d():
            return _convolved(op, args, own, frame)
        case ops.Pool1d():
            return _pooled(op, args, frame)
        case ops.OneHot():
            count = _classes(args[0]).count
            return _looked_up(args[0], frame, [[ONE if q == k else ZERO for k in range(count)] for q in range(count)])
        case ops.Embedding():
            return _looked_up(args[0], frame, [[arb(v) for v in row] for row in own["weight"].tolist()])
        case ops.Standardize():
            count = _classes(args[0]).count
            return _looked_up(args[0], frame, [[(arb(q) - op.mean) / op.std] for q in range(count)])
        case ops.Ones():
            return [[ONE] * len(frame.at)]
        case ops.Position():
            row_and_column = [each.tolist() for each in np.divmod(frame.at, frame.extent[1])]
            return [[arb(n >> bit & 1) for n in each] for each, bit in product(row_and_column, range(op.bits))]
        case ops.Activation():
            return [[_activation(op, x) for x in row] for row in taken(0)]
        case ops.Gate():
            x = taken(0)
            half = len(x) // 2
            return [[a.tanh() * _sigmoid(b) for a, b in zip(*pair, strict=True)] for pair in zip(x[:half], x[half:], strict=True)]
        case ops.Add():
            return _added(op, args, frame)
        case ops.Multiply():
            return _folded(mul, [taken(n) for n in range(len(args))])
        case ops.Affine():
            scale, shift = arb(op.scale), arb(op.shift)
            return [[scale * x + shift for x in row] for row in taken(0)]
        case ops.ScaleShift():
            return _scaled(taken(0), own)
        case ops.PRelu():  # the larger of x and w·x for slopes w up to 1, else the smaller one
            slopes = zip(taken(0), own["weight"].tolist(), strict=True)
            return [[x.max(w * x) if w <= 1 else x.min(w * x) for x in row] for row, w in slopes]
        case ops.Norm():
            return _scaled(_normed(op, taken(0)), own)
        case ops.Concat():
            return [row for n in range(len(args)) for row in taken(n)]
        case ops.Slice():
            return taken(0)[op.start : op.stop]
        case ops.PadChannels():
            nothing = [ZERO] * len(frame.at)
            return [*[nothing] * op.before, *taken(0), *[nothing] * op.after]
        case ops.Softmax():
            return _softmax(taken(0))
        case _:
            assert_never(op)


def _numbers(value: Value) -> Numbers:
    assert isinstance(value, Numbers)
    return value


def _classes(value: Value) -> Classes:
    assert isinstance(value, Classes)
    return value


def _inside(places: Indices, length: int) -> Indices:
    return np.where((places >= 0) & (places < length), places, OUTSIDE)


def _windows(op: ops.AnyOp, n: int, args: Sequence[Value], frame: Frame) -> list[Rows]:
    """What the operator reads of argument n, for each of its taps."""
    x = _numbers(args[n])
    if x.outside is None:
        return [[[ball] * len(frame.at) for ball in x.column]]
    rows = [[*row, ball] for row, ball in zip(x.rows, x.outside, strict=True)]
    found: list[Rows] = []
    for places in reads(op, frame.extent, frame.at):
        columns = frame.columns[n][places].tolist()
        found.append([[row[column] for column in columns] for row in rows])
    return found


def _looked_up(x: Value, frame: Frame, table: Rows) -> Rows:
    """A row of the table for each class; number k of colour c is channel k·C + c."""
    indices = _classes(x).indices[:, frame.columns[0][frame.at]].tolist()
    return [[table[q][k] for q in of_colour] for k in range(len(table[0])) for of_colour in indices]


def _convolved(op: ops.Conv1d | ops.Conv2d, args: Sequence[Value], own: Mapping[str, Array], frame: Frame) -> Products:
    weight_kon = _by_tap(op, own["weight"])
    windows, columns = [], []
    for weight_on, rows in zip(weight_kon, _windows(op, 0, args, frame), strict=True):
        for n in np.flatnonzero(weight_on.any(axis=0)).tolist():
            windows.append(rows[n])
            columns.append(weight_on[:, n])
    weight_on = np.array(columns).T if columns else np.zeros((op.channels, 0))
    bias = [arb(v) for v in own["bias"].tolist()] if "bias" in own else [ZERO] * op.channels
    return Products(weight_on.tolist(), windows, bias, len(frame.at))


def _by_tap(op: ops.Conv1d | ops.Conv2d, weight: Array) -> list[Array]:
    """A matrix (C_out, C_in) for each tap, 0 between groups and where the mask hides."""
    fan_out, fan_in = op.channels // op.groups, weight.shape[1]
    flat = weight.reshape(op.channels, fan_in, -1)
    found = []
    for k in range(flat.shape[2]):
        whole = np.zeros((op.channels, fan_in * op.groups))
        for group in range(op.groups):
            out, given = slice(group * fan_out, (group + 1) * fan_out), slice(group * fan_in, (group + 1) * fan_in)
            whole[out, given] = flat[out, :, k]
        found.append(whole)
    if isinstance(op, ops.Conv2d):
        steps = [step for line in kernel_steps(op) for step in line]
        for step, whole in zip(steps, found, strict=True):
            whole *= [[sees(op, step, i, o) for i in range(whole.shape[1])] for o in range(op.channels)]
    return found


def _pooled(op: ops.Pool1d, args: Sequence[Value], frame: Frame) -> Rows:
    windows = _windows(op, 0, args, frame)
    if op.pad == "zero":
        return _folded(arb.max, windows) if op.kind == "max" else [[x / op.kernel for x in row] for row in _folded(add, windows)]
    there = [[ball != 0 for ball in row] for (row,) in _windows(op, 1, args, frame)]
    found = []
    for channel in zip(*windows, strict=True):
        row = []
        for balls, marks in zip(zip(*channel, strict=True), zip(*there, strict=True), strict=True):
            seen = [ball for ball, mark in zip(balls, marks, strict=True) if mark]
            row.append(reduce(arb.max, seen) if op.kind == "max" else sum(seen, ZERO) / len(seen))
        found.append(row)
    return found


def _activation(op: ops.Activation, x: arb) -> arb:
    match op.kind:
        case "relu":
            return x.max(ZERO)
        case "leaky_relu":  # the larger of x and slope·x for slopes up to 1, else the smaller one
            return x.max(op.slope * x) if op.slope <= 1 else x.min(op.slope * x)
        case "tanh":
            return x.tanh()
        case "sigmoid":
            return _sigmoid(x)
        case "elu":
            return _elu(x, op.alpha)
        case "selu":
            return ops.SELU_SCALE * _elu(x, ops.SELU_ALPHA)
        case "gelu":
            return x * (-x / arb(2).sqrt()).erfc() / 2
        case "gelu_tanh":
            return x * _sigmoid((arb(8) / arb.pi()).sqrt() * (x + arb(44715) / 1000000 * x**3))  # ½·(1 + tanh(z)) = σ(2z)
        case "silu":
            return x * _sigmoid(x)
        case "softplus":
            return _softplus(x)
        case "softsign":
            return x / (ONE + abs(x))
        case "clip":
            return x.max(arb(op.low)).min(arb(op.high))
        case "hard_sigmoid":
            return _hard_sigmoid(x)
        case "hard_swish":
            return x * _hard_sigmoid(x)
        case "mish":
            return x * _softplus(x).tanh()
        case "sin":
            return x.sin()
        case "snake":
            return x + (op.alpha * x).sin() ** 2 / op.alpha
        case _:
            assert_never(op.kind)


def _elu(x: arb, alpha: float) -> arb:
    return x.max(ZERO) + alpha * x.min(ZERO).expm1()


def _softplus(x: arb) -> arb:
    """x and what is left of it, so that no power grows out of bounds; at 0 both forms are one."""
    return x + (-x).exp().log1p() if float(x) > 0 else x.exp().log1p()


def _hard_sigmoid(x: arb) -> arb:
    return ((x + 3) / 6).max(ZERO).min(ONE)


def _sigmoid(x: arb) -> arb:
    return ONE / (ONE + (-x).exp())


def _added(op: ops.Add, args: Sequence[Value], frame: Frame) -> Products | Rows:
    """Convolutions that nobody read yet become one product, and constants its bias."""
    products, rows, constants = [], [], []
    for n, x in enumerate(map(_numbers, args)):
        if x.outside is None:
            constants.append(x.column)
        elif isinstance(x.value, Products) and not x.value.read and x.value.places == len(frame.at):
            products.append(x.value)
        else:
            rows.append(_windows(op, n, args, frame)[0])
    if not products:
        return _folded(add, [*rows, *([[ball] * len(frame.at) for ball in column] for column in constants)])
    total = reduce(Products.plus, products)
    for column in constants:
        total = total.raised(column)
    return _folded(add, [total.rows, *rows]) if rows else total


def _folded(function: Callable[[arb, arb], arb], values: Sequence[Rows]) -> Rows:
    """Number by number."""
    return [[reduce(function, each) for each in zip(*rows, strict=True)] for rows in zip(*values, strict=True)]


def _scaled(x: Rows, own: Mapping[str, Array]) -> Rows:
    """weight[c]·x + bias[c]."""
    weight = own["weight"].tolist()
    bias = own["bias"].tolist() if "bias" in own else [0.0] * len(weight)
    return [[w * ball + b for ball in row] for row, w, b in zip(x, weight, bias, strict=True)]


def _normed(op: ops.Norm, x: Rows) -> Rows:
    """d / √(Σ d²/C + eps), which is at most √C: that is all that is known where d is so wide that the root may reach 0."""
    columns, most = [], arb(0, 1.001 * len(x) ** 0.5)
    for column in zip(*x, strict=True):
        mean = sum(column, ZERO) / len(column) if op.kind == "layer" else ZERO
        d = [ball - mean for ball in column]
        square = sum((ball * ball for ball in d), ZERO) / len(d)
        root = (square.max(ZERO) + op.eps).sqrt()
        parts = [ball / root for ball in d]
        columns.append([part if part.rad() < most.rad() else most for part in parts])
    return list(zip(*columns, strict=True))


def _softmax(x: Rows) -> Rows:
    """exp(x_c - m) / Σ_j exp(x_j - m) with m near the largest, so that no number grows out of bounds."""
    columns = []
    for column in zip(*x, strict=True):
        middle = max(float(ball) for ball in column)
        powers = [(ball - middle).exp() for ball in column]
        total = sum(powers, ZERO)
        columns.append([power / total for power in powers])
    return list(zip(*columns, strict=True))


def _sum(a: Row, b: Row) -> Row:
    return [x + y for x, y in zip(a, b, strict=True)]
