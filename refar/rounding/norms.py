"""A bound of all orders, end to end, that survives depth: how far the channels of a node are off together, at every position.

For each node N(t) ≥ ‖ŷ(t) - y(t)‖₂ over its channels, from the Ns of its arguments: a linear operator passes on at most its
spectral norm, tanh and σ their steepest slope near the values at hand. Sums of magnitudes, as in `network.composed`, count
every channel as if all errors pulled the same way, and grow 5 to 15 times per layer; spectral norms of fresh and trained
layers are about 1, and this grows about twice per layer: in float64 it says something at 20 layers and more. Under
input padding the values at t < 0 are off too.
"""

from __future__ import annotations

import numpy as np

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph, Node
from refar.oracle.bound_graph import unchecked
from refar.oracle.padding import values_before
from refar.rounding import bound
from refar.rounding.spread import Situation, spread

_SLACK = 1 + 2.0**-30
"""The bounds are themselves computed in floats."""


def norms(graph: Graph, params: Arrays, values: Arrays, unit: float) -> Arrays:
    """Return {node: N}, (B, T), (B, H, W) or (B,), for this unit roundoff. `values` of all nodes, in float64."""
    net = unchecked(graph, params)
    found = net.facts
    before = values_before(net, values, len(values[found.sequence]))
    result: Arrays = {}
    steady: Arrays = {}  # N at t < 0, (B, 1)

    def norm(each: Node, args: list[Array], off: list[Array], earlier: list[Array | None], y: Array) -> Array:
        own, classes = net.own[each.name], found.classes[each.name]
        wide = [None if e is None else np.abs(before[name]) + e[:, None] for name, e in zip(each.inputs, earlier, strict=True)]
        local = bound.forward(each.op, args, own, classes, unit, before=wide, off=[e[:, None] for e in off])
        passed_on = spread(each.op).norm(Situation(each.op, args, off, earlier, own, classes, y))
        return (passed_on + np.sqrt((local**2).sum(axis=1))) * _SLACK

    for each in graph.nodes:
        value = values[each.name]
        if isinstance(each.op, ops.Input):
            kind = found.types[each.name]
            result[each.name] = np.zeros(value.shape if kind.indexed and not kind.image else (len(value), *value.shape[2:]))
        else:
            args, off = [values[name] for name in each.inputs], [result[name] for name in each.inputs]
            result[each.name] = norm(each, args, off, [steady.get(name) for name in each.inputs], value)
        if graph.padding != "input" or not found.types[each.name].timed:
            continue
        if each.name in found.sources:
            steady[each.name] = np.zeros((len(value), 1))
        else:  # one position, at which every tap sees the same
            off = [steady.get(name, result[name]) for name in each.inputs]
            steady[each.name] = norm(each, [before[name] for name in each.inputs], off, list(off), before[each.name])
    return result


def near_a_kink(graph: Graph, values: Arrays, off: Arrays) -> Array:
    """Say whether in a row some relu's argument may have the other sign, or some maximum another winner, within its N: (B,).

    There a derivative of the computed values may be that of another piece of the network, and first order says nothing.
    """
    found = np.zeros(len(values[facts(graph).sequence]), bool)
    for each in graph.nodes:
        kinks = spread(each.op).near
        if kinks is not None:
            near = kinks([values[name] for name in each.inputs], off[each.inputs[0]])
            found |= near.reshape(len(near), -1).any(axis=1)
    return found
