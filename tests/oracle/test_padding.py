"""What stands before the start: zeros in every layer, or zeros in the input alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from helpers import generate_with_outputs

import refar
from refar import Builder, Graph, ops
from refar.analysis.facts import facts
from refar.errors import FileError, GraphError
from refar.oracle import windows as windows_module
from refar.runtime import load
from refar.testing import check_contract
from refar.testing.contract.cases import generic_parameters
from refar_export import export

Padding = Literal["layer", "input"]


def signal(padding: Padding) -> Graph:
    """Biases below the last layer answer zeros with something else."""
    g = Builder()
    h = g.relu(g.conv1d(g.input(channels=2), 4, kernel=2, dilation=3, strict=True))
    h = g.pool1d(g.add(h, g.conv1d(g.condition(channels=3), 4)), "max", 2, pad="zero", dilation=2)
    return g.build(g.conv1d(g.delay(h), 2, kernel=3, name="last"), ops.Gaussian(), padding=padding)


def tokens(padding: Padding) -> Graph:
    g = Builder()
    x = g.input(classes=5)
    h = g.conv1d(g.concat(g.one_hot(x), g.embedding(x, 2), g.standardize(x, 1, 2)), 6, kernel=2, strict=True)
    h = g.gate(g.add(g.conv1d(h, 8, kernel=3, dilation=2), g.conv1d(g.one_hot(g.condition(classes=4)), 8, bias=False)))
    return g.build(g.conv1d(h, 5, kernel=2), ops.Categorical(), padding=padding)


def test_windows_by_hand() -> None:
    """Before the sequence stands 9, after it 0; the gradient of what stands before is the sum over all who see it."""
    windows = windows_module.windows_of(np.array([[[1, 2, 3, 4]]]), [3, 1, -2], np.array([[[9]]]))
    assert windows[0, 0].tolist() == [[9, 9, 9, 1], [9, 1, 2, 3], [3, 4, 0, 0]]
    d = np.array([[[[1, 10, 100, 1000], [2, 20, 200, 2000], [3, 30, 300, 3000]]]])
    dx, dbefore = windows_module.windows_backward(d, [3, 1, -2])
    assert dx[0, 0].tolist() == [1000 + 20, 200, 2000 + 3, 30]
    assert dbefore.tolist() == [[[111 + 2]]]


def test_a_class_looked_up_in_a_table_stands_before_the_start_too() -> None:
    """y_t is the sum over the last two positions of what the class has in the table."""
    g = Builder()
    h = g.add(
        g.conv1d(g.input(channels=1), 1, bias=False, name="none"), g.embedding(g.condition("c", classes=3), 1, name="table")
    )
    graph = g.build(g.conv1d(h, 1, kernel=2, bias=False, name="sum"), padding="input")
    params = {
        "none.weight": np.zeros((1, 1, 1)),
        "table.weight": np.array([[2.0], [3.0], [5.0]]),
        "sum.weight": np.ones((1, 1, 2)),
    }
    x, dy = np.zeros((2, 1, 3)), np.ones((2, 1, 3))
    assert refar.forward(graph, params, x, [1, 2]).tolist() == [[[6, 6, 6]], [[10, 10, 10]]]
    assert refar.backward(graph, params, x, dy, [1, 2])["params"]["table.weight"].tolist() == [[0], [6], [6]]


@pytest.mark.parametrize("build", [signal, tokens])
def test_input_padding_keeps_the_contract(build) -> None:  # type: ignore[no-untyped-def]
    check_contract(build("input"))


@pytest.mark.row("002-5")
def test_the_two_agree_once_the_start_is_out_of_sight_and_differ_before() -> None:
    rng = np.random.default_rng(0)
    layer, own = signal("layer"), signal("input")
    params = generic_parameters(own, rng)
    x, c = rng.normal(size=(2, 2, 30)), rng.normal(size=(2, 3))
    difference = np.abs(refar.forward(layer, params, x, c) - refar.forward(own, params, x, c)).max(axis=(0, 1))
    assert (difference[facts(own).left_context :] == 0).all()
    assert difference[0] > 0.01
    without = {name: 0 * value if name.endswith("bias") else value for name, value in params.items()}
    nothing = np.zeros_like(c)
    assert np.array_equal(refar.forward(layer, without, x, nothing), refar.forward(own, without, x, nothing))


@pytest.mark.row("002-5")
def test_input_padding_is_zeros_in_front_of_the_input_and_nothing_else() -> None:
    """On integers, so that == holds: the layer-padded network over a longer input, of which the zeros are cut off again."""
    rng = np.random.default_rng(1)
    layer, own = signal("layer"), signal("input")
    params = {name: rng.integers(-3, 4, value.shape) for name, value in refar.init(own).items()}
    x, c = rng.integers(-5, 6, (2, 2, 20)), rng.integers(-5, 6, (2, 3))
    front = facts(own).left_context
    longer = np.concatenate([np.zeros((2, 2, front), int), x], axis=2)
    assert np.array_equal(refar.forward(own, params, x, c), refar.forward(layer, params, longer, c)[:, :, front:])
    dy = rng.integers(-5, 6, (2, 2, 20))
    found = refar.backward(own, params, x, dy, c)
    expected = refar.backward(layer, params, longer, np.concatenate([np.zeros((2, 2, front)), dy], axis=2), c)
    for name, gradient in found["params"].items():
        assert np.array_equal(gradient, expected["params"][name]), name
    assert np.array_equal(found["inputs"]["x"], expected["inputs"]["x"][:, :, front:])
    assert np.array_equal(found["inputs"]["condition"], expected["inputs"]["condition"])


@pytest.mark.row("002-5")
def test_queues_start_with_the_response_to_zeros_which_depends_on_the_condition() -> None:
    graph = tokens("input")
    params = generic_parameters(graph, np.random.default_rng(2))
    states = refar.initial_state(graph, params, 2, [0, 3])
    answers = [state for name, state in states.items() if name not in ("one_hot", "embedding", "standardize", "concat")]
    assert answers
    assert all(np.ptp(state, axis=2).max() == 0 for state in answers)
    assert any(np.abs(state[0] - state[1]).max() > 0.01 for state in answers)
    assert all(not state.any() for state in refar.initial_state(tokens("layer"), params, 2, [0, 3]).values())


def test_generation_is_the_same_everywhere(tmp_path) -> None:  # type: ignore[no-untyped-def]
    graph = tokens("input")
    params = {name: 2 * value for name, value in generic_parameters(graph, np.random.default_rng(3)).items()}
    session = load(export(graph, params, tmp_path / "b", verify=True))
    for prompt in ([], [1, 4], list(range(5)) * 4):
        options = {"prompt": np.array(prompt, int), "condition": [0, 3], "seed": 4}
        fast, y = generate_with_outputs(graph, params, 15, **options)
        slow, z = generate_with_outputs(graph, params, 15, algorithm="slow", **options)
        assert np.abs(y - z).max() < 1e-13
        assert np.array_equal(fast, slow)
        assert np.array_equal(fast, session.generate(15, **options))


def test_a_bundle_of_another_padding_is_refused(tmp_path: Path) -> None:
    graph = tokens("input")
    path = export(graph, refar.init(graph), tmp_path / "b")
    text = (path / "bundle.json").read_text()
    (path / "bundle.json").write_text(text.replace('"padding": "input"', '"padding": "layer"'))
    with pytest.raises(FileError, match="exported from another graph"):
        load(path)


def test_what_is_left_out_of_a_pool_cannot_be_padded() -> None:
    g = Builder()
    with pytest.raises(GraphError, match=r"'pool1d' \(pool1d\): expected pad='zero'.*under input padding"):
        refar.offsets(g.build(g.pool1d(g.input(channels=1), "max", 2, pad="exclude"), padding="input"))


def test_the_padding_stands_in_the_file() -> None:
    graph = signal("input")
    assert b'"padding": "input"' in refar.to_json(graph)
    assert b"padding" not in refar.to_json(signal("layer"))
    assert refar.from_json(refar.to_json(graph)) == graph


def test_what_looks_ahead_has_no_one_value_before_the_start() -> None:
    g = Builder()
    h = g.conv1d(g.delay(g.conv1d(g.input(channels=1), 2), -1, name="early"), 1, kernel=2)
    with pytest.raises(
        GraphError, match=r"'early' \(shift\): expected no look ahead under input padding, got one of 1 positions"
    ):
        g.build(h, padding="input")


def test_local_conditions_do_not_matter_before_the_start() -> None:
    g = Builder()
    local = g.condition("local", channels=2, local=True)
    h = g.add(g.conv1d(g.input(channels=1), 3, kernel=2, strict=True), g.conv1d(local, 3))
    graph = g.build(g.conv1d(h, 1, kernel=3), ops.Gaussian(), padding="input")
    params = generic_parameters(graph, np.random.default_rng(0))
    without = refar.initial_state(graph, params, 2)
    for given in (np.ones((2, 2)), np.ones((2, 2, 9))):
        found = refar.initial_state(graph, params, 2, {"local": given})
        assert all(np.array_equal(found[name], state) for name, state in without.items())
