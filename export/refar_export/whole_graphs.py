"""Graphs over whole sequences and images: full, prefill, and what follows from the global conditions alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from refar import ops
from refar.analysis.slots import Slots, StateLayout
from refar.analysis.windows import offsets_of_node
from refar.graph.graph import Node
from refar.runtime.bundle import FIXED, LENGTH, OUTPUT, PRESENT
from refar_export import lower
from refar_export.emitter import Emitter


def full(e: Emitter) -> list[str]:
    """Every position at once; returns the names of the outputs."""
    _evaluate(e)
    e.own(OUTPUT)
    value, first = e.values[e.graph.output], e.facts.first_position
    if first == 0:
        return [e.emit("Identity", value, outputs=[OUTPUT])]
    bounds = e.constant([first]), e.constant([lower.LAST]), e.constant([2])
    return [e.emit("Slice", value, *bounds, outputs=[OUTPUT])]


def prefill(e: Emitter, layout: StateLayout) -> list[str]:
    """Prompts of `length` tokens, padded on the right: the output for the next position, and the state."""
    before = _evaluate(e)
    e.own(OUTPUT)
    last = LENGTH if e.facts.strict else e.emit("Max", e.emit("Sub", LENGTH, e.constant(1)), e.constant(0))
    y = e.emit("Transpose", e.values[e.graph.output], perm=[0, 2, 1])
    e.emit("GatherND", y, e.emit("Unsqueeze", last, e.constant([1])), outputs=[OUTPUT], batch_dims=1)
    for tensor, nodes in layout.tensors.items():
        slots = [_last_values(e, each, before.get(each.node)) for each in nodes]
        e.own(f"{PRESENT}.{tensor}")
        e.emit("Concat", *slots, outputs=[f"{PRESENT}.{tensor}"], axis=0)
    return [OUTPUT, *(f"{PRESENT}.{tensor}" for tensor in layout.tensors), *_fixed(e, layout)]


def condition(e: Emitter, layout: StateLayout) -> list[str]:
    """Write the nodes that depend on global conditions alone, and return their outputs `fixed.<node>`, which other nodes read."""
    for node in e.graph.nodes:
        if not e.types[node.name].timed:
            e.own(node.name)
            e.values[node.name] = whole_node(e, node, [e.values[name] for name in node.inputs], [])
    return _fixed(e, layout)


def _fixed(e: Emitter, layout: StateLayout) -> list[str]:
    names = []
    for name in layout.fixed:
        e.own(f"{FIXED}.{name}")
        names.append(e.emit("Identity", e.values[name], outputs=[f"{FIXED}.{name}"]))
    return names


def _evaluate(e: Emitter) -> dict[str, str]:
    """Emit every node; returns the values at t < 0, (B, C, 1), of those that are not zero there."""
    before: dict[str, str] = {}
    for node in e.graph.nodes:
        e.own(node.name)
        args = [e.values[name] for name in node.inputs]
        e.values[node.name] = whole_node(e, node, args, [before.get(name) for name in node.inputs])
        if e.graph.padding != "input" or not e.types[node.name].timed:
            continue
        if node.name in e.facts.sources:
            before[node.name] = lower.zeros_before(e, e.facts.sequence, e.types[node.name].size)
        else:  # its steady state: one position, at which every tap sees the same
            earlier = [before.get(name, e.values[name]) for name in node.inputs]
            before[node.name] = whole_node(e, node, earlier, earlier)
    return before


def whole_node(e: Emitter, node: Node, args: list[str], before: Sequence[str | None]) -> str:
    """One node at every position."""
    kinds = e.facts.kinds[node.name]
    if isinstance(node.op, ops.PointwiseOp):
        return lower.pointwise(e, node.op, args, kinds, sequence=True)
    match node.op:
        case ops.Input():
            return node.name
        case ops.Conv1d() if not kinds[0].timed:
            return lower.dense(e, node.op, args[0])
        case ops.Conv1d():
            return lower.conv1d_sequence(e, node.op, args[0], before[0])
        case ops.Conv2d():
            return lower.conv2d(e, node.op, args[0])
        case ops.Shift2d():
            return lower.shift2d(e, node.op, args[0])
        case ops.Shift():
            return lower.window_sequence(e, args[0], node.op.steps, before[0])
        case ops.Pool1d():
            offsets = sorted(offsets_of_node(node.op), reverse=True)
            windows = [[lower.window_sequence(e, x, o, b) for o in offsets] for x, b in zip(args, before, strict=True)]
            return lower.pool1d(e, node.op, windows[0], windows[1] if len(windows) > 1 else None)
        case _:
            assert_never(node.op)


def _last_values(e: Emitter, each: Slots, before: str | None) -> str:
    """The slots of one node, (slots, B, C): its last values up to position length - 1 + lead of each row, oldest first."""
    e.own(f"{PRESENT}.{each.node}")
    if each.classes:
        x = e.values[e.facts.nodes[each.node].inputs[0]]
        padded = e.emit("Pad", x, e.constant([0, each.count, 0, 0]), e.constant(each.classes))
        rows = e.emit("Unsqueeze", padded, e.constant([2]))
    else:
        extended = lower.extend(e, e.values[each.node], each.count, before)  # so many positions before the first
        rows = e.emit("Transpose", extended, perm=[0, 2, 1])
    first = e.emit("Unsqueeze", LENGTH, e.constant([1, 2]))
    places = e.emit("Add", first, e.constant(np.arange(each.count)[:, None] + each.lead))
    return e.emit("Transpose", e.emit("GatherND", rows, places, batch_dims=1), perm=[1, 0, 2])
