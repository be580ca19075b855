"""How bounds pass through each operator: `rounding.composed`, number by number, with a unit that nothing hides.

Under test is what an operator passes on: its own rounding, which tests/rounding/test_bound_formulas.py checks, is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import with_surplus

from refar import Builder, Graph, ops
from refar.analysis.facts import facts
from refar.exact import literal
from refar.graph.graph import Node
from refar.oracle.bound_graph import own_parameters, unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding

U = 2.0**-6
Make = Callable[[Builder, Any, Any], Any]


def network(make: Make, channels: int = 4, plane: bool = False) -> Graph:
    """The operator on values that are off: scaled entries of a table, and a scaled condition."""
    g = Builder()
    x = g.image(classes=12, channels=1) if plane else g.input(classes=12)
    h = g.affine(g.embedding(x, channels, name="table"), 0.75, 0.25, name="h")
    c = g.affine(g.condition("c", channels=channels), 0.5, 0.125, name="k")
    return with_surplus(g, make(g, h, c))


def numbers(graph: Graph) -> tuple[Any, Any]:
    """Parameters and all values, with magnitudes from 0.01 to 1000."""
    found, rng = facts(graph), np.random.default_rng(3)
    params = {name: np.round(rng.normal(size=shape), 3) for name, shape in found.parameters.items()}
    params["table.weight"] = params["table.weight"] * np.logspace(-2, 3, 12)[:, None]
    x = rng.integers(0, 12, (2, 1, 3, 4) if found.types["x"].image else (2, 9))
    inputs = {"x": x, "c": np.array([[0.5, -2, 30, 4], [-0.25, 1, 0, 7]])} if "c" in found.types else {"x": x}
    return params, forward_nodes(unchecked(graph, params, np.float64), inputs)


def around(graph: Graph, node: Node, params: Any, values: Any, off: Any) -> Any:
    types = facts(graph).types
    args, own = [values[name] for name in node.inputs], own_parameters(node, params)
    return bound.forward(node.op, args, own, types[node.inputs[0]].size, U, off=off)


def close(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)
    assert np.shape(got) == np.shape(wanted)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def composed(make: Make, **options: Any) -> tuple[Any, list[Any], list[Any], Any, ops.AnyOp]:
    """What the last operator passes on, the errors of its arguments, their values, its parameters, and itself."""
    graph = network(make, **options)
    params, values = numbers(graph)
    inputs = {name: values[name] for name in ("x", "c") if name in facts(graph).types}
    found, node = rounding.composed(graph, params, inputs, U), graph[graph.output]
    off = [found[name] for name in node.inputs]
    passed = found[graph.output] - around(graph, node, params, values, off)
    return passed, off, [values[name] for name in node.inputs], own_parameters(node, params), node.op


LINEAR: dict[str, tuple[Make, bool]] = {
    "conv1d": (lambda g, h, c: g.conv1d(h, 3, kernel=2, dilation=2), False),
    "conv2d": (lambda g, h, c: g.conv2d(h, 3, kernel=3, mask="B"), True),
    "delay": (lambda g, h, c: g.delay(h, 2), False),
    "shift2d": (lambda g, h, c: g.shift2d(h, down=1, right=1), True),
    "add": (lambda g, h, c: g.add(h, c), False),
    "concat": (lambda g, h, c: g.concat(h, c), False),
    "slice": (lambda g, h, c: g.slice(h, 1, 3), False),
    "average": (lambda g, h, c: g.pool1d(h, "avg", 3, pad="zero"), False),
    "average of what is there": (lambda g, h, c: g.pool1d(h, "avg", 3, pad="exclude"), False),
    "maximum": (lambda g, h, c: g.pool1d(h, "max", 3, pad="zero"), False),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_operators_pass_on_magnitudes(name: str) -> None:
    make, plane = LINEAR[name]
    passed, off, _, own, op = composed(make, plane=plane)
    params = {n: np.abs(a) if n == "weight" else a * 0 for n, a in own.items()}
    pooled = isinstance(op, ops.Pool1d)
    wanted = literal.evaluate(op, off[:1] if pooled else off, params).astype(float)
    close(passed, wanted)


POINTWISE: dict[str, tuple[Make, Callable[[float, float], float]]] = {
    "relu": (lambda g, h, c: g.relu(h), lambda x, e: e),
    "leaky_relu": (lambda g, h, c: g.leaky_relu(h, 0.3), lambda x, e: e),
    "tanh": (lambda g, h, c: g.tanh(h), lambda x, e: min(e, 2)),
    "sigmoid": (lambda g, h, c: g.sigmoid(h), lambda x, e: min(e / 4, 1)),
    "affine": (lambda g, h, c: g.affine(h, -1.5, 2.0), lambda x, e: 1.5 * e),
    "multiply": (lambda g, h, c: g.multiply(h, h), lambda x, e: (abs(x) + e) ** 2 - x**2),
}


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_operators(name: str) -> None:
    make, wanted = POINTWISE[name]
    passed, (e, *_), (x, *_), _, _ = composed(make)
    close(passed, np.vectorize(wanted, [float])(x, e))


def test_gates_and_softmax() -> None:
    passed, (e,), (x,), _, _ = composed(lambda g, h, c: g.gate(h))
    for b, c, t in np.ndindex(passed.shape):
        th, s = abs(math.tanh(x[b, c, t])), sigmoid(x[b, c + 2, t])
        by_t, by_s = min(e[b, c, t], 2), min(e[b, c + 2, t] / 4, 1)
        assert passed[b, c, t] == pytest.approx(min(by_t * s + by_s * th + by_t * by_s, 2), abs=1e-9)
    assert e.max() > 4
    passed, (e,), _, _, _ = composed(lambda g, h, c: g.softmax(h))
    close(passed, np.repeat(np.minimum(e.max(axis=1, keepdims=True) / 2, 1), 4, axis=1))


def test_what_stands_before_the_start_is_off_as_if_zeros_had_come_before() -> None:
    """Input padding is layer padding after enough zeros."""

    def build(padding: Any) -> Graph:
        g = Builder()
        x = g.input(channels=2)
        h = g.tanh(g.add(g.conv1d(x, 4, kernel=2, name="a"), g.conv1d(g.condition("c", channels=2), 4, name="b")))
        return g.build(g.pool1d(g.conv1d(h, 3, kernel=3, dilation=2, name="d"), "avg", 2, pad="zero"), padding=padding)

    padded, plain, rng = build("input"), build("layer"), np.random.default_rng(4)
    params = {name: rng.normal(size=shape) for name, shape in facts(padded).parameters.items()}
    x, c = rng.normal(size=(2, 2, 8)), rng.normal(size=(2, 2))
    longer = np.concatenate([np.zeros((2, 2, 12)), x], axis=2)

    got, wanted = (rounding.composed(graph, params, {"x": v, "c": c}, U) for graph, v in ((padded, x), (plain, longer)))
    for node in padded.nodes:
        timed = facts(padded).types[node.name].timed
        np.testing.assert_allclose(got[node.name], wanted[node.name][..., 12:] if timed else wanted[node.name], rtol=1e-9)


def test_first_order_weighs_every_error_by_its_slope() -> None:
    graph = network(lambda g, h, c: g.conv1d(g.tanh(g.add(h, c), name="t"), 2, kernel=2, name="y"))
    params, values = numbers(graph)
    rng = np.random.default_rng(5)
    local = {name: np.abs(rng.normal(size=value.shape)) for name, value in values.items()}
    local["x"] = np.zeros(values["x"].shape)
    dy = rng.normal(size=values["y"].shape)
    total, squares = np.zeros(2), np.zeros(2)
    later = np.concatenate([dy[:, :, 1:], np.zeros((2, 2, 1))], axis=2)
    dt = np.einsum("oi,bot->bit", params["y.weight"][:, :, 1], dy) + np.einsum("oi,bot->bit", params["y.weight"][:, :, 0], later)
    dh = dt * (1 - values["t"] ** 2)
    slopes = {"y": dy, "t": dt, "h": dh, "table": 0.75 * dh, "k": dh.sum(axis=2), "c": 0.5 * dh.sum(axis=2)}
    slopes |= {name: dh for name in values if name not in (*slopes, "x")}  # the sum
    for name, slope in slopes.items():
        terms = (np.abs(slope) * local[name]).reshape(2, -1)
        total, squares = total + terms.sum(axis=1), squares + (terms**2).sum(axis=1)
    found = rounding.first_order(graph, params, values, (local, {}), dy)
    np.testing.assert_allclose(found[0], total, rtol=1e-9)
    np.testing.assert_allclose(found[1], np.sqrt(squares), rtol=1e-9)


def test_first_order_weighs_what_is_computed_before_the_start() -> None:
    g = Builder()
    h = g.conv1d(g.input(channels=2), 3, name="h")
    graph = g.build(g.conv1d(h, 2, kernel=2, dilation=2, name="y"), padding="input")
    rng = np.random.default_rng(6)
    params = {name: rng.normal(size=shape) for name, shape in facts(graph).parameters.items()}
    values = forward_nodes(unchecked(graph, params, np.float64), {"x": rng.normal(size=(2, 2, 5))})
    here, resting = rounding.local_bounds(graph, params, values, bound.FLOAT32)
    np.testing.assert_allclose(resting["h"][:, :, 0], np.tile(bound.gamma(1, bound.FLOAT32) * np.abs(params["h.bias"]), (2, 1)))
    dy = rng.normal(size=values["y"].shape)
    exact, squares = rounding.first_order(graph, params, values, (here, {}), dy)
    terms = np.abs(np.einsum("oi,bot->bi", params["y.weight"][:, :, 0], dy[:, :, :2])) * resting["h"][:, :, 0]
    found = rounding.first_order(graph, params, values, (here, resting), dy)
    np.testing.assert_allclose(found[0], exact + terms.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found[1], np.sqrt(squares**2 + (terms**2).sum(axis=1)), rtol=1e-12)
