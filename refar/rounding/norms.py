"""A bound of all orders, end to end, that survives depth: how far the channels of a node are off together, at every position.

For each node N(t) ≥ ‖ŷ(t) - y(t)‖₂ over its channels, from the Ns of its arguments: a linear operator passes on at most its
spectral norm, tanh and σ their steepest slope near the values at hand. Sums of magnitudes, as in `rounding.composed`, count
every channel as if all errors pulled the same way, and grow 5 to 15 times per layer; spectral norms of fresh and trained
layers are about 1, and this grows about twice per layer: in float64 it says something at 20 layers and more. Under
input padding what stands before the start is off too.
Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", sections 3.5 and 3.7.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np

from refar import ops
from refar.analysis.facts import facts
from refar.analysis.masks import mask_oihw
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph, Node
from refar.oracle import masked2d, pointwise
from refar.oracle.causal1d import window_offsets, windows_of
from refar.oracle.padding import before_start, own_parameters
from refar.rounding import bound

_SLACK = 1 + 2.0**-30
"""The bounds are themselves computed in floats."""


def norms(graph: Graph, params: Arrays, values: Arrays, unit: float) -> Arrays:
    """{node: N}, (B, T), (B, H, W) or (B,), for arithmetic with this unit roundoff. `values` of all nodes, in float64."""
    types = facts(graph).types
    before = before_start(graph, params, values, len(values[facts(graph).sequence]), np.float64)
    result: Arrays = {}
    resting: Arrays = {}  # N before the start, (B, 1)

    def norm(each: Node, args: list[Array], off: list[Array], earlier: list[Array | None], y: Array) -> Array:
        own, classes = own_parameters(each, params), types[each.inputs[0]].size
        wide = [None if e is None else np.abs(before[name]) + e[:, None] for name, e in zip(each.inputs, earlier, strict=True)]
        local = bound.around(each.op, args, [e[:, None] for e in off], own, classes, unit, wide)
        return (_passed_on(each, args, off, earlier, own, y) + np.sqrt((local**2).sum(axis=1))) * _SLACK

    for each in graph.nodes:
        value = values[each.name]
        if isinstance(each.op, ops.Input):
            shape = value.shape if types[each.name].indexed and not types[each.name].image else (len(value), *value.shape[2:])
            result[each.name] = np.zeros(shape)
        else:
            args, off = [values[name] for name in each.inputs], [result[name] for name in each.inputs]
            result[each.name] = norm(each, args, off, [resting.get(name) for name in each.inputs], value)
        if graph.padding != "input" or not types[each.name].timed:
            continue
        if each.name in facts(graph).sources:
            resting[each.name] = np.zeros((len(value), 1))
        else:  # one position, before which stands the same
            off = [resting.get(name, result[name]) for name in each.inputs]
            resting[each.name] = norm(each, [before[name] for name in each.inputs], off, list(off), before[each.name])
    return result


def near_a_kink(graph: Graph, values: Arrays, off: Arrays) -> Array:
    """Whether in a row some relu's argument may have the other sign, or some maximum another winner, within its N: (B,).

    There a derivative of the computed values may be that of another piece of the network, and first order says nothing.
    """
    found = np.zeros(len(values[facts(graph).sequence]), bool)
    for each in graph.nodes:
        match each.op:
            case ops.Activation(kind="relu" | "leaky_relu"):
                off_by = off[each.inputs[0]][:, None]
                near = (np.abs(values[each.inputs[0]]) <= off_by) & (off_by > 0)
            case ops.Pool1d(kind="max"):
                offsets, x, e = window_offsets(each.op), values[each.inputs[0]], off[each.inputs[0]][:, None]
                lowest, highest = windows_of(x - e, offsets), windows_of(x + e, offsets)
                if len(each.inputs) > 1:
                    there = windows_of(values[each.inputs[1]], offsets) > 0
                    lowest, highest = np.where(there, lowest, -np.inf), np.where(there, highest, -np.inf)
                winners = highest >= lowest.max(axis=2, keepdims=True)
                near = (winners.sum(axis=2) > 1) & (winners & (highest > lowest)).any(axis=2)  # equal and exact is no kink
            case _:
                continue
        found |= near.reshape(len(near), -1).any(axis=1)
    return found


def _passed_on(each: Node, args: list[Array], off: list[Array], earlier: list[Array | None], own: Arrays, y: Array) -> Array:
    op, shape = each.op, (len(y), *y.shape[2:])
    spread = [np.broadcast_to(e.reshape(e.shape + (1,) * (len(shape) - e.ndim)), shape) for e in off]
    match op:
        case ops.Input() | ops.OneHot() | ops.Embedding() | ops.Standardize() | ops.Ones() | ops.Position():
            return np.zeros(shape)
        case ops.Conv1d() | ops.Conv2d():
            return _spectral(op, own["weight"]) * np.sqrt(sum(window**2 for window in _windows(op, off[0], earlier[0], own)))
        case ops.Shift() | ops.Shift2d():
            return _windows(op, off[0], earlier[0], own)[0]
        case ops.Pool1d(kind="avg"):
            windows = _windows(op, off[0], earlier[0], own)
            there = _windows(op, args[1][:, 0], None, own) if op.pad == "exclude" else [1.0] * op.kernel
            return np.asarray(sum(windows)) / sum(there)
        case ops.Pool1d():
            return np.sqrt(sum(window**2 for window in _windows(op, off[0], earlier[0], own)))
        case ops.Activation():
            steepest = _activation_slope(op, args[0], off[0][:, None])
            return steepest * off[0]
        case ops.Gate():
            return _gate_slope(args[0], off[0][:, None]) * off[0]
        case ops.Add():
            return np.asarray(sum(spread))
        case ops.Multiply():
            return _product(args, off, shape)
        case ops.Affine():
            return abs(op.scale) * off[0]
        case ops.Concat():
            return np.sqrt(sum(e**2 for e in spread))
        case ops.Slice() | ops.PadChannels():
            return off[0]
        case ops.Softmax():  # its Jacobian diag(y) - y·yᵀ has norm ≤ 1/2
            return 0.5 * off[0]
        case _:
            assert_never(op)


def _activation_slope(op: ops.Activation, x: Array, off: Array) -> Array | float:
    """The steepest slope of any channel, wherever its argument may be."""
    match op.kind:
        case "relu":
            return 1.0
        case "leaky_relu":
            return max(1.0, op.slope)
        case "tanh":
            return np.asarray(_tanh_slope(x, off).max(axis=1))
        case "sigmoid":
            return np.asarray(_sigmoid_slope(x, off).max(axis=1))
        case _:
            assert_never(op.kind)


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


def _spectral(op: ops.Conv1d | ops.Conv2d, weight: Array) -> float:
    """The largest singular value of the taps side by side, (C_out, C_in·K): of each group, whose channels do not meet."""
    masked = np.where(mask_oihw(op, weight.shape), weight, 0) if isinstance(op, ops.Conv2d) else weight
    return max(float(np.linalg.norm(part.reshape(len(part), -1), 2)) for part in np.split(masked, op.groups))


def _windows(op: ops.WindowedOp | ops.ImageOp, off: Array, earlier: Array | None, own: Arrays) -> list[Array]:
    """The Ns that the operator reads, for every position of its value; `earlier` before the start, where None is 0."""
    before = None if earlier is None else earlier[:, None]
    if isinstance(op, ops.Conv2d):
        return [masked2d.shifted(off[:, None], step)[:, 0] for step in masked2d.taps(op, own["weight"])[0]] or [
            np.zeros_like(off)
        ]
    if isinstance(op, ops.Shift2d):
        return [masked2d.shifted(off[:, None], (op.down, op.right))[:, 0]]
    # a constant has one window, itself
    return list(np.moveaxis(windows_of(off[:, None], window_offsets(op), before)[:, 0], 1, 0))


def _product(args: list[Array], off: list[Array], shape: tuple[int, ...]) -> Array:
    """Σ_i N_i · Π_{j≠i} (largest |x_j| + N_j): each factor moves while the others are as large as they may be."""
    largest = [np.abs(x).max(axis=1) + e for x, e in zip(args, off, strict=True)]
    wide = [np.broadcast_to(a.reshape(a.shape + (1,) * (len(shape) - a.ndim)), shape) for a in largest]
    moved = [np.broadcast_to(e.reshape(e.shape + (1,) * (len(shape) - e.ndim)), shape) for e in off]
    others = [np.prod([w for j, w in enumerate(wide) if j != i], axis=0) for i in range(len(args))]
    return np.asarray(sum(m * o for m, o in zip(moved, others, strict=True)))
