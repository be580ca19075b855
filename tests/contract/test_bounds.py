"""Law 9 sees what a tolerance does not: arithmetic of less precision than it claims, at any optimisation level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import refuses
from msgspec.structs import replace

from refar import Builder, Graph, ops
from refar.oracle import backward as gradients
from refar.oracle import forward as values
from refar.oracle import pointwise
from refar.oracle.bound_graph import cast, unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding
from refar.rounding.spread import Spread
from refar.testing import run_laws
from refar.testing.contract import cases, spreading
from refar.testing.contract.bounds import judge
from refar.testing.contract.exposed import LEVELS, expose
from refar.testing.contract.subject import Subject
from refar.testing.report import ContractError, Measure
from refar.torch import lower


def net() -> Graph:
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=4)), 6, kernel=2, strict=True)
    h = g.add(g.gate(g.conv1d(h, 12, kernel=3, dilation=2)), h)
    p = g.pool1d(g.leaky_relu(h, 0.3), "avg", 3, pad="zero")
    return g.build(g.softmax(g.conv1d(g.concat(p, g.tanh(h)), 5, groups=1)))


def subject(graph: Graph) -> Subject:
    params = cases.generic_parameters(graph, np.random.default_rng(3))
    return Subject(graph, params, [], ("numpy", "torch"), 0)


def test_every_optimisation_level(model: Graph) -> None:
    """And exposing the nodes of a graph changes no output by more than its own bounds allow: here, not at all."""
    about = subject(model)
    inputs = cast(about.inputs(about.sizes.short), np.float64)
    params = {name: array.astype(np.float32).astype(float) for name, array in (about.params or {}).items()}
    y = forward_nodes(unchecked(model, params, np.float64), inputs)[model.output]
    names = []
    for exposed in expose(model, params, "onnx", inputs, np.zeros_like(y), LEVELS):
        names.append(exposed.name)
        worst = max(rounding.node_errors(model, params, exposed.values, exposed.unit), key=lambda e: e.worst)
        assert worst.worst <= 1, f"{exposed.name}: {worst}"
        if exposed.y is not None:
            assert (exposed.y == exposed.values[model.output]).all(), exposed.name
    assert len(names) == len(set(names)) == 3 * len(LEVELS)


def test_the_law_holds() -> None:
    measure = Measure()
    judge(subject(net()), measure)
    assert "of their bounds" in measure.notes[-1]


def rounded(array: Any, bits: int) -> Any:
    """To so many bits, if it claims to be in float32."""
    if array.dtype != np.float32:
        return array
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.rint(mantissa * 2.0**bits) / 2.0**bits, exponent).astype(array.dtype)


def reduced(bits: int) -> Any:
    return lambda f, windows, weight, *rest: f(rounded(windows, bits), rounded(weight, bits), *rest)


MUTANTS = {
    "a convolution in TF32": (values, "convolve", reduced(11), "conv1d"),
    "a convolution in bfloat16": (values, "convolve", reduced(8), "conv1d"),
    "a sigmoid from a table": (pointwise, "sigmoid", lambda f, x: rounded(f(x), 14), "gate"),
    "a softmax without enough digits": (pointwise, "softmax", lambda f, x: rounded(f(x), 16), "softmax"),
    "a gradient in half precision": (
        gradients, "convolve_backward", lambda f, w, k, dy, *rest: f(w, k, rounded(dy, 11), *rest), "gradient"
    ),
    "torch: an average by a rounded reciprocal": (
        lower, "pool1d", lambda f, op, *rest: f(op, *rest) * torch.tensor(1 + 2.0**-20), "pool1d"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_less_precision_than_claimed_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, function, wrong, named = MUTANTS[name]
    right = getattr(module, function)
    judge(subject(net()), Measure())
    monkeypatch.setattr(module, function, lambda *args: wrong(right, *args))
    with pytest.raises(ContractError, match=named):
        judge(subject(net()), Measure())


def test_an_activation_of_the_wrong_slope_is_no_rounding() -> None:
    """What float32 may do is some 1e-7 of the values; a slope that is off by 1e-5 is not."""
    graph = net()
    about = subject(graph)
    off = ops.Activation("leaky_relu", 0.300003)
    nodes = tuple(replace(n, op=off) if n.op == ops.Activation("leaky_relu", 0.3) else n for n in graph.nodes)
    wrong = replace(graph, nodes=nodes)
    assert about.params is not None
    inputs = cast(about.inputs(about.sizes.short), np.float64)
    values = forward_nodes(unchecked(wrong, about.params, np.float64), inputs)
    errors = rounding.node_errors(graph, about.params, values, bound.FLOAT32)
    assert [e.operator for e in errors if e.worst > 1] == ["activation"]


def test_the_whole_contract_says_how_near_the_bounds_it_came() -> None:
    (line,) = [line for line in run_laws(net()).lines if line.law == "rounding"]
    assert line.passed, line.message
    assert "of their bounds, outputs at" in line.figure


@pytest.mark.parametrize("broken", ["spread", "around"])
@pytest.mark.parametrize("kind", [ops.Conv1d, ops.Add, ops.Gate, ops.Pool1d, ops.Activation, ops.Concat, ops.Softmax])
def test_a_bound_that_does_not_hold_is_named(broken: str, kind: type[ops.Op], monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth of what is right, for one operator: of how far its value moves, or of its rounding around its arguments."""

    def eighth(op: Any) -> float:
        return 1 / 8 if isinstance(op, kind) else 1.0

    if broken == "spread":
        right = spreading.spread
        monkeypatch.setattr(spreading, "spread", lambda op: Spread(lambda s: right(op).each(s) * eighth(op)))
    elif kind is ops.Concat:  # nothing rounds
        return
    else:
        forward = bound.forward

        def around(op: Any, *args: Any, **more: Any) -> Any:
            return forward(op, *args, **more) * (eighth(op) if more.get("off") is not None else 1.0)

        monkeypatch.setattr(bound, "forward", around)
    with refuses(ContractError, f"({kind.__struct_config__.tag})", "where its arguments are off, bound"):
        judge(subject(net()), Measure())
