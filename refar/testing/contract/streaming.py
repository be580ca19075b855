"""Laws 1 to 3: types, step, block."""

from __future__ import annotations

import math

import numpy as np

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.errors import InputError
from refar.graph.graph import Graph
from refar.oracle import functions
from refar.oracle.bound_graph import cast, unchecked
from refar.oracle.padding import values_before
from refar.oracle.whole import forward_nodes
from refar.testing.contract import cases
from refar.testing.contract.backends import Backend, Streamed
from refar.testing.contract.cases import Extent
from refar.testing.contract.places import in_raster
from refar.testing.contract.subject import Subject
from refar.testing.report import Measure

_STEPS_BY_NODES = 2000  # a scan of single steps in NumPy costs about as much as this many operators


def types(subject: Subject, measure: Measure) -> None:
    """Inferred shapes, dtypes, parameter and state shapes are the real ones."""
    extent = subject.sizes.short
    inputs = subject.inputs(extent)
    batch = inputs[subject.sequence].shape[0]
    found = facts(subject.graph)
    if subject.params is not None:
        for name, value in subject.values(inputs).items():
            shape = cases.shape_of(found.types[name], batch, *extent)
            measure.require(value.shape == shape, f"node {name!r}: shape", shape, value.shape)
            dtype = np.dtype(np.int64 if found.types[name].indexed else np.float64)
            measure.require(value.dtype == dtype, f"node {name!r}: dtype", dtype, value.dtype)
        measure.notes.append(f"{len(found.types)} nodes")
    shape = cases.shape_of(found.types[subject.graph.output], batch, *extent)
    for backend in subject.backends:
        y = subject.forward(backend, extent)
        measure.require(y.shape == shape, f"{backend.name}: shape of the output {subject.graph.output!r}", shape, y.shape)
        measure.require(y.dtype == backend.dtype, f"{backend.name}: dtype of the output", backend.dtype, y.dtype)
        _gradient_shapes(subject, backend, inputs, np.ones_like(y), measure)
        _no_positions(subject, backend, batch, measure)
    measure.notes.append(f"{len(found.parameters)} parameter arrays")
    if not subject.image and not facts(subject.graph).looks_ahead:
        _states(subject, measure)


def _no_positions(subject: Subject, backend: Backend, batch: int, measure: Measure) -> None:
    """A sequence may be empty, and then its output is; an image has at least one pixel."""
    if not subject.image:
        expected = cases.shape_of(facts(subject.graph).types[subject.graph.output], batch, 0)
        y = backend.forward(cases.generic_inputs(subject.graph, subject.rng(1), batch, 0))
        measure.require(y.shape == expected, f"{backend.name}: shape for no positions", expected, y.shape)
        return
    for extent in ((0, 3), (2, 0)):
        came = "no error"
        try:
            backend.forward(cases.generic_inputs(subject.graph, subject.rng(1), batch, *extent))
        except InputError:
            came = "InputError"
        measure.require(came == "InputError", f"{backend.name}: an image of {extent[0]} x {extent[1]} pixels", "InputError", came)


def _states(subject: Subject, measure: Measure) -> None:
    """The state after a while, and the first one."""
    extent = subject.sizes.short
    inputs = subject.inputs(extent)
    batch = len(inputs[subject.sequence])
    for backend, streamed in subject.streams(extent, [math.prod(extent) - 1]):
        where = f"{backend.name}: {streamed.way}"
        _state_shapes(subject, where, streamed.state, streamed.ahead, batch, math.prod(extent) - 1, measure)
    if subject.params is not None:
        conditions = {name: inputs[name] for name in facts(subject.graph).conditions}
        state = functions.initial_state(subject.graph, subject.params, batch, conditions)
        assert isinstance(state, dict)  # it is of a sequence
        _state_shapes(subject, "initial_state", state, False, batch, 0, measure)
    measure.notes.append(f"{len(facts(subject.graph).schedule(leading=subject.strict).cache)} states")


def _gradient_shapes(subject: Subject, backend: Backend, inputs: Arrays, dy: Array, measure: Measure) -> None:
    gradient = backend.gradient(inputs, dy)
    if gradient is None:
        return
    found = facts(subject.graph)
    shapes = found.parameters | {name: array.shape for name, array in inputs.items() if not found.types[name].indexed}
    came = {name: array.shape for name, array in gradient.items()}
    for name in sorted(shapes.keys() | came.keys()):
        what = f"{backend.name}: shape of the gradient of {name!r}"
        measure.require(shapes.get(name) == came.get(name), what, shapes.get(name, "none"), came.get(name, "none"))


def _state_shapes(subject: Subject, what: str, state: Arrays, ahead: bool, batch: int, consumed: int, measure: Measure) -> None:
    kinds = facts(subject.graph).types
    shapes = {name: (batch, kinds[name].size, kept) for name, kept in _history(subject.graph, ahead, consumed).items()}
    came = {name: array.shape for name, array in state.items()}
    measure.require(came == shapes, f"{what}: shapes of the state", shapes, came)


def step(subject: Subject, measure: Measure) -> None:
    """A scan of single steps gives the outputs of forward, and over time the state that the values of forward say.

    Over an image a step is a pixel, with colours in order first each colour by what is known of the pixel.
    """
    if _has_no_stream(subject, measure):
        return
    sizes, most = subject.sizes, max(12, _STEPS_BY_NODES // len(subject.graph.nodes))
    if subject.image:
        narrow = (min(sizes.settled[0] + 1, most // 3), 3)  # many rows also where steps are expensive
        counts = {extent: min(math.prod(extent), most) for extent in (sizes.single, narrow, sizes.short, sizes.equal)}
    else:
        length = sizes.long if subject.small else sizes.short
        counts = {length: min(math.prod(length) - 1, most)}
    for extent, count in counts.items():
        seen = _compare(subject, extent, [[0] + [1] * count], measure)
    measure.notes.append(f"{sum(counts.values())} steps by {seen}")


def block(subject: Subject, measure: Measure) -> None:
    """Any split of the sequence into blocks gives the same outputs and the same state."""
    if subject.image:
        measure.does_not_apply("images are run pixel by pixel")
        return
    if _has_no_stream(subject, measure):
        return
    sizes, kernels = subject.sizes, {node.op.kernel for node in subject.graph.nodes if isinstance(node.op, ops.Conv1d)}
    (equal,), (settled,) = sizes.equal, sizes.settled
    around = {reach + by for reach in (equal, settled) for by in (-1, 0, 1)}
    count, seen = 0, ""
    for extent in (sizes.short, sizes.long):
        (length,), cheap = extent, subject.small or extent == sizes.short
        firsts = {0, 1, *(kernel - 1 for kernel in kernels), *around, length - 1} if cheap else {settled - 1}
        ways = cases.splits(subject.rng(2, length), length - 1, sorted(firsts))
        ways.append([1] + [3] * ((length - 2) // 3))  # of one length, which a stream may take in a form of its own
        seen = _compare(subject, extent, ways, measure)
        count += len(ways)
    measure.notes.append(f"{count} splits by {seen}")


def _has_no_stream(subject: Subject, measure: Measure) -> bool:
    if facts(subject.graph).looks_ahead:
        measure.does_not_apply("the graph looks ahead")
    return bool(measure.absence)


def _compare(subject: Subject, extent: Extent, ways: list[list[int]], measure: Measure) -> str:
    """Outputs against the backend's own forward; states against the oracle's values, or the session's state in one piece.

    Returns the names of the backends that have a stream.
    """
    values = subject.values(subject.inputs(extent)) if subject.params is not None else None
    seen: dict[str, None] = {}
    for split in ways:
        for backend, streamed in subject.streams(extent, split):
            where = f"{backend.name}: {streamed.way} in pieces of {_brief(split)}: "
            expected = in_raster(subject.forward(backend, extent))[:, :, streamed.first : sum(split) + streamed.ahead]
            relative = subject.tolerance(backend.dtype)
            measure.close(f"{where}output from position {streamed.first}, [b, c, t]", streamed.y_bct, expected, relative)
            for name, state in _expected_states(subject, backend, values, streamed, extent, sum(split)).items():
                measure.close(f"{where}state of {name!r}, [b, c, t]", streamed.state[name], state, relative)
            seen[backend.name] = None
    return ", ".join(seen)


def _expected_states(
    subject: Subject, backend: Backend, values: Arrays | None, streamed: Streamed, extent: Extent, consumed: int
) -> Arrays:
    if subject.image:
        return {}
    if values is not None:
        assert subject.params is not None
        return final_state(subject.graph, subject.params, values, consumed, streamed.ahead)
    whole = [other for other in backend.stream(subject.inputs(extent), [consumed]) if other.ahead == streamed.ahead]
    return whole[0].state


def _history(graph: Graph, ahead: bool, consumed: int) -> dict[str, int]:
    """How many values of each node are kept after so many tokens: under padding "valid" no more than there are."""
    plan, reach = facts(graph).schedule(leading=ahead), facts(graph).lookback
    if graph.padding != "valid":
        return plan.cache
    return {name: min(kept, max(0, consumed + plan.lead[name] - reach[name])) for name, kept in plan.cache.items()}


def final_state(graph: Graph, params: Arrays, values: Arrays, consumed: int, ahead: bool) -> Arrays:
    """The last values of each node that is kept, after this many tokens, behind the values at t < 0."""
    run_plan = facts(graph).schedule(leading=ahead)
    rows = len(values[facts(graph).sequence])
    before = values_before(unchecked(graph, params, np.float64), values, rows)
    state: Arrays = {}
    for name, kept in _history(graph, ahead, consumed).items():
        until = consumed + run_plan.lead[name]
        state[name] = np.concatenate([np.repeat(before[name], kept, axis=2), values[name][:, :, :until]], axis=2)
        state[name] = state[name][:, :, state[name].shape[2] - kept :]
    return state


def exact_streams(backend: Backend, graph: Graph, params: Arrays, inputs: Arrays, y: Array, measure: Measure) -> None:
    """On integers: step and blocks equal the whole pass by ==, states too; over an image, step by pixel."""
    values = forward_nodes(unchecked(graph, params, np.float64), cast(inputs, np.float64))
    image = facts(graph).grid is not None
    y = in_raster(y)
    total = y.shape[2] - (not image)
    for split in ([0] + [1] * total, *([] if image else [[total // 2, total - total // 2]])):
        for streamed in backend.stream(inputs, split):
            where = f"{backend.name} on integers: {streamed.way} in pieces of {_brief(split)}: "
            expected = y[:, :, streamed.first : total + streamed.ahead]
            measure.equal(f"{where}output from position {streamed.first}, [b, c, t]", streamed.y_bct, expected)
            for name, state in ({} if image else final_state(graph, params, values, total, streamed.ahead)).items():
                measure.equal(f"{where}state of {name!r}, [b, c, t]", streamed.state[name], state)


def _brief(split: list[int]) -> str:
    return f"{split[:6]}" if len(split) <= 6 else f"{split[:4]} … {len(split)} in all"
