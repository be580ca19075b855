"""Graphs that go on from a state: one visit (step) and T visits (block), over slots and a clock.

Of each tensor all slots that are read are gathered first, and all new values are written last, in one node each. Every index, and
the new clock, comes from one sum with the old clock. So what is written depends on every read of what it replaces, and present.*
may lie in the memory of past.*: `in_place` holds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refar import ops
from refar.analysis.slots import Slots, StateLayout
from refar.graph.graph import Node
from refar.runtime.bundle import CLOCK, FIXED, OUTPUT, PAST, PRESENT
from refar_export import lower
from refar_export.in_place import depends
from refar_export.lower import LAST, Emitter
from refar_export.one_visit import OneVisit, Read, together


def step(e: Emitter, layout: StateLayout, *, joined: bool = True, lookups: bool = True) -> list[str]:
    """One visit: values over time are (B, C). For `joined` and `lookups` see `OneVisit`. Returns the names of the outputs."""
    reads = {tensor: _read_by_step(e, layout, nodes) for tensor, nodes in layout.tensors.items()}
    parts = [np.array([-age for _, age in reads[tensor]] + [0] * len(nodes)) for tensor, nodes in layout.tensors.items()]
    owners = [
        [*[layout.slots[name] for name, _ in reads[tensor]], *nodes] for tensor, nodes in layout.tensors.items()
    ]  # whose slot each index is
    e.own(f"{PAST}.{CLOCK}")
    visits = e.emit("Add", f"{PAST}.{CLOCK}", e.constant(np.concatenate([*parts, [1]])))
    slots = _split(e, _slots(e, visits, [*(each for part in owners for each in part), None]), [*map(len, parts), 1])[:-1]
    e.emit("Gather", visits, e.constant(sum(map(len, parts))), outputs=[f"{PRESENT}.{CLOCK}"])
    old: dict[Read, str] = {}
    written: dict[str, tuple[str, str]] = {}
    for (tensor, nodes), indices in zip(layout.tensors.items(), slots, strict=True):
        e.own(f"{PAST}.{tensor}")
        count = len(reads[tensor])
        read, write = _split(e, indices, [count, len(nodes)])
        gathered = e.emit("Gather", f"{PAST}.{tensor}", read, axis=0)
        written[tensor] = write, gathered
        flat = [-1] if nodes[0].classes else [-1, nodes[0].channels]
        rows = e.emit("Reshape", gathered, e.constant(flat)) if count else ""
        old |= dict(zip(reads[tensor], _equal_parts(e, rows, count), strict=True))
    for name in layout.fixed:
        e.values[name] = f"{FIXED}.{name}"
    visit = OneVisit(e, layout, old, joined=joined, lookups=lookups)
    for node in _timed(e, layout):
        visit.compute(node)
    for tensor, nodes in layout.tensors.items():
        e.own(f"{PRESENT}.{tensor}")
        _write(e, tensor, *written[tensor], visit.rows([each.node for each in nodes], nodes[0].channels))
    visit.whole(e.graph.output)
    return _outputs(e, layout)


def _read_by_step(e: Emitter, layout: StateLayout, nodes: Sequence[Slots]) -> list[Read]:
    """List what one visit reads of a tensor: a value for each age that some tap looks at, by node, oldest first."""
    names = {each.node for each in nodes}
    found = {
        (source, age)
        for node in _timed(e, layout)
        for source in node.inputs
        if source in names
        for age in layout.ages(node, source)
        if age > 0
    }
    order = [each.node for each in nodes]
    return sorted(found, key=lambda read: (order.index(read[0]), -read[1]))


def block(e: Emitter, layout: StateLayout, *, lookups: bool = True) -> list[str]:
    """T visits: values over time are (B, C, T). With `lookups` no product reads a one-hot. Returns the names of the outputs."""
    kept = [each for nodes in layout.tensors.values() for each in nodes for _ in range(each.kept)]
    ages = [age for nodes in layout.tensors.values() for each in nodes for age in range(each.kept, 0, -1)]
    e.own(f"{PAST}.{CLOCK}")
    length = e.emit("Shape", e.facts.sequence, start=-1)
    run = e.emit("Range", e.constant(0), e.emit("Squeeze", e.emit("Add", length, e.constant([1]))), e.constant(1))
    visits = e.emit("Add", f"{PAST}.{CLOCK}", e.emit("Concat", e.constant(-np.array(ages, np.int64)), run, axis=0))
    e.emit("Gather", visits, e.constant(-1), outputs=[f"{PRESENT}.{CLOCK}"])
    new = e.emit("Slice", visits, e.constant([len(ages)]), e.constant([-1]))
    counts = [sum(each.kept for each in nodes) for nodes in layout.tensors.values()]
    slots = []
    if ages:
        slots = _split(e, _slots(e, e.emit("Slice", visits, e.constant([0]), e.constant([len(ages)])), kept), counts)
    gathered: dict[str, str] = {}
    past: dict[str, str] = {}
    classes: dict[str, str] = {}
    for (tensor, nodes), indices in zip(layout.tensors.items(), slots, strict=True):
        e.own(f"{PAST}.{tensor}")
        gathered[tensor] = e.emit("Gather", f"{PAST}.{tensor}", indices, axis=0)
        for each, value in zip(nodes, _split(e, gathered[tensor], [each.kept for each in nodes]), strict=True):
            if each.classes:
                value = e.emit("Squeeze", value, e.constant([2]))
            past[each.node] = e.emit("Transpose", value, perm=[1, 0] if each.classes else [1, 2, 0])
    for name in layout.fixed:
        e.values[name] = f"{FIXED}.{name}"
    for node in _timed(e, layout):
        e.own(node.name)
        if node.name in layout.slots and layout.slots[node.name].classes:
            classes[node.name] = e.emit("Concat", past.pop(node.name), e.values[node.inputs[0]], axis=1)
            continue
        if lookups and isinstance(node.op, ops.Conv1d) and node.op.groups == 1 and node.inputs[0] in classes:
            e.values[node.name] = _looked_up(e, layout, node, node.op, classes[node.inputs[0]])
        else:
            for name in node.inputs:
                _as_numbers(e, layout, name, past, classes)
            e.values[node.name] = _several(e, layout, node, past)
        if node.name in past:
            past[node.name] = e.emit("Concat", past[node.name], e.values[node.name], axis=2)
    for tensor, nodes in layout.tensors.items():
        e.own(f"{PRESENT}.{tensor}")
        indices = together(e, [_last_slots(e, each, new) for each in nodes])
        _write(e, tensor, indices, gathered[tensor], together(e, [_last_new(e, each) for each in nodes]))
    _as_numbers(e, layout, e.graph.output, past, classes)
    return _outputs(e, layout)


def _looked_up(e: Emitter, layout: StateLayout, node: Node, op: ops.Conv1d, buffer: str) -> str:
    """A convolution of one-hots in T visits, of which `buffer` holds the classes, (B, kept + T)."""
    kept = layout.slots[node.inputs[0]].kept
    taps = [lower.span(e, buffer, [kept - age], kept, axis=1) for age in layout.ages(node, node.inputs[0])]
    return e.emit("Transpose", lower.looked_up(e, op, taps), perm=[0, 2, 1])


def _as_numbers(e: Emitter, layout: StateLayout, name: str, past: dict[str, str], classes: dict[str, str]) -> None:
    """Put the one-hots of a node beside the other values, of which the classes are there, unless they are."""
    if name in classes and name not in past:
        past[name] = lower.one_hot(e, classes[name], layout.slots[name].classes)
        kept = layout.slots[name].kept
        e.values[name] = lower.span(e, past[name], [kept], kept)


def _several(e: Emitter, layout: StateLayout, node: Node, buffers: dict[str, str]) -> str:
    """One node in T visits. `buffers` of its sources hold the values kept and, behind them, the new ones."""
    op, kinds = node.op, e.facts.kinds[node.name]
    if isinstance(op, ops.Input):
        return node.name
    sources = [buffers.get(name, e.values[name]) for name in node.inputs]
    kept = [layout.slots[name].kept if name in layout.slots else 0 for name in node.inputs]
    ages = [layout.ages(node, name) if name in layout.schedule.lead else None for name in node.inputs]
    where = [[most - age for age in each] if each else None for most, each in zip(kept, ages, strict=True)]
    if isinstance(op, ops.PointwiseOp):
        args = [
            source if place is None else lower.span(e, source, place, most)
            for source, place, most in zip(sources, where, kept, strict=True)
        ]
        return lower.pointwise(e, op, args, kinds, sequence=True)
    assert not isinstance(op, ops.ImageOp)  # of an image: refar_export.image_graphs
    return lower.windowed_block(e, op, sources, [place or [] for place in where], kept)


def _last_slots(e: Emitter, each: Slots, visits: str) -> str:
    """The slots that the last of these visits write."""
    last = e.emit("Slice", visits, e.constant([-each.count]), e.constant([LAST]))
    return e.emit("Add", e.emit("Mod", last, e.constant(each.count)), e.constant(each.base))


def _last_new(e: Emitter, each: Slots) -> str:
    """The new values that fit into the slots of a node, (≤ slots, B, C)."""
    if each.classes:
        x = e.values[e.facts.nodes[each.node].inputs[0]]
        last = e.emit("Slice", x, e.constant([-each.count]), e.constant([LAST]), e.constant([1]))
        return e.emit("Unsqueeze", e.emit("Transpose", last, perm=[1, 0]), e.constant([2]))
    last = e.emit("Slice", e.values[each.node], e.constant([-each.count]), e.constant([LAST]), e.constant([2]))
    return e.emit("Transpose", last, perm=[2, 0, 1])


def _timed(e: Emitter, layout: StateLayout) -> list[Node]:
    return [node for node in e.graph.nodes if node.name in layout.schedule.lead]


def _slots(e: Emitter, visits: str, owners: Sequence[Slots | None]) -> str:
    """The slot of each visit, as the node that it is of has it; where there is no node, any number."""
    counts = [each.count if each else 1 for each in owners]
    bases = [each.base if each else 0 for each in owners]
    return e.emit("Add", e.emit("Mod", visits, e.constant(counts)), e.constant(bases))


def _split(e: Emitter, value: str, sizes: Sequence[int]) -> list[str]:
    """Parts along axis 0 of these sizes."""
    if len(sizes) == 1:
        return [value]
    parts = [e.fresh() for _ in sizes]
    e.emit("Split", value, e.constant(sizes), outputs=parts, axis=0)
    return parts


def _equal_parts(e: Emitter, value: str, count: int) -> list[str]:
    """So many equal parts along axis 0."""
    if count < 2:
        return [value] * count
    parts = [e.fresh() for _ in range(count)]
    e.emit("Split", value, outputs=parts, axis=0, num_outputs=count)
    return parts


def _write(e: Emitter, tensor: str, slots: str, gathered: str, updates: str) -> None:
    """Write the updates into slots of a tensor, after all that is read of it has been read."""
    if not depends(e.nodes, updates, gathered):  # add 0 = min(batch size, 0), which is known after the read
        rows = e.emit("Shape", gathered, start=1, end=2)
        slots = e.emit("Add", slots, e.emit("Min", rows, e.constant([0])))
    indices = e.emit("Unsqueeze", slots, e.constant([1]))
    e.emit("ScatterND", f"{PAST}.{tensor}", indices, updates, outputs=[f"{PRESENT}.{tensor}"])


def _outputs(e: Emitter, layout: StateLayout) -> list[str]:
    e.own(OUTPUT)
    e.emit("Identity", e.values[e.graph.output], outputs=[OUTPUT])
    return [OUTPUT, *(f"{PRESENT}.{tensor}" for tensor in layout.tensors), f"{PRESENT}.{CLOCK}"]
