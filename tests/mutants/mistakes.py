"""How a mistake is put into the oracle: each function here gives a patch, or is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from refar import Graph, infer, ops
from refar.spec import causal1d, pointwise, stream

Patch = Callable[[pytest.MonkeyPatch], None]


def offsets_become(change: Callable[[list[int], ops.Conv1d], list[int]]) -> Patch:
    right = causal1d.conv_offsets
    return lambda patch: patch.setattr(causal1d, "conv_offsets", lambda op: change(right(op), op))


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

    def moved(right: Any, x: Any, offset: int) -> Any:
        if offset >= by:
            return right(x, offset - by)
        future = np.zeros_like(x)
        future[..., : x.shape[2] - by + offset] = x[..., by - offset :]
        return future

    return wrap(causal1d, "past_window", moved)


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
    def wrapper(right: Any, windows: Any, weight: Any, dy: Any) -> Any:
        return change(*right(windows, weight, dy), dy)

    return wrap(causal1d, "conv1d_backward", wrapper)


def queues(change: Callable[[int], int]) -> Patch:
    def plan(graph: Graph, ahead: bool) -> infer.Stream:
        found = infer.stream(graph, ahead)
        return replace(found, history={name: change(kept) for name, kept in found.history.items()})

    return lambda patch: patch.setattr(stream, "plan", plan)


def stream_offsets(by: int) -> Patch:
    wrong = SimpleNamespace(conv1d=causal1d.conv1d, conv_offsets=lambda op: [o + by for o in causal1d.conv_offsets(op)])
    return lambda patch: patch.setattr(stream, "causal1d", wrong)


def state_becomes(change: Callable[[Any, Any], Any]) -> Patch:
    """change(new, old) of each value of the state after a call."""

    def wrapper(right: Any, graph: Any, params: Any, state: Any, inputs: Any, **options: Any) -> Any:
        y, after = right(graph, params, state, inputs, **options)
        return y, {name: change(after[name], state[name]) for name in after}

    return wrap(stream, "_advance", wrapper)


def zero_token_at_start(right: Any, graph: Any, params: Any, state: Any, inputs: Any, **options: Any) -> Any:
    rows = options.pop("rows_before", None)
    if rows is not None:
        kind = infer.analyse(graph).types["x"]
        x = np.zeros((rows, 1), np.int64) if kind.indexed else np.zeros((rows, kind.size, 1))
        inputs = {**inputs, "x": x}
    return right(graph, params, state, inputs, **options)


def wrong_taps(change: Callable[[frozenset[int], ops.Conv1d], frozenset[int]]) -> Patch:
    return wrap(infer, "taps", lambda right, op: change(right(op), op) if isinstance(op, ops.Conv1d) else right(op))


def unequal_rows(op: Any, args: Any, y: Any) -> Any:
    return y - y.mean(axis=0, keepdims=True)
