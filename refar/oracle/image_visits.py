"""The contract of the row and pixel graphs in plain NumPy: one function for each graph, and the state in the caller's hands.

It says literally what `analysis.image_slots` lays out, and serves as the reference for whoever writes these graphs. To paint in
NumPy there is `oracle.raster`, which this is checked against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from refar import ops
from refar.analysis.image_slots import image_slots
from refar.analysis.windows import Step
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Node
from refar.oracle import node as nodes
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.forward import forward
from refar.oracle.windows import shifted, stacked

_Read = Callable[[str, int, int], Array]
"""Gives the value of a node so many rows up and columns to the left."""

_Taps = tuple[list[Step], Arrays]
"""The offsets of the taps of a node, and the node's parameters, with the weights of these taps alone."""


class ImageVisits:
    """Run a bound graph row by row and visit by visit. Raises GraphError as `image_slots`."""

    def __init__(self, net: BoundGraph) -> None:
        self.net, self.slots, self.plan = net, image_slots(net.graph), net.facts.raster

    def constants(self, conditions: Arrays, batch: int, shape: tuple[int, int]) -> Arrays:
        """Return what does not depend on the sequence, (B, C) or (B, C, H, W). `conditions` are checked and cast."""
        values = {name: self._zeros(name, batch, *shape) for name in self.slots.blank}
        for node in self._nodes(self.slots.constant_nodes):
            args = [values[name] for name in node.inputs]
            own, classes = self.net.own[node.name], self.net.facts.classes[node.name]
            if isinstance(node.op, ops.Input):
                values[node.name] = conditions[node.name]
            else:
                values[node.name] = nodes.forward(node.op, args, [None] * len(args), own, classes, self.net.dtype)
        return {name: values[name] for name in self.slots.fixed}

    def empty(self, batch: int, width: int) -> tuple[Array, Arrays]:
        """Return `past.pixels` (slots, B, C) and the rings (kept + 1, B, C, W) before the first row: all is 0."""
        pixels = np.zeros((self.slots.slots(width), batch, self.slots.stored_channels), self.net.dtype)
        channels = {name: kind.channels for name, kind in self.net.facts.types.items()}
        entries = self.slots.rings.items()
        return pixels, {name: np.zeros((count, batch, channels[name], width), self.net.dtype) for name, count in entries}

    def row(self, row: int, pixels: Array, rings: Arrays, fixed: Arrays) -> tuple[Array, Arrays]:
        """Return `line` (W + 1, B, C) of this row and the rings after it. `pixels` holds the row above, or 0 before row 0."""
        width, batch = len(pixels) - self.slots.past - 1, pixels.shape[1]
        newest = {name: self._stored(name, pixels, width) for name in self.slots.pixels}

        def read(name: str, up: int, left: int, *, ahead: int) -> Array:
            """Return what lies (up, left) before each pixel of row - 1 + ahead, (B, C, 1, W); a constant (B, C) as it is."""
            wanted = row - 1 + ahead - up
            if name in fixed:
                return fixed[name] if fixed[name].ndim == 2 else fixed[name][:, :, wanted : wanted + 1]
            here = wanted == self._newest(name, row)
            value = newest[name] if here else rings[name][wanted % len(rings[name])][:, :, None]
            return shifted(value, (0, left))

        for node in self._nodes(self.slots.row_nodes):
            ahead = int(self.plan.clock[node.name] == "row-start")
            if ahead or row:
                newest[node.name] = self._node(node, partial(read, ahead=ahead), batch, width, self._all(node))
            else:  # there is no row above the first: it is 0, not what zeros give
                newest[node.name] = self._zeros(node.name, batch, 1, width)
        line = np.zeros((width + 1, batch, self.slots.line_channels), self.net.dtype)
        for part in self.slots.lines:
            value = self._line(part.node, part.above, newest, partial(read, ahead=1), batch, width)
            begin = 1 - part.lead
            line[begin : begin + width, :, part.channels] = value[:, :, 0].transpose(2, 0, 1)
        after = {name: ring.copy() for name, ring in rings.items()}
        for name, ring in after.items():
            ring[self._newest(name, row) % len(ring)] = newest[name][:, :, 0]
        return line, after

    def pixel(self, visit: int, x_bc: Array, width: int, pixels: Array, line: Array | None, fixed: Arrays) -> tuple[Array, Array]:
        """Return y_bc at column visit + `output_lead`, and `pixels` after the visit. At visit -1 `x_bc` does not matter."""
        values: Arrays = {}
        lines = {(part.node, part.above, part.lead): part.channels for part in self.slots.lines}

        def at_visit(name: str, above: bool, lead: int) -> Array:
            assert line is not None
            return line[visit + 1][:, lines[name, above, lead]][:, :, None, None]

        def read(name: str, _: int, left: int, *, lead: int) -> Array:
            """Return what lies `left` before column visit + lead, (B, C, 1, 1); a constant (B, C) as it is."""
            if (name, False, lead) in lines:
                return at_visit(name, False, lead)
            if name in fixed:
                return fixed[name]
            age = left + self.plan.lead[name] - lead
            if age == 0:
                return values[name]
            return pixels[self.slots.past + 1 + visit - age][:, self.slots.pixels[name]][:, :, None, None]

        for node in self._nodes(self.slots.pixel_nodes):
            lead = self.plan.lead[node.name]
            if isinstance(node.op, ops.Input):
                value = x_bc[:, :, None, None]
            else:
                value = self._node(node, partial(read, lead=lead), len(x_bc), 1, self._some(node, above=False))
            if (node.name, True, lead) in lines:
                value = value + at_visit(node.name, True, lead)
            hidden = (visit == -1 and node.name in self.slots.masked_left) or (
                visit == width - 1 and node.name in self.slots.masked_right
            )
            values[node.name] = np.zeros_like(value) if hidden else value
        after = pixels.copy()
        for name, channels in self.slots.pixels.items():
            after[self.slots.past + 1 + visit][:, channels] = values[name][:, :, 0, 0]
        output = self.net.graph.output
        y = values[output] if output in values else at_visit(output, False, 1)
        return y[:, :, 0, 0].copy(), after

    def _nodes(self, names: Sequence[str]) -> list[Node]:
        return [self.net.facts.nodes[name] for name in names]

    def _newest(self, name: str, row: int) -> int:
        """Return the number of the last row of a node that is known before this row begins."""
        return row if self.plan.clock[name] == "row-start" else row - 1

    def _stored(self, name: str, pixels: Array, width: int) -> Array:
        """Return the row that visits left behind, (B, C, 1, W)."""
        begin = self.slots.past + 1 - self.plan.lead[name]
        return pixels[begin : begin + width, :, self.slots.pixels[name]].transpose(1, 2, 0)[:, :, None]

    def _line(self, name: str, above: bool, newest: Arrays, read: _Read, batch: int, width: int) -> Array:
        if above:
            node = self.net.facts.nodes[name]
            return self._node(node, read, batch, width, self._some(node, above=True))
        return newest[name] if name in newest else read(name, 0, 0)

    def _some(self, node: Node, above: bool) -> _Taps:
        """Choose the taps of a node in rows above, or in its own row. The bias goes with those above, if there are any."""
        if not isinstance(node.op, ops.ImageOp):
            return [], self.net.own[node.name]
        steps, own = self._all(node)
        chosen = [k for k, (up, _) in enumerate(steps) if (up > 0) == above]
        mine = {name: array[:, :, chosen] if name == "weight" else array for name, array in own.items()}
        if not above and any(up > 0 for up, _ in steps):
            mine.pop("bias", None)
        return [steps[k] for k in chosen], mine

    def _all(self, node: Node) -> _Taps:
        if not isinstance(node.op, ops.ImageOp):
            return [], self.net.own[node.name]
        places, own = self.net.tapped(node.name)
        return [place for place in places if isinstance(place, tuple)], own

    def _node(self, node: Node, read: _Read, batch: int, width: int, taps: _Taps) -> Array:
        """Compute one node over part of a row, of a convolution what these taps add."""
        (steps, own), classes = taps, self.net.facts.classes[node.name]
        if not isinstance(node.op, ops.ImageOp):
            return forward(node.op, [read(name, 0, 0) for name in node.inputs], own, classes, self.net.dtype)
        (source,) = node.inputs
        windows = stacked([read(source, up, left) for up, left in steps], self._zeros(source, batch, 1, width))
        return forward(node.op, [windows], own, classes, self.net.dtype)

    def _zeros(self, name: str, batch: int, height: int, width: int) -> Array:
        kind = self.net.facts.types[name]
        return np.zeros((batch, kind.channels, height, width), np.int64 if kind.indexed else self.net.dtype)
