"""Ball arithmetic: operators enclose their definitions, networks what the oracle computes, and no ball is needlessly wide."""

from __future__ import annotations

import sys
from fractions import Fraction
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
import pytest
from flint import arb, ctx
from helpers import refuses
from operator_cases import CASES
from small_models import IMAGE_MODELS, MODELS

import refar
from refar import Builder, Graph, ops
from refar.analysis.facts import facts
from refar.errors import BackendError
from refar.exact import literal
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding.balls import Classes, Frame, Numbers, Products, enclose
from refar.rounding.certify import certify
from refar.rounding.enclosure import Enclosure
from refar.testing.contract.cases import generic_parameters

NEED_FLINT = ("balls", "draws", "enclosure", "narrow", "replay")
RNG = np.random.default_rng(1)


def value(array: Any, count: int) -> Any:
    """One row: numbers with zeros outside, a constant, or class indices."""
    if array.dtype == np.int64:
        return Classes(array.reshape(array.shape[1] if array.ndim == 4 else 1, -1), count)
    rows = [[arb(v) for v in row] for row in array[0].reshape(array.shape[1], -1).tolist()]
    return Numbers(rows, [arb(0)] * len(rows) if array.ndim > 2 else None)


def fraction(ball: arb) -> Fraction:
    """An exact number."""
    mantissa, exponent = (int(n) for n in ball.man_exp())
    return mantissa * Fraction(2) ** exponent


def test_every_operator_has_a_case() -> None:
    assert {type(op) for op, _, _ in CASES.values()} == set(get_args(ops.AnyOp)) - {ops.Input}


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_norms_of_wide_balls_are_finite_and_hold_what_they_should(kind: Literal["layer", "rms"], channels: int) -> None:
    rng, one = np.random.default_rng(channels), {"weight": np.ones(channels)}
    for eps, radius in product((1e-30, 1e-5, 1.0), (1e-20, 1e-9, 1e-3, 1.0, 1e5)):
        op, x = ops.Norm(kind, eps, False), rng.normal(size=channels) * rng.integers(0, 2)
        with ctx.workprec(106):
            given = Numbers([[arb(float(v), radius)] for v in x], [arb(0)] * channels)
            found = enclose(op, [given], one, Frame((1,), np.arange(1), [np.arange(2)]))
            assert not isinstance(found, Products)
            for at in (x, x + 0.99 * radius * rng.choice([-1, 1], channels), 0 * x if (np.abs(x) < radius).all() else x):
                exact = literal.evaluate(op, [at[None]], one)[0]
                assert all(
                    ball.is_finite() and ball.overlaps(arb(float(y), 1e-12)) for (ball,), y in zip(found, exact, strict=True)
                )


@pytest.mark.parametrize("name", CASES)
def test_operators_enclose_their_definitions(name: str) -> None:
    """To all digits, and at places that are asked for alone."""
    op, args, own = CASES[name]
    args = [array[:1, ..., :11] for array in args]
    exact = literal.evaluate(op, args, own, classes=5 if args[0].dtype == np.int64 else 0, rounded=False)
    extent, exact = exact.shape[2:], exact[0].reshape(exact.shape[1], -1)
    places = exact.shape[1]
    at = np.sort(RNG.permutation(places)[: max(1, places - 3)])
    with ctx.workprec(106):
        found = enclose(op, [value(array, 5) for array in args], own, Frame(extent, at, [np.arange(places + 1)] * len(args)))
        rows = found.rows if isinstance(found, Products) else found
    assert len(rows) == len(exact)
    for balls, numbers in zip(rows, exact[:, at], strict=True):
        for ball, number in zip(balls, numbers, strict=True):
            radius = fraction(ball.rad())
            assert abs(fraction(ball.mid()) - Fraction(number)) <= radius + Fraction(1, 10**50)  # the digits of a definition
            assert radius <= Fraction(2) ** -95


def bound_inputs(graph: Graph, batch: int = 1) -> Any:
    """Random inputs."""
    found, rng = facts(graph), np.random.default_rng(2)
    inputs = {}
    for name in found.inputs:
        kind = found.types[name]
        shape = [{"b": batch, "c": kind.channels, "t": 21, "h": 4, "w": 5}[axis] for axis in kind.axes]
        inputs[name] = rng.integers(0, kind.size, shape) if kind.indexed else rng.normal(size=shape)
    return inputs


def near(rows: Any, y: Any, radius: float) -> None:
    """Balls no wider than this lie around the numbers of float64."""
    np.testing.assert_allclose([[float(ball) for ball in row] for row in rows], y, rtol=1e-9, atol=1e-12)
    assert max(float(ball.rad()) for row in rows for ball in row) <= radius


@pytest.mark.parametrize("name", [*MODELS, *IMAGE_MODELS])
def test_networks_enclose_what_the_oracle_computes(name: str) -> None:
    """At any places, in any order; more bits make the balls smaller."""
    graph = {**MODELS, **IMAGE_MODELS}[name]
    params, inputs = generic_parameters(graph, np.random.default_rng(3)), bound_inputs(graph)
    y = forward_nodes(unchecked(graph, params), inputs)[graph.output][0]
    y, enclosure = y.reshape(len(y), -1), Enclosure(graph, params, inputs)
    for at in (np.arange(y.shape[1]), np.array([19, 3, 7, 0, 3]), np.array([11])):
        near(enclosure.output(at, 106), y[:, at], 1e-27)
        near(enclosure.output(at, 212), y[:, at], 1e-59)


def test_input_padding_is_layer_padding_after_enough_zeros() -> None:
    def build(padding: Any) -> Graph:
        g = Builder()
        x, local = g.input(channels=2), g.condition("l", channels=1, local=True)
        h = g.tanh(g.add(g.conv1d(x, 4, kernel=2), g.conv1d(g.condition("c", channels=2), 4), g.conv1d(local, 4, kernel=2)))
        h = g.concat(g.softmax(h), g.pool1d(g.conv1d(h, 3, kernel=3, dilation=2), "avg", 2, pad="zero"))
        return g.build(g.multiply(g.delay(h, 3), g.sigmoid(h)), padding=padding)

    padded, rng = build("input"), np.random.default_rng(4)
    params = {name: rng.normal(size=shape) for name, shape in facts(padded).parameters.items()}
    x, local, c = rng.normal(size=(1, 2, 8)), rng.normal(size=(1, 1, 8)), rng.normal(size=(1, 2))
    found = Enclosure(padded, params, {"x": x, "c": c, "l": local}).output(np.arange(8), 106)
    zeros = np.zeros((1, 2, 12))
    longer = {"x": np.concatenate([zeros, x], axis=2), "c": c, "l": np.concatenate([zeros[:, :1], local], axis=2)}
    wanted = Enclosure(build("layer"), params, longer).output(np.arange(12, 20), 106)
    near(found, [[float(ball) for ball in row] for row in wanted], 1e-27)


def test_only_what_is_seen_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One position of a stack of dilated convolutions sees 2 positions of the layer below, 4 of that below it, …"""
    g = Builder()
    h = g.input(channels=1)
    for n in range(5):
        h = g.conv1d(h, 1, kernel=2, dilation=2**n)
    graph = g.build(h)
    seen: list[int] = []

    def spied(op: Any, args: Any, own: Any, frame: Frame) -> Any:
        seen.append(len(frame.at))
        return enclose(op, args, own, frame)

    monkeypatch.setattr("refar.rounding.enclosure.enclose", spied)
    params = generic_parameters(graph, np.random.default_rng(0))
    Enclosure(graph, params, {"x": np.ones((1, 1, 100))}).output(np.array([90]), 106)
    assert seen == [32, 16, 8, 4, 2, 1]


def test_sums_of_convolutions_that_others_read_too() -> None:
    g = Builder()
    x, c = g.input(channels=2), g.condition("c", channels=2)
    a, b = g.conv1d(x, 3, kernel=2), g.conv1d(x, 3, kernel=3, bias=False)
    early = g.tanh(a)
    graph = g.build(g.concat(g.add(a, b, g.conv1d(c, 3), b), g.add(a, early), g.add(g.delay(b), b, x1 := g.conv1d(x, 3)), x1))
    params, inputs = generic_parameters(graph, np.random.default_rng(3)), bound_inputs(graph)
    y = forward_nodes(unchecked(graph, params), inputs)[graph.output][0]
    near(Enclosure(graph, params, inputs).output(np.arange(21), 106), y, 1e-28)


def test_without_python_flint_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = MODELS["wavenet"]
    for name in [name for name in sys.modules if name.startswith("refar.rounding.") and name.split(".")[2] in NEED_FLINT]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flint", None)
    with refuses(BackendError, "certify needs python-flint", "pip install 'refar[certify]'"):
        certify(graph, refar.init(graph), [[0, 1]])
