"""Position by position: the same values as `forward`, from a state that the caller carries.

State is a value, {node: array}, keyed by the node that produced it: its last values, oldest first, (B, C, history). Before
the start it holds what `oracle.padding` says; under padding "valid" nothing, and it grows from there. Two pairs of functions read
`refar.analysis.schedule.stream`, which says who keeps how much:

`initial_state` and `step`/`block`: y_t exactly as in `forward`, for any causal graph.
`start` and `next`/`next_block`: for a strict graph, one call per token: the token at t, with a local condition at t + 1,
gives y_{t+1}. Nodes with all offsets ≥ 1 then stand one position ahead, so these states are not those of `step`. Every call
checks all parameters; for many tokens there is `generate`.

Over a plane t runs through the pixels by rows and columns, all conditions are given at the start, and one kind of state,
`oracle.raster.RasterState`, serves both pairs; it needs the `shape` (H, W). Where colours are ordered (`streams.is_ordered`),
`start` and `next` give the outputs of the first colour, and nan for the others: those come from `step` with the colours that
are known, and anything in place of those that are not; only the state after the whole pixel is one to go on from:

    y, state = start(graph, params, batch, shape=(H, W))            # colour c of y: y[:, c::C]
    for c in range(C):                                               # for each pixel
        if c:
            y, _ = step(graph, params, state, pixel)                 # pixel_bc holds colours 0..c-1
        pixel[:, c] = drawn(y[:, c::C])
    y, state = next(graph, params, state, pixel)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar import ops
from refar.analysis.causality import require_strict
from refar.analysis.facts import facts
from refar.analysis.windows import offsets_of_node
from refar.arguments.arrays import (
    MOST,
    Array,
    Arrays,
    Data,
    as_array,
    as_sequence,
    at_once,
    bind_conditions,
    bind_inputs,
    bind_plane,
    check_real,
    check_rows,
)
from refar.errors import GraphError, InputError, check_integer
from refar.graph.graph import Graph
from refar.oracle import causal1d, pointwise
from refar.oracle.padding import before_start, own_parameters
from refar.oracle.raster import Raster, RasterState
from refar.oracle.run import cast, prepare

State = Any
"""{node: array}, or over a plane a `RasterState`."""


class NotReady(Enum):
    """What `step` gives instead of an output while padding is "valid" and the window is not yet whole."""

    NOT_READY = "not ready"

    def __repr__(self) -> str:
        return "refar.NOT_READY"


NOT_READY = NotReady.NOT_READY


def initial_state(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    batch: int = 1,
    condition: Data | None = None,
    *,
    shape: tuple[int, int] | None = None,
    dtype: DTypeLike = np.float64,
) -> State:
    """The state before position 0, for `step` and `block`. Only under input padding does it depend on the global conditions.

    Over a plane, before the first pixel of images of `shape`, and always with the conditions, local ones whole.
    """
    if _is_plane(graph, "initial_state", shape):
        return _begin(graph, params, batch, condition, shape, dtype)[1]
    weights = prepare(graph, params, dtype)
    conditions: Arrays = {}
    batch = check_integer("batch", batch, 0, MOST)
    if graph.padding == "input" or condition is not None:
        conditions, _ = bind_conditions(graph, condition, batch, local=False)
    return empty(graph, weights, cast(conditions, dtype), batch, ahead=False, dtype=dtype)


def step(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    state: State,
    x_t: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> tuple[Any, State]:
    """y_t as in `forward`, and the state after position t. x_b or x_bc in, y_bc out; of an image the pixel x_bc.

    Under padding "valid" the output is `refar.NOT_READY` until the window is whole.
    """
    if _is_plane(graph, "step"):
        painter, x = _go_on_painting(graph, params, state, x_t, condition, dtype)
        return painter.push(state, x)
    inputs = _one_position(graph, bind_inputs(graph, x_t, condition, stepwise=True))
    y, state = _go_on(graph, params, state, inputs, ahead=False, dtype=dtype)
    return (y[:, :, 0] if y.shape[2] else NOT_READY), state


def block(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    state: State,
    x: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, State]:
    """`step` for any number of positions in one call: x_bt in, y_bct out, of the positions that have one. Not over a plane."""
    _refuse_plane(graph, "block", "step")
    inputs = bind_inputs(graph, x, condition)
    return _go_on(graph, params, state, inputs, ahead=False, dtype=dtype)


def start(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    batch: int | None = None,
    condition: Data | None = None,
    *,
    shape: tuple[int, int] | None = None,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, State]:
    """y_0, which depends on no token, and the state for `next`. Raises GraphError unless the graph is strict.

    Of an image with ordered colours, y_0 of the first colour; the others are nan, and `step` gives them one by one.
    """
    require_strict(facts(graph), "start")
    if _is_plane(graph, "start", shape):
        painter, begun = _begin(graph, params, batch, condition, shape, dtype)
        return _of_first_colour(graph, painter.look(begun)), begun
    conditions, rows = bind_conditions(graph, condition, batch)
    weights, inputs = prepare(graph, params, dtype), _one_position(graph, conditions)
    state = empty(graph, weights, cast(inputs, dtype), rows, ahead=True, dtype=dtype)
    y, state = advance(graph, weights, state, inputs, ahead=True, dtype=dtype, rows_before=rows)
    return y[:, :, 0], state


def next(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    state: State,
    x_t: Data,
    condition: Data | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> tuple[Any, State]:
    """y_{t+1} after the token x_t, and the state after it. x_b or x_bc in, y_bc out.

    `condition` holds the local conditions of position t + 1, and the global ones, the same in every call: the state is
    made under them. Of an image the state has them, and after its last pixel the output is None.
    Ordered colours: see `start`.
    """
    require_strict(facts(graph), "next")
    if _is_plane(graph, "next"):
        painter, pixel = _go_on_painting(graph, params, state, x_t, condition, dtype)
        _, after = painter.push(state, pixel)
        return (None if painter.is_complete(after) else _of_first_colour(graph, painter.look(after))), after
    inputs = _one_position(graph, bind_inputs(graph, x_t, condition, stepwise=True))
    y, state = _go_on(graph, params, state, inputs, ahead=True, dtype=dtype)
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
    """`next` for any number of tokens in one call: x_bt in, the outputs one position later y_bct out. Not over a plane."""
    _refuse_plane(graph, "next_block", "next")
    require_strict(facts(graph), "next_block")
    inputs = bind_inputs(graph, x, condition)
    return _go_on(graph, params, state, inputs, ahead=True, dtype=dtype)


def _is_plane(graph: Graph, purpose: str, shape: tuple[int, int] | None = None) -> bool:
    plane = facts(graph).grid is not None
    if shape is not None and not plane:
        raise InputError(f"{purpose}: shape: expected none for a graph over time, got {shape!r}")
    return plane


def _refuse_plane(graph: Graph, purpose: str, instead: str) -> None:
    if _is_plane(graph, purpose):
        raise GraphError(f"{purpose} expects a graph over time; images are run pixel by pixel, see `refar.{instead}`")


def _begin(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    batch: int | None,
    condition: Data | None,
    shape: tuple[int, int] | None,
    dtype: DTypeLike,
) -> tuple[Raster, RasterState]:
    facts(graph).require_causal("a stream")
    conditions, rows, extent = bind_plane(graph, condition, batch, shape)
    painter = Raster(graph, prepare(graph, params, dtype), dtype)
    return painter, painter.begin(cast(conditions, dtype), rows, extent)


def _of_first_colour(graph: Graph, y: Array) -> Array:
    """The outputs of a pixel of which nothing is known: where colours are ordered, those of all but the first are nan."""
    if not facts(graph).ordered:
        return y
    found = facts(graph)
    first = np.arange(y.shape[1]) % found.types[found.sequence].channels == 0
    return np.where(first, y, np.nan).astype(y.dtype)


def _go_on_painting(
    graph: Graph, params: Mapping[str, ArrayLike], state: State, x: Data, condition: Data | None, dtype: DTypeLike
) -> tuple[Raster, Array]:
    """The graph ready to run from a state, and the pixel x_bc as (B, C, 1, 1)."""
    if not isinstance(state, RasterState):
        after = "; step and next return the output and the state" if isinstance(state, tuple) else ""
        raise InputError(f"state: expected one that initial_state or start return, got {type(state).__name__}{after}")
    if condition is not None:
        raise InputError("condition: expected none, since the state of an image holds the conditions it was begun with")
    painter = Raster(graph, prepare(graph, params, dtype), dtype)
    painter.check(state)
    found = facts(graph)
    pixel = check_rows(found.sequence, as_sequence(graph, x), at_once(found.types[found.sequence]))
    if len(pixel) != state.batch:
        raise InputError(f"input {found.sequence!r}: expected {state.batch} rows, as the state has, got {len(pixel)}")
    return painter, cast({found.sequence: pixel[:, :, None, None]}, dtype)[found.sequence]


def empty(graph: Graph, params: Arrays, conditions: Arrays, batch: int, *, ahead: bool, dtype: DTypeLike) -> State:
    """The state before the first token, for prepared parameters: what stands before the start, as often as it is kept."""
    types, history = facts(graph).types, facts(graph).schedule(leading=ahead).cache
    if graph.padding == "valid":  # nothing stands there: histories grow to their length
        history = dict.fromkeys(history, 0)
    if graph.padding != "input":
        return {name: np.zeros((batch, types[name].size, kept), dtype) for name, kept in history.items()}
    before = before_start(graph, params, conditions, batch, dtype)
    return {name: np.repeat(before[name], kept, axis=2) for name, kept in history.items()}


def _one_position(graph: Graph, inputs: Arrays) -> Arrays:
    return {name: array[..., None] if facts(graph).types[name].timed else array for name, array in inputs.items()}


def _go_on(
    graph: Graph, params: Mapping[str, ArrayLike], state: State, inputs: Arrays, *, ahead: bool, dtype: DTypeLike
) -> tuple[Array, State]:
    """`advance` from what the caller handed in, with bound inputs."""
    weights, rows = prepare(graph, params, dtype), len(inputs[facts(graph).sequence])
    return advance(graph, weights, _check_state(graph, state, rows, ahead, dtype), inputs, ahead=ahead, dtype=dtype)


def _check_state(graph: Graph, state: State, batch: int, ahead: bool, dtype: DTypeLike) -> State:
    if not isinstance(state, Mapping):
        after = "; step and next return the output and the state" if isinstance(state, tuple) else ""
        raise InputError(f"state: expected a mapping {{node: array}}, got {type(state).__name__}{after}")
    types, history, other = (
        facts(graph).types,
        facts(graph).schedule(leading=ahead).cache,
        facts(graph).schedule(leading=not ahead).cache,
    )
    lengths = {name: as_array(f"state {name!r}", array, "an array").shape[2:] for name, array in state.items()}
    if graph.padding != "valid" and history != other and lengths == {name: (kept,) for name, kept in other.items()}:
        own, others = ("start, next and next_block", "initial_state, step and block")[:: 1 if ahead else -1]
        raise InputError(f"state: expected one that {own} return, got one of {others}, which hold other positions")
    for name in (*history, *state):
        if (name in state) != (name in history):
            problem = "is missing" if name in history else "is not one of this graph's"
            raise InputError(f"state {name!r} {problem}; expected {', '.join(history) or 'none'}")
    if graph.padding == "valid":
        history = _filling(graph, history, lengths)
    shapes = {name: (batch, types[name].size, kept) for name, kept in history.items()}
    return {name: check_real(f"state {name!r}", state[name], shape).astype(dtype, copy=False) for name, shape in shapes.items()}


def _filling(graph: Graph, history: dict[str, int], lengths: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """How much of the history there is after as many positions as the state says: node n has values from `reach[n]` on."""
    reach = facts(graph).lookback
    seen = max((lengths[name][0] + reach[name] for name in history if lengths[name] not in ((), (0,))), default=0)
    return {name: min(kept, max(0, seen - reach[name])) for name, kept in history.items()}


def advance(
    graph: Graph,
    params: Arrays,
    state: State,
    inputs: Arrays,
    *,
    ahead: bool,
    dtype: DTypeLike,
    rows_before: int | None = None,
) -> tuple[Array, State]:
    """All nodes over the next positions, for prepared parameters and a checked state.

    With `rows_before`, the position before the first token of that many rows: nodes of lead 0 are what they are there.
    """
    found, run = facts(graph), facts(graph).schedule(leading=ahead)
    inputs = cast(inputs, dtype)
    before = rows_before is not None
    batch = rows_before if rows_before is not None else inputs[found.sequence].shape[0]
    length = 1 if before else inputs[found.sequence].shape[-1]
    earlier = before_start(graph, params, inputs, batch, dtype) if before else {}
    values: Arrays = {}
    buffers: Arrays = {}

    for node in graph.nodes:
        kind = found.types[node.name]
        sources = {name: buffers.get(name, values[name]) for name in node.inputs}
        ends = {name: sources[name].shape[-1] + run.lead[node.name] - run.lead[name] for name in node.inputs if name in run.lead}
        count = max(
            0, min([length, *(end - max(offsets_of_node(node.op)) for end in ends.values())])
        )  # fewer if nothing stands before
        assert not isinstance(node.op, ops.ImageOp)  # those run in `oracle.raster`
        if before and run.lead.get(node.name) == 0:
            value = earlier[node.name]
        else:
            match node.op:
                case ops.Input():
                    value = inputs[node.name]
                case ops.Conv1d() | ops.Shift() | ops.Pool1d() as op:
                    offsets = causal1d.window_offsets(op)
                    seen = [[_window(sources[name], ends.get(name), o, count) for o in offsets] for name in node.inputs]
                    windows = [np.stack([w[:, :, None] if w.ndim == 2 else w for w in each], axis=2) for each in seen]
                    value = causal1d.forward(op, windows, own_parameters(node, params))
                    value = value if kind.timed else value[:, :, 0]
                case _ as op:
                    args = [_window(sources[name], ends.get(name), 0, count) for name in node.inputs]
                    classes = found.types[node.inputs[0]].size
                    value = pointwise.forward(op, args, classes, params.get(f"{node.name}.weight"), np.dtype(dtype))
        values[node.name] = value
        if node.name in run.cache:
            buffers[node.name] = np.concatenate([state[node.name], value], axis=2)

    kept = {name: buffers[name][:, :, max(0, buffers[name].shape[2] - most) :].copy() for name, most in run.cache.items()}
    return values[graph.output], kept


def _window(source: Array, end: int | None, offset: int, count: int) -> Array:
    """The `count` values that lie `offset` before those up to `end`; what is constant, which has no end, as it is."""
    return source if end is None else source[..., end - offset - count : end - offset]
