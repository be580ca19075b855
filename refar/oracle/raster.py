"""An image one pixel at a time: the same values as the whole pass, from a state that the caller carries.

A `RasterPlan` says when each node has a value. Before a row begins, one pass completes the row above and computes what depends
on rows above only: whole rows of the row-start nodes, and of each pixel convolution the part that its taps in rows above add.
Then every pixel adds the taps in its own row. So a pixel costs the same multiply-adds in an image of any size. Everything
outside the image is 0: values left of a row or above the first one are never computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from refar import ops
from refar.analysis.windows import Step, adds_taps
from refar.arguments.arrays import Array, Arrays
from refar.errors import InputError
from refar.graph.graph import Node
from refar.oracle import node as nodes
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.forward import forward
from refar.oracle.windows import shifted, stacked

_Read = Callable[[str, int, int], Array]
"""Gives the value of a node so many rows up and columns to the left."""


@dataclass(frozen=True)
class ImageState:
    """What is known after the first `place` pixels, in raster order, of images of `shape` (H, W). A value: nothing changes it.

    `fixed`: conditions (B, C) and what is constant over the sequence (B, C, H, W). `rows`: the last complete rows that later
    ones read, oldest first, (B, C, kept, W). `line`: the present row (B, C, 1, W) of row-start nodes. `above`: of pixel
    convolutions the bias and what rows above add in the present row (B, C, 1, W). `done`: the values of pixel nodes in the
    present row so far (B, C, 1, 0..W); those with lead 1 are one pixel further.
    """

    shape: tuple[int, int]
    place: int
    batch: int
    fixed: Arrays
    rows: Arrays
    line: Arrays
    above: Arrays
    done: Arrays


class Raster:
    """A bound graph, ready to run pixel by pixel.

    Raises GraphError for a graph that reads rows below, or of which the output sees what comes after its pixel.
    """

    def __init__(self, net: BoundGraph) -> None:
        self.net, self.plan = net, net.facts.raster
        self._fixed = {node.name for node in net.graph.nodes if self.plan.clock.get(node.name, "constant") == "constant"}
        self._taps: dict[str, tuple[list[Step], Arrays]] = {}
        self._above: dict[str, tuple[list[Step], Arrays]] = {}
        self._level: dict[str, tuple[list[Step], Arrays]] = {}
        for node in net.graph.nodes:
            if isinstance(node.op, ops.ImageOp):
                places, own = net.tapped(node.name)
                steps = [place for place in places if isinstance(place, tuple)]
                self._taps[node.name] = steps, own
                self._above[node.name] = _some(steps, own, above=True)
                self._level[node.name] = _some(steps, own, above=False)

    def begin(self, conditions: Arrays, batch: int, shape: tuple[int, int]) -> ImageState:
        """Return the state before the first pixel. `conditions` are checked and cast, each with `batch` rows."""
        fixed: Arrays = {}
        for node in self.net.graph.nodes:
            if node.name not in self._fixed:
                continue
            if isinstance(node.op, ops.Input):
                fixed[node.name] = conditions[node.name].copy()  # the caller may change its own array
            else:
                args = [fixed[name] if name in fixed else self._zeros(name, batch, *shape) for name in node.inputs]
                own, classes = self.net.own[node.name], self.net.facts.classes[node.name]
                fixed[node.name] = nodes.forward(node.op, args, [None] * len(args), own, classes, self.net.dtype)
        rows = {name: self._zeros(name, batch, kept, shape[1]) for name, kept in self.plan.rows.items()}
        return self._enter(ImageState(shape, 0, batch, fixed, rows, {}, {}, {}))

    def push(self, state: ImageState, x_bc11: Array) -> tuple[Array, ImageState]:
        """Return y_bc of the pixel as in the whole pass, and the state after it."""
        done = self._pixel(state, x_bc11)
        y = self._output(state, done)
        state = replace(state, place=state.place + 1, done=done)
        next_row = state.place % state.shape[1] == 0 and not self.is_complete(state)
        return y, self._enter(state) if next_row else state

    def look(self, state: ImageState, x_bc11: Array | None = None) -> Array:
        """Return y_bc of the next pixel, of which `x_bc11` is what is known so far (nothing: zeros). The state stays as it is."""
        output = self.net.graph.output
        if self.plan.clock[output] == "row-start" or self.plan.lead.get(output) == 1:
            return self._output(state, state.done)
        if self.plan.clock[output] == "constant":
            return self._output(state, {})
        nothing = self._zeros(self.net.facts.sequence, state.batch, 1, 1)
        return self._output(state, self._pixel(state, nothing if x_bc11 is None else x_bc11))

    def is_complete(self, state: ImageState) -> bool:
        """Return whether all pixels are there."""
        return state.place == state.shape[0] * state.shape[1]

    def check(self, state: ImageState) -> None:
        """Raise InputError for a state of another graph or dtype, or of an image that is complete."""
        if self.is_complete(state):
            raise InputError(f"state: expected one of an image with pixels to come, got one of all {state.place}")
        channels = {name: self.net.facts.types[name].channels for name in self.plan.clock}
        expected = (
            self._fixed,
            {name: (channels[name], kept) for name, kept in self.plan.rows.items()},
            {name: channels[name] for name, clock in self.plan.clock.items() if clock == "pixel"},
        )
        rows = {name: array.shape[1:3] for name, array in state.rows.items()}
        if (set(state.fixed), rows, {name: array.shape[1] for name, array in state.done.items()}) != expected:
            raise InputError("state: expected one of this graph, got one of another")
        if any(array.dtype not in (self.net.dtype, np.int64) for array in state.done.values()):
            raise InputError(f"state: expected one in {self.net.dtype}, got one in another dtype")

    def _zeros(self, name: str, batch: int, height: int, width: int) -> Array:
        kind = self.net.facts.types[name]
        return np.zeros((batch, kind.channels, height, width), np.int64 if kind.indexed else self.net.dtype)

    def _output(self, state: ImageState, done: Arrays) -> Array:
        """Return the output at the next pixel to be pushed."""
        row, column = divmod(state.place, state.shape[1])
        output = self.net.graph.output
        if output in state.fixed:
            return state.fixed[output][:, :, row, column].copy()
        return (done if output in done else state.line)[output][:, :, 0, column].copy()

    def _enter(self, state: ImageState) -> ImageState:
        """Complete the row above, and compute what the new row needs before its first pixel."""
        row, width = state.place // state.shape[1], state.shape[1]
        buffers: Arrays = {}
        line: Arrays = {}
        above: Arrays = {}

        def read(name: str, up: int, left: int, *, ahead: int) -> Array:
            """What lies (up, left) before each pixel of row - 1 + ahead, (B, C, 1, W); a condition (B, C) as it is."""
            if name in state.fixed:  # read at the pixel itself, or the reader would be fixed too
                return _row(state.fixed[name], row - 1 + ahead)
            newest = self.plan.rows.get(name, 0) - int(self.plan.clock[name] == "row-start")
            return shifted(_row(buffers[name], newest + ahead - up), (0, left))

        for node in self.net.graph.nodes:
            name, clock = node.name, self.plan.clock.get(node.name, "constant")
            if clock == "constant":
                continue
            if clock == "row-start" or (clock == "row-end" and row > 0):
                value = self._node(node, self._taps, partial(read, ahead=int(clock == "row-start")), state.batch, width)
            else:  # there is no row above the first, and that of a pixel node is complete
                value = state.done[name] if row else self._zeros(name, state.batch, 1, width)
            buffers[name] = np.concatenate([state.rows[name], value], axis=2) if name in state.rows else value
            if clock == "row-start":
                line[name] = value
            if clock == "pixel" and adds_taps(node.op):
                above[name] = self._node(node, self._above, partial(read, ahead=1), state.batch, width)
        rows = {name: buffers[name][:, :, buffers[name].shape[2] - kept :].copy() for name, kept in self.plan.rows.items()}
        done = {name: self._zeros(name, state.batch, 1, 0) for name, clock in self.plan.clock.items() if clock == "pixel"}
        begun = replace(state, rows=rows, line=line, above=above, done=done)
        return replace(begun, done=self._pixel(begun, None))

    def _pixel(self, state: ImageState, x_bc11: Array | None) -> Arrays:
        """Compute the pixel nodes one pixel further; without x the row begins, with those that do not see its first pixel."""
        row, width = state.place // state.shape[1], state.shape[1]
        newest = state.place % width if x_bc11 is not None else -1
        done = dict(state.done)

        def read(name: str, _: int, left: int, *, column: int) -> Array:
            """What lies `left` before a column of this row, (B, C, 1, 1), zero outside; a condition (B, C) as it is."""
            if name in state.fixed:
                return _column(_row(state.fixed[name], row), column)
            return _column(done[name] if name in done else state.line[name], column - left)

        for node in self.net.graph.nodes:
            name = node.name
            if self.plan.clock.get(name) != "pixel" or not 0 <= (column := newest + self.plan.lead[name]) < width:
                continue
            if isinstance(node.op, ops.Input):
                assert x_bc11 is not None
                value = x_bc11
            else:
                value = self._node(node, self._level, partial(read, column=column), state.batch, 1)
                if name in state.above:
                    value = value + _column(state.above[name], column)
            done[name] = np.concatenate([done[name], value], axis=3)
        return done

    def _node(self, node: Node, taps: dict[str, tuple[list[Step], Arrays]], read: _Read, batch: int, width: int) -> Array:
        """Compute one node over part of a row; of a convolution what these taps add. `read` gives values (up, left) before."""
        classes = self.net.facts.classes[node.name]
        if not isinstance(node.op, ops.ImageOp):
            args = [read(name, 0, 0) for name in node.inputs]
            return forward(node.op, args, self.net.own[node.name], classes, self.net.dtype)
        steps, own = taps[node.name]
        (source,) = node.inputs
        windows = stacked([read(source, up, left) for up, left in steps], self._zeros(source, batch, 1, width))
        return forward(node.op, [windows], own, classes, self.net.dtype)


def _some(steps: list[Step], own: Arrays, *, above: bool) -> tuple[list[Step], Arrays]:
    """The taps in rows above, with the bias; or those in the pixel's own row, without it where it is added with the others."""
    chosen = [k for k, (up, _) in enumerate(steps) if (up > 0) == above]
    if "weight" not in own:  # a shift has one step and no parameters
        return steps, own
    mine = {"weight": own["weight"][:, :, chosen]}
    if above and "bias" in own:
        mine["bias"] = own["bias"]
    return [steps[k] for k in chosen], mine


def _row(array: Array, index: int) -> Array:
    """One row of an image, which is there; a condition (B, C) as it is."""
    return array if array.ndim == 2 else array[:, :, index : index + 1]


def _column(array: Array, index: int) -> Array:
    """One column of an image, zero outside; a condition (B, C) as it is."""
    if array.ndim == 2:
        return array
    there = 0 <= index < array.shape[3]
    return array[..., index : index + 1] if there else np.zeros((*array.shape[:3], 1), array.dtype)
