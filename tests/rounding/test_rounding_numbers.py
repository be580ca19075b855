"""What is reported of a node or parameter: what it is off by, and the bound, with that of the oracle itself."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from helpers import with_surplus

from refar import Builder, Graph
from refar.oracle import node
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import backward_nodes, forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding

RNG = np.random.default_rng(0)
X, DY = RNG.normal(size=(2, 3, 6)), RNG.normal(size=(2, 2, 6))


def net(padding: Any = "layer") -> tuple[Graph, Any]:
    """h is read twice, once through a node that looks back by 3."""
    g = Builder()
    h = g.tanh(g.conv1d(g.input(channels=3), 2, kernel=2, name="front"), name="h")
    graph = g.build(g.add(h, g.conv1d(h, 2, kernel=2, dilation=3, name="back"), name="sum"), padding=padding)
    rng = np.random.default_rng(1)
    return graph, {
        "front.weight": rng.normal(size=(2, 3, 2)), "front.bias": rng.normal(size=2),
        "back.weight": rng.normal(size=(2, 2, 2)), "back.bias": rng.normal(size=2),
    }  # fmt: skip


def test_nodes() -> None:
    graph, params = net()
    exact = forward_nodes(unchecked(graph, params, np.float64), {"x": X})
    values = {name: value + 1e-3 * (name == "back") for name, value in exact.items()}
    found = {errors.name: errors for errors in rounding.node_errors(graph, params, values, bound.FLOAT64, reduced=0.25)}
    assert {name: errors.operator for name, errors in found.items()} == {
        "front": "conv1d", "h": "activation", "back": "conv1d", "sum": "add",
    }  # fmt: skip
    own = {"weight": params["back.weight"], "bias": params["back.bias"]}
    once = bound.forward(graph["back"].op, [values["h"]], own, 0, bound.FLOAT64)
    reduced = bound.forward(graph["back"].op, [values["h"]], own, 0, bound.FLOAT64, reduced=0.25)
    np.testing.assert_allclose(found["back"].allowed, reduced + once, rtol=1e-12)
    double = {errors.name: errors for errors in rounding.node_errors(graph, params, values, bound.FLOAT64)}
    np.testing.assert_allclose(double["back"].allowed, 2 * once, rtol=1e-12)  # of the backend, and of the oracle itself
    np.testing.assert_allclose(found["back"].observed, 1e-3, rtol=1e-9)
    np.testing.assert_allclose(found["sum"].observed, 1e-3, rtol=1e-9)
    assert not found["front"].observed.any()
    assert [e.name for e in rounding.node_errors(graph, params, {n: values[n] for n in ("x", "h", "back")}, 1.0)] == ["back"]


def test_under_input_padding_what_sees_before_the_start_is_left_out() -> None:
    graph, params = net("input")
    exact = forward_nodes(unchecked(graph, params, np.float64), {"x": X})
    values = {name: value + 1e-3 * (name in ("back", "front")) for name, value in exact.items()}
    found = {errors.name: errors for errors in rounding.node_errors(graph, params, values, bound.FLOAT64)}
    assert (found["back"].observed[:, :, :3] == 0).all()
    assert (found["back"].observed[:, :, 3:] > 0).all()
    assert (found["front"].observed[:, :, :1] == 0).all()
    assert (found["front"].observed[:, :, 1:] > 0).all()
    assert (found["sum"].observed > 0).all()


@pytest.mark.parametrize("backend_unit", [bound.FLOAT32, bound.FLOAT64])
def test_gradients(backend_unit: float) -> None:
    graph, params = net()
    values = forward_nodes(unchecked(graph, params, np.float64), {"x": X})
    dvalues, dparams = backward_nodes(unchecked(graph, params, DY.dtype), values, DY)
    dvalues["h"] = dvalues["h"] + 1e-3
    dparams["back.bias"] = dparams["back.bias"] - 1e-3
    found = {e.name: e for e in rounding.gradient_errors(graph, params, values, dvalues, dparams, backend_unit)}
    names = ("x", "front", "h", "back", *params)
    assert found.keys() == {f"gradient of {name}" for name in names}
    of_h = found["gradient of h"]
    np.testing.assert_allclose(of_h.observed, 1e-3, rtol=1e-9)
    own, none = {"weight": params["back.weight"], "bias": params["back.bias"]}, [None]
    (direct, _), _, _ = node.backward(graph["sum"].op, [values["h"], values["back"]], [None] * 2, {}, values["sum"], DY)
    (through,), _, _ = node.backward(graph["back"].op, [values["h"]], none, own, values["back"], dvalues["back"])
    assert direct is not None
    assert through is not None
    allowed = np.zeros(DY.shape)
    for unit in (backend_unit, bound.FLOAT64):
        (one, _), _ = bound.backward(graph["sum"].op, [values["h"], values["back"]], DY, {}, unit)
        (two,), _ = bound.backward(graph["back"].op, [values["h"]], dvalues["back"], own, unit)
        allowed += one + two + bound.gamma(1, unit) * (np.abs(direct) + np.abs(through))
    np.testing.assert_allclose(of_h.allowed, allowed, rtol=1e-9)
    _, of_params = bound.backward(graph["back"].op, [values["h"]], dvalues["back"], own, backend_unit)
    _, slack = bound.backward(graph["back"].op, [values["h"]], dvalues["back"], own, bound.FLOAT64)
    bias = found["gradient of back.bias"]
    np.testing.assert_allclose(bias.allowed, of_params["bias"] + slack["bias"], rtol=1e-9)
    np.testing.assert_allclose(bias.observed, 1e-3, rtol=1e-9)
    assert {name: found[f"gradient of {name}"].operator for name in ("x", "h", "back", "back.bias", "front.weight")} == {
        "x": "input", "h": "activation", "back": "conv1d", "back.bias": "conv1d", "front.weight": "conv1d",
    }  # fmt: skip


def test_the_gradient_of_the_output_is_given_and_not_judged() -> None:
    g = Builder()
    y = g.conv1d(g.input(channels=3), 2, name="y")
    g.tanh(y, name="unread")
    graph, params = with_surplus(g, y), {"y.weight": RNG.normal(size=(2, 3, 1)), "y.bias": RNG.normal(size=2)}
    values = forward_nodes(unchecked(graph, params, np.float64), {"x": X})
    found = rounding.gradient_errors(
        graph, params, values, *backward_nodes(unchecked(graph, params, DY.dtype), values, DY), bound.FLOAT64
    )
    assert {each.name for each in found} == {"gradient of x", "gradient of y.weight", "gradient of y.bias"}
    assert max(each.worst for each in found) == 0


def errors(observed: Any, allowed: Any) -> rounding.Errors:
    return rounding.Errors("n", "conv1d", np.array(observed), np.array(allowed))


def test_the_worst_of_a_node() -> None:
    with warnings.catch_warnings(action="error"):
        assert errors([[0.0, 1.0, 3.0]], [[0.0, 4.0, 4.0]]).worst == 0.75
        assert errors([[0.0, 1.0, 3.0]], [[0.0, 4.0, 4.0]]).ratios.tolist() == [[0, 0.25, 0.75]]
        assert errors([[0.0, 0.0]], [[0.0, 0.0]]).worst == 0
        assert errors([[0.0, 1e-9]], [[0.0, 0.0]]).worst == np.inf  # what must be exact is not
        assert np.isnan(errors([[0.0, np.nan]], [[1.0, 1.0]]).worst)
        assert errors(np.zeros((0, 2)), np.zeros((0, 2))).worst == 0
    assert str(errors([[0.0, 1.0, 3.0]], [[0.0, 4.0, 4.0]])) == "'n' (conv1d) at [0, 2]: off by 3, bound 4"
    assert "at [0, 1]" in str(errors([[9.0, np.nan]], [[1.0, 1.0]]))


@pytest.mark.parametrize("reduced", [0.0, 0.25])
def test_local_bounds(reduced: float) -> None:
    graph, params = net()
    values = forward_nodes(unchecked(graph, params, np.float64), {"x": X})
    found, _ = rounding.local_bounds(graph, params, values, bound.FLOAT32, reduced=reduced)
    own = {"weight": params["front.weight"], "bias": params["front.bias"]}
    wanted = bound.forward(graph["front"].op, [X], own, 0, bound.FLOAT32, reduced=reduced)
    np.testing.assert_allclose(found["front"], wanted, rtol=1e-12)
    assert found.keys() == values.keys()
    assert not found["x"].any()
