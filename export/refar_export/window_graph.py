"""A graph of T visits whose past and new values are rows of linear memory: see refar.analysis.linear.

Rows are (T·B, C), visit by visit; inputs are (T, B, C), which say how many sequences there are.

A window of fewer visits ago than T ends with rows that the same call writes, in the memory that present.<node> is bound to. So
whatever reads past.<node>.<age> must depend on present.<node>; `in_place` holds it. Mostly it does: the products of the taps are
summed one after the other, and the first reads present.<node>. Any other reader gets a copy of the window, which depends on it.
"""

from __future__ import annotations

import onnx

from refar import ops
from refar.analysis.linear import windows
from refar.analysis.slots import StateLayout
from refar.graph.graph import Node
from refar.runtime.bundle import OUTPUT, PAST, PRESENT
from refar_export import in_place
from refar_export.block_graph import repeated
from refar_export.block_reads import is_long, long_convolution
from refar_export.emitter import Emitter
from refar_export.lower import rename
from refar_export.rows import Rows, Taps
from refar_export.visit_graphs import timed


def window(e: Emitter, layout: StateLayout, *, joined: bool = True, lookups: bool = True) -> list[str]:
    """T visits over windows. For `joined` and `lookups` see `Rows`. Returns the names of the outputs."""
    fixed = repeated(e, layout, e.emit("Shape", e.facts.sequence, start=0, end=1) if layout.fixed else "")
    past = _Past(e, layout)
    taps: Taps = "chained" if joined else "beside"
    long = {node.name for node in timed(e, layout) if isinstance(node.op, ops.Conv1d) and past.is_long(node, node.op)}
    rows = Rows(e, layout, past.aged, fixed=fixed, joined=joined, lookups=lookups, taps=taps, elsewhere=long)
    for node in timed(e, layout):
        e.own(node.name)
        begin = len(e.nodes)
        if isinstance(node.op, ops.Input):
            kind = e.types[node.name]
            e.values[node.name] = e.emit("Reshape", node.name, e.constant([-1] if kind.indexed else [-1, kind.channels]))
        elif isinstance(node.op, ops.Conv1d) and node.name in long:
            e.values[node.name] = long_convolution(e, layout, node, node.op, past.by_visit(node.inputs[0]))
        else:
            rows.compute(node)
        if node.name in layout.slots:
            value = rows.stored(node.name)
            past.keep(node, value, e.nodes[begin:])
    e.own(OUTPUT)
    e.emit("Identity", rows.whole(e.graph.output), outputs=[OUTPUT])
    fixed.emit()
    _order(e, past.names())
    return [OUTPUT, *(f"{PRESENT}.{name}" for name in layout.slots)]


class _Past:
    """The windows of a graph under construction, and the new rows beside them."""

    def __init__(self, e: Emitter, layout: StateLayout) -> None:
        self._e, self._layout, self._reads = e, layout, windows(e.facts, layout)
        self._by_visit: dict[str, str] = {}

    def names(self) -> dict[str, str]:
        """Each input that holds a window, and the output whose rows it may end with."""
        return {f"{PAST}.{each.port}": f"{PRESENT}.{each.node}" for each in self._reads.values()}

    def aged(self, source: str, age: int) -> str:
        """The rows of `age` visits before each of T visits: (T·B, C), or classes (T·B)."""
        found = self._reads[source, age]
        if not found.whole:
            return f"{PAST}.{found.port}"
        e, slots = self._e, self._layout.slots[source]
        of_age = e.emit("Slice", self.by_visit(source), e.constant([slots.kept - age]), e.constant([-age]), e.constant([0]))
        return e.emit("Reshape", of_age, e.constant([-1] if slots.classes else [-1, slots.channels]))

    def is_long(self, node: Node, op: ops.Conv1d) -> bool:
        """Whether a convolution reads so many rows that a Conv over time costs less than products. Classes are looked up."""
        source, ages = node.inputs[0], self._layout.ages(node, node.inputs[0])
        return is_long(self._layout, node, op) and self._reads[source, ages[0]].whole

    def keep(self, node: Node, value: str, made: list[onnx.NodeProto]) -> None:
        """Let the rows of a node be written to its memory, from where all that follows reads them. `made`: what computes it."""
        e, kept = self._e, f"{PRESENT}.{node.name}"
        if any(value in each.output for each in made):
            rename(made, value, kept)
        else:  # the value of another node, or an input
            e.emit("Identity", value, outputs=[kept])
        of = node.inputs[0] if self._layout.slots[node.name].classes else node.name
        e.values |= {name: kept for name in (of, *node.inputs) if name == of or e.values.get(name) == value}

    def by_visit(self, name: str) -> str:
        """Return the rows of a whole window by visit, (kept + T, B, C), after the new ones among them are written."""
        if name not in self._by_visit:
            e, slots = self._e, self._layout.slots[name]
            batch = e.emit("Shape", e.facts.sequence, start=1, end=2)
            shape = e.emit("Concat", e.constant([-1]), batch, e.constant([slots.channels]), axis=0)
            rows = _after(e, f"{PAST}.{self._reads[name, slots.kept].port}", f"{PRESENT}.{name}")
            self._by_visit[name] = e.emit("Reshape", rows, shape)
        return self._by_visit[name]


def _after(e: Emitter, window: str, kept: str) -> str:
    """Copy a window after the new rows are written, by joining it to an empty piece of them."""
    return e.emit("Concat", window, e.emit("Slice", kept, e.constant([0]), e.constant([0])), axis=0)


def _order(e: Emitter, ends: dict[str, str]) -> None:
    """Let every reader of a window come after the rows that it may end with, {window: rows}."""
    e.own(f"{PAST}.order")
    early = {(id(reader), window) for reader, window in in_place.early_readers(e.nodes, ends)}
    nodes, e.nodes = e.nodes, []
    copies: dict[str, str] = {}
    for node in nodes:
        for window in [name for name in node.input if (id(node), name) in early]:
            if window not in copies:
                copies[window] = _after(e, window, ends[window])
            rename([node], window, copies[window])
        e.nodes.append(node)
