"""Signed padding: shifts both ways, zero channels, and graphs that look ahead, which can only be evaluated as a whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import refuses, single
from torch import from_numpy
from torch.nn import functional as F

import refar
from refar import Builder, Graph, ops
from refar.analysis.facts import facts
from refar.errors import GraphError
from refar.runtime import load
from refar.testing import check_bundle, check_contract
from refar.testing.contract.backends import open_backends
from refar_export import export
from refar_export.verify import verify

BACKENDS = ("numpy", "torch", "onnx")


def padded(op: ops.AnyOp, x: np.ndarray) -> list[np.ndarray]:
    backends = open_backends(single(op, channels=x.shape[1]), {}, BACKENDS)
    return [backend.forward({"x": x}) for backend in backends]


@pytest.mark.row("001-5")
@pytest.mark.parametrize(
    ("op", "x", "expected"),
    [
        (ops.Shift(-1), [[1, 6, 3, 9, 1]], [[6, 3, 9, 1, 0]]),  # F.pad(x, (-1, 1))
        (ops.Shift(1), [[1, 6, 3, 9, 1]], [[0, 1, 6, 3, 9]]),  # F.pad(x, (1, -1))
        (ops.PadChannels(2, 0), [[1, 6, 3, 9, 1]], [[0] * 5, [0] * 5, [1, 6, 3, 9, 1]]),  # F.pad(x, (0, 0, 2, 0))
        (ops.Shift(-1), [[7]], [[0]]),
        (ops.Shift(1), [[7]], [[0]]),
        (ops.Shift(0), [[7]], [[7]]),
        (ops.PadChannels(2, 0), [[7]], [[0], [0], [7]]),
        (ops.PadChannels(0, 1), [[7], [8]], [[7], [8], [0]]),
        (ops.Shift(-9), [[1, 2]], [[0, 0]]),
        (ops.Shift(9), [[1, 2]], [[0, 0]]),
    ],
)
def test_signed_padding_by_hand(op: ops.AnyOp, x: list[list[int]], expected: list[list[int]]) -> None:
    for y in padded(op, np.array([x], float)):
        np.testing.assert_array_equal(y[0], expected)


@pytest.mark.row("001-5")
@pytest.mark.parametrize("length", [1, 2, 5, 11])
@pytest.mark.parametrize("steps", [-3, -1, 0, 2])
def test_signed_padding_is_pytorchs(steps: int, length: int) -> None:
    x = np.random.default_rng(length).normal(size=(2, 3, length)).astype(np.float32).astype(float)
    for y in padded(ops.Shift(steps), x):
        np.testing.assert_array_equal(y, F.pad(from_numpy(x), (steps, -steps)).numpy() if abs(steps) <= length else 0 * x)
    for y in padded(ops.PadChannels(2, 1), x):
        np.testing.assert_array_equal(y, F.pad(from_numpy(x), (0, 0, 2, 1)).numpy())


def looking_ahead(head: ops.AnyHead | None = None) -> Graph:
    g = Builder()
    h = g.conv1d(g.input(channels=2), 3, kernel=3, name="below")
    return g.build(g.conv1d(g.delay(g.relu(h), -4, name="ahead"), 2, kernel=2, dilation=3), head)


@pytest.mark.row("001-5")
def test_it_is_evaluated_as_a_whole() -> None:
    graph = looking_ahead()
    assert sorted(refar.offsets(graph)) == list(range(-4, 2))
    assert refar.receptive_field(graph) == 6
    assert not refar.is_strict(graph)
    check_contract(graph)


def test_zero_channels_and_ones_depend_on_nothing() -> None:
    g = Builder()
    x = g.input(channels=2)
    graph = g.build(g.pad_channels(g.concat(g.delay(x), g.add_op(ops.Ones(), x)), 1, 2))
    none, one = frozenset(), frozenset({1})
    assert facts(graph).offsets[graph.output] == (none, one, one, none, none, none)
    check_contract(graph)


X = np.ones((1, 2, 6))


@pytest.mark.parametrize(
    ("call", "purpose"),
    [
        (lambda g, p: refar.generate(g, p, 3), "generate"),
        (lambda g, p: refar.log_prob(g, p, X), "log_prob"),
        (lambda g, p: refar.nll(g, p, X), "nll"),
        (lambda g, p: refar.start(g, p), "start"),
        (lambda g, p: refar.next(g, p, {}, X[..., 0]), "next"),
        (lambda g, p: refar.next_block(g, p, {}, X), "next_block"),
        (lambda g, p: refar.step(g, p, {}, X[..., 0]), "a stream"),
        (lambda g, p: refar.block(g, p, {}, X), "a stream"),
        (lambda g, p: refar.initial_state(g, p), "a stream"),
        (lambda g, p: refar.strictify(g), "strictify"),
    ],
)
def test_no_stream_can_look_ahead(call: Callable[[Graph, Any], Any], purpose: str) -> None:
    graph = looking_ahead(ops.Gaussian())
    with refuses(GraphError, f"{purpose} needs a causal graph", "node 'ahead' (shift) at position t reads position t + 4"):
        call(graph, refar.init(graph))


def test_only_the_whole_graph_is_exported(tmp_path: Path) -> None:
    graph = looking_ahead(ops.Gaussian())
    path = export(graph, refar.init(graph), tmp_path / "b", verify=True)
    assert sorted(file.name for file in path.iterdir()) == [
        "bundle.json",
        "check.safetensors",
        "full.onnx",
        "weights.safetensors",
    ]
    assert [c.what for c in verify(path)] == ["full"]
    check_bundle(path)
    session = load(path)
    x = np.random.default_rng(0).normal(size=(3, 2, 9))
    np.testing.assert_allclose(session.forward(x), refar.forward(graph, refar.init(graph), x), rtol=0, atol=1e-6)
    for purpose, call in {
        "prefill": lambda: session.prefill(X),
        "step": lambda: session.step(X[..., 0]),
        "generate": lambda: session.generate(3),
        "score": lambda: session.score(X),
    }.items():
        with refuses(GraphError, f"{purpose} needs a causal graph", "node 'ahead' (shift) at position t reads position t + 4"):
            call()
