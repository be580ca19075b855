"""The bound of parameters rounded to float16 holds, and is not idle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refar import Builder, Graph, ops
from refar.analysis.facts import facts
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding.network import first_order
from refar.rounding.stored import stored_bounds

Arrays = dict[str, np.ndarray[Any, Any]]


def networks() -> dict[str, tuple[Graph, Arrays]]:
    rng = np.random.default_rng(0)
    g = Builder()
    conv = g.build(g.conv1d(g.input(channels=3), 4, kernel=2, dilation=2, groups=1, name="op"))
    g = Builder()
    image = g.build(g.conv2d(g.image(channels=2), 4, kernel=3, mask="B", name="op"))
    g = Builder()
    row = g.build(g.embedding(g.input(classes=5), 4, name="op"))
    kinds: dict[str, ops.AnyOp] = {"scales": ops.ScaleShift(), "slopes": ops.PRelu()}
    kinds |= {"layer": ops.Norm("layer"), "rms": ops.Norm("rms")}
    of_channels = {}
    for name, op in kinds.items():
        g = Builder()
        of_channels[name] = (g.build(g.add_op(op, g.input(channels=3), name="op")), {"x": 9 * rng.normal(size=(2, 3, 9))})
    real = {"conv": (conv, {"x": rng.normal(size=(2, 3, 9))}), "image": (image, {"x": rng.normal(size=(2, 2, 4, 5))})}
    return real | of_channels | {"row": (row, {"x": rng.integers(0, 5, (2, 9))})}


@pytest.mark.parametrize("scale", [100.0, 1.0, 1e-3, 1e-5, 1e-7, 1e-8])
@pytest.mark.parametrize("name", ["conv", "image", "row", "scales", "slopes", "layer", "rms"])
def test_one_operator_moves_within_it(name: str, scale: float) -> None:
    graph, inputs = networks()[name]
    rng = np.random.default_rng(1)
    params = {key: scale * rng.normal(size=shape) for key, shape in facts(graph).parameters.items()}
    rounded = {key: array.astype(np.float16).astype(np.float64) for key, array in params.items()}
    exact, values = (forward_nodes(unchecked(graph, each, np.float64), inputs) for each in (params, rounded))
    allowed, steady = stored_bounds(graph, rounded, values)
    assert allowed.keys() == {"op"}
    assert steady == {}
    moved = np.abs(exact["op"] - values["op"])
    ratio = moved / np.where(moved == 0, 1, allowed["op"])
    assert ratio.max() <= 1
    assert ratio.max() > 0.1


def test_it_is_the_formula() -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.input(channels=1), 1, kernel=2, name="op"))
    params = {"op.weight": np.array([[[0.5, -2.0]]]), "op.bias": np.array([4.0])}
    values = {"x": np.array([[[3.0, -7.0]]]), "op": np.zeros((1, 1, 2))}
    u, η = 2.0**-11, 2.0**-25
    first = 3 * (2 * u + η) + 4 * u + η
    assert stored_bounds(graph, params, values)[0]["op"].tolist() == [[[first, 3 * (0.5 * u + η) + 7 * (2 * u + η) + 4 * u + η]]]


def test_values_before_the_first_position_move_too() -> None:
    """Under input padding a bias is seen at t < 0; the sum of all that moves bounds the output."""
    rng, g = np.random.default_rng(2), Builder()
    h = g.conv1d(g.input(channels=2), 3, name="first")
    graph = g.build(g.conv1d(h, 2, kernel=3, name="second"), padding="input")
    params = {key: rng.normal(size=shape) for key, shape in facts(graph).parameters.items()}
    rounded = {key: array.astype(np.float16).astype(np.float64) for key, array in params.items()}
    inputs = {"x": rng.normal(size=(2, 2, 6))}
    exact, values = (forward_nodes(unchecked(graph, each, np.float64), inputs) for each in (params, rounded))
    local = stored_bounds(graph, rounded, values)
    assert local[1].keys() == {"first", "second"}
    assert local[1]["first"].shape == (2, 3, 1)
    dy = np.zeros((2, 2, 6))
    dy[:, 1, 0] = 1
    allowed, _ = first_order(graph, rounded, values, local, dy)
    off = np.abs(exact["second"] - values["second"])[:, 1, 0]
    assert (off <= allowed * 1.01).all()  # second order is what the bound leaves out
    assert (off / allowed).max() > 0.05


def test_what_is_looked_up_is_zero_before_the_first_position() -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.embedding(g.input(classes=3), 2, name="rows"), 2, kernel=2, name="op"), padding="input")
    params = {key: np.ones(shape) for key, shape in facts(graph).parameters.items()}
    values = forward_nodes(unchecked(graph, params, np.float64), {"x": np.array([[0, 1, 2]])})
    each, steady = stored_bounds(graph, params, values)
    assert each.keys() == {"rows", "op"}
    assert steady.keys() == {"op"}
    assert steady["op"].tolist() == [[[2.0**-11 + 2.0**-25]] * 2]
