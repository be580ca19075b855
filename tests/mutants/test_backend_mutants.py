"""Mistakes of one backend: PyTorch's lowering or the exporter with one mistake put in, and the oracle as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from planted import broken
from planted_images import wrong_op

from refar import Builder, Graph, models, ops
from refar.testing import run_laws
from refar.torch import lower
from refar_export.emitter import Emitter


def graph() -> Graph:
    """A biased layer before the strict one, a lookup, a gate, a condition."""
    g = Builder()
    h = g.conv1d(g.embedding(g.input(classes=5), 3), 4, kernel=2, dilation=3, name="below")
    h = g.conv1d(g.relu(h), 6, kernel=3, dilation=2, strict=True, name="strict")
    h = g.gate(g.add(h, g.conv1d(g.condition(channels=2), 6, bias=False)))
    return g.build(g.conv1d(h, 5, name="out"), ops.Categorical())


def conv(*, past: Callable[[ops.Conv1d], int], flip: bool = False) -> Callable[..., Any]:
    def wrong(op: ops.Conv1d, x: Any, before: Any, weight: Any, bias: Any) -> Any:
        if x.ndim == 2:
            return F.linear(x, weight[:, :, 0], bias)
        reach = (op.kernel - 1) * op.dilation
        padded = F.pad(x, (past(op), reach + 1))
        y = F.conv1d(padded, weight.flip(2) if flip else weight, bias, dilation=op.dilation)
        return y[:, :, : x.shape[2]]

    return wrong


def right_past(op: ops.Conv1d) -> int:
    return (op.kernel - 1) * op.dilation + op.strict


def detached(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda op, x, before, weight, bias: right(op, x, before, weight.detach(), bias)


STRICT = "strict ignored: sees the present"
TORCH = {
    "left pad K-1, dilation forgotten": (conv(past=lambda op: op.kernel - 1 + op.strict), {"exact", "rounding"}),
    "symmetric padding": (conv(past=lambda op: right_past(op) // 2), {"causality", "exact", "rounding"}),
    STRICT: (conv(past=lambda op: right_past(wrong_op(STRICT, op))), {"causality", "exact", "rounding"}),
    "shifted by one too many": (conv(past=lambda op: right_past(op) + 1), {"reach", "exact", "rounding"}),
    "kernel flipped": (conv(past=right_past, flip=True), {"exact", "rounding"}),
    "weight cut off from the gradient": (detached(lower.conv1d), {"exact", "rounding"}),
}


@pytest.mark.parametrize("mistake", TORCH)
def test_mistakes_in_pytorch(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, killed_by = TORCH[mistake]
    monkeypatch.setattr(lower, "conv1d", wrong)
    report = run_laws(graph(), backends=("torch",))
    assert killed_by <= broken(report), str(report)


def test_gate_halves_swapped_in_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "chunk", lambda x, n, dim: torch.tensor_split(x, n, dim)[::-1])
    report = run_laws(graph(), backends=("torch",))
    assert broken(report) == {"rounding"}


def emitting(kind: str, change: Callable[..., tuple[str, tuple[str, ...], dict[str, Any]]]) -> Callable[..., str]:
    right = Emitter.emit

    def wrong(self: Emitter, name: str, *inputs: str, **attributes: Any) -> str:
        if name == kind:
            name, inputs, attributes = change(name, inputs, attributes)
        return right(self, name, *inputs, **attributes)

    return wrong


def past_last(name: str, inputs: tuple[str, ...], attributes: dict[str, Any]) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    return name, inputs[::-1] if inputs[0].startswith("past.") else inputs, attributes


def one_right(name: str, inputs: tuple[str, ...], attributes: dict[str, Any]) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    left = attributes["pads"][0]
    return name, inputs, {**attributes, "pads": [left - 1, 1] if left else [0, 0]}


ONNX = {
    "zeros on the right": (emitting("Conv", lambda n, i, a: (n, i, {**a, "pads": a["pads"][::-1]})), {"causality", "exact"}),
    "one zero too many on the right": (emitting("Conv", one_right), {"causality", "exact", "rounding"}),
    "dilation ignored": (emitting("Conv", lambda n, i, a: (n, i, {**a, "dilations": [1]})), {"types", "exact"}),
    "bias dropped in the whole graph": (emitting("Conv", lambda n, i, a: (n, i[:2], a)), {"step", "block", "exact"}),
    "bias dropped in the step graph": (emitting("Gemm", lambda n, i, a: (n, i[:2], a)), {"step", "block"}),
    "tanh twice": (emitting("Sigmoid", lambda n, i, a: ("Tanh", i, a)), {"rounding"}),
    "queue read from the wrong end": (emitting("Concat", past_last), {"step", "block"}),
}  # fmt: skip


@pytest.mark.parametrize("mistake", ONNX)
def test_mistakes_in_the_exporter(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, killed_by = ONNX[mistake]
    monkeypatch.setattr(Emitter, "emit", wrong)
    report = run_laws(graph(), backends=("onnx",))
    assert killed_by <= broken(report), str(report)


def test_weights_flipped_in_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, prefill and step agree with each other; only the oracle tells."""
    right = Emitter.__init__

    def wrong(self: Emitter, params: Any, types: Any) -> None:
        right(self, {name: a[..., ::-1].copy() if a.ndim == 3 else a for name, a in params.items()}, types)

    monkeypatch.setattr(Emitter, "__init__", wrong)
    report = run_laws(graph(), backends=("onnx",))
    assert broken(report) == {"step", "block", "exact", "rounding"}


def test_without_a_mistake_every_law_holds() -> None:
    for network in (graph(), models.nettoy1d(5, hidden=4)):
        run_laws(network, backends=("torch", "onnx")).require()
