"""What stands before the start of a sequence: the value of every node at all negative positions, (B, C, 1).

Layer padding: every node is zero there. Input padding: the network's input alone is zero there, and every node is what it
computes from that, its response to zeros. Since nothing changes before the start, that is one value per node, in which
each tap of a convolution sees the same; it depends on the conditions. Without padding ("valid") no output sees it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph, Node
from refar.oracle import causal1d, pointwise


def before_start(graph: Graph, params: Arrays, conditions: Arrays, rows: int, dtype: DTypeLike) -> Arrays:
    """{node: (B, C, 1)} for values over time; under input padding also the constants, (B, C). Arguments are checked and cast."""
    types = facts(graph).types
    if graph.padding != "input":
        return {name: np.zeros((rows, kind.size, 1), dtype) for name, kind in types.items() if kind.timed}
    values: Arrays = {}
    for node in graph.nodes:
        if node.name in facts(graph).sources:
            values[node.name] = np.zeros((rows, types[node.name].size, 1), dtype)
            continue
        args = [values[name] for name in node.inputs]
        own = own_parameters(node, params)
        assert not isinstance(node.op, ops.ImageOp)  # a graph over a plane has layer padding
        match node.op:
            case ops.Input():
                values[node.name] = conditions[node.name]
            case ops.Conv1d() | ops.Shift() | ops.Pool1d():
                values[node.name] = causal1d.at_rest(node.op, args, own)
            case _:
                classes = types[node.inputs[0]].size
                values[node.name] = pointwise.forward(node.op, args, classes, own.get("weight"), np.dtype(dtype))
    return values


def before_start_backward(node: Node, params: Arrays, values: Arrays, dy: Array) -> tuple[list[Array | None], Arrays]:
    """The gradients of Σ dy·(value of one node before the start), for its arguments and its parameters. No source has one."""
    args, own = [values[name] for name in node.inputs], own_parameters(node, params)
    assert not isinstance(node.op, ops.ImageOp | ops.Input)
    if isinstance(node.op, ops.WindowedOp):
        return causal1d.at_rest_backward(node.op, args, dy, own)
    dargs, _ = pointwise.backward(node.op, args, values[node.name], dy, None)  # lookups, which have a weight, are sources
    return dargs, {}


def own_parameters(node: Node, params: Arrays) -> Arrays:
    """The parameters of one node, by their last name."""
    return {name: params[f"{node.name}.{name}"] for name in ("weight", "bias") if f"{node.name}.{name}" in params}
