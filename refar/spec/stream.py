"""Position by position: the same values as `forward`, from a state that the caller carries.

State is a value, {node: array}, keyed by the node that produced it: its last values, oldest first, (B, C, history), zero
before the start. Two pairs of functions read `refar.infer.stream`, which says who keeps how much:

`initial_state` and `step`/`block`: y_t exactly as in `forward`, for any causal graph.
`start` and `next`/`next_block`: for a strict graph, one call per token: the token at t gives y_{t+1}. Nodes with all
offsets ≥ 1 then stand one position ahead, so these states are not those of `step`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar import ops
from refar.arrays import Array, Arrays, Data, bind_conditions, bind_inputs, check_parameters
from refar.errors import InputError
from refar.graph import Graph
from refar.infer import analyse, require_strict
from refar.infer import stream as plan
from refar.spec import causal1d, pointwise
from refar.spec.run import cast, prepare

State = Arrays


def initial_state(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    batch: int = 1,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> State:
    """The state before position 0, for `step` and `block`."""
    check_parameters(graph, params)
    return _empty(graph, batch, ahead=False, dtype=dtype)


def step(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    state: State,
    x_t: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, State]:
    """y_t as in `forward`, and the state after position t. x_b or x_bc in, y_bc out."""
    inputs = _one_position(graph, bind_inputs(graph, x_t, condition, stepwise=True))
    y, state = _advance(graph, prepare(graph, params, dtype), state, inputs, ahead=False, dtype=dtype)
    return y[:, :, 0], state


def block(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    state: State,
    x: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, State]:
    """`step` for any number of positions in one call: x_bt in, y_bct out."""
    inputs = bind_inputs(graph, x, condition)
    return _advance(graph, prepare(graph, params, dtype), state, inputs, ahead=False, dtype=dtype)


def start(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    batch: int | None = None,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, State]:
    """y_0, which depends on no token, and the state for `next`. Raises GraphError unless the graph is strict."""
    require_strict(graph, "start")
    conditions, rows = bind_conditions(graph, condition, batch)
    state = _empty(graph, rows, ahead=True, dtype=dtype)
    y, state = _advance(graph, prepare(graph, params, dtype), state, conditions, ahead=True, dtype=dtype, rows_before=rows)
    return y[:, :, 0], state


def next(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    state: State,
    x_t: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, State]:
    """y_{t+1} after the token x_t, and the state after it. x_b or x_bc in, y_bc out."""
    require_strict(graph, "next")
    inputs = _one_position(graph, bind_inputs(graph, x_t, condition, stepwise=True))
    y, state = _advance(graph, prepare(graph, params, dtype), state, inputs, ahead=True, dtype=dtype)
    return y[:, :, 0], state


def next_block(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    state: State,
    x: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, State]:
    """`next` for any number of tokens in one call: x_bt in, the outputs one position later y_bct out."""
    require_strict(graph, "next_block")
    inputs = bind_inputs(graph, x, condition)
    return _advance(graph, prepare(graph, params, dtype), state, inputs, ahead=True, dtype=dtype)


def _empty(graph: Graph, batch: int, *, ahead: bool, dtype: DTypeLike) -> State:
    if batch < 0:
        raise InputError(f"batch: expected a number of rows ≥ 0, got {batch}")
    types = analyse(graph).types
    return {name: np.zeros((batch, types[name].size, kept), dtype) for name, kept in plan(graph, ahead).history.items()}


def _one_position(graph: Graph, inputs: Arrays) -> Arrays:
    return {name: array[..., None] if analyse(graph).types[name].timed else array for name, array in inputs.items()}


def _check_state(graph: Graph, state: State, batch: int, ahead: bool) -> None:
    types, history = analyse(graph).types, plan(graph, ahead).history
    for name in sorted(state.keys() ^ history.keys()):
        problem = "is missing" if name in history else "is not one of this graph's"
        raise InputError(f"state {name!r} {problem}; expected {', '.join(history) or 'none'}")
    for name, kept in history.items():
        if state[name].shape != (batch, types[name].size, kept):
            raise InputError(f"state {name!r}: expected shape {(batch, types[name].size, kept)}, got {state[name].shape}")


def _advance(
    graph: Graph,
    params: Arrays,
    state: State,
    inputs: Arrays,
    *,
    ahead: bool,
    dtype: DTypeLike,
    rows_before: int | None = None,
) -> tuple[Array, State]:
    """All nodes over the next positions. With `rows_before` rows of which no token is known yet, nodes of lead 0 stay zero."""
    found, run = analyse(graph), plan(graph, ahead)
    inputs = cast(inputs, dtype)
    before = rows_before is not None
    batch = rows_before if rows_before is not None else inputs[found.sequence].shape[0]
    length = 1 if before else inputs[found.sequence].shape[-1]
    _check_state(graph, state, batch, ahead)
    values: Arrays = {}
    buffers: Arrays = {}

    for node in graph.nodes:
        kind = found.types[node.name]
        lead = run.lead.get(node.name)

        def window(source: str, offset: int = 0, lead: int | None = lead) -> Array:
            """The source's values `offset` before this node's positions."""
            if lead is None or source not in run.lead:
                return values[source]
            begin = run.history.get(source, 0) + lead - run.lead[source] - offset
            return buffers.get(source, values[source])[..., begin : begin + length]

        if before and lead == 0:
            value = np.zeros((batch, length) if kind.indexed else (batch, kind.size, length), dtype)
        else:
            match node.op:
                case ops.Input():
                    value = inputs[node.name]
                case ops.Conv1d() as op:
                    weight, bias = params[f"{node.name}.weight"], params.get(f"{node.name}.bias")
                    windows = [window(node.inputs[0], offset) for offset in causal1d.conv_offsets(op)]
                    value = causal1d.conv1d([w[:, :, None] if w.ndim == 2 else w for w in windows], weight, bias)
                    value = value if kind.timed else value[:, :, 0]
                case ops.Shift() as op:
                    value = window(node.inputs[0], op.steps)
                case _ as op:
                    args = [window(source) for source in node.inputs]
                    classes = found.types[node.inputs[0]].size
                    value = pointwise.forward(op, args, classes, params.get(f"{node.name}.weight"), np.dtype(dtype))
        values[node.name] = value
        if node.name in run.history:
            buffers[node.name] = np.concatenate([state[node.name], value], axis=2)

    kept = {name: buffers[name][:, :, buffers[name].shape[2] - count :].copy() for name, count in run.history.items()}
    return values[graph.output], kept
