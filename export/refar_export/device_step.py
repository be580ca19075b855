"""One visit of sampler.onnx: what visit_graphs.step emits, in the fewest kernels on a device.

Of each tensor, what a batch of convolutions reads is gathered together, and all else once. New values are written last, by
ScatterElements: on CUDA, ScatterND copies each row of its updates in one thread. Slots that never change are constants, and slots
that are read and written alike are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence

from refar.analysis.slots import Slots, StateLayout
from refar.runtime.bundle import CLOCK, OUTPUT, PAST, PRESENT
from refar_export.device_rows import Ahead, DeviceRows, TapBatch, ahead, batches
from refar_export.emitter import Emitter
from refar_export.fixed_rows import FixedRows
from refar_export.in_place import depends
from refar_export.lower import rename
from refar_export.one_tanh import one_tanh
from refar_export.rows import Rows
from refar_export.visit_graphs import Read, compute_all, equal_parts, past_reads

_Gathers = list[tuple[str, Sequence[Read]]]
"""The tensors that are read, and what is read of each in one node."""


def step(e: Emitter, layout: StateLayout, *, rewrite: bool) -> None:
    """Emit one visit: values over time are (B, C). Without `rewrite` each node of the graph is emitted by itself."""
    groups, doubled = list[TapBatch](), frozenset[str]()
    if rewrite:
        doubled, e.params = one_tanh(e.graph, layout, e.params)
        groups = batches(e, layout)
    gathers = _gathers(e, layout, groups)
    reads = [[(layout.slots[name], age) for name, age in each] for _, each in gathers]
    slots = _slots(e, [*reads, *([(each, 0) for each in nodes] for nodes in layout.tensors.values())])
    gathered, old, products = list[str](), dict[Read, str](), dict[str, Ahead]()
    for n, (tensor, each) in enumerate(gathers):
        e.own(f"{PAST}.{tensor}/{n}")
        gathered.append(e.emit("Gather", f"{PAST}.{tensor}", slots[n], axis=0))
        if n < len(groups):
            products |= ahead(e, layout, groups[n], gathered[n])
        else:
            old |= zip(each, _parts(e, layout.tensors[tensor][0], gathered[n], len(each)), strict=True)
    fixed = FixedRows(e)
    if rewrite:
        rows: Rows = DeviceRows(e, layout, old, fixed=fixed, ahead=products, doubled=doubled)
    else:
        rows = Rows(e, layout, lambda source, age: old[source, age], fixed=fixed, joined=False, lookups=False)
    compute_all(e, layout, rows)
    for (tensor, nodes), where in zip(layout.tensors.items(), slots[len(gathers) :], strict=True):
        e.own(f"{PRESENT}.{tensor}")
        updates = rows.all_stored([each.node for each in nodes], nodes[0].channels)
        before = [name for (of, _), name in zip(gathers, gathered, strict=True) if of == tensor]
        if layout.sizes[tensor][0] == len(nodes):  # all slots of it are written, in their order
            _after(e, _after_all(e, updates, before[1:]), before[0], f"{PRESENT}.{tensor}")
        else:
            write(e, tensor, e.emit("Reshape", where, e.constant([-1, 1, 1])), before, updates)
    e.own(OUTPUT)
    rename(e.nodes, rows.whole(e.graph.output), OUTPUT)
    fixed.emit()


def write(e: Emitter, tensor: str, slots: str, gathered: Sequence[str], updates: str) -> None:
    """Write the updates (N, …) into slots of a tensor, after all that was gathered of it. `slots` (N, 1, …) may be one number."""
    updates = _after_all(e, updates, gathered)
    indices = e.emit("Expand", slots, e.emit("Shape", updates))
    e.emit("ScatterElements", f"{PAST}.{tensor}", indices, updates, outputs=[f"{PRESENT}.{tensor}"], axis=0)


def _after_all(e: Emitter, value: str, reads: Sequence[str]) -> str:
    """Return a value that is known after others are: itself where it depends on them, else a copy."""
    for read in reads:
        if not depends(e.nodes, value, read):
            value = _after(e, value, read)
    return value


def _after(e: Emitter, value: str, read: str, name: str = "") -> str:
    """Copy a value, under `name` if that is given, after another of the same dtype is known."""
    first = e.emit("Gather", e.emit("Reshape", read, e.constant([-1])), e.constant(0))
    return e.emit("Where", e.constant([False], bool), first, value, outputs=[name] if name else ())


def _gathers(e: Emitter, layout: StateLayout, groups: Sequence[TapBatch]) -> _Gathers:
    """List what each batch reads, and then what all others read of each tensor."""
    found: _Gathers = [(each.tensor, each.reads) for each in groups]
    in_groups = {name for each in groups for name in each.nodes}
    apart = [(tensor, past_reads(e, layout, nodes, in_groups)) for tensor, nodes in layout.tensors.items()]
    return found + [(tensor, reads) for tensor, reads in apart if reads]


def _parts(e: Emitter, slots: Slots, gathered: str, count: int) -> list[str]:
    """Take values apart that were gathered, (count, B, C): (B, C) each, or classes (B)."""
    flat = e.emit("Reshape", gathered, e.constant([-1] if slots.classes else [-1, slots.channels]))
    return equal_parts(e, flat, count)


def _slots(e: Emitter, wanted: Sequence[Sequence[tuple[Slots, int]]]) -> list[str]:
    """Emit, for each list of nodes' slots and ages, the slots (N) that were written so many visits ago; and the new clock."""
    e.own(f"{PAST}.{CLOCK}")
    places = [tuple((each.base, each.count, age % each.count) for each, age in visits) for visits in wanted]
    moving = [place for place in dict.fromkeys(places) if any(count > 1 for _, count, _ in place)]
    all_moving = [each for place in moving for each in place]
    visits = e.emit("Add", f"{PAST}.{CLOCK}", e.constant([*(-age for _, _, age in all_moving), 1]))
    e.emit("Gather", visits, e.constant(len(all_moving)), outputs=[f"{PRESENT}.{CLOCK}"])
    found = {place: e.constant([base for base, _, _ in place]) for place in places if place not in moving}
    if moving:
        turns = e.emit("Mod", visits, e.constant([*(count for _, count, _ in all_moving), 1]))
        slots, at = e.emit("Add", turns, e.constant([*(base for base, _, _ in all_moving), 0])), 0
        for place in moving:
            found[place] = e.emit("Gather", slots, e.constant(range(at, at + len(place))))
            at += len(place)
    return [found[place] for place in places]
