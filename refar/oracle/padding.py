"""The values at t < 0: of every node one value for all negative positions, (B, C, 1).

Layer padding: every node is zero there. Input padding: the network's input alone is zero there, and every node is what it
computes from that, its steady response to zeros. Nothing changes at t < 0, so that each tap of a convolution sees the same;
it depends on the conditions. Without padding ("valid") no output sees it.
"""

from __future__ import annotations

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Node
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.node import steady, steady_backward


def values_before(net: BoundGraph, conditions: Arrays, rows: int) -> Arrays:
    """Return {node: (B, C, 1)} of values over time; under input padding also the constants, (B, C).

    `conditions` are checked and cast, for `rows` sequences.
    """
    found = net.facts
    if net.graph.padding != "input":
        return {name: np.zeros((rows, kind.size, 1), net.dtype) for name, kind in found.types.items() if kind.timed}
    values: Arrays = {}
    for node in net.graph.nodes:
        if node.name in found.sources:
            values[node.name] = np.zeros((rows, found.types[node.name].size, 1), net.dtype)
        elif isinstance(node.op, ops.Input):
            values[node.name] = conditions[node.name]
        else:
            args = [values[name] for name in node.inputs]
            values[node.name] = steady(node.op, args, net.own[node.name], net.facts.classes[node.name], net.dtype)
    return values


def values_before_backward(net: BoundGraph, node: Node, values: Arrays, dy: Array) -> tuple[list[Array | None], Arrays]:
    """Return the gradients of Σ dy·(value of `node` at t < 0), for its arguments and its own parameters. No source has one."""
    args = [values[name] for name in node.inputs]
    return steady_backward(node.op, args, net.own[node.name], values[node.name], dy)
