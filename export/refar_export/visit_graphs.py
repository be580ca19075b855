"""Graphs that go on from a state: one visit (step) and T visits (block), over slots and a clock.

Of each tensor all slots that are read are gathered first, and all new values are written last, in one node each. Every index, and
the new clock, comes from one sum with the old clock. So what is written depends on every read of what it replaces, and present.*
may lie in the memory of past.*: `in_place` holds it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from refar import ops
from refar.analysis.slots import Slots, StateLayout
from refar.graph.graph import Node
from refar.runtime.bundle import CLOCK, OUTPUT, PAST, PRESENT
from refar_export import lower
from refar_export.fixed_rows import FixedRows
from refar_export.in_place import depends
from refar_export.lower import LAST, Emitter
from refar_export.rows import Rows, together

Read = tuple[str, int]
"""A node, and how many visits ago its value was computed."""

SIDE_BY_SIDE = 4
"""Taps of a convolution that a block puts side by side. A longer one is a Conv: so many copies of its input cost more."""


def step(e: Emitter, layout: StateLayout, *, joined: bool = True, lookups: bool = True) -> list[str]:
    """One visit: values over time are (B, C). For `joined` and `lookups` see `Rows`. Returns the names of the outputs."""
    reads = {tensor: past_reads(e, layout, nodes) for tensor, nodes in layout.tensors.items()}
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
        read, new = _split(e, indices, [count, len(nodes)])
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
        _write(e, tensor, *written[tensor], rows.all_stored([each.node for each in nodes], nodes[0].channels))
    e.own(OUTPUT)
    e.emit("Identity", rows.whole(e.graph.output), outputs=[OUTPUT])
    fixed.emit()
    return _named_outputs(layout)


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


def block(e: Emitter, layout: StateLayout, *, lookups: bool = True) -> list[str]:
    """T visits. Values over time are rows, (T·B, C), visit by visit, as in a step of T·B sequences. Returns the outputs' names.

    A product over few rows costs little more than over one, where a Conv over 2 positions costs as much as over 16.
    """
    kept = [each for nodes in layout.tensors.values() for each in nodes for _ in range(each.kept)]
    ages = [age for nodes in layout.tensors.values() for each in nodes for age in range(each.kept, 0, -1)]
    e.own(f"{PAST}.{CLOCK}")
    batch, length = e.emit("Shape", e.facts.sequence, start=0, end=1), e.emit("Shape", e.facts.sequence, start=-1)
    run = e.emit("Range", e.constant(0), e.emit("Squeeze", e.emit("Add", length, e.constant([1]))), e.constant(1))
    visits = e.emit("Add", f"{PAST}.{CLOCK}", e.emit("Concat", e.constant(-np.array(ages, np.int64)), run, axis=0))
    e.emit("Gather", visits, e.constant(-1), outputs=[f"{PRESENT}.{CLOCK}"])
    new = e.emit("Slice", visits, e.constant([len(ages)]), e.constant([-1]))
    counts = [sum(each.kept for each in nodes) for nodes in layout.tensors.values()]
    slots = []
    if ages:
        slots = _split(e, _slots(e, e.emit("Slice", visits, e.constant([0]), e.constant([len(ages)])), kept), counts)
    buffers: dict[str, History] = {}
    gathered: dict[str, str] = {}
    for (tensor, nodes), indices in zip(layout.tensors.items(), slots, strict=True):
        e.own(f"{PAST}.{tensor}")
        gathered[tensor] = e.emit("Gather", f"{PAST}.{tensor}", indices, axis=0)
        shape = e.emit("Concat", e.constant([-1]), batch, e.constant([nodes[0].channels]), axis=0)
        for each, value in zip(nodes, _split(e, gathered[tensor], [each.kept for each in nodes]), strict=True):
            buffers[each.node] = History(each, value, shape)
    fixed = repeated(e, layout, length)
    rows = Rows(e, layout, lambda source, age: buffers[source].aged(e, age), fixed=fixed, joined=False, lookups=lookups)
    for node in timed(e, layout):
        e.own(node.name)
        if isinstance(node.op, ops.Input):
            e.values[node.name] = _input_rows(e, node.name)
        elif isinstance(node.op, ops.Conv1d) and _is_long(layout, node, node.op):
            e.values[node.name] = long_convolution(e, layout, node, node.op, buffers[node.inputs[0]])
        else:
            rows.compute(node)
        if node.name in buffers:
            buffers[node.name].add(e, rows.stored(node.name))
    e.own(f"{PRESENT}.{CLOCK}")
    written = _slots_of_all(e, layout, new) if layout.slots else ""
    for tensor, nodes in layout.tensors.items():
        e.own(f"{PRESENT}.{tensor}")
        places = [_last_slots(e, each, written, list(layout.slots).index(each.node)) for each in nodes]
        indices = e.emit("Reshape", places[0] if len(places) == 1 else e.emit("Concat", *places, axis=1), e.constant([-1]))
        _write(e, tensor, indices, gathered[tensor], together(e, [_last_new(e, each, buffers[each.node].new) for each in nodes]))
    e.own(OUTPUT)
    rows.whole(e.graph.output)
    over_time(e, e.graph.output, OUTPUT)
    fixed.emit()
    return _named_outputs(layout)


class History:
    """Hold the slots of a node that a block reads: those of earlier visits and, once they are added, `new` ones; `whole` is both.

    All are (visits, B, C); `shape` is [-1, B, C].
    """

    def __init__(self, slots: Slots, kept: str, shape: str) -> None:
        self.slots, self.whole, self._shape, self.new = slots, kept, shape, ""

    def add(self, e: Emitter, rows: str) -> None:
        """Put new rows behind those kept."""
        self.new = e.emit("Reshape", rows, self._shape)
        self.whole = e.emit("Concat", self.whole, self.new, axis=0)

    def aged(self, e: Emitter, age: int) -> str:
        """The rows of `age` visits before each of T visits: (T·B, C), or classes (T·B)."""
        first = self.slots.kept - age
        visits = e.emit("Slice", self.whole, e.constant([first]), e.constant([-age]), e.constant([0]))
        return e.emit("Reshape", visits, e.constant([-1] if self.slots.classes else [-1, self.slots.channels]))


def _input_rows(e: Emitter, name: str) -> str:
    """Make an input (B, T) or (B, C, T) into rows, (T·B) or (T·B, C)."""
    kind = e.types[name]
    if kind.indexed:
        return e.emit("Reshape", e.emit("Transpose", name, perm=[1, 0]), e.constant([-1]))
    return e.emit("Reshape", e.emit("Transpose", name, perm=[2, 0, 1]), e.constant([-1, kind.channels]))


def over_time(e: Emitter, name: str, output: str) -> None:
    """Emit the rows of a node as `output`, (B, C, T), or (B, T) of class indices."""
    kind, batch = e.types[name], e.emit("Shape", e.facts.sequence, start=0, end=1)
    channels = [] if kind.indexed else [e.constant([kind.channels])]
    shape = e.emit("Concat", e.constant([-1]), batch, *channels, axis=0)
    by_visit = e.emit("Reshape", e.values[name], shape)
    e.emit("Transpose", by_visit, outputs=[output], perm=[1, 0] if kind.indexed else [1, 2, 0])


def _is_long(layout: StateLayout, node: Node, op: ops.Conv1d) -> bool:
    """Whether the taps of a convolution side by side would be many times its input, which are numbers."""
    return op.kernel > SIDE_BY_SIDE and not layout.slots[node.inputs[0]].classes


def long_convolution(e: Emitter, layout: StateLayout, node: Node, op: ops.Conv1d, buffer: History) -> str:
    """A convolution as a Conv over time, as rows."""
    kept, ages = buffer.slots.kept, layout.ages(node, node.inputs[0])
    over = e.emit("Transpose", buffer.whole, perm=[1, 2, 0])
    y = lower.conv1d_block(e, op, over, [kept - age for age in ages], kept)
    return e.emit("Reshape", e.emit("Transpose", y, perm=[2, 0, 1]), e.constant([-1, op.channels]))


def repeated(e: Emitter, layout: StateLayout, length: str) -> FixedRows:
    """Begin what follows from global conditions, once for each visit of a block, whose length is an ONNX value (1)."""
    return FixedRows(e, e.emit("Concat", length, e.constant([1]), axis=0) if layout.fixed else "")


def _slots_of_all(e: Emitter, layout: StateLayout, visits: str) -> str:
    """The slot of each node (a row) at each visit (a column), (nodes, T)."""
    owners = layout.slots.values()
    turns = e.emit("Mod", visits, e.constant([[each.count] for each in owners]))
    return e.emit("Add", turns, e.constant([[each.base] for each in owners]))


def _last_slots(e: Emitter, each: Slots, slots: str, row: int) -> str:
    """The slots that the last of these visits write, (1, ≤ slots)."""
    return e.emit("Slice", slots, e.constant([row, -each.count]), e.constant([row + 1, LAST]), e.constant([0, 1]))


def _last_new(e: Emitter, each: Slots, new: str) -> str:
    """The new values that fit into the slots of a node, (≤ slots, B, C)."""
    return e.emit("Slice", new, e.constant([-each.count]), e.constant([LAST]), e.constant([0]))


def timed(e: Emitter, layout: StateLayout) -> list[Node]:
    """List the nodes that are computed at every visit."""
    return [node for node in e.graph.nodes if node.name in layout.schedule.lead]


def _slots(e: Emitter, visits: str, owners: Sequence[Slots | None]) -> str:
    """The slot of each visit, as the node that it is of has it; where there is no node, any number."""
    counts = [each.count if each else 1 for each in owners]
    bases = [each.base if each else 0 for each in owners]
    return e.emit("Add", e.emit("Mod", visits, e.constant(counts)), e.constant(bases))


def _split(e: Emitter, value: str, sizes: Sequence[int], axis: int = 0) -> list[str]:
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


def _write(e: Emitter, tensor: str, slots: str, gathered: str, updates: str) -> None:
    """Write the updates into slots of a tensor, after all that is read of it has been read."""
    if not depends(e.nodes, updates, gathered):  # add 0 = min(batch size, 0), which is known after the read
        rows = e.emit("Shape", gathered, start=1, end=2)
        slots = e.emit("Add", slots, e.emit("Min", rows, e.constant([0])))
    indices = e.emit("Unsqueeze", slots, e.constant([1]))
    e.emit("ScatterND", f"{PAST}.{tensor}", indices, updates, outputs=[f"{PRESENT}.{tensor}"])


def _named_outputs(layout: StateLayout) -> list[str]:
    return [OUTPUT, *(f"{PRESENT}.{tensor}" for tensor in layout.tensors), f"{PRESENT}.{CLOCK}"]
