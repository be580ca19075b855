"""Sums of products in a step: what they become in ONNX, that their values stay, and every mistake in them seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.errors import BackendError
from refar.testing import strategies
from refar.testing.contract.cases import generic_parameters
from refar_export import export, rows
from refar_export.build import JOINED, build
from refar_export.fixed_rows import FixedRows
from refar_export.rewrites import REWRITES
from refar_export.rows import Rows
from refar_export.verify import verify


def residual() -> Graph:
    """Three layers on a stream that is kept, and read by products, by tanh and by the head."""
    g = Builder()
    h = g.conv1d(g.input(channels=3), 4, kernel=2, strict=True)
    for dilation in (1, 2, 3):
        h = g.add(h, g.conv1d(g.tanh(g.conv1d(h, 5, kernel=2, dilation=dilation)), 4))
    return g.build(g.conv1d(g.concat(h, g.tanh(h)), 6))


def counts(graph: Graph, rewrites: tuple[str, ...] | None) -> Counter[str]:
    return Counter(node.op_type for node in build(graph, refar.init(graph), "step", rewrites=rewrites).graph.node)


def test_a_sum_costs_no_node_of_its_own() -> None:
    graph = models.wavenet(5, [1, 2, 4, 8], residual=4, gate=3, skip=6)
    plain, joined = counts(graph, tuple(REWRITES)), counts(graph, (*REWRITES, JOINED))
    assert plain["Add"] - joined["Add"] == 2  # three residual sums less one Add for all that are stored
    assert plain["Gemm"] == joined["Gemm"]
    assert counts(graph, None) == joined


def test_a_sum_of_two_products_is_two_of_them() -> None:
    g = Builder()
    a, b = g.input(channels=2), g.condition("c", channels=3, local=True)
    graph = g.build(g.tanh(g.add(g.conv1d(a, 4, kernel=2), g.conv1d(b, 4, kernel=3))))
    plain, joined = counts(graph, ()), counts(graph, (JOINED,))
    assert (joined["Gemm"], plain["Add"] - joined["Add"]) == (2, 1)


@pytest.mark.parametrize("gated", [False, True])
def test_a_long_convolution_is_a_term_of_a_sum_like_any_other(gated: bool, tmp_path: Path) -> None:
    """It is a Conv over time, whose value is there when the sum is emitted; the other term is a product that takes it."""
    g = Builder()
    x = g.input(channels=2)
    terms = [g.conv1d(g.conv1d(x, 3), 8, kernel=9), g.conv1d(x, 8, kernel=2)]
    total = g.gate(g.add(*terms, g.conv1d(g.condition("c", channels=3), 8))) if gated else g.add(*terms)
    graph = g.build(total)
    export(graph, generic_parameters(graph, np.random.default_rng(3)), tmp_path / "b", verify=True)


def conditioned() -> Graph:
    """Two gated layers, to each of which a condition and a bias are added; one piece of a condition is read whole, too."""
    g = Builder()
    c, voice = g.condition("c", classes=3), g.condition("voice", channels=2)
    h = g.conv1d(g.input(channels=3), 4, kernel=2, strict=True)
    for dilation in (1, 2):
        known = g.embedding(c, 6) if dilation == 1 else g.conv1d(voice, 6)
        gated = g.gate(g.add(g.conv1d(h, 6, kernel=2, dilation=dilation), g.conv1d(h, 6), known))
        h = g.add(h, g.conv1d(gated, 4))
    return g.build(g.conv1d(g.concat(h, known), 6))


def test_a_gate_on_a_condition_is_two_sums() -> None:
    plain, joined = counts(conditioned(), tuple(REWRITES)), counts(conditioned(), (*REWRITES, JOINED))
    assert plain["Split"] - joined["Split"] == 1  # two gates less one Split for all conditions
    assert (plain["Sum"], joined["Sum"]) == (2, 0)
    assert (joined["Tanh"], joined["Sigmoid"], joined["Mul"]) == (2, 2, 2)


def test_pieces_of_conditions_overlap_and_leave_gaps(tmp_path: Path) -> None:
    g = Builder()
    c = g.condition("c", channels=2)
    h, known = g.conv1d(g.input(channels=3), 4, kernel=2, strict=True), g.conv1d(c, 8)
    gates = [g.gate(g.add(g.conv1d(h, 8), known)) for _ in range(2)]
    graph = g.build(g.add(*gates, g.slice(known, 1, 5), g.slice(known, 0, 4)))
    params = generic_parameters(graph, np.random.default_rng(3))
    assert all(c.difference <= c.allowed for c in verify(export(graph, params, tmp_path / "b")))


def test_many_taps_are_one_lookup() -> None:
    def gathers(kernel: int) -> int:
        g = Builder()
        return counts(g.build(g.conv1d(g.one_hot(g.input(classes=5)), 3, kernel=kernel, strict=True)), None)["Gather"]

    assert (gathers(3) - gathers(2), gathers(9) - gathers(4)) == (1, 0)
    assert gathers(4) < gathers(3)


@settings(max_examples=60)
@given(graph=strategies.graphs())
def test_random_graphs(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> None:
    assume(facts(graph).looks_ahead is None)
    params = generic_parameters(graph, np.random.default_rng(1))
    export(graph, params, tmp_path_factory.mktemp("b") / "b", verify=True)


def taken(name: str, change: Callable[..., Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """A method of Rows becomes change(right, self, …)."""

    def put_in(patch: pytest.MonkeyPatch) -> None:
        right = getattr(Rows, name)
        patch.setattr(Rows, name, lambda self, *given: change(right, self, *given))

    return put_in


def without_offset(right: Any, self: Rows, node: Any, op: ops.Conv1d, taps: Any) -> Any:
    return self._e.params[f"{node.name}.bias"] if op.bias else None


def at_every_tap(right: Any, self: Rows, node: Any, op: ops.Conv1d, taps: Any) -> Any:
    return right(self, node, op, [(name, 0) for name, _ in taps])


def stored_without(right: Any, self: Rows, names: Any, channels: int) -> Any:
    self._offsets.clear()
    return right(self, names, channels)


def not_added(right: Any, self: Rows, name: str) -> str:
    self._offsets.pop(name, None)
    return self._e.values[name]


def without_c(right: Any, self: Rows, node: Any) -> None:
    emit = self._e.emit
    with mock.patch.object(self._e, "emit", lambda kind, *inputs, **more: emit(kind, *inputs[:2], **more)):
        right(self, node)


def other_half(right: Any, product: Any, second: bool) -> Any:
    return right(product, not second)


def piece_without_offset(right: Any, self: FixedRows, node: str, start: int, stop: int, offset: Any = None) -> str:
    return right(self, node, start, stop)


def first_channels(right: Any, self: FixedRows, node: str, start: int, stop: int, offset: Any = None) -> str:
    return right(self, node, 0, stop - start, offset)


def in_order_of_use(right: Any, self: FixedRows, rows: str, pieces: Any) -> None:
    right(self, rows, pieces[::-1])


def of(owner: type, name: str, change: Callable[..., Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """A method of another class becomes change(right, self, …)."""

    def put_in(patch: pytest.MonkeyPatch) -> None:
        right = getattr(owner, name)
        patch.setattr(owner, name, lambda *given: change(right, *given))

    return put_in


GATE_MISTAKES = {
    "tanh takes the half of the sigmoid": of(rows.MatrixProduct, "half", other_half),
    "a piece lacks the bias of its products": of(FixedRows, "piece", piece_without_offset),
    "both halves take the first channels of the condition": of(FixedRows, "piece", first_channels),
    "pieces are cut in another order than the inputs stand in": of(FixedRows, "_split", in_order_of_use),
}


MISTAKES = {
    "the bias of a product forgets the offset that it reads": taken("_bias", without_offset),
    "the values of earlier visits are given the offset too": taken("_bias", at_every_tap),
    "what is stored lacks its offset": taken("all_stored", stored_without),
    "what an activation reads lacks its offset": taken("whole", not_added),
    "the sum forgets what is added": taken("_join", without_c),
}


@pytest.mark.parametrize(
    ("make", "plant"),
    [(make, plant) for make, mistakes in ((residual, MISTAKES), (conditioned, GATE_MISTAKES)) for plant in mistakes.values()],
    ids=[*MISTAKES, *GATE_MISTAKES],
)
def test_every_mistake_is_seen(
    make: Callable[[], Graph], plant: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = make()
    params = generic_parameters(graph, np.random.default_rng(2))
    assert all(c.difference <= c.allowed for c in verify(export(graph, params, tmp_path / "right")))
    plant(monkeypatch)
    with pytest.raises(BackendError, match=r"\[x\] (step|window)"):
        export(graph, params, tmp_path / "b", verify=True)
