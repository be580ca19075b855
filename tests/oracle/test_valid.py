"""Padding "valid": outputs only where every layer has its whole window, in every backend, as a whole and step by step."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import refuses
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.errors import GraphError, InputError
from refar.runtime import load
from refar.testing import check_bundle, check_contract, strategies
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar.torch import Module
from refar_export import export

BACKENDS = ("numpy", "torch", "onnx")


def block(padding: Any = "valid") -> Graph:
    """Branches of unequal reach, pools of both kinds, conditions of both, and biases that answer zeros: R - 1 = 6 + 2 + 4."""
    g = Builder()
    h = g.conv1d(g.input(channels=2), 4, kernel=3, dilation=3, name="first")
    h = g.add(
        g.relu(h), g.conv1d(g.condition("speaker", channels=3), 4), g.conv1d(g.condition("pitch", channels=1, local=True), 4)
    )
    h = g.pool1d(h, "max", 2, pad="exclude" if padding != "input" else "zero", dilation=2)
    h = g.concat(h, g.conv1d(h, 2, kernel=2, dilation=4), g.delay(h, 3))
    return g.build(g.conv1d(g.tanh(h), 3, name="last"), padding=padding)


def strict(padding: Any = "valid") -> Graph:
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=4)), 5, kernel=2, strict=True)
    h = g.gate(g.conv1d(h, 8, kernel=2, dilation=2))
    return g.build(g.conv1d(g.pool1d(h, "avg", 2, pad="zero"), 4), ops.Categorical(), padding=padding)


GRAPHS = {"branches": block(), "strict": strict(), "conv": replace(models.linear_ar(3), padding="valid")}


@pytest.fixture(params=GRAPHS)
def graph(request: pytest.FixtureRequest) -> Graph:
    return GRAPHS[request.param]


def drawn(graph: Graph, length: int, rows: int = 2) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(length)
    return generic_parameters(graph, rng), generic_inputs(graph, rng, rows, length)


@pytest.mark.row("000-1")
@pytest.mark.row("000-2")
def test_windows_of_a_series_by_hand() -> None:
    """[1, 2, 3, 4] → the value above 4, [2, 3, 4, 5] → the one above 5: two windows of four in a series of five."""
    g = Builder()
    graph = g.build(g.conv1d(g.input(channels=1), 1, kernel=4, name="dense"), padding="valid")
    params = {"dense.weight": np.array([[[1.0, 10, 100, 1000]]]), "dense.bias": np.array([0.5])}
    x = np.arange(1.0, 6).reshape(1, 1, 5)
    assert facts(graph).first_position == 3
    for y in (
        refar.forward(graph, params, x),
        Module(graph, params)(Module(graph, params)._anchor.new_tensor(x)).detach().numpy(),
    ):
        np.testing.assert_array_equal(y, [[[4321.5, 5432.5]]])
    dy = np.array([[[1.0, 2]]])
    gradient = refar.backward(graph, params, x, dy)
    np.testing.assert_array_equal(gradient["params"]["dense.weight"], [[[5, 8, 11, 14]]])  # the sum over both windows
    np.testing.assert_array_equal(gradient["inputs"]["x"], [[[1, 12, 120, 1200, 2000]]])
    with refuses(InputError, "dy, the gradient of the output", "expected shape (1, 1, 2)", "got (1, 1, 5)"):
        refar.backward(graph, params, x, np.ones((1, 1, 5)))


@pytest.mark.row("000-2")
@pytest.mark.row("000-3")
def test_it_is_causal_padding_without_the_outputs_that_see_it(graph: Graph, tmp_path: Path) -> None:
    first, padded = facts(graph).first_position, replace(graph, padding="layer")
    assert first == facts(graph).left_context >= 3
    assert facts(padded).first_position == 0
    session = load(export(graph, drawn(graph, 1)[0], tmp_path / "b", verify=True))
    for length in (1, first - 1, first, first + 1, 3 * first):
        params, inputs = drawn(graph, length)
        expected = refar.forward(padded, params, inputs)[:, :, first:]
        y = refar.forward(graph, params, inputs)
        assert y.shape == (2, facts(graph).types[graph.output].size, max(0, length - first))
        np.testing.assert_array_equal(y, expected)
        weights = drawn(graph, 1)[0]
        found = session.forward(inputs)
        assert found.shape == y.shape
        np.testing.assert_allclose(found, refar.forward(graph, weights, inputs), rtol=0, atol=1e-5)
        dy = np.random.default_rng(1).normal(size=y.shape)
        gradient = refar.backward(graph, params, inputs, dy)
        whole = refar.backward(padded, params, inputs, np.pad(dy, ((0, 0), (0, 0), (min(first, length), 0))))
        for kind in ("params", "inputs"):
            for name, array in whole[kind].items():
                np.testing.assert_array_equal(gradient[kind][name], array)
    timed = facts(graph).types
    nothing = {name: array[..., :0] if timed[name].timed else array for name, array in inputs.items()}
    assert session.forward(nothing).shape == (2, found.shape[1], 0)


def test_no_padding_is_seen() -> None:
    """As with zeros in the input alone: once the start is out of sight all paddings agree."""
    params, inputs = drawn(block(), 40)
    y = refar.forward(block(), params, inputs)
    for padding in ("layer", "input"):
        np.testing.assert_allclose(refar.forward(block(padding), params, inputs)[:, :, 12:], y, rtol=0, atol=1e-14)


@pytest.mark.row("002-5")
def test_steps_are_not_ready_until_the_window_is_whole(graph: Graph) -> None:
    first = facts(graph).first_position
    params, inputs = drawn(graph, 2 * first + 3)
    y = refar.forward(graph, params, inputs)
    state = refar.initial_state(graph, params, 2)
    assert all(array.shape[2] == 0 for array in state.values())
    cache, lookback = facts(graph).aligned.cache, facts(graph).lookback
    for t in range(2 * first + 3):
        y_t, state = refar.step(graph, params, state, one(graph, inputs, t))
        assert (y_t is refar.NOT_READY) is (t < first)
        if t >= first:
            np.testing.assert_allclose(y_t, y[:, :, t - first], rtol=0, atol=1e-14)
        assert {name: array.shape[2] for name, array in state.items()} == {
            name: min(kept, max(0, t + 1 - lookback[name])) for name, kept in cache.items()
        }


def one(graph: Graph, inputs: dict[str, np.ndarray], t: int) -> dict[str, np.ndarray]:
    return {name: array[..., t] if facts(graph).types[name].timed else array for name, array in inputs.items()}


def test_not_ready_is_one_object_with_a_name() -> None:
    assert repr(refar.NOT_READY) == "refar.NOT_READY"
    assert copy.deepcopy(refar.NOT_READY) is pickle.loads(pickle.dumps(refar.NOT_READY)) is refar.NOT_READY


def run_in_blocks(graph: Graph, params: Any, inputs: dict[str, np.ndarray], lengths: list[int]) -> tuple[np.ndarray, Any]:
    types, outputs, done = facts(graph).types, [], 0
    state = refar.initial_state(graph, params, len(inputs["x"]))
    for length in lengths:
        piece = {name: a[..., done : done + length] if types[name].timed else a for name, a in inputs.items()}
        y, state = refar.block(graph, params, state, piece)
        outputs.append(y)
        done += length
        assert sum(y.shape[2] for y in outputs) == max(0, done - facts(graph).first_position)
    return np.concatenate(outputs, axis=2), state


@given(strategies.graphs(exact=True), st.data())
def test_any_split_into_blocks_gives_the_same(drawn: Graph, data: st.DataObject) -> None:
    """On integers, so that only averages of three round; the state too, which is that of one block."""
    assume(facts(drawn).looks_ahead is None)
    graph = replace(drawn, padding="valid")
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    params = {name: rng.integers(-3, 4, shape).astype(float) for name, shape in facts(graph).parameters.items()}
    total = data.draw(st.integers(0, facts(graph).left_context + 6))
    inputs = {name: np.round(array) for name, array in generic_inputs(graph, rng, 2, total).items()}
    inputs = {name: array.astype(int) if facts(graph).types[name].indexed else array for name, array in inputs.items()}
    y, state = run_in_blocks(graph, params, inputs, [0, *data.draw(strategies.splits(total))])
    expected, whole = run_in_blocks(graph, params, inputs, [total])
    assert state.keys() == whole.keys()
    pairs = {"y": (y, expected), "forward": (refar.forward(graph, params, inputs), expected)}
    for name, (one, other) in (pairs | {name: (state[name], whole[name]) for name in state}).items():
        scale = max(1.0, np.abs(other).max(initial=0))
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13 * scale, err_msg=name)


def test_the_contract(graph: Graph, tmp_path: Path) -> None:
    check_contract(graph)
    check_bundle(export(graph, refar.init(graph), tmp_path / "b"))


def test_a_graph_without_a_past_is_ready_at_once() -> None:
    g = Builder()
    graph = g.build(g.relu(g.conv1d(g.input(channels=1), 2)), padding="valid")
    params, inputs = drawn(graph, 5)
    assert refar.forward(graph, params, inputs).shape == (2, 2, 5)
    y, state = refar.step(graph, params, refar.initial_state(graph, params, 2), one(graph, inputs, 0))
    assert y.shape == (2, 2)
    assert state == {}
    check_contract(graph)


def test_states_that_no_stream_has() -> None:
    graph = block()
    params, inputs = drawn(graph, 9)
    state = run_in_blocks(graph, params, inputs, [9])[1]
    late = one(graph, inputs, 8)
    refar.step(graph, params, state, late)
    name, longest = max(state.items(), key=lambda item: item[1].shape[2])
    short = {**state, name: longest[:, :, 1:]}
    with refuses(InputError, f"state '{name}'", f"got (2, {longest.shape[1]}, {longest.shape[2] - 1})"):
        refar.step(graph, params, short, late)
    with refuses(InputError, f"state '{name}'", "expected shape"):
        refar.step(graph, params, {**state, name: np.zeros((2, longest.shape[1], 99))}, late)
    with refuses(InputError, f"state '{name}'", "expected shape"):
        refar.step(graph, params, {**state, name: np.zeros(2)}, late)
    with refuses(InputError, f"state '{name}' is missing"):
        refar.step(graph, params, {other: array for other, array in state.items() if other != name}, late)


def test_nothing_is_left_out_of_a_pool_whose_window_is_whole() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 9))
    for kind in ("avg", "max"):
        outputs = []
        for pad in ("zero", "exclude"):
            g = Builder()
            graph = g.build(g.pool1d(g.input(channels=3), kind, 3, pad=pad, dilation=2), padding="valid")
            outputs.append(refar.forward(graph, {}, x))
            check_contract(graph)
        windows = np.stack([x[:, :, 0:5], x[:, :, 2:7], x[:, :, 4:9]])
        expected = windows.max(0) if kind == "max" else windows.mean(0)
        for y in outputs:
            np.testing.assert_allclose(y, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "purpose"),
    [
        (lambda g, p: refar.generate(g, p, 3), "generate"),
        (lambda g, p: refar.log_prob(g, p, [[0, 1, 2, 3, 0, 1]]), "log_prob"),
        (lambda g, p: refar.nll(g, p, [[0, 1, 2, 3, 0, 1]]), "nll"),
        (lambda g, p: refar.start(g, p), "start"),
        (lambda g, p: refar.next(g, p, {}, [0]), "next"),
        (lambda g, p: refar.next_block(g, p, {}, [[0, 1]]), "next_block"),
    ],
)
def test_what_needs_every_position(call: Callable[[Graph, Any], Any], purpose: str) -> None:
    says = ["needs an output at every position", "under padding 'valid' the first 5 have none", "padding='layer'"]
    with refuses(GraphError, f"{purpose} {says[0]}", *says[1:]):
        call(strict(), refar.init(strict()))


def test_a_stream_says_from_which_position_its_outputs_mean_something(graph: Graph, tmp_path: Path) -> None:
    params, inputs = drawn(graph, 1)[0], drawn(graph, 30)[1]
    session = load(export(graph, params, tmp_path / "b", verify=True))
    first = session.manifest.first_output
    assert first == facts(graph).first_position
    strict_by = int(facts(graph).strict)
    sequence, types = facts(graph).sequence, facts(graph).types
    conditions = {name: inputs[name] for name in facts(graph).conditions}
    stream = session.stream(2, {n: a[..., :strict_by] if types[n].timed else a for n, a in conditions.items()} or None)
    local = {name: array[..., strict_by:] for name, array in conditions.items() if types[name].timed}
    tokens = inputs[sequence][..., : 30 - strict_by]
    y = stream.push(tokens, local or None)
    expected = refar.forward(graph, params, inputs)
    np.testing.assert_allclose(y[:, :, first - strict_by :], expected, rtol=0, atol=1e-5)


def test_a_bundle_neither_generates_nor_scores(tmp_path: Path) -> None:
    session = load(export(strict(), refar.init(strict()), tmp_path / "b"))
    for purpose, call in {"generate": lambda: session.generate(3), "score": lambda: session.score([[0, 1, 2]])}.items():
        with refuses(GraphError, f"{purpose} needs an output at every position", "padding='layer'"):
            call()


def test_strictify_takes_one_output() -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.input(channels=1), 1, kernel=3, name="conv"), padding="valid")
    later = refar.strictify(graph)
    params, inputs = drawn(graph, 8)
    assert (later.padding, facts(graph).first_position, facts(later).first_position) == ("valid", 2, 3)
    assert refar.is_strict(later)
    y = refar.forward(graph, params, inputs)
    np.testing.assert_array_equal(refar.forward(later, params, inputs), y[:, :, :-1])


def test_what_looks_ahead_has_no_last_outputs() -> None:
    g = Builder()
    with refuses(GraphError, "'early' (shift)", "no look ahead under valid padding", "got one of 2 positions"):
        g.build(g.delay(g.input(channels=1), -2, name="early"), padding="valid")


@pytest.mark.row("000-13")
def test_same_padding_is_refused_and_why() -> None:
    says = ["'same'", "cannot be trained with it in one pass", "the inputs of other positions", "Use 'layer'", "or 'valid'"]
    g = Builder()
    with refuses(GraphError, "graph at $.padding", *says):
        g.build(g.conv1d(g.input(channels=1), 1, kernel=3), padding="same")
    text = refar.to_json(strict()).replace(b'"valid"', b'"same"')
    with refuses(GraphError, "graph JSON at $.padding", *says):
        refar.from_json(text)


def test_the_padding_stands_in_the_file() -> None:
    assert b'"padding": "valid"' in refar.to_json(strict())
    assert refar.from_json(refar.to_json(strict())) == strict()
    g = Builder()
    with refuses(GraphError, "padding: expected 'layer' for a graph of images", "got 'valid'"):
        g.build(g.image(channels=1), padding="valid")
