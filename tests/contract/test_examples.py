"""The table of examples holds every operator and every kind of one, and each example keeps all laws."""

from __future__ import annotations

from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

import refar
from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Arrays
from refar.graph.graph import Graph
from refar.oracle.bound_graph import unchecked
from refar.oracle.node import forward
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding.network import node_errors
from refar.rounding.spread import Situation, spread
from refar.testing import check_contract
from refar.testing.examples import LOOKUPS, OTHERS, POINTWISE, Example, Value, example_graphs

GRAPHS = example_graphs()


def test_every_operator_and_every_kind_has_an_example() -> None:
    """A kind is a value of an attribute that takes one of a few words; `global` inputs and the axes of inputs included."""
    used = [node.op for graph in GRAPHS.values() for node in graph.nodes]
    assert {type(op) for op in used} == set(get_args(ops.AnyOp))
    for kind in get_args(ops.AnyOp):
        for name, hint in get_type_hints(kind).items():
            if get_origin(hint) is Literal:
                found = {getattr(op, name) for op in used if type(op) is kind}
                assert found == set(get_args(hint)), f"{kind.__name__}.{name}: no example of {set(get_args(hint)) - found}"


def test_no_two_examples_have_one_name() -> None:
    names = [example.name for example in (*OTHERS, *POINTWISE)] + list(LOOKUPS)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_law_holds(name: str) -> None:
    check_contract(GRAPHS[name])


def numbers(graph: Graph) -> tuple[Arrays, Arrays]:
    """Parameters and inputs that float32 holds."""
    found, rng = facts(graph), np.random.default_rng(1)
    params = {n: rng.normal(size=s).astype(np.float32).astype(float) for n, s in found.parameters.items()}
    inputs = {}
    for n in found.inputs:
        shape = [{"b": 2, "c": found.types[n].channels, "t": 9, "h": 4, "w": 5}[axis] for axis in found.types[n].axes]
        real = rng.normal(size=shape).astype(np.float32)
        inputs[n] = rng.integers(0, found.types[n].size, shape) if found.types[n].indexed else real
    return params, inputs


@pytest.mark.parametrize("name", GRAPHS)
def test_every_operator_stays_within_its_bound_in_float32(name: str) -> None:
    graph = GRAPHS[name]
    params, inputs = numbers(graph)
    net = unchecked(graph, {n: a.astype(np.float32) for n, a in params.items()}, np.float32)
    values = forward_nodes(net, net.cast(inputs))
    errors = node_errors(graph, params, values, bound.FLOAT32)
    assert errors
    assert max(error.worst for error in errors) <= 1, max(errors, key=lambda error: error.worst)


@pytest.mark.parametrize("size", [2.0**-9, 1.0, 30.0])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_value_moves_no_further_than_its_spread_says(name: str, size: float) -> None:
    graph, rng = GRAPHS[name], np.random.default_rng(2)
    params, inputs = numbers(graph)
    net = unchecked(graph, params)
    values = forward_nodes(net, net.cast(inputs))
    for each in graph.nodes:
        args, none, moved, off = [values[n] for n in each.inputs], [None] * len(each.inputs), [], []
        for n, arg in zip(each.inputs, args, strict=True):
            exact = arg.dtype == np.int64 or isinstance(graph[n].op, ops.Ones)
            move = np.zeros(arg.shape) if exact else size * rng.uniform(-1, 1, arg.shape)
            moved.append(arg if exact else arg + move)
            off.append(np.abs(move))
        if not args:
            continue
        own, classes = net.own[each.name], net.facts.classes[each.name]
        y, rule = values[each.name], spread(each.op)
        by = np.abs(forward(each.op, moved, none, own, classes, net.dtype) - y)
        apart = Situation(each.op, args, off, none, own, classes, y)
        assert (by <= rule.each(apart) * (1 + 1e-9) + 1e-12).all(), each.op


@pytest.mark.parametrize("example", [e for e in (*OTHERS, *POINTWISE) if e.integral], ids=lambda e: e.name)
def test_an_integral_example_keeps_integers(example: Example) -> None:
    """On integers, with integral parameters, its value is integral too, or a half."""
    space = "hw" if example.space == "hw" else "t"
    g = refar.Builder()
    x = g.image(channels=4) if space == "hw" else g.input(channels=4)
    assert example.integral is not None
    y = example.integral(g, Value(x, 4, 2 if space == "hw" else 1, space == "hw"))
    graph, rng = g.build(y.name), np.random.default_rng(0)
    params = {n: rng.integers(-3, 4, s).astype(float) for n, s in facts(graph).parameters.items()}
    value = refar.forward(graph, params, rng.integers(-3, 4, (2, 4, 3, 5) if space == "hw" else (2, 4, 7)).astype(float))
    np.testing.assert_array_equal(2 * value, np.round(2 * value))
