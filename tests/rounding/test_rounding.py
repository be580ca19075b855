"""Rounding of whole graphs: node by node for backends in float32, end to end for the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refar import Builder, Graph
from refar.analysis.facts import facts
from refar.oracle import node
from refar.oracle.bound_graph import cast, own_parameters, unchecked
from refar.oracle.whole import backward_nodes, forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding
from refar.testing.contract.cases import generic_parameters


def case(graph: Graph) -> tuple[Any, Any]:
    """Parameters and inputs that float32 holds."""
    rng, found = np.random.default_rng(1), facts(graph)
    params = {name: array.astype(np.float32).astype(float) for name, array in generic_parameters(graph, rng).items()}

    def drawn(kind: Any) -> Any:
        shape = [{"b": 3, "c": kind.channels, "t": 40, "h": 6, "w": 7}[axis] for axis in kind.axes]
        return rng.integers(0, kind.size, shape) if kind.indexed else rng.normal(size=shape).astype(np.float32).astype(float)

    return params, {name: drawn(found.types[name]) for name in (found.sequence, *found.conditions)}


def run(graph: Graph, params: Any, inputs: Any, dtype: str) -> Any:
    return forward_nodes(unchecked(graph, {n: a.astype(dtype) for n, a in params.items()}, np.dtype(dtype)), cast(inputs, dtype))


def test_numpy_in_float32_node_by_node(model: Graph) -> None:
    params, inputs = case(model)
    values = run(model, params, inputs, "float32")
    errors = rounding.node_errors(model, params, values, bound.FLOAT32)
    assert {e.name for e in errors} | set(inputs) == {n.name for n in model.nodes}
    assert max(e.worst for e in errors) <= 1, str(max(errors, key=lambda e: e.worst))
    dy = np.random.default_rng(2).normal(size=values[model.output].shape).astype(np.float32)
    single = {n: a.astype(np.float32) for n, a in params.items()}
    dvalues, dparams = backward_nodes(unchecked(model, single, dy.dtype), values, dy)
    gradients = rounding.gradient_errors(model, params, values, dvalues, dparams, bound.FLOAT32)
    assert {e.name for e in gradients} >= {f"gradient of {name}" for name in params}
    assert max(e.worst for e in gradients) <= 1, str(max(gradients, key=lambda e: e.worst))


def test_a_wrong_node_is_named(model: Graph) -> None:
    params, inputs = case(model)
    values = run(model, params, inputs, "float32")
    broken = next(n.name for n in reversed(model.nodes) if n.op.__struct_config__.tag in ("conv1d", "conv2d"))
    values[broken] = values[broken] * (1 + 2.0**-10)
    worst = max(rounding.node_errors(model, params, values, bound.FLOAT32), key=lambda e: e.worst)
    assert worst.worst > 1
    assert worst.name == broken
    assert repr(broken) in str(worst)


def test_what_happens_end_to_end_is_below_every_bound(model: Graph) -> None:
    params, inputs = case(model)
    values, single = run(model, params, inputs, "float64"), run(model, params, inputs, "float32")
    off = np.abs(single[model.output] - values[model.output])
    assert (off <= rounding.composed(model, params, inputs, bound.FLOAT32)[model.output]).all()
    local = rounding.local_bounds(model, params, values, bound.FLOAT32)
    for channel in range(0, off.shape[1], 3):
        dy = np.zeros_like(off)
        dy.reshape(3, off.shape[1], -1)[:, channel, -1] = 1
        first, statistical = rounding.first_order(model, params, values, local, dy)
        assert (off.reshape(*off.shape[:2], -1)[:, channel, -1] <= first).all()
        assert (statistical <= first).all()
        assert (statistical > 0).all()


def test_measured_residuals_give_the_true_error(model: Graph) -> None:
    """Σ ∂y/∂n · (what each node is off by) is the error of y to first order: here with signs, so to about two digits."""
    params, inputs = case(model)
    values, single = run(model, params, inputs, "float64"), run(model, params, inputs, "float32")
    wide = {n: a if a.dtype == np.int64 else a.astype(float) for n, a in single.items()}
    dy = np.zeros(values[model.output].shape)
    dy.reshape(3, dy.shape[1], -1)[:, 0, -1] = 1
    dvalues, _ = backward_nodes(unchecked(model, params, dy.dtype), values, dy)
    predicted = np.zeros(3)
    for each in model.nodes:
        if each.inputs and not facts(model).types[each.name].indexed:
            args = [wide[name] for name in each.inputs]
            classes = facts(model).types[each.inputs[0]].size
            exact = node.forward(each.op, args, [None] * len(args), own_parameters(each, params), classes, np.dtype("f8"))
            predicted += (dvalues[each.name] * (wide[each.name] - exact)).reshape(3, -1).sum(axis=1)
    true = ((single[model.output].astype(float) - values[model.output]) * dy).reshape(3, -1).sum(axis=1)
    np.testing.assert_allclose(predicted, true, rtol=0.02, atol=1e-12)


@pytest.mark.parametrize("unit", [bound.FLOAT32, bound.FLOAT64])
def test_first_order_is_linear_in_the_unit(model: Graph, unit: float) -> None:
    params, inputs = case(model)
    values = run(model, params, inputs, "float64")
    dy = np.ones(values[model.output].shape)
    first, _ = rounding.first_order(model, params, values, rounding.local_bounds(model, params, values, unit), dy)
    assert ((first > 0) & (first < 1e7 * unit * np.abs(dy).reshape(3, -1).sum(axis=1))).all()


@pytest.mark.parametrize("kind", ["leaky_relu", "softmax"])
def test_where_smaller_magnitudes_round_more(kind: str) -> None:
    """A bound at |x| + E would take the slope of negative numbers for 1, and other channels for the largest."""
    g = Builder()
    x = g.embedding(g.input(classes=50), 6)
    graph = g.build(g.leaky_relu(x, 0.3) if kind == "leaky_relu" else g.softmax(g.affine(x, 0.3, 0.7)))
    table = np.random.default_rng(5).normal(size=(50, 6)).astype(np.float32).astype(float)
    table[:, 0] = -300
    inputs = {"x": np.arange(50)[None]}
    values, single = (run(graph, {"embedding.weight": table}, inputs, dtype) for dtype in ("float64", "float32"))
    off = np.abs(single[graph.output] - values[graph.output])
    assert off.max() > 0
    assert (off <= rounding.composed(graph, {"embedding.weight": table}, inputs, bound.FLOAT32)[graph.output]).all()


def test_under_input_padding_what_stands_before_the_start_rounds_too() -> None:
    """A condition that cancels: what stands before the start is small, and off by far more than its own magnitude rounds."""
    g = Builder()
    x, c = g.input(channels=1), g.condition("c", channels=16)
    h = g.add(g.conv1d(x, 4, bias=False), g.conv1d(c, 4, name="matrix"))
    graph = g.build(g.conv1d(g.pool1d(g.delay(h, 2), "avg", 2, pad="zero"), 2, bias=False), padding="input")
    params, inputs = case(graph)
    params["matrix.weight"][:, 1::2] = params["matrix.weight"][:, 0::2]
    inputs["c"] = (inputs["c"] + np.tile([1e4, -1e4], 8)).astype(np.float32).astype(float)
    values, single = (run(graph, params, inputs, dtype) for dtype in ("float64", "float32"))
    off = np.abs(single[graph.output] - values[graph.output])
    assert off[:, :, 0].max() > 1e-5
    assert (off <= rounding.composed(graph, params, inputs, bound.FLOAT32)[graph.output]).all()
