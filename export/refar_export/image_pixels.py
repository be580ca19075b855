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
from refar_export.emitter import Emitter
from refar_export.image_columns import Columns, cut, joined
from refar_export.image_sums import LineKey, Terms, added, emitted, gated, halved_lines, set_aside


class PixelGraph:
    """Build a pixel graph: `values` of the emitter are the pixel nodes at these visits, (R, C).

    With `joined_sums` sums of products are made as `image_sums` says, otherwise each node has a value of its own.
    """

    def __init__(self, e: Emitter, slots: ImageSlots, columns: Columns, *, joined_sums: bool) -> None:
        self.e, self.slots, self.columns, self.plan = e, slots, columns, e.facts.raster
        self.lines: dict[LineKey, str] = {}
        self.constants: dict[str, str] = {}
        self.aside = set_aside(e, slots) if joined_sums else frozenset[str]()
        self.terms: dict[str, Terms] = {}  # of the nodes set aside
        self.halves: dict[str, tuple[str, str]] = {}  # of lines that are cut in two

    def emit(self) -> None:
        """Emit everything, up to the outputs."""
        e, slots = self.e, self.slots
        e.own("past.line")
        if slots.lines:
            self._cut_line()
        self.constants = {name: self.columns.constant(f"fixed.{name}") for name in slots.pixel_constants}
        for name in slots.pixel_nodes:
            e.own(name)
            node = e.facts.nodes[name]
            if name in self.aside:
                self.terms[name] = self._terms(node)
            else:
                e.values[name] = self._masked(name, self._value(node))
        e.own(OUTPUT)
        self._output(e.facts.graph.output)
        e.own("present.pixels")
        if slots.pixels:
            self.columns.write(joined(e, [e.values[name] for name in slots.pixels], axis=1))

    def _cut_line(self) -> None:
        """Cut what the row graph says into its parts, and those that a gate takes into their halves."""
        keys = {(line.node, line.above, line.lead): len(line.channels) for line in self.slots.lines}
        halved = halved_lines(self.e, self.slots, self.aside)
        sizes = [size for key, whole in keys.items() for size in ([whole // 2] * 2 if key in halved else [whole])]
        pieces = iter(cut(self.e, self.columns.line(), sizes, axis=1))
        for key in keys:
            self.lines[key] = next(pieces)
            if key in halved:
                self.halves[self.lines[key]] = self.lines[key], next(pieces)

    def _value(self, node: Node) -> str:
        """Emit one node, of which some arguments may have been set aside."""
        if self.aside.isdisjoint(node.inputs):
            return self._node(node)
        if isinstance(node.op, ops.Gate):
            return gated(self.e, self.terms[node.inputs[0]], self.halves)
        return emitted(self.e, self._terms(node))

    def _node(self, node: Node) -> str:
        op, name = node.op, node.name
        if isinstance(op, ops.PointwiseOp):
            return self._pointwise(node, op)
        match op:
            case ops.Input():
                return self.columns.sequence()
            case ops.Conv2d():
                return emitted(self.e, self._terms(node))
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
        if isinstance(op, ops.Standardize):  # one number for each class takes the place of the class
            return e.emit("Gather", e.constant((np.arange(kinds[0].size) - op.mean) / op.std, np.float32), args[0], axis=0)
        found = lower.pointwise(e, op, args, [replace(kinds[0], image=False)], sequence=True)
        return e.emit("Reshape", found, e.constant([-1, e.types[node.name].channels]))

    def _terms(self, node: Node) -> Terms:
        """Return the terms of a convolution, or of a sum with nodes that were set aside."""
        if isinstance(node.op, ops.Conv2d):
            return self._convolved(node.name, node.op, node.inputs[0])
        found = [self.terms[source] for source in node.inputs if source in self.terms]
        lead = self.plan.lead[node.name]
        return added(found, [self._at(source, 0, lead) for source in node.inputs if source not in self.terms])

    def _convolved(self, name: str, op: ops.Conv2d, source: str) -> Terms:
        """Return one product over the taps in the pixel's own row, side by side, plus what rows above add, or the bias."""
        e, lead = self.e, self.plan.lead[name]
        taps = beside(op, e.params[f"{name}.weight"], e.types[source].channels)
        seen = [self._at(source, left, lead) for (_, left), _ in taps]
        product = joined(e, seen, axis=1), np.concatenate([weight_io for _, weight_io in taps])
        if (name, True, lead) in self.lines:
            return Terms((product,), None, (self.lines[name, True, lead],))
        return Terms((product,), e.params[f"{name}.bias"] if op.bias else None, ())

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
