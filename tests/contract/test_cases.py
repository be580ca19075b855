"""The data of the laws, which must be able to see mistakes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.analysis.types import Type
from refar.exact import literal
from refar.testing import run_laws, strategies
from refar.testing.contract import integers, operators
from refar.testing.contract.cases import generic_parameters, integer_inputs, other_values, sizes, splits
from refar.testing.report import ContractError, Measure


def test_sizes_are_distinct_and_no_multiples(model: Graph) -> None:
    found = sizes(model)
    reach = max(facts(model).offsets[model.output][0]) + 1
    assert found.short < (reach,) == found.equal < found.long
    channels = {kind.size for kind in facts(model).types.values()}
    dilations = {node.op.dilation for node in model.nodes if isinstance(node.op, ops.Conv1d)}
    assert len({found.batch, *found.short, *found.long}) == 3
    assert found.long[0] not in channels
    assert all(found.long[0] % d for d in dilations if d > 1)


def test_parameters_are_nowhere_zero(model: Graph) -> None:
    for alive in (False, True):
        params = generic_parameters(model, np.random.default_rng(0), alive=alive)
        assert all((array != 0).all() for array in params.values())
        assert not alive or all((array > 0).all() for array in params.values())


@given(st.integers(0, 20), st.lists(st.integers(0, 25)), st.integers(0, 99))
def test_splits_cover_everything(total: int, firsts: list[int], seed: int) -> None:
    found = splits(np.random.default_rng(seed), total, firsts)
    assert [split[0] for split in found] == sorted({first for first in firsts if first <= total})
    assert all(sum(split) == total and all(length > 0 for length in split[1:]) for split in found)


@pytest.mark.parametrize("kind", [Type(2, True, True), Type(7, True, False), Type(3, False, True)])
def test_other_values_differ_everywhere(kind: Type) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, kind.size, (4, 50)) if kind.indexed else rng.normal(size=(4, 3, 50))
    other = other_values(kind, x, rng)
    assert (other != x).all()
    assert not kind.indexed or ((other >= 0) & (other < kind.size)).all()


def test_integers_hold_the_kinks() -> None:
    inputs = integer_inputs(models.linear_ar(3), np.random.default_rng(0), 8, 2, 20)
    assert (inputs["x"] == 0).sum() >= 5
    assert np.abs(inputs["x"]).max() <= 8


@given(strategies.graphs())
def test_each_operator_has_a_case(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    cases = [*operators.exact_cases(graph, rng), *operators.rounded_cases(graph, rng)]
    kinds = {type(node.op) for node in graph.nodes} - {ops.Input}
    assert kinds <= {type(node.op) for case in cases for node in case.graph.nodes}
    for case in operators.exact_cases(graph, rng):
        assert all(literal.is_exact(node.op) for node in case.graph.nodes)


def pooled() -> Graph:
    g = Builder()
    h = g.pool1d(g.input(channels=2), "avg", 2, pad="exclude", dilation=3)
    h = g.pool1d(g.relu(g.conv1d(h, 3, kernel=2)), "max", 3, pad="zero")
    return g.build(g.conv1d(g.pool1d(h, "avg", 2, pad="zero"), 2, strict=True))


def test_models_have_an_integer_case_exactly_if_their_operators_do(model: Graph) -> None:
    graph = integers.integral_graph(model)
    assert (graph is not None) == all(literal.is_exact(node.op) for node in model.nodes)
    if graph is not None:
        for seed in range(5):
            assert_exact_and_alive(graph, seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("graph", [models.nettoy1d(), models.nettoy1d(300, std=70.0, mean=128.5), pooled()])
def test_larger_and_other_networks_have_one_too(graph: Graph, seed: int) -> None:
    integral = integers.integral_graph(graph)
    assert integral is not None
    assert_exact_and_alive(integral, seed)


def assert_exact_and_alive(graph: Graph, seed: int) -> None:
    """In float32 the output and all gradients are those of float64; no gradient and no offset is lost on a relu."""
    found, lengths = facts(graph), sizes(graph)
    case = integers.integer_case(graph, np.random.default_rng(seed), lengths.batch, lengths.long)
    assert case is not None
    params, y = case.params, refar.forward(graph, case.params, case.inputs)
    for function, *more in ((refar.forward,), (refar.backward, case.dy)):
        single = function(graph, params, case.inputs, *more, dtype=np.float32)
        assert_the_same(single, function(graph, params, case.inputs, *more))
    gradients = refar.backward(graph, params, case.inputs, case.dy)
    dead = [name for arrays in gradients.values() for name, array in arrays.items() if not array.any()]
    assert not dead
    x, kind, felt = case.inputs[found.sequence], found.types[found.sequence], set[int]()
    for p, draw in product(range(lengths.long[0]), range(3)):
        changed = x.copy()
        changed[..., p] = other_values(kind, x, np.random.default_rng([p, draw]))[..., p]
        after = refar.forward(graph, params, {**case.inputs, found.sequence: changed})
        felt |= {int(t) - p for t in np.flatnonzero((after != y).any(axis=(0, 1)))}
    assert felt == refar.offsets(graph)
    assert (y.std(axis=(0, 2)) > 0).mean() > 0.5, "most channels of the output vary"


def assert_the_same(actual: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for name in expected:
            assert_the_same(actual[name], expected[name])
    else:
        np.testing.assert_array_equal(actual, expected)


def test_where_no_integers_serve_the_law_says_so() -> None:
    """Forty layers of two taps: paths enough to leave float32, or too few to reach every offset."""
    g = Builder()
    h = g.input(channels=1)
    for _ in range(40):
        h = g.conv1d(h, 2, kernel=2)
    report = run_laws(g.build(h), backends=())
    exact = next(line for line in report.lines if line.law == "exact")
    assert exact.passed
    assert exact.figure.endswith("no integer case found for the whole graph")


def test_lengths_reach_past_a_condition_that_is_delayed_further_than_the_sequence() -> None:
    g = Builder()
    x, c = g.delay(g.input(channels=1)), g.condition(channels=1)
    late = g.delay(g.slice(g.concat(x, c), 1, 2), 5)
    graph = g.build(g.multiply(x, late))
    assert refar.offsets(graph) == {1}
    found = sizes(graph)
    assert (found.equal, found.settled) == ((2,), (7,))
    assert found.long > found.settled
    assert {found.equal, found.settled, found.long} <= {*found.extents}
    run_laws(graph, backends=()).require()


def test_lengths_hold_an_output_that_feels_neither_end() -> None:
    g = Builder()
    x, c = g.input(channels=1), g.condition(channels=1, local=True)
    graph = g.build(g.multiply(g.delay(g.delay(x), -1), g.delay(c, -20)))
    assert refar.offsets(graph) == {0}
    found = sizes(graph)
    assert (found.equal, found.settled, found.inner) == ((2,), (22,), (1,))
    run_laws(graph, backends=()).require()


def test_measure_tells_nan_from_equal() -> None:
    for compare in (lambda m, a, e: m.equal("y", a, e), lambda m, a, e: m.close("y", a, e, 1.0)):
        with pytest.raises(ContractError, match=r"y at \[1\]: expected 1.0, got nan \(1 of 2 differ\)"):
            compare(Measure(), np.array([1.0, np.nan]), np.ones(2))
        with pytest.raises(ContractError, match=r"y: shape: expected \(2,\), got \(3,\)"):
            compare(Measure(), np.ones(3), np.ones(2))
