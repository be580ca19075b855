"""How a mistake is put into the oracle: each function here gives a patch, or is one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace as replace_struct
from planted_images import wrong_op

from refar import Graph, ops
from refar.analysis import facts as facts_of_graphs
from refar.analysis import masks, offsets
from refar.analysis.facts import Facts
from refar.oracle import backward as gradients
from refar.oracle import bound_graph, convolution, pointwise, stream
from refar.oracle import forward as values
from refar.oracle.bound_graph import BoundGraph
from refar.testing import Report, run_laws

Patch = Callable[[pytest.MonkeyPatch], None]

_NUMBERS = count()


def forget() -> None:
    """What follows from a graph is kept, and masks are; mistakes put in must neither come too late nor outlive their test."""
    facts_of_graphs._KEPT = f"facts {next(_NUMBERS)}"
    for kept in (masks.masks, convolution.visible):
        kept.cache_clear()


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


def wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> Patch:
    """Replace a function by wrapper(right, *its arguments), where it is defined and in each module that imported it.

    The catalogue of mistakes keeps the right one: what it makes is wrong by its own definition alone.
    """
    right = getattr(owner, name)

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        modules = [module for key, module in list(sys.modules.items()) if _is_checked(key)]
        users = [user for user in (owner, *modules) if getattr(user, "__dict__", {}).get(name) is right]
        assert users, f"{name} is not used where the mistake is put in"
        for user in users:
            monkeypatch.setattr(user, name, lambda *args, **kwargs: wrapper(right, *args, **kwargs))

    return patch


def _is_checked(module: str) -> bool:
    return module.split(".")[0] in ("refar", "refar_export") and not module.startswith("refar.mistakes.")


def wrap_in(user: Any, name: str, wrapper: Callable[..., Any]) -> Patch:
    """As `wrap`, in one module that uses the function; to the others it stays right."""
    right = getattr(user, name)
    return lambda patch: patch.setattr(user, name, lambda *args, **kwargs: wrapper(right, *args, **kwargs))


def both(*patches: Patch) -> Patch:
    """Several patches that are one mistake."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for each in patches:
            each(monkeypatch)

    return patch


def offsets_of(mistake: str) -> Patch:
    """The operators look where those with a mistake of the catalogue do, in the whole pass and in streams."""
    return wrap(convolution, "window_offsets", lambda right, op: right(wrong_op(mistake, op)))


def offsets_become(change: Callable[[list[int], Any], list[int]], kind: type[ops.Op] = ops.Conv1d) -> Patch:
    """Where the operators of this kind look, in the whole pass and in streams."""
    return wrap(convolution, "window_offsets", lambda right, op: change(right(op), op) if isinstance(op, kind) else right(op))


def forward_of(kind: type[ops.Op], change: Callable[..., Any]) -> Patch:
    """Change the value: change(op, args, y)."""

    def wrapper(right: Any, op: Any, args: Any, *rest: Any) -> Any:
        return change(op, args, right(op, args, *rest)) if isinstance(op, kind) else right(op, args, *rest)

    return wrap(values, "forward", wrapper)


def backward_of(kind: type[ops.Op], change: Callable[..., Any]) -> Patch:
    """Change the list of the arguments' gradients: change(op, args, dy, dargs)."""

    def wrapper(right: Any, op: Any, args: Any, own: Any, y: Any, dy: Any) -> Any:
        dargs, dparams = right(op, args, own, y, dy)
        return (change(op, args, dy, dargs) if isinstance(op, kind) else dargs), dparams

    return wrap(gradients, "backward", wrapper)


def shifted_window(by: int) -> Patch:
    """Windows that see `by` samples of the future, and the gradient that belongs to them."""
    return offsets_become(lambda offsets, op: [d - by for d in offsets], ops.Op)


def halves(x: Any) -> Any:
    return np.concatenate(np.split(x, 2, axis=1)[::-1], axis=1)


gate_swapped = both(
    wrap(pointwise, "gate", lambda right, x: right(halves(x))),
    wrap(pointwise, "gate_backward", lambda right, x, dy: halves(right(halves(x), dy))),
)
"""Forward and backward agree with each other: only the definition tells."""


def embedding_overwrites(right: Any, table: Any, x: Any, dy: Any) -> Any:
    dtable = np.zeros(table.shape, dy.dtype)
    dtable[x] = np.moveaxis(dy, 1, -1)
    return dtable


def backward_conv(change: Callable[..., Any]) -> Patch:
    def wrapper(right: Any, windows: Any, weight: Any, dy: Any, groups: int) -> Any:
        return change(*right(windows, weight, dy, groups), dy)

    return wrap(convolution, "convolve_backward", wrapper)


def queues(change: Callable[[int], int]) -> Patch:
    """Other cache lengths in the oracle alone."""

    def own_facts(right: Callable[[Graph], Facts], graph: Graph) -> Facts:
        found = replace(right(graph))  # without what is found when it is asked for
        for name in ("aligned", "leading"):
            plan = getattr(right(graph), name)
            vars(found)[name] = replace(plan, cache={node: change(kept) for node, kept in plan.cache.items()})
        return found

    return wrap_in(bound_graph, "facts", own_facts)


def stream_offsets(change: Callable[[list[int], Any], list[int]], kind: type[ops.Op] = ops.Conv1d) -> Patch:
    """The offsets of a stream alone; the whole pass is right."""

    def tapped(right: Any, self: BoundGraph, name: str) -> Any:
        (places, own), op = right(self, name), self.facts.nodes[name].op
        return (change(places, op) if isinstance(op, kind) else places), own

    return wrap(BoundGraph, "tapped", tapped)


def biased_twice(right: Any, op: Any, args: Any, own: Any, *rest: Any) -> Any:
    y = right(op, args, own, *rest)
    return y + own["bias"].reshape(-1, *[1] * (y.ndim - 2)) if "bias" in own else y


def state_becomes(change: Callable[[Any, Any], Any]) -> Patch:
    """change(new, old) of each value of the state after a call."""

    def wrapper(right: Any, net: Any, state: Any, inputs: Any, **options: Any) -> Any:
        y, after = right(net, state, inputs, **options)
        return y, {name: change(after[name], state[name]) for name in after}

    return wrap(stream, "advance", wrapper)


def zero_token_at_start(right: Any, net: BoundGraph, state: Any, inputs: Any, **options: Any) -> Any:
    rows = options.pop("rows_before", None)
    if rows is not None:
        kind = net.facts.types["x"]
        x = np.zeros((rows, 1), np.int64) if kind.indexed else np.zeros((rows, kind.size, 1))
        inputs = {**inputs, "x": x}
    return right(net, state, inputs, **options)


def wrong_taps(change: Callable[[tuple[int, ...], ops.Conv1d], set[int]]) -> Patch:
    """Where convolutions look, for the offsets and the lookback; how a stream runs stays right."""

    def wrapper(right: Any, op: Any) -> Any:
        return tuple(sorted(change(right(op), op), reverse=True)) if isinstance(op, ops.Conv1d) else right(op)

    return both(wrap_in(offsets, "taps", wrapper), wrap_in(facts_of_graphs, "offsets_of_node", wrapper))


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


def interleaved(array: Any, groups: int) -> Any:
    """Channel c in group c mod G."""
    split = array.reshape(len(array), array.shape[1] // groups, groups, *array.shape[2:])
    return split.swapaxes(1, 2).reshape(array.shape)


def inputs_interleaved(right: Any, windows: Any, weight: Any, dy: Any, groups: int) -> Any:
    """The gradients that belong to interleaved inputs."""
    dwindows, *rest = right(interleaved(windows, groups), weight, dy, groups)
    return interleaved(dwindows, dwindows.shape[1] // groups), *rest


def shuffled(y: Any, groups: int) -> Any:
    return y.reshape(len(y), groups, y.shape[1] // groups, *y.shape[2:]).swapaxes(1, 2).reshape(y.shape)


def without_groups(right: Any, op: Any, *rest: Any) -> Any:
    return right(replace_struct(op, groups=1) if isinstance(op, ops.Conv1d) else op, *rest)


def float32_in_float64(right: Any, graph: Graph, params: Any, dtype: Any = np.float64) -> BoundGraph:
    return replace(right(graph, params, "float64"), dtype=right(graph, params, dtype).dtype)


def local_late(right: Any, net: BoundGraph, inputs: Any, **options: Any) -> Any:
    late = {name: a if name == "x" else np.concatenate([a[..., :1], a[..., :-1]], axis=-1) for name, a in inputs.items()}
    return right(net, late, **options)


def local_held(right: Any, net: BoundGraph, state: Any, inputs: Any, **options: Any) -> Any:
    held = {name: a if name == "x" else np.broadcast_to(a[..., :1], a.shape) for name, a in inputs.items()}
    return right(net, state, held, **options)
