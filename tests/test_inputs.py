"""What a user gets wrong: the error's type, and that its message names the thing, what was expected, what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import refuses, single, tiny

import refar
from refar import Graph, RefarError, models, ops
from refar.errors import GraphError, InputError, ParameterError

GRAPH = tiny(3, "vector")
PARAMS = refar.init(GRAPH)
X = np.array([[0, 1, 2, 1], [2, 2, 0, 1]])
C = np.array([[0.5, -1.0], [2.0, 0.25]])
UNSHIFTED = single(ops.Conv1d(2, 3), channels=2)


def test_the_right_input_is_taken() -> None:
    y = refar.forward(GRAPH, PARAMS, X, C)
    assert y.shape == (2, 3, 4)
    for same in ({"x": X, "condition": C}, {"x": X.tolist(), "condition": C.astype(np.float32)}):
        np.testing.assert_array_equal(refar.forward(GRAPH, PARAMS, same), y)
    np.testing.assert_array_equal(refar.forward(GRAPH, PARAMS, X.astype(np.uint8), {"condition": C}), y)


def with_parameter(name: str, change: Callable[[Any], Any] | None) -> dict[str, Any]:
    params = dict(PARAMS)
    array = params.pop(name)
    return params if change is None else {**params, name: change(array)}


def nan(array: np.ndarray) -> np.ndarray:
    broken = array.copy()
    broken.flat[3] = np.nan
    return broken


@pytest.mark.parametrize(
    ("params", "fragments"),
    [
        (with_parameter("conv1d.weight", None), ["'conv1d.weight'", "(4, 3, 2)", "missing"]),
        ({**PARAMS, "conv1d.wieght": 0}, ["'conv1d.wieght'", "no such parameter", "did you mean 'conv1d.weight'"]),
        (with_parameter("conv1d.weight", np.transpose), ["'conv1d.weight'", "expected shape (4, 3, 2)", "got (2, 3, 4)"]),
        (with_parameter("conv1d.bias", lambda a: a.astype(str)), ["'conv1d.bias'", "expected numbers", "got <U32"]),
        (with_parameter("conv1d.bias", lambda a: a > 0), ["'conv1d.bias'", "expected numbers", "got bool"]),
        (with_parameter("conv1d.bias", nan), ["'conv1d.bias'", "finite", "got nan at index (3,)"]),
        (
            with_parameter("conv1d.weight", lambda a: np.full_like(a, np.inf)),
            ["'conv1d.weight'", "finite", "inf at index (0, 0, 0)"],
        ),
    ],
)
def test_parameters(params: dict[str, Any], fragments: list[str]) -> None:
    for call in (
        lambda: refar.forward(GRAPH, params, X, C),
        lambda: refar.backward(GRAPH, params, X, np.ones((2, 3, 4)), C),
        lambda: refar.initial_state(GRAPH, params),
        lambda: refar.start(GRAPH, params, 2, C),
        lambda: refar.generate(GRAPH, params, 3, condition=C),
    ):
        with refuses(ParameterError, *fragments):
            call()


@pytest.mark.parametrize(
    ("x", "condition", "fragments"),
    [
        ([[0, 3]], C[:1], ["'x'", "expected classes 0..2", "got 3 at index (0, 1)"]),
        ([[0, -1]], C[:1], ["'x'", "expected classes 0..2", "got -1 at index (0, 1)"]),
        ([[0.0, 1.0]], C[:1], ["'x'", "expected integers", "got float64"]),
        ([0, 1], C, ["'x'", "expected axes bt", "shape (2,)"]),
        ([[0, 1], [2]], C, ["'x'", "axes bt", "unequal length"]),
        (X, None, ["condition 'condition'", "2 channels constant", "missing"]),
        ({"condition": C}, None, ["input 'x'", "3 classes over time", "missing"]),
        (X, {"condition": C, "speaker": C}, ["'speaker'", "no such input", "'x', 'condition'"]),
        (X, C[:, :1], ["'condition'", "bc with 2 channels", "shape (2, 1)"]),
        (X, C[0], ["'condition'", "bc with 2 channels", "shape (2,)"]),
        (X, C[:1], ["batch size", "'x' has 2", "'condition' has 1"]),
        (X, C * np.nan, ["'condition'", "finite", "got nan at index (0, 0)"]),
        (X, C.astype(str), ["'condition'", "expected numbers", "<U"]),
    ],
)
def test_inputs(x: Any, condition: Any, fragments: list[str]) -> None:
    for call in (
        lambda: refar.forward(GRAPH, PARAMS, x, condition),
        lambda: refar.log_prob(GRAPH, PARAMS, x, condition),
        lambda: refar.nll(GRAPH, PARAMS, x, condition),
        lambda: refar.block(GRAPH, PARAMS, refar.initial_state(GRAPH, PARAMS, 2), x, condition),
    ):
        with refuses(InputError, *fragments):
            call()


def test_a_condition_where_there_is_none() -> None:
    with refuses(InputError, "condition: expected none, the graph has no condition", "got an array"):
        refar.forward(tiny(), refar.init(tiny()), X, C)


def test_an_upstream_gradient_of_another_shape() -> None:
    with refuses(InputError, "dy", "expected the shape of the output (2, 3, 4)", "got (2, 3, 5)"):
        refar.backward(GRAPH, PARAMS, X, np.ones((2, 3, 5)), C)


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"n": -1}, ["n:", "≥ 0", "got -1"]),
        ({"temperature": -0.5}, ["temperature", "finite number ≥ 0", "got -0.5"]),
        ({"temperature": float("nan")}, ["temperature", "finite number ≥ 0", "got nan"]),
        ({"temperature": float("inf")}, ["temperature", "finite number ≥ 0", "got inf"]),
        ({"seed": -1}, ["seed", "got -1"]),
        ({"prompt": [[0, 3]]}, ["'prompt'", "classes 0..2", "got 3 at index (0, 1)"]),
        ({"prompt": [[0.5]]}, ["'prompt'", "expected integers", "float64"]),
        ({"prompt": np.zeros((3, 1), int)}, ["expected 1 or 3 rows, got 2"]),
        ({"condition": None}, ["condition 'condition'", "missing"]),
        ({"batch": 3}, ["condition 'condition'", "expected 1 or 3 rows, got 2"]),
        ({"batch": -2, "condition": C[:1]}, ["batch", "-2"]),
    ],
)
@pytest.mark.parametrize("algorithm", ["fast", "slow"])
def test_generation(options: dict[str, Any], fragments: list[str], algorithm: str) -> None:
    call = {"n": 3, "condition": C, **options}
    with refuses(InputError, *fragments):
        refar.generate(GRAPH, PARAMS, call.pop("n"), algorithm=algorithm, **call)


@pytest.mark.parametrize(
    ("call", "purpose"),
    [
        (lambda g, p: refar.generate(g, p, 3), "generate"),
        (lambda g, p: refar.log_prob(g, p, np.ones((1, 2, 3))), "log_prob"),
        (lambda g, p: refar.nll(g, p, np.ones((1, 2, 3))), "log_prob"),
        (lambda g, p: refar.start(g, p), "start"),
        (lambda g, p: refar.next(g, p, {}, np.ones((1, 2))), "next"),
        (lambda g, p: refar.next_block(g, p, {}, np.ones((1, 2, 3))), "next_block"),
    ],
)
def test_an_unshifted_graph(call: Callable[[Graph, Any], Any], purpose: str) -> None:
    with refuses(GraphError, f"{purpose} needs a strict graph", "x → op", "Delay the input"):
        call(UNSHIFTED, refar.init(UNSHIFTED))


@pytest.mark.parametrize("purpose", ["generate", "log_prob"])
def test_a_graph_without_a_head(purpose: str) -> None:
    graph = single(ops.Conv1d(2, 3, strict=True), channels=2)
    with refuses(GraphError, f"{purpose} needs a graph with a head"):
        getattr(refar, purpose)(graph, refar.init(graph), 3 if purpose == "generate" else np.ones((1, 2, 3)))


def test_an_empty_sequence_has_no_mean() -> None:
    with refuses(InputError, "nll", "at least one value", "empty sequence"):
        refar.nll(GRAPH, PARAMS, X[:, :0], C)


def test_states() -> None:
    y, state = refar.start(GRAPH, PARAMS, 2, C)
    assert y.shape == (2, 3)
    name = next(iter(state))
    missing = {n: s for n, s in state.items() if n != name}
    with refuses(InputError, f"state '{name}' is missing", *state):
        refar.next(GRAPH, PARAMS, missing, X[:, 0], C)
    with refuses(InputError, "state 'other' is not one of this graph's", *state):
        refar.next(GRAPH, PARAMS, {**state, "other": y}, X[:, 0], C)
    with refuses(InputError, f"state '{name}'", "expected shape (2, ", "got (1, "):
        refar.next(GRAPH, PARAMS, {n: s[:1] for n, s in state.items()}, X[:, 0], C)
    with refuses(InputError, "'x'", "expected axes b", "shape (2, 4)"):
        refar.next(GRAPH, PARAMS, state, X, C)
    with refuses(InputError, "batch", "≥ 0", "got -1"):
        refar.initial_state(GRAPH, PARAMS, -1)


def test_a_state_is_a_value() -> None:
    """Neither changed by a step nor aliased by what it returns."""
    state = refar.initial_state(GRAPH, PARAMS, 2)
    _, first = refar.step(GRAPH, PARAMS, state, X[:, 0], C)
    copies = {name: array.copy() for name, array in first.items()}
    once, after = refar.step(GRAPH, PARAMS, first, X[:, 1], C)
    for array in after.values():
        array[...] = np.nan
    twice, _ = refar.step(GRAPH, PARAMS, first, X[:, 1], C)
    np.testing.assert_array_equal(once, twice)
    for name, array in first.items():
        np.testing.assert_array_equal(array, copies[name])


@pytest.mark.parametrize(
    ("name", "options", "fragments"),
    [
        ("wavnet", {}, ["'wavnet'", "did you mean 'wavenet'", *models.NAMES]),
        ("wavenet", {"dilation": "1"}, ["'wavenet'", "'dilation'", "did you mean 'dilations'", "residual"]),
        ("wavenet", {"dilations": "1,two"}, ["'wavenet'", "'dilations'", "`int`", "two"]),
        ("wavenet", {"residual": "many"}, ["'residual'", "`int`", "'many'"]),
        ("wavenet", {"dilations": []}, ["at least one dilation", "none"]),
        ("wavenet", {"condition": "speaker"}, ["condition", "'class:N', 'vector:N' or none", "'speaker'"]),
        ("linear_ar", {}, ["'linear_ar'", "needs the option 'order'", "linear_ar:order="]),
    ],
)
def test_models_by_name(name: str, options: dict[str, Any], fragments: list[str]) -> None:
    with refuses(GraphError, *fragments):
        models.by_name(name, options)


def test_every_error_of_a_user_is_a_value_error() -> None:
    for error in (GraphError, ParameterError, InputError):
        assert issubclass(error, RefarError)
    assert issubclass(RefarError, ValueError)
