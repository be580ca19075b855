"""The row graph: before a row begins, what rows above and constants add to it. Values are one row of an image, (B, C, 1, W).

`present.rows.*` may be bound to the buffer of `past.rows.*`: a ring has one entry more than the rows that are read, and the one
that is written holds the row that nobody reads any more. So reads and writes never meet, in whatever order they run.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np
import onnx

from refar import ops
from refar.analysis.image_slots import ImageSlots, LinePart
from refar.analysis.windows import kernel_steps, steps_of_node
from refar.graph.graph import Node
from refar_export import lower
from refar_export.emitter import Emitter
from refar_export.image_columns import joined


class RowGraph:
    """Build the row graph: `values` of the emitter are each node's newest row that is known before this row begins."""

    def __init__(self, e: Emitter, slots: ImageSlots) -> None:
        self.e, self.slots, self.plan = e, slots, e.facts.raster
        self.nodes = e.facts.nodes
        self.there = ""
        self.read: dict[tuple[str, int], str] = {}  # rows of rings and planes, by their place relative to this row

    def emit(self) -> None:
        """Emit everything, up to the outputs."""
        e = self.e
        for name in self.slots.pixels:
            if name in self.slots.reads_rows:
                e.own(name)
                e.values[name] = self._left_behind(name)
        for name in self.slots.row_nodes:
            e.own(name)
            e.values[name] = self._node(self.nodes[name])
        parts = {line: self._part(line) for line in self.slots.lines}
        e.own("present.line")
        self._line(parts)
        for name in self.slots.rings:
            self._ring(name)

    def _left_behind(self, name: str) -> str:
        """Cut out the row above that visits left behind; one of lead 1 lies one slot further to the left."""
        e, lead, channels = self.e, self.plan.lead[name], self.slots.pixels[name]
        start = e.constant([self.slots.past + 1 - lead, channels.start])
        stop = e.constant([-1 if lead else lower.LAST, channels.stop])
        row_wbc = e.emit("Slice", "past.pixels", start, stop, e.constant([0, 2]))
        return e.emit("Unsqueeze", e.emit("Transpose", row_wbc, perm=[1, 2, 0]), e.constant([2]))

    def _node(self, node: Node) -> str:
        """Emit one node over a row: this one, or the one above if it is complete only now."""
        starts = self.plan.clock[node.name] == "row-start"
        value = self._computed(node, ahead=int(starts))
        if starts or (_keeps_zero(node.op) and not any(self.plan.clock.get(name) in (None, "constant") for name in node.inputs)):
            return value
        e = self.e  # above the first row there is none: it is 0, not what zeros give
        return e.emit("Mul", value, self._is_there())

    def _is_there(self) -> str:
        """Return 1 where there is a row above this one, else 0: a factor costs less than a choice."""
        if not self.there:
            self.there = self.e.emit("Cast", self.e.emit("Min", "row", self.e.constant(1)), to=onnx.TensorProto.FLOAT)
        return self.there

    def _computed(self, node: Node, ahead: int) -> str:
        op = node.op
        if isinstance(op, ops.PointwiseOp):
            args = [self._at(name, 0, ahead) for name in node.inputs]
            return lower.pointwise(self.e, op, args, self.e.facts.kinds[node.name], sequence=True)
        match op:
            case ops.Conv2d():
                return self._convolved(node.name, op, node.inputs[0], ahead, first=0)
            case ops.Shift2d():
                row = self._at(node.inputs[0], op.down, ahead)
                return lower.shift2d(self.e, ops.Shift2d(right=op.right), row) if op.right else row
            case ops.Input() | ops.Conv1d() | ops.Shift() | ops.Pool1d():
                raise TypeError(
                    f"node {node.name!r}: {op} has no rows: an input is a pixel or a constant, the others are over time"
                )
            case _:
                assert_never(op)

    def _convolved(self, name: str, op: ops.Conv2d, source: str, ahead: int, first: int) -> str:
        """Emit a convolution, by the rows of its kernel that look `first` or more rows up: they are stacked, (B, C, rows, W)."""
        e = self.e
        ups = [row[0][0] for row in kernel_steps(op)]
        seen = {up for up, _ in steps_of_node(op) if up >= first}
        chosen = [u for u, up in enumerate(ups) if up in seen]
        stacked = joined(e, [self._at(source, ups[u], ahead) for u in chosen], axis=2)
        weight = e.params[f"{name}.weight"]
        masked = np.where(lower.mask_oihw(op, weight.shape), weight, np.float32(0))[:, :, chosen]
        weights = [e.constant(masked, np.float32), *([e.weight(f"{name}.bias")] if op.bias else [])]
        columns, (_, anchor), gap = op.kernel[1], op.anchor or (op.kernel[0] // 2, op.kernel[1] // 2), op.dilation[1]
        return e.emit(
            "Conv", stacked, *weights, dilations=[1, gap], group=op.groups, kernel_shape=[len(chosen), columns],
            pads=[0, anchor * gap, 0, (columns - 1 - anchor) * gap], strides=[1, 1],
        )  # fmt: skip

    def _at(self, name: str, up: int, ahead: int) -> str:
        """Return a node's row, `up` rows above row - 1 + `ahead`; a constant (B, C) as it is."""
        place = ahead - 1 - up
        newest = 0 if self.plan.clock.get(name) == "row-start" else -1
        if name in self.e.values and place == newest:
            return self.e.values[name]
        if name in self.slots.row_constants:
            return f"fixed.{name}"
        if (name, place) not in self.read:
            self.read[name, place] = self._gathered(name, place)
        return self.read[name, place]

    def _gathered(self, name: str, place: int) -> str:
        """Gather row `row + place` of a plane or of a ring."""
        e = self.e
        if name in self.slots.planes:
            found = e.emit("Gather", f"fixed.{name}", self._row(place), axis=2)
        else:
            found = e.emit("Gather", f"past.rows.{name}", self._entry(name, place), axis=0)
        return e.emit("Unsqueeze", found, e.constant([2]))

    def _row(self, place: int) -> str:
        return self.e.emit("Add", "row", self.e.constant(place)) if place else "row"

    def _entry(self, name: str, place: int) -> str:
        return self.e.emit("Mod", self._row(place), self.e.constant(self.slots.rings[name]))

    def _part(self, line: LinePart) -> str:
        """Return the value of a line in this row."""
        self.e.own(f"past.line.{line.node}")
        if not line.above:
            return self._at(line.node, 0, ahead=1)
        node = self.nodes[line.node]
        assert isinstance(node.op, ops.Conv2d)
        return self._convolved(node.name, node.op, node.inputs[0], ahead=1, first=1)

    def _line(self, parts: dict[LinePart, str]) -> None:
        """Emit `line`. Entry s + 1 holds column s + lead: one of zeros is on the left for lead 0, on the right for lead 1."""
        e, halves, leads = self.e, list[str](), sorted({line.lead for line in parts})
        for lead in leads:
            row_bcw = e.emit("Squeeze", joined(e, [parts[line] for line in parts if line.lead == lead], axis=1), e.constant([2]))
            row_wbc = e.emit("Transpose", row_bcw, perm=[2, 0, 1])
            pads = e.constant([1 - lead, 0, 0, lead, 0, 0])  # along the first axis, where it is one copy
            halves.append(e.emit("Pad", row_wbc, pads, outputs=["line"] if len(leads) == 1 else ()))
        if len(leads) > 1:
            e.emit("Concat", *halves, outputs=["line"], axis=2)

    def _ring(self, name: str) -> None:
        """Put the node's newest row in the place of the spare one."""
        e, port = self.e, f"present.rows.{name}"
        e.own(port)
        newest = 0 if self.plan.clock[name] == "row-start" else -1
        there = e.emit("Add", "row", e.constant([newest]))  # (1,): an index, of which the update is (B, C, W)
        entry = e.emit("Mod", there, e.constant(self.slots.rings[name]))
        row_bcw = e.emit("Squeeze", e.values[name], e.constant([2]))
        e.emit("ScatterND", f"past.rows.{name}", entry, row_bcw, outputs=[port])


def _keeps_zero(op: ops.AnyOp) -> bool:
    """Whether an operator is known to give 0 where all its arguments are 0: above the first row they are."""
    if isinstance(op, ops.Activation):
        return op.kind in ("relu", "tanh")
    return isinstance(op, ops.Gate | ops.Add | ops.Multiply | ops.Concat | ops.Shift2d)
