"""Forward and backward over a whole graph: two sweeps, one match table each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar import ops
from refar.arrays import Array, Arrays, Data, bind_inputs, check_parameters
from refar.errors import GraphError, InputError
from refar.graph import Graph, Node
from refar.infer import analyse, require_strict
from refar.spec import causal1d, losses, pointwise


def forward(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    x: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> Array:
    """The output for a whole sequence: y_bct, every position at once.

    `x` is x_bt or x_bct, or a mapping of all inputs; `condition` is c_b or c_bc. All arithmetic is done in `dtype`.
    Raises InputError and ParameterError for what does not fit the graph.
    """
    return forward_nodes(graph, prepare(graph, params, dtype), cast(bind_inputs(graph, x, condition), dtype), dtype)[graph.output]


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

    `dy` has the shape of the output. Inputs that are class indices have no gradient and are absent.
    """
    weights = prepare(graph, params, dtype)
    values = forward_nodes(graph, weights, cast(bind_inputs(graph, x, condition), dtype), dtype)
    upstream = np.asarray(dy, dtype)
    if upstream.shape != values[graph.output].shape:
        raise InputError(f"dy: expected the shape of the output {values[graph.output].shape}, got {upstream.shape}")
    dvalues, dparams = backward_nodes(graph, weights, values, upstream)
    found = analyse(graph)
    real = [name for name in (found.sequence, *found.conditions) if not found.types[name].indexed]
    return {"params": dparams, "inputs": {name: dvalues[name] for name in real}}


def log_prob(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    x: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> Array:
    """log p(x) = Σ_t log p(x_t | x_<t) in nats, t = 0 included: one number per sequence, shape (B,).

    Raises GraphError unless the graph is strict and has a head.
    """
    require_strict(graph, "log_prob")
    if graph.head is None:
        raise GraphError("log_prob needs a graph with a head, which says what the output means; this one has none")
    inputs = bind_inputs(graph, x, condition)
    y = forward(graph, params, inputs, dtype=dtype)
    return -losses.nats(graph.head, y, inputs[analyse(graph).sequence]).sum(axis=1)


def nll(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    x: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> float:
    """The training loss: -log p in nats, averaged over sequences and positions."""
    inputs = bind_inputs(graph, x, condition)
    rows, length = inputs[analyse(graph).sequence].shape[0], inputs[analyse(graph).sequence].shape[-1]
    if rows * length == 0:
        raise InputError("nll: expected at least one value, got an empty sequence, whose mean does not exist")
    return float(-log_prob(graph, params, inputs, dtype=dtype).sum() / (rows * length))


def prepare(graph: Graph, params: Mapping[str, ArrayLike], dtype: DTypeLike) -> Arrays:
    """Checked parameters in the dtype of the computation."""
    return {name: array.astype(dtype, copy=False) for name, array in check_parameters(graph, params).items()}


def cast(inputs: Arrays, dtype: DTypeLike) -> Arrays:
    """Real inputs in the dtype of the computation; class indices stay integers."""
    return {name: array if array.dtype == np.int64 else array.astype(dtype, copy=False) for name, array in inputs.items()}


def forward_nodes(graph: Graph, params: Arrays, inputs: Arrays, dtype: DTypeLike) -> Arrays:
    """The value of every node, for arguments that are checked and cast."""
    types = analyse(graph).types
    values: Arrays = {}
    for node in graph.nodes:
        args = [values[name] for name in node.inputs]
        match node.op:
            case ops.Input():
                value = inputs[node.name]
            case ops.Conv1d():
                weight, bias = params[f"{node.name}.weight"], params.get(f"{node.name}.bias")
                value = _untimed(args[0], causal1d.conv1d(_windows(node.op, args[0]), weight, bias))
            case ops.Shift():
                value = causal1d.past_window(args[0], node.op.steps)
            case _:
                classes = types[node.inputs[0]].size
                value = pointwise.forward(node.op, args, classes, params.get(f"{node.name}.weight"), np.dtype(dtype))
        values[node.name] = value
    return values


def backward_nodes(graph: Graph, params: Arrays, values: Arrays, dy: Array) -> tuple[Arrays, Arrays]:
    """The gradient of Σ dy·y with respect to every node's value and every parameter; zeros where nothing flows."""
    dvalues: Arrays = {graph.output: dy}
    dparams: Arrays = {}
    for node in reversed(graph.nodes):
        args = [values[name] for name in node.inputs]
        upstream = dvalues.get(node.name)
        if upstream is None:
            upstream = dvalues[node.name] = np.zeros(values[node.name].shape, dy.dtype)
        dargs, own = _node_backward(node, params, args, values[node.name], upstream)
        dparams |= own
        for name, darg in zip(node.inputs, dargs, strict=True):
            if darg is not None:
                dvalues[name] = dvalues[name] + darg if name in dvalues else darg
    return dvalues, {name: dparams[name] for name in params}


def _node_backward(node: Node, params: Arrays, args: list[Array], y: Array, dy: Array) -> tuple[list[Array | None], Arrays]:
    match node.op:
        case ops.Input():
            return [], {}
        case ops.Conv1d():
            weight = params[f"{node.name}.weight"]
            dwindows, dweight, dbias = causal1d.conv1d_backward(_windows(node.op, args[0]), weight, _timed(dy))
            offsets = causal1d.conv_offsets(node.op)
            dx = sum(causal1d.unwindow(d, offset) for d, offset in zip(dwindows, offsets, strict=True))
            own = {f"{node.name}.weight": dweight} | ({f"{node.name}.bias": dbias} if node.op.bias else {})
            return [_untimed(args[0], np.asarray(dx))], own
        case ops.Shift():
            return [causal1d.unwindow(dy, node.op.steps)], {}
        case _:
            dargs, dweight_qc = pointwise.backward(node.op, args, y, dy, params.get(f"{node.name}.weight"))
            return dargs, {} if dweight_qc is None else {f"{node.name}.weight": dweight_qc}


def _windows(op: ops.Conv1d, x: Array) -> list[Array]:
    return [causal1d.past_window(_timed(x), offset) for offset in causal1d.conv_offsets(op)]


def _timed(x: Array) -> Array:
    return x[:, :, None] if x.ndim == 2 else x


def _untimed(like: Array, y: Array) -> Array:
    return y[:, :, 0] if like.ndim == 2 else y
