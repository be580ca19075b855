"""Bounds bound: no perturbation that they allow leads beyond them, and a search comes near them.

For every operator: how far its value moves when its arguments are off (`spread`), its rounding, and its rounding wherever its
arguments may be (`bound.forward` with `off`). For whole networks: what all of this adds up to (`network.composed`,
`network.first_order`). A search comes within a factor of 30 of the bound of an operator and of 100 of one that is composed, so a
bound that is too large is seen as well. A new operator needs a case in tests/support/operator_cases.py, or the first test fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from operator_cases import CASES
from small_models import IMAGE_MODELS, MODELS

from refar import Graph, ops
from refar.analysis.facts import facts
from refar.oracle import node
from refar.oracle.bound_graph import own_parameters, unchecked
from refar.oracle.whole import backward_nodes, forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding
from refar.rounding.spread import Situation, spread
from refar.testing.contract.cases import generic_parameters

NEAR, NEAR_COMPOSED = 30, 100
SLACK = 1 + 1e-9
"""The bounds and what is held against them are computed in float64."""

Rule = Callable[..., Any]
FLOAT64 = np.dtype(np.float64)


def test_every_operator_has_a_case() -> None:
    assert {type(op) for op, _, _ in CASES.values()} == set(get_args(ops.AnyOp)) - {ops.Input}


class Around:
    """An operator, exact arguments, and errors e up to which they may be off; over time also what stands before the start."""

    def __init__(self, name: str, scale: float, seed: int = 0) -> None:
        self.op, args, self.own = CASES[name]
        self.rng = np.random.default_rng(seed)
        self.args = [x if x.dtype == np.int64 else x.astype(np.float64) for x in args]
        self.off = [self.error(x.shape, scale) for x in self.args]
        if isinstance(self.op, ops.Pool1d) and len(args) > 1:  # the ones that mark what is there are exact
            self.off[1] = np.zeros(args[1].shape)
        timed = isinstance(self.op, ops.Conv1d | ops.Pool1d | ops.Shift) and all(x.ndim == 3 for x in args)
        shapes = [(len(x), x.shape[1], 1) for x in args] if timed and len(args) == 1 else []
        self.before: list[Any] = [self.rng.normal(size=shape) for shape in shapes] or [None] * len(args)
        self.off_before: list[Any] = [self.error(shape, scale) for shape in shapes] or [None] * len(args)

    def error(self, shape: tuple[int, ...], scale: float) -> Any:
        return scale * self.rng.uniform(0, 1, shape)

    def value(self, args: Any = None, before: Any = None) -> Any:
        args, before = self.args if args is None else args, self.before if before is None else before
        return node.forward(self.op, args, before, self.own, 5, FLOAT64)

    def moved(self, signs: list[Any], before_signs: list[Any]) -> tuple[list[Any], list[Any]]:
        """Arguments that are off by so much of what they may be, -1 to 1."""
        args = [x if x.dtype == np.int64 else x + e * s for x, e, s in zip(self.args, self.off, signs, strict=True)]
        before = [None if b is None else b + e * s for b, e, s in zip(self.before, self.off_before, before_signs, strict=True)]
        return args, before

    def anyhow(self) -> tuple[list[Any], list[Any]]:
        kinds = self.rng.integers(3)

        def draw(array: Any) -> Any:
            if array is None:
                return None
            return self.rng.uniform(-1, 1, array.shape) if kinds else self.rng.choice([-1.0, 1.0], array.shape)

        return self.moved([draw(e) for e in self.off], [draw(e) for e in self.off_before])

    def uphill(self) -> tuple[list[Any], list[Any]]:
        """Arguments that move one number of the value as far as its gradient tells."""
        y = self.value()
        dy = np.zeros(y.shape)
        dy[tuple(self.rng.integers(size) for size in y.shape)] = self.rng.choice([-1.0, 1.0])
        dargs, dbefore, _ = node.backward(self.op, self.args, self.before, self.own, y, dy)
        signs = [np.zeros(e.shape) if d is None else np.sign(d) for d, e in zip(dargs, self.off, strict=True)]
        before = [None if e is None else np.sign(d) for d, e in zip(dbefore, self.off_before, strict=True)]
        return self.moved(signs, before)

    def spread(self) -> Any:
        return spread(self.op).each(Situation(self.op, self.args, self.off, self.off_before, self.own, 5, self.value()))

    def around(self, unit: float) -> Any:
        off = [np.zeros(x.shape) if x.dtype == np.int64 else e for x, e in zip(self.args, self.off, strict=True)]
        wide = [None if b is None else np.abs(b) + e for b, e in zip(self.before, self.off_before, strict=True)]
        return bound.forward(self.op, self.args, self.own, 5, unit, before=wide, off=off)


def furthest(observed: Any, allowed: Any) -> float:
    """The largest share of a bound; infinite where something moves that may not."""
    return float(np.where(observed == 0, 0, observed / np.where(allowed > 0, allowed, 1e-300)).max(initial=0))


Found = tuple[float, bool]
"""The largest share of a bound that a search came to, and whether the bound is 0 everywhere."""


def moves(case: Around) -> Found:
    """Perturb the arguments and compare with `spread`."""
    worst, y, allowed = 0.0, case.value(), case.spread()
    for turn in range(24):
        args, before = case.uphill() if turn % 2 else case.anyhow()
        worst = max(worst, furthest(np.abs(case.value(args, before) - y), allowed * SLACK + 1e-13))
    return worst, not allowed.any()


def rounds(case: Around) -> Found:
    """Compute in float32 on arguments that are off and compare with the bound around the exact ones."""
    worst = 0.0
    case.own = {key: array.astype(np.float32).astype(np.float64) for key, array in case.own.items()}
    narrow = {key: array.astype(np.float32) for key, array in case.own.items()}
    allowed = case.around(bound.FLOAT32) + case.around(bound.FLOAT64)
    for _ in range(16):
        args, before = ([_cast(array, np.float32) for array in some] for some in case.anyhow())
        exact = case.value([_cast(array, np.float64) for array in args], [_cast(array, np.float64) for array in before])
        got = node.forward(case.op, args, before, narrow, 5, np.dtype(np.float32))
        worst = max(worst, furthest(np.abs(got - exact), allowed * (1 + 1e-6)))  # a float32 may lie beyond what is allowed
    return worst, not allowed.any()


def surrounds(case: Around) -> Found:
    """Compare the bound at arguments that are off with the one around the exact ones."""
    worst, allowed = 0.0, case.around(bound.FLOAT32)
    for turn in range(16):
        args, before = case.uphill() if turn % 2 else case.anyhow()
        here = bound.forward(case.op, args, case.own, 5, bound.FLOAT32, before=before)
        worst = max(worst, furthest(here, allowed * SLACK))
    return worst, not allowed.any()


def _cast(array: Any, dtype: Any) -> Any:
    return array if array is None or array.dtype == np.int64 else array.astype(dtype)


def keeps(law: Callable[[Around], Found], name: str, scale: float) -> bool:
    """Whether the bounds of an operator hold, and are near."""
    found, zero = law(Around(name, scale))
    return found == 0 if zero else 1 / NEAR <= found <= 1


SCALES = [1e-3, 0.3, 3.0]


@pytest.mark.parametrize("law", [moves, rounds, surrounds])
@pytest.mark.parametrize("name", CASES)
def test_bounds_of_operators_hold_and_are_near(name: str, law: Callable[[Around], Found]) -> None:
    for scale in SCALES:
        assert keeps(law, name, scale), (scale, law(Around(name, scale)))


def scaled(rule: Rule, factor: float, only_around: bool = False) -> Rule:
    """The bound of rounding times a factor, everywhere or only where arguments may be off."""
    return lambda *args, **more: rule(*args, **more) * (factor if more.get("off") is not None or not only_around else 1.0)


@pytest.mark.parametrize("name", CASES)
def test_wrong_bounds_are_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One rule at a time too small or too large."""
    right, forward = Around.spread, bound.forward
    for factor in (1 / 8, 1e4):
        with monkeypatch.context() as patch:
            patch.setattr(Around, "spread", lambda case, factor=factor: factor * right(case))
            assert not keeps(moves, name, 1e-3) or moves(Around(name, 1e-3))[1]
        with monkeypatch.context() as patch:
            patch.setattr(bound, "forward", scaled(forward, factor, only_around=True))
            assert not keeps(surrounds, name, 0.3) or surrounds(Around(name, 0.3))[1]
    for factor in (1 / NEAR, 1e4):
        with monkeypatch.context() as patch:
            patch.setattr(bound, "forward", scaled(forward, factor))
            assert not keeps(rounds, name, 0.3) or rounds(Around(name, 0.3))[1]


class Perturbed:
    """A network of which every node is off by what its rounding allows, computed from what came before."""

    def __init__(self, graph: Graph, unit: float) -> None:
        self.graph, self.unit, self.rng = graph, unit, np.random.default_rng(1)
        found = facts(graph)
        self.params = generic_parameters(graph, self.rng)
        self.inputs = {}
        for name in found.inputs:
            kind = found.types[name]
            shape = [{"b": 2, "c": kind.channels, "t": 9, "h": 4, "w": 5}[axis] for axis in kind.axes]
            self.inputs[name] = self.rng.integers(0, kind.size, shape) if kind.indexed else self.rng.normal(size=shape)
        self.net = unchecked(graph, self.params)
        self.values = forward_nodes(self.net, self.inputs)

    def output(self, signs: dict[str, Any], local: dict[str, Any] | None = None) -> Any:
        """How far the output is off where each node is off by this share of its bound, -1 to 1: the one here, unless given."""
        values = dict(self.values)
        for each in self.graph.nodes:
            if isinstance(each.op, ops.Input):
                continue
            args, own = [values[name] for name in each.inputs], own_parameters(each, self.params)
            classes, none = self.net.facts.classes[each.name], [None] * len(each.inputs)
            exact = node.forward(each.op, args, none, own, classes, FLOAT64)
            error = bound.forward(each.op, args, own, classes, self.unit) if local is None else local[each.name]
            values[each.name] = exact + signs[each.name] * error
        return np.abs(values[self.graph.output] - self.values[self.graph.output])

    def anyhow(self) -> Any:
        return self.output({name: self.rng.choice([-1.0, 1.0], value.shape) for name, value in self.values.items()})

    def uphill(self, at: tuple[int, ...], local: dict[str, Any] | None = None) -> Any:
        """Every node off as the gradient of one output tells."""
        dvalues, _ = backward_nodes(self.net, self.values, self.one(at))
        return self.output({name: np.sign(dvalue) for name, dvalue in dvalues.items()}, local)

    def one(self, at: tuple[int, ...]) -> Any:
        dy = np.zeros(self.values[self.graph.output].shape)
        dy[at] = 1
        return dy

    def places(self, count: int) -> list[tuple[int, ...]]:
        shape = self.values[self.graph.output].shape
        return [tuple(int(self.rng.integers(size)) for size in shape) for _ in range(count)]


def composes(graph: Graph, unit: float) -> float:
    """The largest share of `composed` that a perturbation comes to."""
    net, worst = Perturbed(graph, unit), 0.0
    allowed = rounding.composed(graph, net.params, net.inputs, unit)[graph.output] * SLACK + 1e-14
    for at in net.places(8):
        worst = max(worst, furthest(net.anyhow(), allowed), furthest(net.uphill(at), allowed))
    return worst


NETWORKS = MODELS | IMAGE_MODELS


@pytest.mark.parametrize("unit", [2.0**-24, 2.0**-9])
@pytest.mark.parametrize("name", NETWORKS)
def test_composed_bounds_hold_and_are_near(name: str, unit: float) -> None:
    found = composes(NETWORKS[name], unit)
    assert 1 / NEAR_COMPOSED <= found <= 1


@pytest.mark.parametrize("name", NETWORKS)
def test_first_order_is_what_small_perturbations_do(name: str) -> None:
    """All of E₁ is reached by errors as the gradient tells."""
    net = Perturbed(NETWORKS[name], 2.0**-30)
    local = rounding.local_bounds(net.graph, net.params, net.values, net.unit)
    for at in net.places(4):
        first, _ = rounding.first_order(net.graph, net.params, net.values, local, net.one(at))
        assert net.uphill(at, local[0])[at] == pytest.approx(first[at[0]], rel=1e-4)
