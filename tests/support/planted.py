"""How a mistake is put into the oracle: each function here gives a patch, or is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace as replace_struct
from planted_images import wrong_op

from refar import Graph, ops
from refar.analysis.facts import facts
from refar.oracle import causal1d, pointwise, stream
from refar.testing import Report, run_laws

Patch = Callable[[pytest.MonkeyPatch], None]


def forget() -> None:
    """Inference is cached by graph; mistakes put into it must neither come too late nor outlive their test."""
    for cached in (infer._analyse, streams.stream, streams.varying, streams.raster):
        cached.cache_clear()


@dataclass(frozen=True)
class Mutant:
    """The oracle with one mistake, and the laws that must break on this graph."""

    mistake: str
    graph: Callable[[], Graph]
    patch: Patch
    killed_by: tuple[str, ...]

    def breaks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        graph = self.graph()
        self.patch(monkeypatch)
        forget()  # what was inferred when the graph was made
        with np.errstate(all="ignore"):
            report = run_laws(graph, backends=("numpy",))
        assert set(self.killed_by) <= broken(report), f"{self.mistake}: expected {self.killed_by}\n{report}"


def broken(report: Report) -> set[str]:
    """The laws that a mistake breaks. It must be one of numbers: no function that is called otherwise than it is written."""
    stale = [line for line in report.lines if "TypeError instead of a value" in line.message]
    assert not stale, f"the mutant does not fit what it is put into: {stale[0]}"
    return {line.law for line in report.lines if not line.passed}


def offsets_of(mistake: str) -> Patch:
    """The windows are those of a mistake of the catalogue."""
    return wrap(causal1d, "window_offsets", lambda right, op: right(wrong_op(mistake, op)))


def offsets_become(change: Callable[[list[int], Any], list[int]], kind: type[ops.Op] = ops.Conv1d) -> Patch:
    right = causal1d.window_offsets
    return wrap(causal1d, "window_offsets", lambda _, op: change(right(op), op) if isinstance(op, kind) else right(op))


def wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> Patch:
    """Replace a function by wrapper(right, *its arguments)."""
    right = getattr(owner, name)
    return lambda patch: patch.setattr(owner, name, lambda *args, **kwargs: wrapper(right, *args, **kwargs))


def forward_of(kind: type[ops.Op], change: Callable[..., Any]) -> Patch:
    def wrapper(right: Any, op: Any, args: Any, *rest: Any) -> Any:
        return change(op, args, right(op, args, *rest)) if isinstance(op, kind) else right(op, args, *rest)

    return wrap(pointwise, "forward", wrapper)


def backward_of(kind: type[ops.Op], change: Callable[..., Any]) -> Patch:
    """Change the list of the arguments' gradients."""

    def wrapper(right: Any, op: Any, args: Any, y: Any, dy: Any, weight: Any) -> Any:
        dargs, dweight = right(op, args, y, dy, weight)
        return (change(op, args, dy, dargs) if isinstance(op, kind) else dargs), dweight

    return wrap(pointwise, "backward", wrapper)


def shifted_window(by: int) -> Patch:
    """Windows that see `by` samples of the future, and the gradient that belongs to them."""
    return offsets_become(lambda offsets, op: [d - by for d in offsets], ops.Op)


def halves(x: Any) -> Any:
    return np.concatenate(np.split(x, 2, axis=1)[::-1], axis=1)


def gate_swapped(patch: pytest.MonkeyPatch) -> None:
    """Forward and backward agree with each other: only the definition tells."""
    right_forward, right_backward = pointwise.forward, pointwise.backward

    def forward(op: Any, args: Any, *rest: Any) -> Any:
        return right_forward(op, [halves(args[0])] if isinstance(op, ops.Gate) else args, *rest)

    def backward(op: Any, args: Any, *rest: Any) -> Any:
        if not isinstance(op, ops.Gate):
            return right_backward(op, args, *rest)
        dargs, dweight = right_backward(op, [halves(args[0])], *rest)
        return [halves(dargs[0])], dweight

    patch.setattr(pointwise, "forward", forward)
    patch.setattr(pointwise, "backward", backward)


def embedding_overwrites(right: Any, op: Any, args: Any, y: Any, dy: Any, weight: Any) -> Any:
    if not isinstance(op, ops.Embedding):
        return right(op, args, y, dy, weight)
    dweight = np.zeros(weight.shape, dy.dtype)
    dweight[args[0]] = np.moveaxis(dy, 1, -1)
    return [None], dweight


def backward_conv(change: Callable[..., Any]) -> Patch:
    def wrapper(right: Any, windows: Any, weight: Any, dy: Any, groups: int) -> Any:
        return change(*right(windows, weight, dy, groups), dy)

    return wrap(causal1d, "conv1d_backward", wrapper)


def queues(change: Callable[[int], int]) -> Patch:
    def plan(graph: Graph, ahead: bool) -> streams.Stream:
        found = facts(graph).schedule(leading=ahead)
        return replace(found, history={name: change(kept) for name, kept in found.cache.items()})

    return lambda patch: patch.setattr(stream, "plan", plan)


def stream_offsets(change: Callable[[list[int], Any], list[int]], kind: type[ops.Op] = ops.Conv1d) -> Patch:
    """The offsets of a stream alone; the whole pass is right."""

    def offsets(op: Any) -> list[int]:
        right = causal1d.window_offsets(op)
        return change(right, op) if isinstance(op, kind) else right

    wrong = SimpleNamespace(forward=causal1d.forward, window_offsets=offsets)
    return lambda patch: patch.setattr(stream, "causal1d", wrong)


def biased_twice(op: Any, windows: Any, params: Any) -> Any:
    return causal1d.forward(op, windows, params) + (params["bias"][:, None] if "bias" in params else 0)


def state_becomes(change: Callable[[Any, Any], Any]) -> Patch:
    """change(new, old) of each value of the state after a call."""

    def wrapper(right: Any, graph: Any, params: Any, state: Any, inputs: Any, **options: Any) -> Any:
        y, after = right(graph, params, state, inputs, **options)
        return y, {name: change(after[name], state[name]) for name in after}

    return wrap(stream, "advance", wrapper)


def zero_token_at_start(right: Any, graph: Any, params: Any, state: Any, inputs: Any, **options: Any) -> Any:
    rows = options.pop("rows_before", None)
    if rows is not None:
        kind = facts(graph).types["x"]
        x = np.zeros((rows, 1), np.int64) if kind.indexed else np.zeros((rows, kind.size, 1))
        inputs = {**inputs, "x": x}
    return right(graph, params, state, inputs, **options)


def wrong_taps(change: Callable[[frozenset[int], ops.Conv1d], frozenset[int]]) -> Patch:
    return wrap(infer, "taps", lambda right, op: change(right(op), op) if isinstance(op, ops.Conv1d) else right(op))


def unequal_rows(op: Any, args: Any, y: Any) -> Any:
    return y - y.mean(axis=0, keepdims=True)


def centred(offsets: list[int], op: ops.Pool1d) -> list[int]:
    return [d - (op.kernel - 1) * op.dilation // 2 for d in offsets]


def without_zeros(right: Any, kind: str, windows: Any, there: Any) -> Any:
    """In generic data only what lies before the start is exactly zero."""
    return right(kind, windows, np.any(windows != 0, axis=1, keepdims=True) * 1.0 if there is None else there)


def oldest_of_equals(right: Any, kind: str, windows: Any, there: Any, dy: Any) -> Any:
    return right(kind, windows[:, :, ::-1], None if there is None else there[:, :, ::-1], dy)[:, :, ::-1]


def all_of_equals(right: Any, kind: str, windows: Any, there: Any, dy: Any) -> Any:
    if kind == "avg":
        return right(kind, windows, there, dy)
    candidates = windows if there is None else np.where(there > 0, windows, -np.inf)
    return np.where(candidates == candidates.max(axis=2, keepdims=True), dy[:, :, None], 0)


def interleaved(right: Any, array: Any, axis: int, groups: int) -> Any:
    """Channel c in group c mod G."""
    if axis == 0:
        return right(array, axis, groups)
    return array.reshape(len(array), array.shape[1] // groups, groups, *array.shape[2:]).swapaxes(1, 2)


def shuffled(y_bot: Any, groups: int) -> Any:
    return y_bot.reshape(len(y_bot), groups, -1, y_bot.shape[2]).swapaxes(1, 2).reshape(y_bot.shape)


def without_groups(right: Any, op: Any, *rest: Any) -> Any:
    return right(replace_struct(op, groups=1) if isinstance(op, ops.Conv1d) else op, *rest)


def local_late(right: Any, graph: Graph, params: Any, inputs: Any, dtype: Any, **options: Any) -> Any:
    late = {name: a if name == "x" else np.concatenate([a[..., :1], a[..., :-1]], axis=-1) for name, a in inputs.items()}
    return right(graph, params, late, dtype, **options)


def local_held(right: Any, graph: Any, params: Any, state: Any, inputs: Any, **options: Any) -> Any:
    held = {name: a if name == "x" else np.broadcast_to(a[..., :1], a.shape) for name, a in inputs.items()}
    return right(graph, params, state, held, **options)
