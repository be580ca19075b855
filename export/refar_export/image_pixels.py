"""The pixel graphs: one visit, or n visits in a row. Values are rows (B, C), or (n·B, C), the visits one after the other.

`present.pixels` may be bound to the buffer of `past.pixels`: visits s … s + n - 1 write slots P + 1 + s and later, and read
earlier ones only. So reads and writes never meet, in whatever order they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

import numpy as np
import onnx
from numpy.typing import NDArray

from refar import ops
from refar.analysis.image_slots import ImageSlots
from refar.analysis.windows import Step, kernel_steps, steps_of_node
from refar.graph.graph import Node
from refar.runtime.bundle import OUTPUT
from refar_export import lower
from refar_export.image_columns import Columns, cut, joined
from refar_export.lower import Emitter

LineKey = tuple[str, bool, int]
"""Node, whether the line is what rows above add, and the lead that it is shifted by."""


class PixelGraph:
    """Build a pixel graph: `values` of the emitter are the pixel nodes at these visits, (R, C)."""

    def __init__(self, e: Emitter, slots: ImageSlots, columns: Columns) -> None:
        self.e, self.slots, self.columns, self.plan = e, slots, columns, e.facts.raster
        self.lines: dict[LineKey, str] = {}
        self.constants: dict[str, str] = {}

    def emit(self) -> None:
        """Emit everything, up to the outputs."""
        e, slots = self.e, self.slots
        e.own("past.line")
        if slots.lines:
            pieces = cut(e, self.columns.line(), [len(line.channels) for line in slots.lines], axis=1)
            self.lines = {(line.node, line.above, line.lead): piece for line, piece in zip(slots.lines, pieces, strict=True)}
        self.constants = {name: self.columns.constant(f"fixed.{name}") for name in slots.pixel_constants}
        for name in slots.pixel_nodes:
            e.own(name)
            e.values[name] = self._masked(name, self._node(e.facts.nodes[name]))
        e.own(OUTPUT)
        self._output(e.facts.graph.output)
        e.own("present.pixels")
        if slots.pixels:
            self.columns.write(joined(e, [e.values[name] for name in slots.pixels], axis=1))

    def _node(self, node: Node) -> str:
        op, name = node.op, node.name
        if isinstance(op, ops.PointwiseOp):
            return self._pointwise(node, op)
        match op:
            case ops.Input():
                return self.columns.sequence()
            case ops.Conv2d():
                return self._convolved(name, op, node.inputs[0])
            case ops.Shift2d():
                return self._at(node.inputs[0], op.right, self.plan.lead[name])
            case ops.Conv1d() | ops.Shift() | ops.Pool1d():
                raise TypeError(f"node {name!r}: {op} is over time; of an image only constants have one")
            case _:
                assert_never(op)

    def _pointwise(self, node: Node, op: ops.PointwiseOp) -> str:
        """Emit a pointwise node. Colours are looked up as positions over time are; channel k·C + c is number k of colour c."""
        e, kinds = self.e, self.e.facts.kinds[node.name]
        args = [self._at(source, 0, self.plan.lead[node.name]) for source in node.inputs]
        if not kinds[0].indexed:
            return lower.pointwise(e, op, args, kinds, sequence=False)
        found = lower.pointwise(e, op, args, [replace(kinds[0], image=False)], sequence=True)
        return e.emit("Reshape", found, e.constant([-1, e.types[node.name].channels]))

    def _convolved(self, name: str, op: ops.Conv2d, source: str) -> str:
        """Emit one product over the taps in the pixel's own row, side by side, plus what rows above add, or the bias."""
        e, lead = self.e, self.plan.lead[name]
        taps = beside(op, e.params[f"{name}.weight"], e.types[source].channels)
        seen = [self._at(source, left, lead) for (_, left), _ in taps]
        weight = e.constant(np.concatenate([weight_io for _, weight_io in taps]), np.float32)
        added = [self.lines[name, True, lead]] if (name, True, lead) in self.lines else self._bias(name, op)
        return e.emit("Gemm", joined(e, seen, axis=1), weight, *added)

    def _bias(self, name: str, op: ops.Conv2d) -> list[str]:
        return [self.e.weight(f"{name}.bias")] if op.bias else []

    def _at(self, name: str, left: int, lead: int) -> str:
        """Return the value `left` before the column that nodes of this lead are at; a line or a constant as it is."""
        if (name, False, lead) in self.lines:
            return self.lines[name, False, lead]
        if name in self.constants:
            return self.constants[name]
        age = left + self.plan.lead[name] - lead
        return self.columns.earlier(name, age) if age else self.e.values[name]

    def _masked(self, name: str, value: str) -> str:
        """Set the value to zero outside the image, where some tap reads it."""
        if name in self.slots.masked_left:
            value = self.e.emit("Where", self.columns.is_before(), self.e.constant(0, np.float32), value)
        if name in self.slots.masked_right:
            value = self.e.emit("Where", self.columns.is_last(), self.e.constant(0, np.float32), value)
        return value

    def _output(self, name: str) -> None:
        """Emit the output. A line is real, even one of class indices."""
        value = self.e.values[name] if name in self.e.values else self.lines[name, False, 1]
        if self.e.types[name].indexed and name not in self.e.values:
            value = self.e.emit("Cast", value, to=onnx.TensorProto.INT64)
        self.columns.result(value, self.e.types[name].channels)


def beside(op: ops.Conv2d, weight_oihw: NDArray[np.float32], fan_in: int) -> list[tuple[Step, NDArray[np.float32]]]:
    """List the steps in the pixel's own row, furthest to the left first, each with its weight_io of all groups, masked.

    There is one at least, or the node would not be a pixel node; where a mask hides a whole tap, its weight is 0.
    """
    masked = np.where(lower.mask_oihw(op, weight_oihw.shape), weight_oihw, np.float32(0))
    steps = steps_of_node(op)
    places = [(step, masked[:, :, u, v]) for u, row in enumerate(kernel_steps(op)) for v, step in enumerate(row)]
    return [(step, _dense(weight_oi, op.groups, fan_in)) for step, weight_oi in places if step in steps and step[0] == 0]


def _dense(weight_oi: NDArray[np.float32], groups: int, fan_in: int) -> NDArray[np.float32]:
    """Put the weights of all groups into one matrix, (inputs, outputs), 0 where an output does not see an input."""
    dense = np.zeros((fan_in, len(weight_oi)), np.float32)
    for inputs, outputs in zip(_parts(fan_in, groups), _parts(len(weight_oi), groups), strict=True):
        dense[inputs, outputs] = weight_oi[outputs].T
    return dense


def _parts(channels: int, groups: int) -> Sequence[slice]:
    each = channels // groups
    return [slice(each * group, each * (group + 1)) for group in range(groups)]
