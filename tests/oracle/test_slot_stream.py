"""The reference of the state contract: prefill and visits give what the whole pass gives, whatever is done to the state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_graphs import GRAPHS

from refar import Graph
from refar.analysis.facts import facts
from refar.analysis.slots import StateLayout, state_layout
from refar.arguments.arrays import Array, Arrays, positions
from refar.oracle import stream
from refar.oracle.bound_graph import BoundGraph, bound_graph
from refar.oracle.slot_stream import SlotState, canonical, prefill, rolled, visit
from refar.oracle.whole import forward_nodes
from refar.testing import strategies
from refar.testing.contract.cases import generic_inputs, generic_parameters

LENGTHS = [0, 3, 14]
MORE = 9


class Case:
    """Three rows with prompts of different lengths; row b goes on from position LENGTHS[b]."""

    def __init__(self, graph: Graph, spare: int, lengths: list[int] = LENGTHS) -> None:
        rng = np.random.default_rng(7)
        self.net: BoundGraph = bound_graph(graph, generic_parameters(graph, rng))
        self.layout: StateLayout = state_layout(self.net.facts, spare)
        self.inputs = self.net.cast(generic_inputs(graph, rng, len(lengths), max(lengths) + MORE + 1))
        self.whole = forward_nodes(self.net, self.inputs)[graph.output]
        self.lengths, self.strict = np.array(lengths), int(self.net.facts.strict)

    def prefilled(self) -> tuple[Array, SlotState]:
        first, sequence = positions(self.net.graph, self.inputs, 0, int(self.lengths.max()) + 1), self.net.facts.sequence
        first[sequence] = first[sequence].copy()
        for b, length in enumerate(self.lengths):  # what lies behind a prompt does not matter
            first[sequence][b, ..., length:] = 0
        return prefill(self.net, self.layout, first, self.lengths)

    def after(self, begin: int, end: int) -> Arrays:
        """The inputs of the visits from `begin` to `end` - 1."""
        found = dict(self.inputs)
        for name, array in self.inputs.items():
            if self.net.facts.types[name].timed:
                first = self.lengths + (0 if name == self.net.facts.sequence else self.strict)
                found[name] = np.stack([row[..., f + begin : f + end] for row, f in zip(array, first, strict=True)])
        return found

    def expected(self, begin: int, end: int) -> Array:
        """The outputs of the visits, from the whole pass."""
        first = self.lengths + self.strict
        return np.stack([row[:, f + begin : f + end] for row, f in zip(self.whole, first, strict=True)])

    def visit(self, state: SlotState, begin: int, end: int) -> SlotState:
        """Make visits, and compare their outputs."""
        y, state = visit(self.net, self.layout, state, self.after(begin, end))
        np.testing.assert_allclose(y, self.expected(begin, end), rtol=1e-9, atol=1e-11)
        return state


def compare(case: Case, state: SlotState, other: SlotState) -> None:
    for name, value in canonical(case.layout, state).items():
        np.testing.assert_allclose(value, canonical(case.layout, other)[name], rtol=1e-9, atol=1e-11)


@pytest.fixture(params=GRAPHS)
def graph(request: pytest.FixtureRequest) -> Graph:
    return GRAPHS[request.param]


def goes_on(case: Case, split: list[int], spare: int) -> None:
    """Prefill; visits in blocks; the last `spare` taken back, done wrongly and then once more."""
    y, state = case.prefilled()
    for b, length in enumerate(case.lengths):
        if length + case.strict > 0:
            np.testing.assert_allclose(y[b], case.whole[b, :, length + case.strict - 1], rtol=1e-9, atol=1e-11)
    begin = 0
    for size in split:
        state = case.visit(state, begin, begin + size)
        begin += size
        back = min(spare, begin)
        if back:
            wrong = case.after(begin - back, begin)
            wrong[case.net.facts.sequence] = wrong[case.net.facts.sequence][::-1]
            past = SlotState(state.past, state.clock - back, state.fixed)
            _, past = visit(case.net, case.layout, past, wrong)
            state = case.visit(SlotState(past.past, past.clock - back, past.fixed), begin - back, begin)


@pytest.mark.parametrize("spare", [0, 1, 3])
def test_visits_are_the_whole_pass(graph: Graph, spare: int) -> None:
    goes_on(Case(graph, spare), [1, 3, 1, 4], spare)


@given(graph=strategies.graphs(paddings=("layer", "input")), spare=st.integers(0, 2), data=st.data())
def test_random_graphs(graph: Graph, spare: int, data: Any) -> None:
    if facts(graph).looks_ahead is None:
        goes_on(Case(graph, spare), [size for size in data.draw(strategies.splits(MORE)) if size], spare)


def test_one_more_visit_than_is_spare_cannot_be_taken_back() -> None:
    case = Case(GRAPHS["conditions"], 2)
    _, state = case.prefilled()
    state = case.visit(state, 0, 9)
    case.visit(SlotState(state.past, 7, state.fixed), 7, 9)
    with pytest.raises(AssertionError):
        case.visit(SlotState(state.past, 6, state.fixed), 6, 9)


def test_the_state_is_that_of_the_streams(graph: Graph) -> None:
    case = Case(graph, 1, [5, 5])
    _, state = case.prefilled()
    state = case.visit(state, 0, 7)
    net, leading = case.net, bool(case.strict)
    conditions = {name: array for name, array in case.inputs.items() if name in net.facts.conditions}
    begun = stream.empty(net, positions(graph, conditions, 0, 1), 2, leading=leading)
    if leading:
        _, begun = stream.advance(net, begun, positions(graph, conditions, 0, 1), leading=True, rows_before=2)
    inputs = positions(graph, case.inputs, 0, 12)
    inputs |= positions(graph, conditions, case.strict, 12 + case.strict)
    _, carried = stream.advance(net, begun, inputs, leading=leading)
    found = canonical(case.layout, state)
    assert found.keys() == carried.keys()
    for name, value in carried.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-11)


def test_rows_join_drop_and_change_places(graph: Graph) -> None:
    """A row that comes later is rolled to the clock of the batch."""
    case = Case(graph, 1)
    _, state = case.prefilled()
    state = case.visit(state, 0, 4)
    late = Case(graph, 1, [case.lengths[1] + 4])
    late.inputs = {name: array[1:2] for name, array in case.inputs.items()}
    _, row = late.prefilled()
    past = rolled(case.layout, row.past, state.clock)
    joined = {name: np.concatenate([array[:, [2, 0]], past[name]], axis=1) for name, array in state.past.items()}
    fixed = {name: np.concatenate([array[[2, 0]], row.fixed[name]]) for name, array in state.fixed.items()}
    inputs = {name: array[[2, 0, 1]] for name, array in case.after(4, 9).items()}
    y, _ = visit(case.net, case.layout, SlotState(joined, state.clock, fixed), inputs)
    np.testing.assert_allclose(y, case.expected(4, 9)[[2, 0, 1]], rtol=1e-9, atol=1e-11)
