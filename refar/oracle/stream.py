"""A sequence one position, or several, at a time: the same values as the whole pass, from a state that the caller carries.

The state is a value, {node: array}, keyed by the node that produced it: its last values, oldest first, (B, C, cache length).
At first it holds the values at t < 0 (`oracle.padding`); under padding "valid" nothing, and it grows from there. Which node
keeps how much says a `Schedule`: aligned for `step`, leading for `next`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays, apart, as_array, check_real
from refar.errors import InputError
from refar.graph.graph import Node
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.forward import forward
from refar.oracle.padding import values_before
from refar.oracle.windows import Windows, steady_windows

SequenceState = dict[str, Array]
"""{node: (B, C, cache length)}."""


def empty(net: BoundGraph, conditions: Arrays, batch: int, *, leading: bool) -> SequenceState:
    """Return the state before the first token: the values at t < 0, as often as they are kept. `conditions` are cast."""
    types, cache = net.facts.types, net.facts.schedule(leading=leading).cache
    if net.graph.padding == "valid":  # there are no values at t < 0: caches grow to their length
        cache = dict.fromkeys(cache, 0)
    if net.graph.padding != "input":
        return {name: np.zeros((batch, types[name].size, kept), net.dtype) for name, kept in cache.items()}
    before = values_before(net, conditions, batch)
    return {name: np.repeat(before[name], kept, axis=2) for name, kept in cache.items()}


def advance(
    net: BoundGraph, state: SequenceState, inputs: Arrays, *, leading: bool, rows_before: int | None = None
) -> tuple[Array, SequenceState]:
    """Compute all nodes over the next positions, from a checked state; `inputs` are checked.

    If `rows_before` is given, no token has arrived yet for that many rows. Compute only the nodes that do not need one
    (lead 1); take every other node's value at t < 0.
    """
    found, plan = net.facts, net.facts.leading if leading else net.facts.aligned
    inputs = net.cast(inputs)
    length = 1 if rows_before is not None else inputs[found.sequence].shape[-1]
    before = values_before(net, inputs, rows_before) if rows_before is not None else {}
    values: Arrays = {}
    buffers: Arrays = {}  # of nodes that keep values: those, and the new ones behind them
    for node in net.graph.nodes:
        if rows_before is not None and plan.lead.get(node.name) == 0:
            value = before[node.name]
        elif isinstance(node.op, ops.Input):
            value = inputs[node.name]
        else:
            value = _value(net, node, values, buffers, plan.lead, length)
        values[node.name] = value
        if node.name in plan.cache:
            buffers[node.name] = np.concatenate([state[node.name], value], axis=2)
    after: SequenceState = {}
    for name, most in plan.cache.items():
        after[name] = buffers[name][:, :, max(0, buffers[name].shape[2] - most) :].copy()
    return apart(values[net.graph.output], inputs), after


def _value(net: BoundGraph, node: Node, values: Arrays, buffers: Arrays, lead: dict[str, int], length: int) -> Array:
    """Compute one node over the next `length` positions, or fewer if values at t < 0 do not exist."""
    windowed = isinstance(node.op, ops.WindowedOp)
    places, own = net.tapped(node.name) if windowed else ([0], net.own[node.name])
    offsets = cast(list[int], places)  # of a sequence
    sources, count = [], length
    for name in node.inputs:
        source = buffers.get(name, values[name])
        end = -1 if name not in lead else source.shape[-1] + lead[node.name] - lead[name]  # a constant has no end
        sources.append((source, end))
        if end >= 0:
            count = max(0, min(count, end - offsets[0]))
    args = []
    for source, end in sources:
        if windowed:
            args.append(_windows(source, end, offsets, count))
        else:
            args.append(source if end < 0 else source[..., end - count : end])
    return forward(node.op, args, own, net.facts.classes[node.name], net.dtype)


def _windows(source: Array, end: int, offsets: list[int], count: int) -> Windows:
    """Read the `count` values that lie each offset before those up to `end`."""
    if end < 0:
        return steady_windows(source, len(offsets))
    windows = np.empty((*source.shape[:2], len(offsets), count), source.dtype)
    for k, offset in enumerate(offsets):
        windows[:, :, k] = source[..., end - offset - count : end - offset]
    return windows


def check_state(net: BoundGraph, state: object, batch: int, *, leading: bool) -> SequenceState:
    """Return the state in the dtype of the computation. Raises InputError unless it is one of this graph and of `batch` rows."""
    cache, types = (net.facts.leading if leading else net.facts.aligned).cache, net.facts.types
    checked: SequenceState = {}
    if isinstance(state, Mapping) and state.keys() == cache.keys() and net.graph.padding != "valid":
        for name, kept in cache.items():
            array = state[name]
            fits = isinstance(array, np.ndarray) and array.shape == (batch, types[name].size, kept) and array.dtype.kind == "f"
            if not fits or not np.isfinite(array).all():
                break
            checked[name] = array.astype(net.dtype, copy=False)
        else:
            return checked
    return _examined(net, state, batch, leading)


def _examined(net: BoundGraph, state: object, batch: int, leading: bool) -> SequenceState:
    """Say what is wrong with a state, or return what can still be read as one."""
    if not isinstance(state, Mapping):
        after = "; step and next return the output and the state" if isinstance(state, tuple) else ""
        raise InputError(f"state: expected a mapping {{node: array}}, got {type(state).__name__}{after}")
    cache, other = net.facts.schedule(leading=leading).cache, net.facts.schedule(leading=not leading).cache
    lengths = {name: as_array(f"state {name!r}", array, "an array").shape[2:] for name, array in state.items()}
    valid = net.graph.padding == "valid"
    if not valid and cache != other and lengths == {name: (kept,) for name, kept in other.items()}:
        own, others = ("start, next and next_block", "initial_state, step and block")[:: 1 if leading else -1]
        raise InputError(f"state: expected one that {own} return, got one of {others}, which hold other positions")
    for name in (*cache, *state):
        if (name in state) != (name in cache):
            problem = "is missing" if name in cache else "is not one of this graph's"
            raise InputError(f"state {name!r} {problem}; expected {', '.join(cache) or 'none'}")
    if valid:
        cache = _filling(net.facts.lookback, cache, lengths)
    shapes = {name: (batch, net.facts.types[name].size, kept) for name, kept in cache.items()}
    return {name: check_real(f"state {name!r}", state[name], s).astype(net.dtype, copy=False) for name, s in shapes.items()}


def _filling(lookback: dict[str, int], cache: dict[str, int], lengths: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """How full each cache is after as many positions as the state says: node n has values from t = `lookback[n]` on."""
    seen = max((lengths[name][0] + lookback[name] for name in cache if lengths[name] not in ((), (0,))), default=0)
    return {name: min(kept, max(0, seen - lookback[name])) for name, kept in cache.items()}
