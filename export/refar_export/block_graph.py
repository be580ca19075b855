"""The graph of T visits, block, over slots and a clock. Values over time are rows, (T·B, C), visit by visit.

Of each tensor the slots that are read are gathered first, and all new values are written last, in one node each, as in
`visit_graphs`.
"""

from __future__ import annotations

from collections.abc import Sequence

from refar import ops
from refar.analysis.slots import Slots, StateLayout
from refar.runtime.bundle import CLOCK, OUTPUT, PAST, PRESENT
from refar_export.block_reads import BlockVisits, History, dense_convolutions, gather, long_convolution
from refar_export.emitter import Emitter
from refar_export.fixed_rows import FixedRows
from refar_export.rows import Rows, together
from refar_export.visit_graphs import named_outputs, split, timed, write_slots


def block(e: Emitter, layout: StateLayout, *, joined: bool = True, lookups: bool = True) -> list[str]:
    """T visits, as a step of T·B sequences. For `joined` and `lookups` see `Rows`. Returns the names of the outputs.

    A product over few rows costs little more than over one, where a Conv over 2 positions costs as much as over 16.
    """
    visits = _visits(e)
    past, gathered = gather(e, layout, visits) if layout.slots else ({}, {})
    fixed, dense = repeated(e, layout, visits.length), dense_convolutions(e, layout)
    rows = Rows(
        e,
        layout,
        lambda source, age: past[source].aged(e, age),
        fixed=fixed,
        joined=joined,
        lookups=lookups,
        taps="chained if read once" if joined else "beside",
        elsewhere=dense,
    )
    for node in timed(e, layout):
        e.own(node.name)
        if isinstance(node.op, ops.Input):
            e.values[node.name] = _input_rows(e, node.name)
        elif isinstance(node.op, ops.Conv1d) and node.name in dense:
            kept = past[node.inputs[0]].by_visit(e, visits.batch)
            e.values[node.name] = long_convolution(e, layout, node, node.op, kept)
        else:
            rows.compute(node)
        if node.name in past:
            past[node.name].new = rows.stored(node.name)
    if layout.slots:
        _write(e, layout, visits, past, gathered)
    e.own(OUTPUT)
    rows.whole(e.graph.output)
    over_time(e, e.graph.output, OUTPUT)
    fixed.emit()
    return named_outputs(layout)


def _visits(e: Emitter) -> BlockVisits:
    """Emit which visits these are, and the clock after them. One node alone reads the clock, so that all else comes after it."""
    e.own(f"{PAST}.{CLOCK}")
    batch, length = e.emit("Shape", e.facts.sequence, start=0, end=1), e.emit("Shape", e.facts.sequence, start=-1)
    clock = e.emit("Add", f"{PAST}.{CLOCK}", e.constant([0]))
    e.emit("Gather", e.emit("Add", clock, length), e.constant(0), outputs=[f"{PRESENT}.{CLOCK}"])
    each = e.emit("Range", e.constant(0), e.emit("Squeeze", length), e.constant(1))
    return BlockVisits(clock, length, batch, each)


def _write(e: Emitter, layout: StateLayout, visits: BlockVisits, past: dict[str, History], gathered: dict[str, str]) -> None:
    """Write the new values of each node into its slots; of more visits than it has slots those of the last."""
    e.own(f"{PRESENT}.{CLOCK}")
    tensors = list(layout.tensors.values())
    places, last = _slots_written(e, [each for nodes in tensors for each in nodes], visits)
    sizes = [len(nodes) for nodes in tensors]
    parts = zip(layout.tensors.items(), split(e, places, sizes), split(e, last, sizes), strict=True)
    for (tensor, nodes), slots, kept in parts:
        e.own(f"{PRESENT}.{tensor}")
        flat = e.emit("Reshape", kept, e.constant([-1]))
        shape = e.emit("Concat", e.constant([-1]), visits.batch, e.constant([nodes[0].channels]), axis=0)
        new = e.emit("Reshape", together(e, [past[each.node].new for each in nodes]), shape)
        write_slots(e, tensor, e.emit("Compress", slots, flat), gathered[tensor], e.emit("Compress", new, flat, axis=0))


def _slots_written(e: Emitter, nodes: Sequence[Slots], visits: BlockVisits) -> tuple[str, str]:
    """The slot of each node (a row) at each visit (a column), and whether no later one of these visits writes it."""
    counts = list(dict.fromkeys(each.count for each in nodes))  # nodes of as many slots turn alike
    column = e.constant([[count] for count in counts])
    turns = e.emit("Mod", e.emit("Add", visits.clock, visits.each), column)
    last = e.emit("GreaterOrEqual", visits.each, e.emit("Sub", visits.length, column))
    if len(counts) < len(nodes):
        of_node = e.constant([counts.index(each.count) for each in nodes])
        turns, last = e.emit("Gather", turns, of_node, axis=0), e.emit("Gather", last, of_node, axis=0)
    return e.emit("Add", turns, e.constant([[each.base] for each in nodes])), last


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


def repeated(e: Emitter, layout: StateLayout, length: str) -> FixedRows:
    """Begin what follows from global conditions, once for each visit of a block, whose length is an ONNX value (1)."""
    return FixedRows(e, e.emit("Concat", length, e.constant([1]), axis=0) if layout.fixed else "")
