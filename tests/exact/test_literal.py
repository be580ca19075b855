"""The fast NumPy against the definitions: by == on integers, within a few units in the last place of 50 digits elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import compare_exactly, single
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import refar
from refar import Builder, Graph, ops
from refar.analysis.facts import facts
from refar.exact import literal, literal_heads
from refar.oracle import losses
from refar.testing import strategies
from refar.testing.examples import OTHERS, POINTWISE, Example, example_graphs

ULP = 2.0**-52


@given(strategies.convolutions(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 17), st.integers(0, 99))
def test_convolution_is_its_definition(op: ops.Conv1d, batch: int, channels: int, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    compare_exactly(single(op, channels=channels), rng, rng.integers(-8, 9, (batch, channels, length)).astype(float))


@given(st.sampled_from((1, 2, 3)), st.integers(1, 2), st.integers(1, 3), strategies.convolutions(), st.integers(0, 9))
def test_convolution_in_groups_is_its_definition(groups: int, fan_in: int, fan_out: int, op: ops.Conv1d, length: int) -> None:
    rng = np.random.default_rng(length)
    op = replace(op, channels=groups * fan_out, groups=groups)
    x = rng.integers(-8, 9, (2, groups * fan_in, length)).astype(float)
    compare_exactly(single(op, channels=groups * fan_in), rng, x)


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_are_blocks_of_a_full_convolution(groups: int) -> None:
    """Output channels 0..O/G-1 read inputs 0..I/G-1, and so on: a full convolution with zeros elsewhere."""
    rng = np.random.default_rng(groups)
    grouped, full = single(ops.Conv1d(8, 3, 2, groups=groups), channels=4), single(ops.Conv1d(8, 3, 2), channels=4)
    params = {name: rng.normal(size=shape) for name, shape in facts(grouped).parameters.items()}
    wide = np.zeros((8, 4, 3))
    for o, i in np.ndindex(8, 4 // groups):
        wide[o, o // (8 // groups) * (4 // groups) + i] = params["op.weight"][o, i]
    x = rng.normal(size=(2, 4, 9))
    np.testing.assert_allclose(
        refar.forward(grouped, params, x), refar.forward(full, {**params, "op.weight": wide}, x), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize(
    "op",
    [
        ops.Shift(1),
        ops.Shift(4),
        ops.Shift(0),
        ops.Shift(-1),
        ops.Shift(-4),
        ops.PadChannels(2, 0),
        ops.PadChannels(1, 3),
        ops.PadChannels(),
        ops.Ones(),
        ops.Activation("relu"),
        ops.Activation("leaky_relu", 0.25),
        ops.Affine(1.5, -0.75),
        ops.Slice(1, 3),
    ],
)
@pytest.mark.parametrize("length", [1, 3, 4, 9])
def test_operator_on_a_signal_is_its_definition(op: ops.AnyOp, length: int) -> None:
    rng = np.random.default_rng(length)
    compare_exactly(single(op, channels=4), rng, rng.integers(-2, 3, (3, 4, length)).astype(float))


@pytest.mark.parametrize("op", [ops.OneHot(), ops.Embedding(4), ops.Standardize(3.0, 0.5), ops.Ones()])
def test_lookup_is_its_definition(op: ops.AnyOp) -> None:
    rng = np.random.default_rng(1)
    compare_exactly(single(op, classes=6), rng, rng.integers(0, 6, (3, 11)))


def build_with_constant(kind: type[ops.Op], first: str) -> Graph:
    g = Builder()
    x, c = g.input(channels=3), g.condition("c", channels=3)
    return g.build(g.add_op(kind(), *((x, c, x) if first == "x" else (c, x, x)), name="op"))


@pytest.mark.parametrize("first", ["x", "c"])
@pytest.mark.parametrize("kind", [ops.Add, ops.Multiply, ops.Concat])
def test_a_constant_is_repeated_over_time_and_its_gradient_summed(kind: type[ops.Op], first: str) -> None:
    graph, rng = build_with_constant(kind, first), np.random.default_rng(2)
    x, c = rng.integers(-8, 9, (2, 3, 5)).astype(float), rng.integers(-8, 9, (2, 3)).astype(float)
    args = [x, c, x] if first == "x" else [c, x, x]
    y = refar.forward(graph, {}, x, c)
    dy = rng.integers(-8, 9, y.shape).astype(float)
    np.testing.assert_array_equal(y, literal.evaluate(kind(), args).astype(float))
    found, wanted = refar.backward(graph, {}, x, dy, c)["inputs"], literal.gradient(kind(), args, dy)
    at_c, at_x = ("1", ("0", "2")) if first == "x" else ("0", ("1", "2"))
    np.testing.assert_array_equal(found["c"], wanted[at_c].astype(float))
    np.testing.assert_array_equal(found["x"], (wanted[at_x[0]] + wanted[at_x[1]]).astype(float))


@pytest.mark.parametrize("op", [ops.Activation("tanh"), ops.Activation("sigmoid"), ops.Gate(), ops.Softmax()])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 30.0])
def test_exponentials_to_the_last_places(op: ops.AnyOp, scale: float) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 4, 6)) * scale
    graph = single(op, channels=4)
    y, wanted = refar.forward(graph, {}, x), literal.evaluate(op, [x])
    assert np.abs(y - wanted).max() <= 4 * ULP
    dy = rng.normal(size=y.shape)
    found, wanted = refar.backward(graph, {}, x, dy)["inputs"]["x"], literal.gradient(op, [x], dy)["0"]
    assert np.abs(found - wanted).max() <= 16 * ULP


def test_the_decimals_lose_nothing_where_numbers_are_tiny_or_large() -> None:
    tanh = literal.evaluate(ops.Activation("tanh"), [np.array([[1e-300, -1e-8, 60.0, 0.0]])])
    assert tanh.tolist() == [[1e-300, -1e-8, 1.0, 0.0]]
    sigmoid = literal.evaluate(ops.Activation("sigmoid"), [np.array([[-700.0, 0.0]])])
    assert sigmoid[0, 0] == pytest.approx(np.exp(-700.0), rel=1e-15, abs=0)
    assert sigmoid[0, 1] == 0.5
    slope = literal.gradient(ops.Softmax(), [np.array([[0.0, -200.0]])], [[1, 0]])["0"]  # y·(1 - y) where y is nearly 1
    assert slope.ravel().tolist() == pytest.approx([np.exp(-200.0), -np.exp(-200.0)], rel=1e-15, abs=0)
    assert literal.evaluate(ops.Softmax(), [np.zeros((1, 2))]).tolist() == [[0.5, 0.5]]


def test_attributes_enter_in_the_dtype_of_the_backend() -> None:
    x = np.array([[[-1.0]]])
    in_double = literal.evaluate(ops.Activation("leaky_relu", 0.1), [x])
    in_single = literal.evaluate(ops.Activation("leaky_relu", 0.1), [x], dtype=np.float32)
    assert float(in_double[0, 0, 0]) == -0.1
    assert float(in_single[0, 0, 0]) == -float(np.float32(0.1))


def test_by_hand() -> None:
    weight, bias = np.array([[[1, 10]]]), np.array([100])
    x = np.array([[[1, 2, 3, 4]]])
    assert literal.evaluate(ops.Conv1d(1, 2, 2), [x], {"weight": weight, "bias": bias}).tolist() == [[[110, 120, 131, 142]]]
    strict = ops.Conv1d(1, 2, 2, strict=True, bias=False)
    assert literal.evaluate(strict, [x], {"weight": weight}).tolist() == [[[0, 10, 20, 31]]]
    gradient = literal.gradient(strict, [x], np.array([[[1, 1, 1, 1]]]), {"weight": weight})
    assert gradient["0"].tolist() == [[[11, 10, 10, 0]]]
    assert gradient["weight"].tolist() == [[[1, 6]]]
    assert literal.evaluate(ops.Shift(1), [np.array([[[1, 6, 3, 9, 1]]])]).tolist() == [[[0, 1, 6, 3, 9]]]


def test_losses_are_their_definitions() -> None:
    rng = np.random.default_rng(4)
    y, x, d = rng.normal(size=(2, 5, 3)) * 5, rng.integers(0, 5, (2, 3)), rng.normal(size=(2, 3))
    assert np.abs(losses.cross_entropy(y, x) - literal_heads.cross_entropy(y, x)).max() <= 32 * ULP
    wanted = literal_heads.cross_entropy_gradient(y, x, d)
    assert np.abs(losses.cross_entropy_backward(y, x, d) - wanted).max() <= 8 * ULP
    y, x, d = (rng.integers(-8, 9, shape).astype(float) for shape in ((2, 5, 3), (2, 5, 3), (2, 3)))
    np.testing.assert_array_equal(losses.squared_error(y, x), literal_heads.squared_error(y, x).astype(float))
    wanted = literal_heads.squared_error_gradient(y, x, d).astype(float)
    np.testing.assert_array_equal(losses.squared_error_backward(y, x, d), wanted)


def test_cross_entropy_of_certain_and_of_impossible_classes() -> None:
    y = np.array([[[1000.0], [0.0]]])
    assert losses.cross_entropy(y, np.array([[0]])).item() == 0
    assert losses.cross_entropy(y, np.array([[1]])).item() == 1000
    assert literal_heads.cross_entropy(np.array([[[50.0], [0.0]]]), np.array([[0]])).item() == pytest.approx(
        np.exp(-50), rel=1e-15, abs=0
    )
    gradient = literal_heads.cross_entropy_gradient(np.array([[[50.0], [0.0]]]), np.array([[0]]), np.array([[2.0]]))
    assert gradient[0, :, 0].tolist() == pytest.approx([-2 * np.exp(-50), 2 * np.exp(-50)], rel=1e-15, abs=0)


def test_an_input_is_what_the_caller_gives() -> None:
    x = np.arange(6.0).reshape(1, 2, 3)
    np.testing.assert_array_equal(literal.evaluate(ops.Input(), [x]).astype(float), x)
    np.testing.assert_array_equal(literal.gradient(ops.Input(), [x], x + 1)["0"].astype(float), x + 1)


@pytest.mark.parametrize("example", [*OTHERS, *POINTWISE], ids=lambda example: example.name)
def test_an_operator_is_exact_if_its_example_keeps_integers(example: Example) -> None:
    graph = next(graph for name, graph in example_graphs().items() if name.startswith(f"{example.name} ("))
    assert all(literal.is_exact(node.op) for node in graph.nodes) == (example.integral is not None)


def test_a_norm_of_large_numbers_takes_no_more_digits() -> None:
    """Of 1e30 it took 2e30 of them, which are of use for exponentials alone."""
    op, own = ops.Norm("rms", 1e-5, False), {"weight": np.ones(2)}
    np.testing.assert_allclose(
        literal.evaluate(op, [np.array([[3e30, 4e30]])], own), [[np.sqrt(0.72), np.sqrt(1.28)]], rtol=1e-15
    )
    dx = literal.gradient(op, [np.array([[3e30, 4e30]])], np.ones((1, 2)), own)["0"]
    np.testing.assert_allclose(dx, np.array([[4, -3]]) * np.sqrt(2) / 125 * 1e-30, rtol=1e-14)
