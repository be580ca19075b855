"""The data of the laws, which must be able to see mistakes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refar import Graph, models, ops
from refar.infer import Type, analyse
from refar.spec import literal
from refar.testing import operators, strategies
from refar.testing.cases import generic_parameters, integer_inputs, other_values, sizes, splits
from refar.testing.report import ContractError, Measure


def test_sizes_are_distinct_and_no_multiples(model: Graph) -> None:
    found = sizes(model)
    reach = max(analyse(model).offsets[model.output][0]) + 1
    assert found.short < reach == found.equal < found.long
    channels = {kind.size for kind in analyse(model).types.values()}
    dilations = {node.op.dilation for node in model.nodes if isinstance(node.op, ops.Conv1d)}
    assert len({found.batch, found.short, found.long}) == 3
    assert found.long not in channels
    assert all(found.long % d for d in dilations if d > 1)


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
    inputs = integer_inputs(models.linear_ar(3), np.random.default_rng(0), 2, 20, 8)
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


def test_integer_case_of_a_whole_network_stays_exact_in_float32() -> None:
    graph = operators.integral_graph(models.nettoy1d(300, std=70.0, mean=128.5))
    assert graph is not None
    case = operators.integer_case(graph, np.random.default_rng(0), 2, 20)
    assert case is not None
    assert any((array != 0).any() for array in case.params.values())
    assert operators.integral_graph(models.wavenet(4, [1])) is None


def test_measure_tells_nan_from_equal() -> None:
    for compare in (lambda m, a, e: m.equal("y", a, e), lambda m, a, e: m.close("y", a, e, 1.0)):
        with pytest.raises(ContractError, match=r"y at \[1\]: expected 1.0, got nan \(1 of 2 differ\)"):
            compare(Measure(), np.array([1.0, np.nan]), np.ones(2))
        with pytest.raises(ContractError, match=r"y: shape: expected \(2,\), got \(3,\)"):
            compare(Measure(), np.ones(3), np.ones(2))
