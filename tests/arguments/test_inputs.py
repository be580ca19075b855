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
        (with_parameter("conv1d.bias", lambda a: a.astype(str)), ["'conv1d.bias'", "expected real numbers", "got <U32"]),
        (with_parameter("conv1d.bias", lambda a: a > 0), ["'conv1d.bias'", "expected real numbers", "got bool"]),
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
        (X, C[0, :1], ["'condition'", "bc with 2 channels", "shape (1,)"]),
        (X, C[[0, 1, 0]], ["condition 'condition'", "expected 1 or 2 rows", "got 3"]),
        (X[:1], C, ["condition 'condition'", "expected 1 row", "got 2"]),
        (None, C, ["input 'x'", "expected integers", "got object"]),
        ("x.npy", C, ["input 'x'", "expected integers", "got <U5"]),
        (X, C * np.nan, ["'condition'", "finite", "got nan at index (0, 0)"]),
        (X, C.astype(str), ["'condition'", "expected real numbers", "<U"]),
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


@pytest.mark.parametrize(("condition", "same"), [("class", (1, [1], [1, 1])), ("vector", (C[0], C[:1], C[[0, 0]]))])
def test_a_single_row_of_a_condition_is_for_every_sequence(condition: str, same: tuple[Any, ...]) -> None:
    graph = tiny(3, condition)
    params = refar.init(graph)
    state, (_, ahead) = refar.initial_state(graph, params, 2), refar.start(graph, params, 2, same[0])
    for call in (
        lambda c: refar.forward(graph, params, X, c),
        lambda c: refar.forward(graph, params, {"x": X, "condition": c}),
        lambda c: refar.log_prob(graph, params, X, c),
        lambda c: np.array(refar.nll(graph, params, X, c)),
        lambda c: refar.backward(graph, params, X, np.ones((2, 3, 4)), c)["params"]["conv1d.weight"],
        lambda c: refar.step(graph, params, state, X[:, 0], c)[0],
        lambda c: refar.block(graph, params, state, X, c)[0],
        lambda c: refar.start(graph, params, 2, c)[0],
        lambda c: refar.next(graph, params, ahead, X[:, 0], c)[0],
        lambda c: refar.next_block(graph, params, ahead, X, c)[0],
        lambda c: refar.generate(graph, params, 5, batch=2, condition=c),
    ):
        first, *others = [call(c) for c in same]
        for other in others:
            np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("dtype", [int, complex, bool, object, None, "foo", ",", "float16", ">f4", {}])
def test_dtypes_other_than_two(dtype: Any) -> None:
    state = refar.initial_state(GRAPH, PARAMS, 2)
    for call in (
        lambda: refar.forward(GRAPH, PARAMS, X, C, dtype=dtype),
        lambda: refar.backward(GRAPH, PARAMS, X, np.ones((2, 3, 4)), C, dtype=dtype),
        lambda: refar.nll(GRAPH, PARAMS, X, C, dtype=dtype),
        lambda: refar.generate(GRAPH, PARAMS, 3, condition=C, dtype=dtype),
        lambda: refar.initial_state(GRAPH, PARAMS, dtype=dtype),
        lambda: refar.start(GRAPH, PARAMS, 2, C, dtype=dtype),
        lambda: refar.step(GRAPH, PARAMS, state, X[:, 0], C, dtype=dtype),
    ):
        with refuses(InputError, f"dtype: expected float32 or float64, got {dtype!r}"):
            call()


@pytest.mark.parametrize("dtype", [np.float32, "float32", np.dtype("float32")])
def test_a_dtype_by_any_name(dtype: Any) -> None:
    assert refar.forward(GRAPH, PARAMS, X, C, dtype=dtype).dtype == np.float32


@pytest.mark.parametrize("graph", ["graph.json", None, {}, [], refar.Builder(), PARAMS])
def test_what_is_no_graph(graph: Any) -> None:
    for call in (
        lambda: refar.forward(graph, PARAMS, X, C),
        lambda: refar.backward(graph, PARAMS, X, np.ones((2, 3, 4)), C),
        lambda: refar.log_prob(graph, PARAMS, X, C),
        lambda: refar.generate(graph, PARAMS, 3),
        lambda: refar.initial_state(graph, PARAMS),
        lambda: refar.step(graph, PARAMS, {}, X[:, 0]),
        lambda: refar.init(graph),
        lambda: refar.offsets(graph),
        lambda: refar.receptive_field(graph),
        lambda: refar.is_strict(graph),
        lambda: refar.to_json(graph),
        lambda: refar.posterior(graph, PARAMS, X),
        lambda: refar.testing.check_contract(graph),
    ):
        with refuses(GraphError, f"expected a refar.Graph, got {type(graph).__name__}", "refar.load reads one from a file"):
            call()


@pytest.mark.parametrize("params", [None, [1], "weights", GRAPH])
def test_what_are_no_parameters(params: Any) -> None:
    with refuses(ParameterError, "params: expected a mapping {name: array}", f"got {type(params).__name__}"):
        refar.forward(GRAPH, params, X, C)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, True])
def test_seeds_of_initial_parameters(seed: Any) -> None:
    with refuses(InputError, "seed: expected an integer from 0", f"got {seed!r}"):
        refar.init(GRAPH, seed)


@pytest.mark.parametrize("dy", [np.full((2, 3, 4), np.nan), np.full((2, 3, 4), 1j), [[1], [2, 3]], "ones"])
def test_gradients_that_are_none(dy: Any) -> None:
    with refuses(InputError, "dy, the gradient of the output: expected"):
        refar.backward(GRAPH, PARAMS, X, dy, C)


def test_an_upstream_gradient_of_another_shape() -> None:
    with refuses(InputError, "dy, the gradient of the output", "expected shape (2, 3, 4)", "got (2, 3, 5)"):
        refar.backward(GRAPH, PARAMS, X, np.ones((2, 3, 5)), C)


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        *(({"n": n}, ["n: expected an integer from 0", f"got {n!r}"]) for n in (-1, 1.5, "3", None, True, [1], 10**12)),
        *(({"batch": b}, ["batch: expected an integer from 0", f"got {b!r}"]) for b in (1.5, "1", True, [1], 10**12)),
        *(({"seed": s}, ["seed: expected an integer from 0", f"got {s!r}"]) for s in (1.5, "1", None, True, 2**64)),
        *(({"top_k": k}, ["top_k: expected an integer from 1 to 3", f"got {k!r}"]) for k in (0, 4, 1.5, "1", True, [1])),
        *(({"temperature": t}, ["finite number ≥ 0", f"got {t!r}"]) for t in ("a", None, [1, 2], 1j, True, 10**400)),
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
        (lambda g, p: refar.nll(g, p, np.ones((1, 2, 3))), "nll"),
        (lambda g, p: refar.start(g, p), "start"),
        (lambda g, p: refar.next(g, p, {}, np.ones((1, 2))), "next"),
        (lambda g, p: refar.next_block(g, p, {}, np.ones((1, 2, 3))), "next_block"),
    ],
)
def test_an_unshifted_graph(call: Callable[[Graph, Any], Any], purpose: str) -> None:
    with refuses(GraphError, f"{purpose} needs a strict graph", "x → op", "Delay the input"):
        call(UNSHIFTED, refar.init(UNSHIFTED))


@pytest.mark.parametrize("purpose", ["generate", "log_prob", "nll"])
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
    for batch in (-1, 1.5, None, 10**12):
        with refuses(InputError, "batch: expected an integer from 0", f"got {batch}"):
            refar.initial_state(GRAPH, PARAMS, batch)
    broken = {n: np.full_like(s, np.nan) for n, s in state.items()}
    with refuses(InputError, f"state '{name}': expected finite numbers, got nan at index (0, 0, 0)"):
        refar.next(GRAPH, PARAMS, broken, X[:, 0], C)
    with refuses(InputError, f"state '{name}': expected real numbers, got complex128"):
        refar.next(GRAPH, PARAMS, {n: s + 0j for n, s in state.items()}, X[:, 0], C)
    for wrong, came in ((None, "NoneType"), ([1], "list"), ((y, state), "tuple; step and next return the output and the state")):
        for call in (refar.step, refar.next, refar.block, refar.next_block):
            with refuses(InputError, f"state: expected a mapping {{node: array}}, got {came}"):
                call(GRAPH, PARAMS, wrong, X[:, 0] if call in (refar.step, refar.next) else X, C)


def test_a_state_of_the_other_kind() -> None:
    """`step` and `next` keep other positions, which shows in the lengths."""
    _, ahead = refar.start(GRAPH, PARAMS, 2, C)
    level = refar.initial_state(GRAPH, PARAMS, 2)
    with refuses(InputError, "expected one that start, next and next_block return, got one of initial_state, step and block"):
        refar.next(GRAPH, PARAMS, level, X[:, 0], C)
    with refuses(InputError, "expected one that initial_state, step and block return, got one of start, next and next_block"):
        refar.step(GRAPH, PARAMS, ahead, X[:, 0], C)


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
        ("wavenet", {"condition": "speaker"}, ["condition", "'class:N' with N ≥ 2, 'vector:N' with N ≥ 1, or none", "'speaker'"]),
        ("linear_ar", {}, ["'linear_ar'", "needs the option 'order'", "linear_ar:order="]),
        ("wavenet", {"classes": 0}, ["model 'wavenet', option 'classes'", "`int` >= 2, got 0"]),
        ("wavenet", {"residual": "0"}, ["model 'wavenet', option 'residual'", "`int` >= 1, got '0'"]),
        ("wavenet", {"classes": 10**9}, ["model 'wavenet', option 'classes'", "`int` <= 1048576, got 1000000000"]),
        ("tcn", {"channels": [8, 0]}, ["model 'tcn', option 'channels'", "`int` >= 1", "[8, 0]"]),
        ("wavenet", None, ["'wavenet'", "expected a mapping of options, got NoneType"]),
        (None, {}, ["model None is not known", *models.NAMES]),
    ],
)
def test_models_by_name(name: str, options: dict[str, Any], fragments: list[str]) -> None:
    with refuses(GraphError, *fragments):
        models.by_name(name, options)


@pytest.mark.parametrize(
    ("call", "fragments"),
    [
        (lambda: models.wavenet(5, 4), ["wavenet: dilations: expected a sequence of integers, got 4"]),
        (lambda: models.wavenet(5, None), ["wavenet: dilations: expected a sequence of integers, got None"]),
        (lambda: models.wavenet(5, [1.5]), ["node 'block0.conv' (conv1d), dilation", "`int`, got `float` 1.5"]),
        (lambda: models.wavenet(5, [1], residual=0), ["node 'front' (conv1d), channels", "`int` >= 1, got 0"]),
        (lambda: models.tcn(5, 4), ["tcn: channels: expected a sequence of integers, got 4"]),
    ],
)
def test_models(call: Callable[[], Graph], fragments: list[str]) -> None:
    with refuses(GraphError, *fragments):
        call()


def test_numbers_of_numpy_are_numbers() -> None:
    options = {"residual": np.int64(4), "gate": np.int32(2), "skip": np.uint8(3), "kernel": np.array(2)}
    plain = models.wavenet(5, [1, 2], residual=4, gate=2, skip=3)
    assert models.wavenet(np.int64(5), np.array([1, 2]), **options) == plain
    assert models.by_name("wavenet", {"classes": np.int64(5), "dilations": np.array([1, 2]), **options}) == plain
    assert models.linear_ar(np.int64(3), std=np.float32(0.5)) == models.linear_ar(3, std=0.5)
    generated = refar.generate(GRAPH, PARAMS, np.uint8(4), batch=np.int64(2), seed=np.uint64(3), top_k=np.int8(2), condition=C)
    np.testing.assert_array_equal(generated, refar.generate(GRAPH, PARAMS, 4, batch=2, seed=3, top_k=2, condition=C))


def test_every_error_of_a_user_is_a_value_error() -> None:
    for error in (GraphError, ParameterError, InputError):
        assert issubclass(error, RefarError)
    assert issubclass(RefarError, ValueError)
