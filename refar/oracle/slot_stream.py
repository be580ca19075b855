"""The reference of the state contract of bundles (export/README.md): prefill and visits over slots and a clock, in NumPy.

It computes what `oracle.stream` computes, on the state that step graphs carry. Prompts may have different lengths; the last
`spare` visits may be made once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refar import ops
from refar.analysis.slots import Slots, StateLayout
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Node
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.forward import forward
from refar.oracle.padding import values_before
from refar.oracle.whole import forward_nodes


@dataclass(frozen=True)
class SlotState:
    """The state between two calls: `past` {tensor: (slots, B, C)}, the `clock`, and `fixed` {node: (B, C)}."""

    past: Arrays
    clock: int
    fixed: Arrays


def prefill(net: BoundGraph, layout: StateLayout, inputs: Arrays, length_b: Array) -> tuple[Array, SlotState]:
    """Take prompts of `length_b` tokens, padded on the right: the output of each row's next position, y_bc, and the state.

    `inputs` are checked and cast, and longer than every prompt of a strict graph. Of a graph that is not strict the output is
    that of the prompt's last token; that of a row without tokens means nothing.
    """
    rows = np.arange(len(length_b))
    values = forward_nodes(net, inputs)
    before = values_before(net, inputs, len(rows))
    past: Arrays = {}
    for name, (slots, channels) in layout.sizes.items():
        past[name] = np.zeros((slots, len(rows), channels), np.int64 if layout.tensors[name][0].classes else net.dtype)
    for each in layout.slots.values():
        for slot in range(each.count):
            place = length_b + each.lead - each.count + slot  # the position of each row
            value = values[each.node][rows, :, np.maximum(place, 0)]
            value = np.where(place[:, None] < 0, before[each.node][:, :, 0], value)
            past[each.tensor][each.base + slot] = _stored(each, value)
    last = np.maximum(length_b - (not net.facts.strict), 0)
    return values[net.graph.output][rows, :, last], SlotState(past, 0, {name: values[name] for name in layout.fixed})


def visit(net: BoundGraph, layout: StateLayout, state: SlotState, inputs: Arrays) -> tuple[Array, SlotState]:
    """Make T ≥ 1 visits: the outputs y_bct, and the state after them.

    `inputs` are the tokens, and the local conditions of the positions of the outputs, checked and cast.
    """
    length = inputs[net.facts.sequence].shape[-1]
    values = {name: state.fixed[name] for name in layout.fixed}
    for node in net.graph.nodes:
        if node.name not in layout.schedule.lead:
            continue
        if isinstance(node.op, ops.Input):
            values[node.name] = inputs[node.name]
        else:
            values[node.name] = _value(net, layout, state, node, values, length)
    past = {name: array.copy() for name, array in state.past.items()}
    for each in layout.slots.values():
        for i in range(max(0, length - each.count), length):
            past[each.tensor][_slot(each, state.clock + i)] = _stored(each, values[each.node][:, :, i])
    return values[net.graph.output], SlotState(past, state.clock + length, state.fixed)


def _value(net: BoundGraph, layout: StateLayout, state: SlotState, node: Node, values: Arrays, length: int) -> Array:
    """Compute one node in `length` visits."""
    windowed = isinstance(node.op, ops.WindowedOp)
    own = net.tapped(node.name)[1] if windowed else net.own[node.name]
    args = []
    for source in node.inputs:
        if source not in layout.schedule.lead:
            args.append(values[source])
            continue
        ages = layout.ages(node, source)
        windows = [_at(layout, state, source, values[source], age, length) for age in ages]
        args.append(np.stack(windows, axis=2) if windowed else windows[0])
    return forward(node.op, args, own, net.facts.classes[node.name], net.dtype)


def _at(layout: StateLayout, state: SlotState, source: str, new: Array, age: int, length: int) -> Array:
    """Read the values that `source` had `age` visits before each of `length` visits: from slots, then of this call."""
    if age == 0:
        return new
    slots = layout.slots[source]
    old = [_read(slots, state.past, state.clock + i - age).astype(new.dtype) for i in range(min(age, length))]
    return np.concatenate([np.stack(old, axis=2), new[..., : max(0, length - age)]], axis=2)


def _stored(slots: Slots, value_bc: Array) -> Array:
    """What a slot holds of a value: that itself, or of a one-hot its class, and Q where it is zero."""
    if not slots.classes:
        return value_bc
    return np.where(value_bc.any(axis=1), value_bc.argmax(axis=1), slots.classes)[:, None]


def _read(slots: Slots, past: Arrays, visit: int) -> Array:
    """The value of a visit, (B, C)."""
    stored = past[slots.tensor][_slot(slots, visit)]
    return stored == np.arange(slots.classes) if slots.classes else stored


def _slot(slots: Slots, visit: int) -> int:
    return slots.base + visit % slots.count


def rolled(layout: StateLayout, past: Arrays, by: int) -> Arrays:
    """Return slots for a clock that is `by` visits later: a row can join a batch that has been running for so long."""
    return _each(layout, past, lambda slots: np.roll(slots, by % len(slots), axis=0))


def canonical(layout: StateLayout, state: SlotState) -> Arrays:
    """Return the state in the nodes' own terms: {node: (B, C, kept)}, oldest first, as `step` and `next` carry it."""
    found: Arrays = {}
    for each in layout.slots.values():
        visits = [_read(each, state.past, state.clock - age) for age in range(each.kept, 0, -1)]
        found[each.node] = np.stack(visits, axis=2)
    return found


def _each(layout: StateLayout, past: Arrays, change: Callable[[Array], Array]) -> Arrays:
    found = {name: array.copy() for name, array in past.items()}
    for each in layout.slots.values():
        own = slice(each.base, each.base + each.count)
        found[each.tensor][own] = change(found[each.tensor][own])
    return found
