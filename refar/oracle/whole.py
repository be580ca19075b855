"""Forward and backward over a whole graph: two sweeps over its nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.oracle import node as nodes
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.padding import values_before, values_before_backward

_POSITIONS = 2048
"""How many positions `gradients` takes at once, whole rows: their values stay in the cache, and memory is bounded."""


def forward_nodes(net: BoundGraph, inputs: Arrays, *, keep: bool = True) -> Arrays:
    """Return the value of every node at every position; `inputs` are checked and cast.

    Unless `keep`, values are let go with their last reader, and only the output's is left.
    """
    before, last = _before(net, inputs), net.facts.last_reader
    values: Arrays = {}
    for node in net.graph.nodes:
        args = [inputs[node.name]] if isinstance(node.op, ops.Input) else [values[name] for name in node.inputs]
        earlier = [before.get(name) for name in node.inputs]
        values[node.name] = nodes.forward(node.op, args, earlier, net.own[node.name], net.facts.classes[node.name], net.dtype)
        if not keep:
            for name in {node.name, *node.inputs}:
                if last[name] == node.name:
                    del values[name]
    return values


def backward_nodes(net: BoundGraph, values: Arrays, dy: Array, *, keep: bool = True) -> tuple[Arrays, Arrays]:
    """Return the gradient of Σ dy·y for every node's value and every parameter; zeros where nothing flows.

    Unless `keep`, `values` is emptied on the way, and only the gradients of inputs are left.
    """
    dvalues, _, dparams = backward_everywhere(net, values, dy, keep=keep)
    return dvalues, dparams


def backward_everywhere(net: BoundGraph, values: Arrays, dy: Array, *, keep: bool = True) -> tuple[Arrays, Arrays, Arrays]:
    """As `backward_nodes`, and between the two the gradient for the values at t < 0, (B, C, 1).

    In reverse order, for every node first its value at all positions, then its value at t < 0.
    """
    graph = net.graph
    before = _before(net, {node.name: values[node.name] for node in graph.nodes if isinstance(node.op, ops.Input)})
    dvalues: Arrays = {graph.output: dy}
    dbefore: Arrays = {}
    dparams: Arrays = {name: np.zeros(array.shape, dy.dtype) for name, array in net.params.items()}
    for node in reversed(graph.nodes):
        if node.name not in dvalues:
            dvalues[node.name] = np.zeros(values[node.name].shape, dy.dtype)
        args, earlier = [values[name] for name in node.inputs], [before.get(name) for name in node.inputs]
        if args:
            y, dy_node = values[node.name], dvalues[node.name]
            dargs, dearlier, own = nodes.backward(node.op, args, earlier, net.own[node.name], y, dy_node)
            _accumulate(dvalues, node.inputs, dargs)
            _accumulate(dbefore, node.inputs, dearlier)
            _accumulate(dparams, [f"{node.name}.{name}" for name in own], list(own.values()))
        if node.name in dbefore and graph.padding == "input" and node.name not in net.facts.sources:
            dargs, own = values_before_backward(net, node, before, dbefore[node.name])
            for name, darg in zip(node.inputs, dargs, strict=True):
                _accumulate(dbefore if net.facts.types[name].timed else dvalues, [name], [darg])
            _accumulate(dparams, [f"{node.name}.{name}" for name in own], list(own.values()))
        if not keep and not isinstance(node.op, ops.Input):
            del values[node.name], dvalues[node.name]
    return dvalues, dbefore, dparams


def gradients(net: BoundGraph, inputs: Arrays, dy: Array) -> tuple[Arrays, Arrays]:
    """Return the gradients of Σ dy·y for all parameters and for the inputs that are not class indices, some rows at a time."""
    found = net.facts
    real = [name for name in found.inputs if not found.types[name].indexed]
    dparams: Arrays = {name: np.zeros(array.shape, net.dtype) for name, array in net.params.items()}
    dinputs: dict[str, list[Array]] = {name: [] for name in real}
    rows = max(1, _POSITIONS // max(1, math.prod(dy.shape[2:])))
    for begin in range(0, max(1, len(dy)), rows):
        values = forward_nodes(net, {name: array[begin : begin + rows] for name, array in inputs.items()})
        dvalues, own = backward_nodes(net, values, dy[begin : begin + rows], keep=False)
        for name in real:
            dinputs[name].append(dvalues[name])
        for name, gradient in own.items():
            dparams[name] += gradient
    return dparams, {name: np.concatenate(parts) for name, parts in dinputs.items()}


def _accumulate(totals: Arrays, names: Sequence[str], parts: Sequence[Array | None]) -> None:
    for name, gradient in zip(names, parts, strict=True):
        if gradient is not None:
            totals[name] = totals[name] + gradient if name in totals else gradient


def _before(net: BoundGraph, inputs: Arrays) -> Arrays:
    return values_before(net, inputs, len(inputs[net.facts.sequence]))
