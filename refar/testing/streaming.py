"""Laws 1 to 3: types, step, block."""

from __future__ import annotations

import numpy as np

from refar import ops
from refar.arrays import Array, Arrays
from refar.graph import Graph
from refar.infer import analyse
from refar.spec import run, stream
from refar.spec.padding import before_start
from refar.streams import looks_ahead
from refar.streams import stream as plan
from refar.testing import cases
from refar.testing.readings import Reading, Streamed
from refar.testing.report import Measure
from refar.testing.subject import Subject

_STEPS_BY_NODES = 2000  # a scan of single steps in NumPy costs about as much as this many operators


def types(subject: Subject, measure: Measure) -> None:
    """Inferred shapes, dtypes, parameter and state shapes are the real ones."""
    length = subject.sizes.short
    inputs = subject.inputs(length)
    batch = inputs[subject.sequence].shape[0]
    found = analyse(subject.graph)
    if subject.params is not None:
        for name, value in subject.values(inputs).items():
            kind = found.types[name]
            sizes = {"b": batch, "c": kind.size, "t": length}
            measure.require(
                value.shape == (shape := tuple(sizes[a] for a in kind.axes)), f"node {name!r}: shape", shape, value.shape
            )
            dtype = np.dtype(np.int64 if kind.indexed else np.float64)
            measure.require(value.dtype == dtype, f"node {name!r}: dtype", dtype, value.dtype)
        measure.notes.append(f"{len(found.types)} nodes")
    shape = (batch, found.types[subject.graph.output].size, length)
    for reading in subject.readings:
        y = subject.forward(reading, length)
        measure.require(y.shape == shape, f"{reading.name}: shape of the output {subject.graph.output!r}", shape, y.shape)
        measure.require(y.dtype == reading.dtype, f"{reading.name}: dtype of the output", reading.dtype, y.dtype)
        _gradient_shapes(subject, reading, inputs, np.ones_like(y), measure)
        empty = reading.forward(cases.generic_inputs(subject.graph, subject.rng(1), batch, 0))
        measure.require(empty.shape == (*shape[:2], 0), f"{reading.name}: shape for no positions", (*shape[:2], 0), empty.shape)
    for reading, streamed in subject.streams(length, [length - 1]):
        _state_shapes(subject, f"{reading.name}: {streamed.way}", streamed.state, streamed.ahead, batch, measure)
    if subject.params is not None and not looks_ahead(subject.graph):
        conditions = {name: inputs[name] for name in found.conditions}
        state = stream.initial_state(subject.graph, subject.params, batch, conditions)
        _state_shapes(subject, "initial_state", state, False, batch, measure)
    measure.notes.append(f"{len(found.parameters)} parameter arrays")
    if not looks_ahead(subject.graph):
        measure.notes.append(f"{len(plan(subject.graph, subject.strict).history)} states")


def _gradient_shapes(subject: Subject, reading: Reading, inputs: Arrays, dy: Array, measure: Measure) -> None:
    gradient = reading.gradient(inputs, dy)
    if gradient is None:
        return
    found = analyse(subject.graph)
    shapes = found.parameters | {name: array.shape for name, array in inputs.items() if not found.types[name].indexed}
    came = {name: array.shape for name, array in gradient.items()}
    for name in sorted(shapes.keys() | came.keys()):
        what = f"{reading.name}: shape of the gradient of {name!r}"
        measure.require(shapes.get(name) == came.get(name), what, shapes.get(name, "none"), came.get(name, "none"))


def _state_shapes(subject: Subject, what: str, state: Arrays, ahead: bool, batch: int, measure: Measure) -> None:
    kinds = analyse(subject.graph).types
    shapes = {name: (batch, kinds[name].size, kept) for name, kept in plan(subject.graph, ahead).history.items()}
    came = {name: array.shape for name, array in state.items()}
    measure.require(came == shapes, f"{what}: shapes of the state", shapes, came)


def step(subject: Subject, measure: Measure) -> None:
    """A scan of single steps gives the outputs of forward, and the state that the values of forward say."""
    if looks_ahead(subject.graph):
        measure.does_not_apply("the graph looks ahead")
        return
    length = subject.sizes.long if subject.small else subject.sizes.short
    count = min(length - 1, max(12, _STEPS_BY_NODES // len(subject.graph.nodes)))
    seen = _compare(subject, length, [[0] + [1] * count], measure)
    measure.notes.append(f"{count} steps by {seen}")


def block(subject: Subject, measure: Measure) -> None:
    """Any split of the sequence into blocks gives the same outputs and the same state."""
    if looks_ahead(subject.graph):
        measure.does_not_apply("the graph looks ahead")
        return
    sizes, kernels = subject.sizes, {node.op.kernel for node in subject.graph.nodes if isinstance(node.op, ops.Conv1d)}
    around = {reach + by for reach in (sizes.equal, sizes.settled) for by in (-1, 0, 1)}
    count, seen = 0, ""
    for length in (sizes.short, sizes.long):
        cheap = subject.small or length == sizes.short
        firsts = {0, 1, *(kernel - 1 for kernel in kernels), *around, length - 1} if cheap else {sizes.settled - 1}
        ways = cases.splits(subject.rng(2, length), length - 1, sorted(firsts))
        seen = _compare(subject, length, ways, measure)
        count += len(ways)
    measure.notes.append(f"{count} splits by {seen}")


def _compare(subject: Subject, length: int, ways: list[list[int]], measure: Measure) -> str:
    """Outputs against the reading's own forward; states against the oracle's values, or the session's state in one piece.

    Returns the names of the readings that have a stream.
    """
    values = subject.values(subject.inputs(length)) if subject.params is not None else None
    seen: dict[str, None] = {}
    for split in ways:
        for reading, streamed in subject.streams(length, split):
            where = f"{reading.name}: {streamed.way} in pieces of {_brief(split)}: "
            expected = subject.forward(reading, length)[:, :, streamed.first : sum(split) + streamed.ahead]
            relative = subject.tolerance(reading.dtype)
            measure.close(f"{where}output from position {streamed.first}, [b, c, t]", streamed.y_bct, expected, relative)
            states = _states(subject, reading, values, streamed, length, sum(split))
            for name, state in states.items():
                measure.close(f"{where}state of {name!r}, [b, c, t]", streamed.state[name], state, relative)
            seen[reading.name] = None
    return ", ".join(seen)


def _states(subject: Subject, reading: Reading, values: Arrays | None, streamed: Streamed, length: int, consumed: int) -> Arrays:
    if values is not None:
        assert subject.params is not None
        return final_state(subject.graph, subject.params, values, consumed, streamed.ahead)
    whole = [other for other in reading.stream(subject.inputs(length), [consumed]) if other.ahead == streamed.ahead]
    return whole[0].state


def final_state(graph: Graph, params: Arrays, values: Arrays, consumed: int, ahead: bool) -> Arrays:
    """The last values of each node that is kept, after this many tokens, behind what stands before the start."""
    run_plan = plan(graph, ahead)
    rows = len(values[analyse(graph).sequence])
    before = before_start(graph, params, values, rows, np.float64)
    state: Arrays = {}
    for name, kept in run_plan.history.items():
        until = consumed + run_plan.lead[name]
        state[name] = np.concatenate([np.repeat(before[name], kept, axis=2), values[name][:, :, :until]], axis=2)
        state[name] = state[name][:, :, state[name].shape[2] - kept :]
    return state


def exact_streams(reading: Reading, graph: Graph, params: Arrays, inputs: Arrays, y: Array, measure: Measure) -> None:
    """On integers: step and blocks equal the whole pass by ==, states too."""
    values = run.forward_nodes(graph, params, run.cast(inputs, np.float64), np.float64)
    total = y.shape[2] - 1
    for split in ([0] + [1] * total, [total // 2, total - total // 2]):
        for streamed in reading.stream(inputs, split):
            where = f"{reading.name} on integers: {streamed.way} in pieces of {_brief(split)}: "
            expected = y[:, :, streamed.first : total + streamed.ahead]
            measure.equal(f"{where}output from position {streamed.first}, [b, c, t]", streamed.y_bct, expected)
            for name, state in final_state(graph, params, values, total, streamed.ahead).items():
                measure.equal(f"{where}state of {name!r}, [b, c, t]", streamed.state[name], state)


def _brief(split: list[int]) -> str:
    return f"{split[:6]}" if len(split) <= 6 else f"{split[:4]} … {len(split)} in all"
