"""Dilated pooling: by hand, against the definition as loops, and the same rule for ties and padding in every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import refuses
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import refar
from refar import Builder, Graph, ops
from refar.errors import GraphError
from refar.exact import literal
from refar.testing import check_contract, strategies
from refar.testing.contract.backends import open_backends

KINDS, PADS = ("avg", "max"), ("zero", "exclude")


def pool(kind: Any, kernel: int, pad: Any, dilation: int = 1, channels: int = 1) -> Graph:
    g = Builder()
    return g.build(g.pool1d(g.input(channels=channels), kind, kernel, pad=pad, dilation=dilation, name="op"))


def signal(*values: float) -> np.ndarray:
    return np.array(values, float)[None, None]


@pytest.mark.row("000-7")
@pytest.mark.parametrize(
    ("kind", "kernel", "pad", "dilation", "expected"),
    [
        ("max", 2, "zero", 1, [0, -1, 4, 4, -3]),
        ("max", 2, "exclude", 1, [-2, -1, 4, 4, -3]),
        ("max", 2, "zero", 2, [0, 0, 4, -1, 4]),
        ("max", 3, "exclude", 2, [-2, -1, 4, -1, 4]),
        ("avg", 2, "zero", 1, [-1, -1.5, 1.5, 0.5, -3]),
        ("avg", 2, "exclude", 1, [-2, -1.5, 1.5, 0.5, -3]),
        ("avg", 4, "zero", 3, [-0.5, -0.25, 1, -1.25, -1]),
        ("avg", 4, "exclude", 3, [-2, -1, 4, -2.5, -2]),
        ("avg", 1, "zero", 7, [-2, -1, 4, -3, -3]),
    ],
)
def test_by_hand_in_every_backend(kind: Any, kernel: int, pad: Any, dilation: int, expected: list[float]) -> None:
    graph = pool(kind, kernel, pad, dilation)
    for backend in open_backends(graph, {}, ("numpy", "torch", "onnx")):
        np.testing.assert_array_equal(backend.forward({"x": signal(-2, -1, 4, -3, -3)})[0, 0], expected, backend.name)


@pytest.mark.parametrize(
    ("pad", "x", "expected"),
    [
        ("zero", [2, 2, 1, 1], [1, 10 + 100, 0, 1000]),  # the most recent of equals
        ("zero", [0, 0, -1, -1], [1, 10 + 100, 0, 1000]),  # a real zero goes before one of the padding
        ("zero", [-1, -2, -3, 0], [10, 100, 0, 1000]),  # at t = 0 only the padding is largest: lost
        ("exclude", [-1, -2, -3, 0], [11, 100, 0, 1000]),
        ("exclude", [-1, -1, 5, 5], [1, 10, 100, 1000]),
    ],
)
def test_who_gets_the_gradient_of_a_maximum(pad: Any, x: list[float], expected: list[float]) -> None:
    graph, dy = pool("max", 2, pad), signal(1, 10, 100, 1000)
    for backend in open_backends(graph, {}, ("numpy", "torch")):
        gradient = backend.gradient({"x": signal(*x)}, dy)
        assert gradient is not None
        np.testing.assert_array_equal(gradient["x"][0, 0], expected, backend.name)


def test_the_gradient_of_an_average_is_shared_by_what_is_averaged() -> None:
    x, dy = signal(5, -1, 2), signal(6, 60, 600)
    zero = refar.backward(pool("avg", 3, "zero"), {}, x, dy)["inputs"]["x"]
    np.testing.assert_array_equal(zero[0, 0], [2 + 20 + 200, 20 + 200, 200])
    exclude = refar.backward(pool("avg", 3, "exclude"), {}, x, dy)["inputs"]["x"]
    np.testing.assert_array_equal(exclude[0, 0], [6 + 30 + 200, 30 + 200, 200])


@pytest.mark.row("000-7")
@given(strategies.pools(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 17), st.integers(0, 99))
def test_pool_is_its_definition(op: ops.Pool1d, batch: int, channels: int, length: int, seed: int) -> None:
    """Few values, so that ties are many; equal but for the rounding of a division, so exact for maxima and averages of 2^n."""
    rng = np.random.default_rng(seed)
    graph = pool(op.kind, op.kernel, op.pad, op.dilation, channels)
    x, dy = (rng.integers(-2, 3, (batch, channels, length)).astype(float) for _ in range(2))
    args = [x, np.ones((batch, 1, length))][: 1 + (op.pad == "exclude")]
    y, dx = refar.forward(graph, {}, x), refar.backward(graph, {}, x, dy)["inputs"]["x"]
    expected, gradient = literal.evaluate(op, args), literal.gradient(op, args, dy)["0"]
    exact = op.kind == "max" or op.kernel in (1, 2) or (op.kernel == 4 and op.pad == "zero")
    np.testing.assert_allclose(y, expected.astype(float), rtol=0, atol=0 if exact else 1e-15)
    np.testing.assert_allclose(dx, gradient.astype(float), rtol=0, atol=0 if exact else 4e-15)


@pytest.mark.row("000-7")
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 3), (3, 2), (4, 1)])
def test_whole_windows_are_valid_pooling_and_left_out_padding_is_minus_infinity(kernel: int, dilation: int) -> None:
    """Against PyTorch's own pooling, which averages without dilation only: there every D-th position is a series of its own."""
    x, past = np.random.default_rng(0).normal(size=(2, 3, 20)), (kernel - 1) * dilation
    y = {(kind, pad): refar.forward(pool(kind, kernel, pad, dilation, 3), {}, x) for kind in KINDS for pad in PADS}
    valid = F.max_pool1d(torch.from_numpy(x), kernel, 1, dilation=dilation).numpy()
    for pad in PADS:
        np.testing.assert_array_equal(y["max", pad][:, :, past:], valid)
        for phase in range(dilation):
            series = torch.from_numpy(x[:, :, phase::dilation])
            expected = F.avg_pool1d(series, kernel, 1).numpy()
            np.testing.assert_allclose(y["avg", pad][:, :, phase::dilation][:, :, kernel - 1 :], expected, rtol=0, atol=1e-15)
    low = np.pad(x, ((0, 0), (0, 0), (past, 0)), constant_values=-np.inf)
    expected = F.max_pool1d(torch.from_numpy(low), kernel, 1, dilation=dilation).numpy()
    np.testing.assert_array_equal(y["max", "exclude"], expected)


@pytest.mark.parametrize("pad", ["zero", "exclude"])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_pools_between_layers_keep_the_contract(kind: Any, pad: Any) -> None:
    """Behind a biased layer, before and behind the strict one."""
    g = Builder()
    h = g.conv1d(g.embedding(g.input(classes=4), 2), 3, kernel=2, name="below")
    h = g.conv1d(g.pool1d(h, kind, 3, pad=pad, dilation=2), 4, kernel=2, strict=True, name="strict")
    h = g.pool1d(g.tanh(h), kind, 2, pad=pad, dilation=3)
    graph = g.build(g.conv1d(h, 4), ops.Categorical())
    check_contract(graph)
    tokens = refar.generate(graph, refar.init(graph), 12, batch=2)
    np.testing.assert_array_equal(tokens, refar.generate(graph, refar.init(graph), 12, batch=2, algorithm="slow"))


def with_second(second: str) -> Graph:
    g = Builder()
    x, y = g.input(channels=2), g.condition(channels=2, local=True)
    others = {"other values": y, "itself": x, "ones of another": g.add_op(ops.Ones(), y, name="ones_of_y")}
    return g.build(g.add_op(ops.Pool1d("avg", 2, "exclude"), x, others[second], name="pool"))


@pytest.mark.parametrize(("second", "name"), [("other values", "condition"), ("itself", "x"), ("ones of another", "ones_of_y")])
def test_what_marks_the_padding_must_be_the_ones_of_the_pooled(second: str, name: str) -> None:
    with refuses(GraphError, "node 'pool' (pool1d)", "as its second input the `ones` of 'x'", f"got '{name}'"):
        refar.offsets(with_second(second))


def test_exclude_without_ones() -> None:
    g = Builder()
    pooled = g.add_op(ops.Pool1d("max", 2, "exclude"), g.input(channels=1), name="pool")
    with refuses(GraphError, "node 'pool' (pool1d)", "two inputs, a value and its `ones`", "got 1"):
        refar.offsets(g.build(pooled))
    g = Builder()
    x = g.input(channels=1)
    pooled = g.add_op(ops.Pool1d("max", 2, "zero"), x, x, name="pool")
    with refuses(GraphError, "node 'pool' (pool1d)", "expected one input", "got 2"):
        refar.offsets(g.build(pooled))


@pytest.mark.parametrize(
    ("fields", "fragments"),
    [
        ('"kind": "max", "kernel": 2, "pad": "reflect"', ["reflect", "pad"]),
        ('"kind": "max", "kernel": 2', ["pad"]),
        ('"kind": "median", "kernel": 2, "pad": "zero"', ["median", "kind"]),
        ('"kind": "avg", "kernel": 0, "pad": "zero"', ["kernel", ">= 1"]),
        ('"kind": "avg", "kernel": 2, "pad": "zero", "dilation": 0', ["dilation", ">= 1"]),
    ],
)
def test_pools_that_have_no_meaning(fields: str, fragments: list[str]) -> None:
    text = refar.to_json(pool("max", 2, "zero")).decode()
    old = '"kind": "max",\n        "kernel": 2,\n        "pad": "zero"'
    assert old in text
    with refuses(GraphError, "nodes[1]", *fragments):
        refar.from_json(text.replace(old, fields))


def test_a_builder_refuses_an_unknown_pad() -> None:
    with refuses(GraphError, "reflect", "pad"):
        pool("max", 2, "reflect")


def test_a_constant_is_not_pooled() -> None:
    g = Builder()
    c = g.pool1d(g.condition(channels=2), "max", 2, pad="zero", name="pool")
    with refuses(GraphError, "node 'pool' (pool1d)", "a value over time to pool", "2 channels constant"):
        refar.offsets(g.build(g.add(g.input(channels=2), c)))
