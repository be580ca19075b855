"""The graph of one visit, step, over slots and a clock.

Of each tensor all slots that are read are gathered first, and all new values are written last, in one node each. Every index, and
the new clock, comes from one sum with the old clock. So what is written depends on every read of what it replaces, and present.*
may lie in the memory of past.*: `in_place` holds it. The graph of T visits, block_graph, does the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from refar import ops
from refar.analysis.slots import Slots, StateLayout
from refar.graph.graph import Node
from refar.runtime.bundle import CLOCK, OUTPUT, PAST, PRESENT
from refar_export.emitter import Emitter
from refar_export.fixed_rows import FixedRows
from refar_export.in_place import depends
from refar_export.rows import Rows

Read = tuple[str, int]
"""A node, and how many visits ago its value was computed."""


def step(e: Emitter, layout: StateLayout, *, joined: bool = True, lookups: bool = True) -> list[str]:
    """One visit: values over time are (B, C). For `joined` and `lookups` see `Rows`. Returns the names of the outputs."""
    reads = {tensor: past_reads(e, layout, nodes) for tensor, nodes in layout.tensors.items()}
    parts = [np.array([-age for _, age in reads[tensor]] + [0] * len(nodes)) for tensor, nodes in layout.tensors.items()]
    owners: list[Slots] = []  # whose slot each index is
    for tensor, nodes in layout.tensors.items():
        owners += [*(layout.slots[name] for name, _ in reads[tensor]), *nodes]
    e.own(f"{PAST}.{CLOCK}")
    visits = e.emit("Add", f"{PAST}.{CLOCK}", e.constant(np.concatenate([*parts, [1]])))
    places = slots_at(e, visits, [*(each.count for each in owners), 1], [*(each.base for each in owners), 0])
    slots = split(e, places, [*map(len, parts), 1])[:-1]
    e.emit("Gather", visits, e.constant(sum(map(len, parts))), outputs=[f"{PRESENT}.{CLOCK}"])
    old: dict[Read, str] = {}
    written: dict[str, tuple[str, str]] = {}
    for (tensor, nodes), indices in zip(layout.tensors.items(), slots, strict=True):
        e.own(f"{PAST}.{tensor}")
        count = len(reads[tensor])
        read, new = split(e, indices, [count, len(nodes)])
        gathered = e.emit("Gather", f"{PAST}.{tensor}", read, axis=0)
        written[tensor] = new, gathered
        flat = [-1] if nodes[0].classes else [-1, nodes[0].channels]
        joined_rows = e.emit("Reshape", gathered, e.constant(flat)) if count else ""
        old |= dict(zip(reads[tensor], equal_parts(e, joined_rows, count), strict=True))
    fixed = FixedRows(e)
    rows = Rows(e, layout, lambda source, age: old[source, age], fixed=fixed, joined=joined, lookups=lookups)
    compute_all(e, layout, rows)
    for tensor, nodes in layout.tensors.items():
        e.own(f"{PRESENT}.{tensor}")
        write_slots(e, tensor, *written[tensor], rows.all_stored([each.node for each in nodes], nodes[0].channels))
    e.own(OUTPUT)
    e.emit("Identity", rows.whole(e.graph.output), outputs=[OUTPUT])
    fixed.emit()
    return named_outputs(layout)


def compute_all(e: Emitter, layout: StateLayout, rows: Rows) -> None:
    """Emit all nodes of one visit."""
    for node in timed(e, layout):
        e.own(node.name)
        if isinstance(node.op, ops.Input):
            e.values[node.name] = node.name
        else:
            rows.compute(node)


def past_reads(e: Emitter, layout: StateLayout, nodes: Sequence[Slots], without: Collection[str] = ()) -> list[Read]:
    """List what one visit reads of a tensor: a value for each age that some tap looks at, by node, oldest first.

    What only the nodes `without` read is left out.
    """
    names = {each.node for each in nodes}
    found = {
        (source, age)
        for node in timed(e, layout)
        if node.name not in without
        for source in node.inputs
        if source in names
        for age in layout.ages(node, source)
        if age > 0
    }
    order = [each.node for each in nodes]
    return sorted(found, key=lambda read: (order.index(read[0]), -read[1]))


def timed(e: Emitter, layout: StateLayout) -> list[Node]:
    """List the nodes that are computed at every visit."""
    return [node for node in e.graph.nodes if node.name in layout.schedule.lead]


def slots_at(e: Emitter, visits: str, counts: Sequence[Any], bases: Sequence[Any]) -> str:
    """Emit the slots of visits, of nodes that have so many from so many on; the shapes broadcast."""
    return e.emit("Add", e.emit("Mod", visits, e.constant(counts)), e.constant(bases))


def split(e: Emitter, value: str, sizes: Sequence[int], axis: int = 0) -> list[str]:
    """Parts along an axis of these sizes."""
    if len(sizes) == 1:
        return [value]
    parts = [e.fresh() for _ in sizes]
    e.emit("Split", value, e.constant(sizes), outputs=parts, axis=axis)
    return parts


def equal_parts(e: Emitter, value: str, count: int) -> list[str]:
    """So many equal parts along axis 0."""
    if count < 2:
        return [value] * count
    parts = [e.fresh() for _ in range(count)]
    e.emit("Split", value, outputs=parts, axis=0, num_outputs=count)
    return parts


def write_slots(e: Emitter, tensor: str, slots: str, gathered: str, updates: str) -> None:
    """Write the updates into slots of a tensor, after all that is read of it has been read."""
    if not depends(e.nodes, updates, gathered):  # add 0 = min(batch size, 0), which is known after the read
        rows = e.emit("Shape", gathered, start=1, end=2)
        slots = e.emit("Add", slots, e.emit("Min", rows, e.constant([0])))
    indices = e.emit("Unsqueeze", slots, e.constant([1]))
    e.emit("ScatterND", f"{PAST}.{tensor}", indices, updates, outputs=[f"{PRESENT}.{tensor}"])


def named_outputs(layout: StateLayout) -> list[str]:
    """List the outputs of a graph over slots."""
    return [OUTPUT, *(f"{PRESENT}.{tensor}" for tensor in layout.tensors), f"{PRESENT}.{CLOCK}"]
