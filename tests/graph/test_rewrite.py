"""strictify: the same parameters, one position later."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from helpers import refuses
from hypothesis import given, settings
from msgspec.structs import replace

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.errors import GraphError
from refar.testing import check_contract, strategies
from refar.testing.contract.cases import generic_inputs, generic_parameters


def body(g: Builder, h: str, classes: int) -> Graph:
    h = g.tanh(g.conv1d(h, 3, kernel=2, dilation=2))
    h = g.add(g.conv1d(h, 3, kernel=3), g.pool1d(h, "avg", 2, pad="exclude"))
    return g.build(g.conv1d(h, classes, name="out"), ops.Categorical())


def of_classes() -> Graph:
    g = Builder()
    x = g.input(classes=4)
    h = g.concat(g.one_hot(x), g.embedding(x, 2), g.standardize(x, 1.5, 0.5), g.one_hot(g.condition(classes=2, local=True)))
    return body(g, h, 4)


def of_a_signal() -> Graph:
    g = Builder()
    x = g.input(channels=2)
    h = g.conv1d(g.concat(x, g.delay(x, 3, name="x_delayed")), 2, kernel=2)
    return g.build(g.add(g.conv1d(h, 2, kernel=2, name="out"), x), ops.Gaussian())


@pytest.mark.row("001-4")
@pytest.mark.parametrize("build", [of_classes, of_a_signal])
def test_one_position_later_with_the_same_parameters(build: Any) -> None:
    graph = build()
    strict = refar.strictify(graph)
    assert not refar.is_strict(graph)
    assert refar.is_strict(strict)
    assert refar.offsets(strict) == frozenset(offset + 1 for offset in refar.offsets(graph))
    assert facts(strict).parameters == facts(graph).parameters
    assert strict.head == graph.head
    check_contract(strict)


@pytest.mark.row("001-4")
@pytest.mark.parametrize("build", [of_classes, of_a_signal])
def test_the_same_function_once_the_start_is_out_of_sight(build: Any) -> None:
    graph = build()
    strict, rng = refar.strictify(graph), np.random.default_rng(0)
    params = generic_parameters(graph, rng)
    reach = max(refar.offsets(strict))
    inputs = generic_inputs(graph, rng, 2, reach + 6)
    later = {n: np.concatenate([a[..., :1], a[..., :-1]], axis=-1) if n == "condition" else a for n, a in inputs.items()}
    before, after = refar.forward(graph, params, inputs), refar.forward(strict, params, later)
    np.testing.assert_allclose(after[..., reach:], before[..., reach - 1 : -1], rtol=0, atol=1e-14)
    assert (np.abs(after[..., 1:reach] - before[..., : reach - 1]) > 1e-3).any(), "under layer padding the start differs"


def test_under_input_padding_it_is_the_same_function_from_the_start_on() -> None:
    graph = replace(of_a_signal(), padding="input")
    strict, rng = refar.strictify(graph), np.random.default_rng(0)
    params, x = generic_parameters(graph, rng), rng.normal(size=(2, 2, 9))
    before, after = refar.forward(graph, params, x), refar.forward(strict, params, x)
    np.testing.assert_allclose(after[..., 1:], before[..., :-1], rtol=0, atol=1e-14)
    check_contract(strict, backends=("numpy",))


def test_a_strict_graph_is_returned_as_it_is() -> None:
    for graph in (models.tcn(3, [2]), models.linear_ar(4), refar.strictify(of_classes())):
        assert refar.strictify(graph) is graph


def test_the_published_tcn_becomes_the_model() -> None:
    """The model's delay stands where strictify puts it."""
    g = Builder()
    h = g.one_hot(g.input(classes=3))
    f = g.relu(g.conv1d(g.relu(g.conv1d(h, 2, kernel=3, name="block0.conv1")), 2, kernel=3, name="block0.conv2"))
    h = g.relu(g.add(f, g.conv1d(h, 2, name="block0.residual")))
    strict, model = refar.strictify(g.build(g.conv1d(h, 3, name="logits"), ops.Categorical())), models.tcn(3, [2])
    params = generic_parameters(model, np.random.default_rng(0))
    x = np.random.default_rng(1).integers(0, 3, (2, 9))
    np.testing.assert_array_equal(refar.forward(strict, params, x), refar.forward(model, params, x))


@settings(max_examples=25)
@given(strategies.graphs(strict=False))
def test_any_graph(graph: Graph) -> None:
    strict = refar.strictify(graph)
    assert refar.is_strict(strict)
    check_contract(strict, backends=("numpy",))


def test_the_output_may_be_the_lookup_itself() -> None:
    g = Builder()
    strict = refar.strictify(g.build(g.embedding(g.input(classes=3), 3, name="table"), ops.Categorical()))
    assert strict.output == "table_delayed"
    np.testing.assert_array_equal(refar.forward(strict, {"table.weight": np.eye(3)}, [[2, 1]])[0, :, :], [[0, 0], [0, 0], [0, 1]])


def test_what_reads_the_classes_in_another_way_is_refused() -> None:
    g = Builder()
    x = g.input(classes=3)
    graph = g.build(g.conv1d(g.concat(g.one_hot(x), g.add_op(ops.Ones(), x, name="marks")), 3))
    with refuses(GraphError, "strictify needs a strict graph", "some node joins channels that see the present"):
        refar.strictify(graph)


def trained_on_the_next(padding: str = "layer") -> Graph:
    """A network that sees the present: its output at t is for x_{t+1}."""
    g = Builder()
    h = g.gate(g.conv1d(g.one_hot(g.input(classes=4)), 8, kernel=3, dilation=2, name="conv"))
    return g.build(g.conv1d(h, 4, name="logits"), ops.Categorical(), padding=padding)


def test_a_delay_behind_the_output() -> None:
    graph, x = trained_on_the_next(), np.random.default_rng(0).integers(0, 4, (2, 12))
    strict, params = refar.strictify(graph, at="output"), refar.init(graph, seed=0)
    y, late = refar.forward(graph, params, x), refar.forward(strict, params, x)
    np.testing.assert_array_equal(late[:, :, 1:], y[:, :, :-1])
    assert not late[:, :, 0].any()
    assert refar.nll_per_position(strict, params, x)[:, 0] == pytest.approx(np.log(4))
    assert refar.receptive_field(strict) == refar.receptive_field(graph)


def test_a_first_output_that_is_given() -> None:
    graph, x = trained_on_the_next(), np.random.default_rng(0).integers(0, 4, (2, 12))
    strict, first = refar.strictify(graph, at="output", start="first"), np.array([0.5, -1.0, 2.0, 0.0])
    own = refar.init(graph, seed=0)
    params = own | {"first.weight": first[:, None, None]}
    y, late = refar.forward(graph, own, x), refar.forward(strict, params, x)
    np.testing.assert_array_equal(late[:, :, 1:], y[:, :, :-1])
    np.testing.assert_array_equal(late[:, :, 0], np.broadcast_to(first, (2, 4)))
    logits, state = refar.start(strict, params, batch=2)
    for t in range(11):
        np.testing.assert_allclose(logits, late[:, :, t], rtol=1e-12)
        logits, state = refar.next(strict, params, state, x[:, t])


def test_what_cannot_be_delayed_at_the_output_is_refused() -> None:
    with refuses(GraphError, "strictify: at: expected 'input' or 'output', got 'middle'"):
        refar.strictify(trained_on_the_next(), at=cast(Any, "middle"))
    with refuses(GraphError, "start: expected a name that no node has, got 'logits'"):
        refar.strictify(trained_on_the_next(), at="output", start="logits")
    for graph, at in ((trained_on_the_next("input"), "output"), (trained_on_the_next(), "input")):
        with refuses(GraphError, "start: expected at='output' and padding 'layer' beside it"):
            refar.strictify(graph, at=at, start="first")


@pytest.mark.parametrize("at", ["input", "output"])
def test_a_delay_behind_a_name_that_ends_in_a_number_has_a_name(at: Any) -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.one_hot(g.input(classes=3), name="front.0"), 2, name="head.3"))
    strict = refar.strictify(graph, at=at)
    assert {node.name for node in strict.nodes} - {node.name for node in graph.nodes} == {
        "head.3.delayed" if at == "output" else "front.0.delayed"
    }
