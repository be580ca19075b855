"""Rewrites of step graphs: the same values, the same state, fewer products; each where its pattern is, and each a choice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from stream_graphs import GRAPHS

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.analysis.slots import state_layout
from refar.errors import GraphError
from refar.testing import strategies
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar.testing.contract.integers import integer_case, integral_graph
from refar_export.build import build
from refar_export.rewrites import REWRITES, rewritten


def same(graph: Graph, names: tuple[str, ...]) -> Graph:
    """The rewritten graph, which gives the same values to rounding and has the same state."""
    rng = np.random.default_rng(1)
    params, inputs = generic_parameters(graph, rng), generic_inputs(graph, rng, 2, 19)
    found, weights = rewritten(graph, params, names)
    np.testing.assert_allclose(
        refar.forward(found, weights, inputs), refar.forward(graph, params, inputs), rtol=1e-10, atol=1e-12
    )
    assert (found.output, found.head, found.padding) == (graph.output, graph.head, graph.padding)
    before, after = state_layout(facts(graph), 1), state_layout(facts(found), 1)
    assert (before.slots, before.fixed, before.sizes) == (after.slots, after.fixed, after.sizes)
    return found


@pytest.mark.parametrize(
    "names", [(), *((name,) for name in REWRITES), tuple(REWRITES)], ids=lambda names: "+".join(names) or "none"
)
@pytest.mark.parametrize("graph", GRAPHS)
def test_the_same_values_and_the_same_state(graph: str, names: tuple[str, ...]) -> None:
    same(GRAPHS[graph], names)


def test_every_built_in_network(model: Graph) -> None:
    same(model, tuple(REWRITES))


@settings(max_examples=60)
@given(graph=strategies.graphs())
def test_random_graphs(graph: Graph) -> None:
    assume(facts(graph).looks_ahead is None)
    same(graph, tuple(REWRITES))


@settings(max_examples=30)
@given(graph=strategies.graphs(exact=True))
def test_integers_are_equal(graph: Graph) -> None:
    assume(facts(graph).looks_ahead is None)
    twin = integral_graph(graph)
    case = integer_case(twin, np.random.default_rng(2), 2, (16 + facts(graph).left_context,)) if twin else None
    if case is not None:
        found, params = rewritten(case.graph, case.params)
        expected = refar.forward(case.graph, case.params, case.inputs)
        np.testing.assert_array_equal(refar.forward(found, params, case.inputs), expected)


def test_a_graph_that_looks_ahead_is_refused() -> None:
    g = Builder()
    graph = g.build(g.delay(g.conv1d(g.input(channels=2), 3), -1, name="next"))
    with pytest.raises(GraphError, match="a rewrite needs a causal graph; node 'next'"):
        rewritten(graph, refar.init(graph))


def kinds(graph: Graph) -> Counter[str]:
    return Counter(type(node.op).__name__ for node in graph.nodes)


def test_lookups_take_the_place_of_one_hot_products() -> None:
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=9)), 4, name="mixed")
    graph = g.build(g.conv1d(g.tanh(h), 9, strict=True, kernel=2), ops.Categorical())
    found = same(graph, ("lookups",))
    assert kinds(found) == {"Input": 1, "Embedding": 1, "Activation": 1, "Conv1d": 1}
    assert isinstance(found["mixed"].op, ops.Embedding)


def test_one_product_takes_the_place_of_a_sum_of_them() -> None:
    graph = models.wavenet(5, [1, 2, 4, 8], residual=4, gate=3, skip=6)
    assert kinds(graph)["Conv1d"] - kinds(same(graph, ("sums",)))["Conv1d"] == 3  # four blocks, one skip sum


def test_two_products_take_the_place_of_a_gate() -> None:
    graph = models.wavenet(5, [1, 2, 4], residual=4, gate=3, skip=6)
    found = same(graph, ("gates",))
    assert (kinds(graph)["Gate"], kinds(found)["Gate"], kinds(found)["Multiply"]) == (3, 0, 3)
    conditioned = models.wavenet(5, [1, 2], residual=4, gate=3, skip=6, condition="class:3")  # the gate is of a sum there
    assert same(conditioned, ("gates",)) == conditioned


def test_what_is_read_twice_or_is_in_groups_stays() -> None:
    g = Builder()
    h = g.conv1d(g.input(channels=4), 8, name="both")
    graph = g.build(g.conv1d(g.concat(g.gate(h), g.gate(g.conv1d(h, 8, groups=2))), 2))
    assert same(graph, ("gates",)) == graph
    g = Builder()
    x = g.input(channels=2)
    a, b = g.conv1d(x, 3), g.conv1d(x, 3, groups=1, kernel=2)
    graph = g.build(g.concat(g.add(a, b), a))
    assert same(graph, ("sums",)) == graph


@pytest.mark.parametrize("kind", ["step", "block"])
def test_they_can_be_left_out(kind: Any) -> None:
    graph = models.wavenet(5, [1, 2, 4], residual=4, gate=3, skip=6)
    params = refar.init(graph)
    plain, fast = (build(graph, params, kind, rewrites=names) for names in ((), None))
    assert plain != fast
    assert {node.op_type for node in plain.graph.node} >= {"Sum"} or kind == "block"
    weights = {tensor.name for tensor in plain.graph.initializer}
    assert set(params) <= weights
    assert [port.name for port in plain.graph.input] == [port.name for port in fast.graph.input]
