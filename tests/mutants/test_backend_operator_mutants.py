"""Mistakes of pooling, groups, signed shifts and local conditions in PyTorch's lowering and in the exporter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import other_tests
from planted import broken
from planted_images import wrong_op

from refar import Graph, ops
from refar.analysis.slots import StateLayout
from refar.graph.graph import Node
from refar.testing import run_laws
from refar.torch import lower
from refar_export import lower as onnx_lower

_graphs = other_tests("mutants/test_operator_mutants.py")
groups, local, looking_ahead, pools = _graphs.groups, _graphs.local, _graphs.looking_ahead, _graphs.pools


def windows_of(op: ops.Pool1d, x: Any) -> Any:
    return torch.stack([lower._window(x, k * op.dilation, None) for k in range(op.kernel)])


def spread_over_ties(op: ops.Pool1d, x: Any, before: Any, ones: Any) -> Any:
    """The gradient of amax is divided among equals."""
    if op.kind == "avg":
        return right_pool(op, x, before, ones)
    windows = windows_of(op, x)
    return (windows if ones is None else windows.masked_fill(windows_of(op, ones) == 0, -torch.inf)).amax(0)


def oldest_first(op: ops.Pool1d, x: Any, before: Any, ones: Any) -> Any:
    if op.kind == "avg":
        return right_pool(op, x, before, ones)
    windows = windows_of(op, x)
    windows = (windows if ones is None else windows.masked_fill(windows_of(op, ones) == 0, -torch.inf)).flip(0)
    return windows.gather(0, windows.argmax(0, keepdim=True))[0]


def padding_for_both(op: ops.Pool1d, x: Any, before: Any, ones: Any) -> Any:
    """What torch's own pooling does for a maximum: padding is -∞."""
    return right_pool(op, x, before, torch.ones_like(x[:, :1]) if op.kind == "max" else ones)


right_pool, right_window, right_apply = lower.pool1d, lower._window, lower.apply


def interleaved(op: ops.Conv1d, x: Any, before: Any, weight: Any, bias: Any) -> Any:
    return right_conv(op, x.unflatten(1, (-1, op.groups)).transpose(1, 2).flatten(1, 2), before, weight, bias)


right_conv = lower.conv1d


def against_time(x: Any, offset: int, before: Any) -> Any:
    return right_window(x, -offset, before)


def late(op: ops.AnyOp, args: Any, *rest: Any) -> Any:
    value = right_apply(op, args, *rest)
    is_local = isinstance(op, ops.Input) and op.role == "local"
    return torch.cat([value[..., :1], value[..., :-1]], dim=-1) if is_local else value


TORCH: dict[str, tuple[Callable[[], Graph], str, Callable[..., Any], set[str]]] = {
    "padding of a maximum is always -∞": (pools, "pool1d", padding_for_both, {"exact", "rounding"}),
    "padding is always zero": (pools, "pool1d", lambda op, x, b, ones: right_pool(op, x, b, None), {"exact", "rounding"}),
    "gradient of a tie divided": (pools, "pool1d", spread_over_ties, {"exact"}),
    "gradient of a tie to the oldest": (pools, "pool1d", oldest_first, {"exact"}),
    "padding of the pool on the right": (pools, "_window", against_time, {"causality", "reach", "exact"}),
    "dilation ignored": (
        pools,
        "pool1d",
        lambda op, x, before, ones: right_pool(wrong_op("dilation ignored", op), x, before, ones),
        {"exact", "rounding"},
    ),
    "inputs of the groups interleaved": (groups, "conv1d", interleaved, {"reach", "exact", "rounding"}),
    "shifted to the wrong side": (looking_ahead, "_window", against_time, {"reach", "exact"}),
    "local conditions one position late": (local, "apply", late, {"rounding"}),
}  # fmt: skip


@pytest.mark.parametrize("mistake", TORCH)
def test_mistakes_in_pytorch(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, name, wrong, killed_by = TORCH[mistake]
    monkeypatch.setattr(lower, name, wrong)
    report = run_laws(graph(), backends=("torch",))
    assert killed_by <= broken(report), str(report)


right_ages, right_dense, right_onnx_pool = StateLayout.ages, onnx_lower.dense, onnx_lower.pool1d


def ring_of_k(self: StateLayout, node: Node, source: str) -> list[int]:
    """The right ages of a pool's values, modulo its kernel instead of the number of its slots."""
    ages = right_ages(self, node, source)
    return sorted((age % node.op.kernel for age in ages), reverse=True) if isinstance(node.op, ops.Pool1d) else ages


def groups_in_reverse(e: Any, op: ops.Conv1d, flat: str) -> str:
    name = f"{e.owner}.weight"
    right, e.params[name] = e.params[name], e.params[name].reshape(op.groups, -1)[::-1].reshape(e.params[name].shape)
    try:
        return right_dense(e, op, flat)
    finally:
        e.params[name] = right


def drops_marks(kind: str) -> Callable[..., str]:
    return lambda e, op, windows, there: right_onnx_pool(e, op, windows, None if op.kind == kind else there)


ONNX: dict[str, tuple[Callable[[], Graph], Any, str, Callable[..., Any], set[str]]] = {
    "ring of K places": (pools, StateLayout, "ages", ring_of_k, {"step", "block"}),
    "zeros in a maximum that leaves padding out": (pools, onnx_lower, "pool1d", drops_marks("max"), {"exact", "rounding"}),
    "padding counted in the average": (pools, onnx_lower, "pool1d", drops_marks("avg"), {"exact", "rounding"}),
    "groups in reverse in the step graph": (groups, onnx_lower, "dense", groups_in_reverse, {"step", "block"}),
    "shift by one too few": (
        looking_ahead,
        onnx_lower,
        "window_sequence",
        lambda e, x, o, before, right=onnx_lower.window_sequence: right(e, x, o + 1, before),
        {"reach", "exact", "rounding"},
    ),
}


@pytest.mark.parametrize("mistake", ONNX)
def test_mistakes_in_the_exporter(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, owner, name, wrong, killed_by = ONNX[mistake]
    monkeypatch.setattr(owner, name, wrong)
    report = run_laws(graph(), backends=("onnx",))
    assert killed_by <= broken(report), str(report)


def test_a_local_condition_held_in_the_session_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step graph fed again with the condition of the first step."""
    from refar.runtime.stream import Stream

    right, first = Stream.step, {}

    def held(self: Stream, x: Any, condition: Any = None) -> Any:
        return right(self, x, first.setdefault(id(self), condition))

    monkeypatch.setattr(Stream, "step", held)
    report = run_laws(local(), backends=("onnx",))
    assert broken(report) == {"step", "block", "exact"}, str(report)


@pytest.mark.parametrize("graph", [pools, groups, looking_ahead, local])
def test_without_a_mistake_every_law_holds(graph: Callable[[], Graph]) -> None:
    run_laws(graph(), backends=("torch", "onnx")).require()
