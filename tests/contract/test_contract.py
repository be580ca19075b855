"""Every operator and every model through every law on every backend."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from helpers import refuses, single, single_2d
from hypothesis import given, settings

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.errors import GraphError, InputError, ParameterError
from refar.testing import LAWS, ContractError, Line, check_contract, run_laws, strategies
from refar.testing.contract import backends
from refar.testing.examples import example_graphs


def with_condition(kind: type[ops.Op], *, plane: bool = False) -> Graph:
    g = Builder()
    x, c = g.image(channels=3) if plane else g.input(channels=3), g.condition(channels=3)
    return g.build(g.add_op(kind(), x, c, name="op"))


def pooled(kind: Literal["avg", "max"], pad: Literal["zero", "exclude"], kernel: int, dilation: int) -> Graph:
    g = Builder()
    return g.build(g.pool1d(g.input(channels=3), kind, kernel, pad=pad, dilation=dilation, name="op"))


OPERATORS = {
    "conv1d": single(ops.Conv1d(4, 3, 2), channels=2),
    "conv1d pointwise": single(ops.Conv1d(4), channels=2),
    "conv1d even kernel": single(ops.Conv1d(1, 4, 3, bias=False), channels=3),
    "conv1d strict": single(ops.Conv1d(3, 2, 5, strict=True), channels=2),
    "shift": single(ops.Shift(1), channels=2),
    "shift by four": single(ops.Shift(4), channels=3),
    "shift by none": single(ops.Shift(0), channels=3),
    "shift ahead": single(ops.Shift(-1), channels=2),
    "shift far ahead": single(ops.Shift(-5), channels=2),
    "conv1d in groups": single(ops.Conv1d(4, 3, 2, groups=2), channels=6),
    "conv1d in groups strict": single(ops.Conv1d(6, 2, 5, strict=True, bias=False, groups=3), channels=3),
    "conv1d depthwise": single(ops.Conv1d(8, 2, groups=4), channels=4),
    "conv1d pointwise in groups": single(ops.Conv1d(6, groups=2), channels=4),
    "pad_channels": single(ops.PadChannels(2, 1), channels=3),
    "pad_channels in front": single(ops.PadChannels(2), channels=1),
    "ones": single(ops.Ones(), channels=3),
    "ones of classes": single(ops.Ones(), classes=3),
    "one_hot": single(ops.OneHot(), classes=6),
    "embedding": single(ops.Embedding(4), classes=6),
    "standardize": single(ops.Standardize(2.3, 1.7), classes=6),
    "relu": single(ops.Activation("relu"), channels=2),
    "leaky_relu": single(ops.Activation("leaky_relu", 0.1), channels=2),
    "tanh": single(ops.Activation("tanh"), channels=2),
    "sigmoid": single(ops.Activation("sigmoid"), channels=2),
    "gate": single(ops.Gate(), channels=6),
    "add": with_condition(ops.Add),
    "multiply": with_condition(ops.Multiply),
    "affine": single(ops.Affine(0.7, -1.3), channels=2),
    "concat": with_condition(ops.Concat),
    "slice": single(ops.Slice(1, 4), channels=6),
    "softmax": single(ops.Softmax(), channels=5),
    "avg pool": pooled("avg", "zero", 3, 2),
    "max pool": pooled("max", "exclude", 3, 2),
}

POOLS = {
    f"{kind} pool {kernel} by {dilation}, {pad}": pooled(kind, pad, kernel, dilation)
    for kind in ("avg", "max")
    for pad in ("zero", "exclude")
    for kernel, dilation in ((1, 3), (2, 1), (2, 5), (3, 2), (4, 3))
}

PLANES = {
    "conv2d": single_2d(ops.Conv2d(4, (3, 5)), channels=2),
    "conv2d even, any anchor": single_2d(ops.Conv2d(3, (2, 4), anchor=(0, 2), dilation=(2, 3), bias=False), channels=2),
    "conv2d of two stacks, above": single_2d(ops.Conv2d(3, (3, 5), anchor=(2, 2)), channels=2),
    "conv2d of two stacks, left": single_2d(ops.Conv2d(3, (1, 3), anchor=(0, 2)), channels=2),
    "conv2d in groups": single_2d(ops.Conv2d(4, (2, 3), anchor=(1, 0), groups=2), channels=6),
    "conv2d A": single_2d(ops.Conv2d(4, (3, 3), "A"), channels=2),
    "conv2d A, pointwise": single_2d(ops.Conv2d(3, (1, 1), "A"), channels=2),
    "conv2d B": single_2d(ops.Conv2d(4, (5, 3), "B", dilation=(1, 2)), channels=2),
    "conv2d B, pointwise": single_2d(ops.Conv2d(3, (1, 1), "B"), channels=2),
    "conv2d B, even": single_2d(ops.Conv2d(3, (2, 4), "B", (1, 1), (2, 1)), channels=2),
    "conv2d A, colours": single_2d(ops.Conv2d(9, (3, 5), "A", colours=3), channels=6),
    "conv2d B, colours": single_2d(ops.Conv2d(6, (3, 3), "B", dilation=(2, 1), colours=3), channels=9),
    "conv2d A, colours, pointwise": single_2d(ops.Conv2d(6, (1, 1), "A", colours=3), channels=6),
    "conv2d B, colours in groups": single_2d(ops.Conv2d(6, (3, 2), "B", (2, 1), colours=2, groups=2), channels=6),
    "conv2d B, colours depthwise": single_2d(ops.Conv2d(6, (3, 3), "B", colours=3, groups=3), channels=3),
    "shift2d": single_2d(ops.Shift2d(1, 2), channels=2),
    "shift2d down": single_2d(ops.Shift2d(down=3), channels=2),
    "shift2d by none": single_2d(ops.Shift2d(), channels=2),
    "shift2d down and ahead": single_2d(ops.Shift2d(1, -2), channels=3),
    "shift2d ahead": single_2d(ops.Shift2d(-1, -2), channels=3),
    "position": single_2d(ops.Position(3), channels=2),
    "position of classes": single_2d(ops.Position(2), channels=2, classes=4),
    "ones over an image": single_2d(ops.Ones(), channels=2, classes=4),
    "one_hot of colours": single_2d(ops.OneHot(), channels=3, classes=4),
    "embedding of colours": single_2d(ops.Embedding(4), channels=3, classes=5),
    "standardize of colours": single_2d(ops.Standardize(2.3, 1.7), channels=2, classes=6),
    "gate over an image": single_2d(ops.Gate(), channels=6),
    "softmax over an image": single_2d(ops.Softmax(), channels=5),
    "slice over an image": single_2d(ops.Slice(1, 4), channels=6),
    "pad_channels over an image": single_2d(ops.PadChannels(2, 1), channels=3),
    "affine over an image": single_2d(ops.Affine(0.7, -1.3), channels=2),
    "relu over an image": single_2d(ops.Activation("relu"), channels=2),
    "add over an image": with_condition(ops.Add, plane=True),
    "multiply over an image": with_condition(ops.Multiply, plane=True),
    "concat over an image": with_condition(ops.Concat, plane=True),
}


def test_every_operator_is_here_or_among_the_examples() -> None:
    examples = example_graphs()
    for space, graphs, absent in (
        ("t", OPERATORS, {*ops.ImageOp.__args__, ops.Position}), ("hw", PLANES, {*ops.WindowedOp.__args__})
    ):  # fmt: skip
        here = {type(graph[graph.output].op) for graph in graphs.values()}
        there = {type(node.op) for name, graph in examples.items() if f"({space})" in name for node in graph.nodes}
        missing = set(ops.AnyOp.__args__) - {ops.Input} - absent - here - there
        assert not missing, f"{missing}: add an example to refar/testing/examples.py"


ALL = OPERATORS | PLANES | POOLS
FIRST = {type(graph["op"].op): name for name, graph in reversed(ALL.items())}
"""An example of each operator."""


@pytest.mark.parametrize("name", FIRST.values())
def test_operators(name: str) -> None:
    every_law_holds(ALL[name])


@pytest.mark.parametrize("name", [name for name in ALL if name not in FIRST.values()])
def test_other_examples_of_operators(name: str) -> None:
    every_law_holds(ALL[name])


def every_law_holds(graph: Graph) -> None:
    report = check_contract(graph)
    assert [line.law for line in report.lines] == list(LAWS)
    assert all(line.figure and line.statement for line in report.lines)


def test_models(model: Graph) -> None:
    check_contract(model)
    check_contract(model, refar.init(model, seed=2), seed=5)


@settings(max_examples=60)
@given(strategies.graphs())
def test_random_graphs(graph: Graph) -> None:
    check_contract(graph, backends=("numpy",))


@settings(max_examples=15)
@given(strategies.graphs())
def test_random_graphs_on_every_backend(graph: Graph) -> None:
    check_contract(graph)


@settings(max_examples=15)
@given(strategies.graphs(strict=True, exact=True))
def test_random_graphs_of_exact_operators(graph: Graph) -> None:
    report = check_contract(graph, backends=("numpy",))
    exact = next(line for line in report.lines if line.law == "exact")
    assert "the whole graph" in exact.figure
    assert "round" not in exact.figure


@pytest.mark.parametrize("op", [ops.Activation("tanh"), ops.Activation("sigmoid"), ops.Gate(), ops.Softmax()])
def test_slopes_that_vanish(op: ops.AnyOp) -> None:
    """All of the gradient of the weight comes through a slope near 0, of which differences keep few digits."""
    g = Builder()
    h = g.conv1d(g.standardize(g.input(classes=2), 1, 0.5), 2, name="first")
    graph = g.build(g.conv1d(g.add_op(op, h), 2, name="last"))
    params = {"first.weight": [[[-5.2]], [[-13.4]]], "first.bias": [0.3, -0.7], "last.bias": [0.4, -1.1]}
    params["last.weight"] = np.random.default_rng(0).normal(size=facts(graph).parameters["last.weight"])
    check_contract(graph, params, backends=("numpy",))


def test_a_large_receptive_field_is_affordable() -> None:
    graph = models.wavenet(7, [2**i for i in range(9)], residual=4, gate=3, skip=5)
    assert max(refar.offsets(graph)) == 513
    check_contract(graph)


def test_the_report_has_a_line_for_each_law() -> None:
    report = run_laws(models.linear_ar(3), backends=("numpy",))
    assert report.passed
    assert report.require() is report
    assert [line.split()[:2] for line in str(report).splitlines()] == [["holds", law] for law in LAWS]


def said(graph: Graph, **options: Any) -> dict[str, Line]:
    return {line.law: line for line in run_laws(graph, **options).lines}


@pytest.mark.parametrize("backends", [(), ("torch",), ("onnx", "numpy"), ("numpy", "numpy")])
def test_numpy_always_takes_part(backends: tuple[str, ...]) -> None:
    lines = said(models.linear_ar(3), backends=backends)
    for law in ("step", "block"):
        assert lines[law].figure.count("numpy float64") == lines[law].figure.count("numpy float32") == 1
        assert ("onnxruntime" in lines[law].figure) == ("onnx" in backends)


def test_a_law_that_has_compared_nothing_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.NumpyBackend, "stream", lambda self, inputs, lengths: [])
    lines = said(models.linear_ar(3), backends=("torch",))
    assert [law for law, line in lines.items() if not line.passed] == ["step", "block"]
    assert {lines[law].message for law in ("step", "block")} == {"nothing was compared"}


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (single(ops.Shift(-1), channels=2), dict.fromkeys(("step", "block"), "the graph looks ahead")),
        (single(ops.Activation("tanh"), channels=2), {"exact": "every operator rounds"}),
        (single(ops.OneHot(), classes=3), {"adjoint": "the graph has neither parameters nor an input that is no index"}),
        (models.linear_ar(2), {}),
    ],
)
def test_what_a_law_has_nothing_to_say_of_is_no_tick(graph: Graph, why: dict[str, str]) -> None:
    report = run_laws(graph, backends=())
    assert report.passed
    assert {line.law: line.figure for line in report.lines if not line.applies} == {
        law: f"does not apply: {reason}" for law, reason in why.items()
    }
    marks = [line.split()[0] for line in str(report).splitlines()]
    assert marks == ["-" if law in why else "holds" for law in LAWS]


def test_a_softmax_over_one_channel_sees_nothing() -> None:
    graph = single(ops.Softmax(), channels=1)
    assert refar.offsets(graph) == set()
    check_contract(graph)


def test_a_path_that_the_graphs_own_numbers_cut_is_named() -> None:
    g = Builder()
    x = g.input(channels=1)
    dead = g.relu(g.affine(g.sigmoid(g.delay(x)), shift=-1.0))
    message = said(g.build(g.add(x, dead)), backends=())["reach"].message
    for fragment in ("expected a gradient at offset 1, got 0", "numbers in the graph itself cut the path"):
        assert fragment in message


def test_progress_names_each_law() -> None:
    seen: list[str] = []
    run_laws(models.linear_ar(3), backends=("numpy",), progress=seen.append)
    assert seen == list(LAWS)


def broken(right: Callable[..., Any], change: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: change(right(*args, **kwargs))


def test_a_broken_law_names_backend_node_position_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = models.linear_ar(3)

    def change(y: np.ndarray) -> np.ndarray:
        y = y.copy()
        y[-1, 0, -1] += 0.125
        return y

    monkeypatch.setattr(backends.TorchBackend, "forward", broken(backends.TorchBackend.forward, change))
    report = run_laws(graph, backends=("torch",))
    assert {line.law for line in report.lines if not line.passed} >= {"exact", "rounding"}
    with pytest.raises(ContractError) as caught:
        report.require()
    message = str(caught.value)
    assert isinstance(caught.value, AssertionError)
    for fragment in ("law 'exact': torch float64: node 'ar' alone, [b, c, t] at [1, 0, ", "expected", ", got", "(1 of"):
        assert fragment in message
    for fragment in ("law 'rounding': torch float64: output", "tolerance", "largest error 0.125"):
        assert fragment in message
    with pytest.raises(ContractError):
        check_contract(graph, backends=("torch",))


@pytest.mark.parametrize(
    ("backend", "method", "change", "laws"),
    [
        ("TorchBackend", "gradient", lambda g: {n: 1.001 * a for n, a in g.items()}, {"exact", "rounding"}),
        ("TorchBackend", "gradient", lambda g: {n: a for n, a in g.items() if n != "ar.bias"}, {"types", "exact", "rounding"}),
        ("OnnxBackend", "forward", lambda y: y[:, :, ::-1], {"causality", "exact", "rounding"}),
        ("OnnxBackend", "forward", lambda y: y - y.mean(axis=0), {"batch", "exact"}),
        ("OnnxBackend", "forward", lambda y: y.astype(np.float64), {"types"}),
        ("OnnxBackend", "stream", lambda s: [_late(one) for one in s], {"step", "block"}),
        ("OnnxBackend", "stream", lambda s: [_other_state(one) for one in s], {"step", "block", "exact"}),
    ],
)
def test_a_mistake_of_one_backend_is_seen(
    backend: str, method: str, change: Callable[[Any], Any], laws: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = getattr(backends, backend)
    monkeypatch.setattr(owner, method, broken(getattr(owner, method), change))
    report = run_laws(models.linear_ar(3), backends=("torch" if owner is backends.TorchBackend else "onnx",))
    assert laws <= {line.law for line in report.lines if not line.passed}


def _late(streamed: backends.Streamed) -> backends.Streamed:
    y = np.concatenate([streamed.y_bct[:, :, :1], streamed.y_bct[:, :, :-1]], axis=2)
    return backends.Streamed(streamed.way, streamed.ahead, streamed.first, y, streamed.state)


def _other_state(streamed: backends.Streamed) -> backends.Streamed:
    state = {name: array[:, :, ::-1] for name, array in streamed.state.items()}
    return backends.Streamed(streamed.way, streamed.ahead, streamed.first, streamed.y_bct, state)


def test_an_exception_breaks_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.TorchBackend, "forward", lambda self, inputs: [][0])
    report = run_laws(models.linear_ar(3), backends=("torch",))
    assert "IndexError instead of a value" in next(line.message for line in report.lines if line.law == "causality")


@pytest.mark.parametrize(
    ("backend", "module", "fragment"),
    [("torch", "torch", "PyTorch"), ("onnx", "onnx", "onnx"), ("onnx", "onnxruntime", "onnxruntime")],
)
def test_a_missing_backend_is_an_error(backend: str, module: str, fragment: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from refar import models, errors\n"
        "from refar.testing import check_contract\n"
        "try:\n"
        f"    check_contract(models.linear_ar(3), backends=({backend!r},))\n"
        "except errors.BackendError as error:\n"
        "    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert fragment in said
    assert "pip install" in said


def test_what_the_user_gets_wrong_is_no_broken_law() -> None:
    graph = models.linear_ar(3)
    with refuses(InputError, "backends", "numpy, torch, onnx", "'jax'"):
        run_laws(graph, backends=("jax",))
    with refuses(ParameterError, "'ar.bias'", "missing"):
        run_laws(graph, {"ar.weight": np.ones((1, 1, 3))})
    with refuses(GraphError, "even number of channels"):
        run_laws(single(ops.Gate(), channels=3))
