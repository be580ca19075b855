"""Forward and backward over a whole graph: two sweeps, one match table each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar import ops
from refar.analysis.causality import require_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays, Data, bind_inputs, check_dtype, check_parameters, check_real, extent, in_order
from refar.errors import InputError
from refar.graph.graph import Graph, require_head
from refar.oracle import losses
from refar.oracle import node as nodes
from refar.oracle.padding import before_start, before_start_backward, own_parameters

_POSITIONS = 2048
"""How many positions `backward` takes at once, whole rows: their values stay in the cache, and memory is bounded."""


def forward(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    x: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> Array:
    """The output for a whole sequence: y_bct, every position at once; under padding "valid" those that have a whole window.

    `x` is x_bt or x_bct, or a mapping of all inputs; `condition` is c_b or c_bc. All arithmetic is done in `dtype`.
    Raises InputError and ParameterError for what does not fit the graph.
    """
    weights, inputs = prepare(graph, params, dtype), cast(bind_inputs(graph, x, condition), dtype)
    y = forward_nodes(graph, weights, inputs, dtype, keep=False)[graph.output][:, :, facts(graph).first_position :]
    return y.copy() if any(np.may_share_memory(y, array) for array in inputs.values()) else y


def backward(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    x: Data,
    dy: ArrayLike,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> dict[str, Arrays]:
    """The gradients of Σ dy·y: {"params": {name: array}, "inputs": {name: array}}.

    `dy` has the shape of the output. Inputs that are class indices have no gradient and are absent. The gradient of a
    condition has a row for each sequence, also where the condition was a single row for all of them.
    """
    weights, found = prepare(graph, params, dtype), facts(graph)
    inputs = cast(bind_inputs(graph, x, condition), dtype)
    batch, place = len(inputs[found.sequence]), extent(found.types[found.sequence], inputs[found.sequence])
    upstream, first = np.zeros((batch, found.types[graph.output].channels, *place), dtype), facts(graph).first_position
    upstream[:, :, first:] = check_real("dy, the gradient of the output", dy, upstream[:, :, first:].shape)
    real = [name for name in (found.sequence, *found.conditions) if not found.types[name].indexed]
    dparams: Arrays = {name: np.zeros(array.shape, dtype) for name, array in weights.items()}
    dinputs: dict[str, list[Array]] = {name: [] for name in real}
    rows = max(1, _POSITIONS // max(1, math.prod(place)))
    for begin in range(0, max(1, batch), rows):
        part = {name: array[begin : begin + rows] for name, array in inputs.items()}
        values = forward_nodes(graph, weights, part, dtype)
        dvalues, own = backward_nodes(graph, weights, values, upstream[begin : begin + rows], keep=False)
        for name in real:
            dinputs[name].append(dvalues[name])
        for name, gradient in own.items():
            dparams[name] += gradient
    return {"params": dparams, "inputs": {name: np.concatenate(parts) for name, parts in dinputs.items()}}


def log_prob(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    x: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> Array:
    """log p(x) = Σ_t log p(x_t | x_<t) in nats, t = 0 included: one number per sequence or image, shape (B,).

    Raises GraphError unless the graph is strict and has a head.
    """
    require_strict(facts(graph), "log_prob")
    head = require_head(graph, "log_prob")
    inputs = bind_inputs(graph, x, condition)
    found = facts(graph)
    y, x = in_order(found.types[found.sequence], forward(graph, params, inputs, dtype=dtype), inputs[found.sequence])
    return -losses.nats(head, y, x).sum(axis=1)


def nll(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    x: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> float:
    """The training loss: -log p in nats, averaged over sequences and positions; of images, over pixels and colours.

    Raises GraphError as `log_prob` does, and InputError where there is nothing to average.
    """
    require_strict(facts(graph), "nll")
    require_head(graph, "nll")
    inputs, found = bind_inputs(graph, x, condition), facts(graph)
    sequence, kind = inputs[found.sequence], found.types[found.sequence]
    count = len(sequence) * math.prod(extent(kind, sequence)) * (kind.channels if kind.image else 1)
    if count == 0:
        raise InputError("nll: expected at least one value, got an empty sequence, whose mean does not exist")
    return float(-log_prob(graph, params, inputs, dtype=dtype).sum() / count)


def prepare(graph: Graph, params: Mapping[str, ArrayLike], dtype: DTypeLike) -> Arrays:
    """Checked parameters in the dtype of the computation, checked too."""
    found = check_dtype(dtype)
    return {name: array.astype(found, copy=False) for name, array in check_parameters(graph, params).items()}


def cast(inputs: Arrays, dtype: DTypeLike) -> Arrays:
    """Real inputs in the dtype of the computation; class indices stay integers."""
    return {name: array if array.dtype == np.int64 else array.astype(dtype, copy=False) for name, array in inputs.items()}


def forward_nodes(graph: Graph, params: Arrays, inputs: Arrays, dtype: DTypeLike, *, keep: bool = True) -> Arrays:
    """The value of every node at every position, for arguments that are checked and cast.

    Unless they are kept, values are let go with their last reader, and only the output's is left.
    """
    types, before = facts(graph).types, _before(graph, params, inputs, dtype)
    last = {name: node.name for node in graph.nodes for name in (*node.inputs, node.name)} | {graph.output: ""}
    values: Arrays = {}
    for node in graph.nodes:
        args = [inputs[node.name]] if isinstance(node.op, ops.Input) else [values[name] for name in node.inputs]
        classes, earlier = types[node.inputs[0]].size if node.inputs else 0, [before.get(name) for name in node.inputs]
        values[node.name] = nodes.forward(node.op, args, earlier, own_parameters(node, params), classes, np.dtype(dtype))
        if not keep:
            values = {name: value for name, value in values.items() if last[name] != node.name}
    return values


def backward_nodes(graph: Graph, params: Arrays, values: Arrays, dy: Array, *, keep: bool = True) -> tuple[Arrays, Arrays]:
    """The gradient of Σ dy·y with respect to every node's value and every parameter; zeros where nothing flows.

    Unless they are kept, `values` is emptied on the way, and only the gradients of inputs are left.
    """
    dvalues, _, dparams = backward_everywhere(graph, params, values, dy, keep=keep)
    return dvalues, dparams


def backward_everywhere(
    graph: Graph, params: Arrays, values: Arrays, dy: Array, *, keep: bool = True
) -> tuple[Arrays, Arrays, Arrays]:
    """As `backward_nodes`, and between the two the gradient with respect to what stands before the start, (B, C, 1).

    In reverse order, for every node first its value at all positions, then what it is before the start.
    """
    inputs = {node.name: values[node.name] for node in graph.nodes if isinstance(node.op, ops.Input)}
    before = _before(graph, params, inputs, dy.dtype)
    dvalues: Arrays = {graph.output: dy}
    dbefore: Arrays = {}
    dparams: Arrays = {name: np.zeros(array.shape, dy.dtype) for name, array in params.items()}
    for node in reversed(graph.nodes):
        if node.name not in dvalues:
            dvalues[node.name] = np.zeros(values[node.name].shape, dy.dtype)
        args, earlier = [values[name] for name in node.inputs], [before.get(name) for name in node.inputs]
        y, dy_node = values[node.name], dvalues[node.name]
        dargs, dearlier, own = nodes.backward(node.op, args, earlier, own_parameters(node, params), y, dy_node)
        _accumulate(dvalues, node.inputs, dargs)
        _accumulate(dbefore, node.inputs, dearlier)
        _accumulate(dparams, [f"{node.name}.{name}" for name in own], list(own.values()))
        if node.name in dbefore and graph.padding == "input" and node.name not in facts(graph).sources:
            dargs, own = before_start_backward(node, params, before, dbefore[node.name])
            timed = facts(graph).types
            for name, darg in zip(node.inputs, dargs, strict=True):
                _accumulate(dbefore if timed[name].timed else dvalues, [name], [darg])
            _accumulate(dparams, [f"{node.name}.{name}" for name in own], list(own.values()))
        if not keep and not isinstance(node.op, ops.Input):
            del values[node.name], dvalues[node.name]
    return dvalues, dbefore, dparams


def _accumulate(totals: Arrays, names: Sequence[str], gradients: Sequence[Array | None]) -> None:
    for name, gradient in zip(names, gradients, strict=True):
        if gradient is not None:
            totals[name] = totals[name] + gradient if name in totals else gradient


def _before(graph: Graph, params: Arrays, inputs: Arrays, dtype: DTypeLike) -> Arrays:
    return before_start(graph, params, inputs, len(inputs[facts(graph).sequence]), dtype)
