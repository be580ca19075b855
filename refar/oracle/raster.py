"""Pixel by pixel: the same values as `forward` over a plane, from a state that the caller carries.

`analysis.schedule.raster` says when each node has a value. Before a row begins, one pass completes the row above and computes
what depends on rows above only: whole rows of the row-start nodes, and of each pixel convolution the part that its taps in
rows above add. Then every pixel adds the taps in its own row. So a pixel costs the same multiply-adds in an image of any size.
Everything outside the image is 0: what would stand before a row or above the first one is never computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from refar import ops
from refar.analysis.facts import facts
from refar.analysis.windows import Step
from refar.arguments.arrays import Array, Arrays
from refar.errors import InputError
from refar.graph.graph import Graph, Node
from refar.oracle import causal1d, masked2d, pointwise
from refar.oracle.padding import own_parameters

_Taps = tuple[list[Step], Array]
"""Steps, and the weights there: weight_oik."""
_Source = Callable[[str, int, int], Array]
"""Gives the value of a node so many rows up and columns to the left."""


@dataclass(frozen=True)
class RasterState:
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
    """A graph with prepared parameters, ready to run pixel by pixel in one dtype.

    Raises GraphError for a graph that reads rows below, or of which the output sees what comes after its pixel.
    """

    def __init__(self, graph: Graph, params: Arrays, dtype: DTypeLike) -> None:
        self.graph, self.plan, self.dtype = graph, facts(graph).raster, np.dtype(dtype)
        self._found = facts(graph)
        self._fixed = {node.name for node in graph.nodes if self.plan.clock.get(node.name, "constant") == "constant"}
        self._own = {node.name: own_parameters(node, params) for node in graph.nodes}
        self._taps: dict[str, _Taps] = {}
        self._above: dict[str, _Taps] = {}
        self._level: dict[str, _Taps] = {}
        for node in graph.nodes:
            if isinstance(node.op, ops.Conv2d):
                steps, weight_oik = masked2d.taps(node.op, self._own[node.name]["weight"])
                self._taps[node.name] = steps, weight_oik
                above = [k for k, (up, _) in enumerate(steps) if up > 0]
                level = [k for k, (up, _) in enumerate(steps) if up == 0]
                self._above[node.name] = [steps[k] for k in above], weight_oik[:, :, above]
                self._level[node.name] = [steps[k] for k in level], weight_oik[:, :, level]

    def begin(self, conditions: Arrays, batch: int, shape: tuple[int, int]) -> RasterState:
        """The state before the first pixel. `conditions` are checked and cast, each with `batch` rows."""
        fixed: Arrays = {}
        for node in self.graph.nodes:
            if node.name in self._fixed:
                args = [fixed[name] if name in fixed else self._zeros(name, batch, *shape) for name in node.inputs]
                fixed[node.name] = conditions[node.name] if isinstance(node.op, ops.Input) else self._whole(node, args)
        rows = {name: self._zeros(name, batch, kept, shape[1]) for name, kept in self.plan.rows.items()}
        return self._enter(RasterState(shape, 0, batch, fixed, rows, {}, {}, {}))

    def push(self, state: RasterState, x_bc11: Array) -> tuple[Array, RasterState]:
        """y_bc of the pixel as in `forward`, and the state after it."""
        done = self._pixel(state, x_bc11)
        y = self._output(state, done)
        state = replace(state, place=state.place + 1, done=done)
        next_row = state.place % state.shape[1] == 0 and not self.is_complete(state)
        return y, self._enter(state) if next_row else state

    def look(self, state: RasterState, x_bc11: Array | None = None) -> Array:
        """y_bc of the next pixel, of which `x_bc11` is what is known so far (nothing: zeros). The state stays as it is."""
        output = self.graph.output
        if self.plan.clock[output] == "row-start" or self.plan.lead.get(output) == 1:
            return self._output(state, state.done)
        if self.plan.clock[output] == "constant":
            return self._output(state, {})
        nothing = self._zeros(self._found.sequence, state.batch, 1, 1)
        return self._output(state, self._pixel(state, nothing if x_bc11 is None else x_bc11))

    def is_complete(self, state: RasterState) -> bool:
        """Whether all pixels are there."""
        return state.place == state.shape[0] * state.shape[1]

    def check(self, state: RasterState) -> None:
        """Raise InputError for a state of another graph or dtype, or of an image that is complete."""
        if self.is_complete(state):
            raise InputError(f"state: expected one of an image with pixels to come, got one of all {state.place}")
        channels = {name: self._found.types[name].channels for name in self.plan.clock}
        expected = (
            self._fixed,
            {name: (channels[name], kept) for name, kept in self.plan.rows.items()},
            {name: channels[name] for name, clock in self.plan.clock.items() if clock == "pixel"},
        )
        rows = {name: array.shape[1:3] for name, array in state.rows.items()}
        if (set(state.fixed), rows, {name: array.shape[1] for name, array in state.done.items()}) != expected:
            raise InputError("state: expected one of this graph, got one of another")
        if any(array.dtype not in (self.dtype, np.int64) for array in state.done.values()):
            raise InputError(f"state: expected one in {self.dtype}, got one in another dtype")

    def _zeros(self, name: str, batch: int, height: int, width: int) -> Array:
        kind = self._found.types[name]
        return np.zeros((batch, kind.channels, height, width), np.int64 if kind.indexed else self.dtype)

    def _whole(self, node: Node, args: list[Array]) -> Array:
        """What does not depend on the sequence: over the whole plane, or a constant (B, C)."""
        own, op = self._own[node.name], node.op
        if isinstance(op, ops.ImageOp):
            return masked2d.forward(op, args[0], own)
        if isinstance(op, ops.WindowedOp):
            return causal1d.at_rest(op, args, own)
        assert not isinstance(op, ops.Input)
        return pointwise.forward(op, args, self._found.types[node.inputs[0]].size, own.get("weight"), self.dtype)

    def _output(self, state: RasterState, done: Arrays) -> Array:
        """The output at the next pixel to be pushed."""
        row, column = divmod(state.place, state.shape[1])
        output = self.graph.output
        if output in state.fixed:
            return state.fixed[output][:, :, row, column]
        return (done if output in done else state.line)[output][:, :, 0, column]

    def _enter(self, state: RasterState) -> RasterState:
        """Complete the row above, compute what depends on rows above only, and stand before the first pixel of the row."""
        row, width = state.place // state.shape[1], state.shape[1]
        buffers: Arrays = {}
        line: Arrays = {}
        above: Arrays = {}

        def source(name: str, up: int, left: int, *, ahead: int) -> Array:
            """What lies (up, left) before each pixel of row - 1 + ahead, (B, C, 1, W); a condition (B, C) as it is."""
            if name in state.fixed:  # read at the pixel itself, or the reader would be fixed too
                return _row(state.fixed[name], row - 1 + ahead)
            newest = self.plan.rows.get(name, 0) - int(self.plan.clock[name] == "row-start")
            return masked2d.shifted(_row(buffers[name], newest + ahead - up), (0, left))

        for node in self.graph.nodes:
            name, clock = node.name, self.plan.clock.get(node.name, "constant")
            if clock == "constant":
                continue
            extent = (state.batch, 1, width)
            if clock == "row-start" or (clock == "row-end" and row > 0):
                value = self._node(node, partial(source, ahead=int(clock == "row-start")), extent)
            else:  # there is no row above the first, and that of a pixel node is complete
                value = state.done[name] if row else self._zeros(name, state.batch, 1, width)
            buffers[name] = np.concatenate([state.rows[name], value], axis=2) if name in state.rows else value
            if clock == "row-start":
                line[name] = value
            if clock == "pixel" and isinstance(node.op, ops.Conv2d):
                above[name] = self._weighted(node, self._above[name], partial(source, ahead=1), extent)
        rows = {name: buffers[name][:, :, buffers[name].shape[2] - kept :].copy() for name, kept in self.plan.rows.items()}
        done = {name: self._zeros(name, state.batch, 1, 0) for name, clock in self.plan.clock.items() if clock == "pixel"}
        begun = replace(state, rows=rows, line=line, above=above, done=done)
        return replace(begun, done=self._pixel(begun, None))

    def _pixel(self, state: RasterState, x_bc11: Array | None) -> Arrays:
        """The pixel nodes one pixel further; without x the row begins, with those that do not see its first pixel."""
        row, width = state.place // state.shape[1], state.shape[1]
        newest = state.place % width if x_bc11 is not None else -1
        done = dict(state.done)

        def source(name: str, _: int, left: int, *, column: int) -> Array:
            """What lies `left` before a column of this row, (B, C, 1, 1), zero outside; a condition (B, C) as it is."""
            if name in state.fixed:
                return _column(_row(state.fixed[name], row), column)
            return _column(done[name] if name in done else state.line[name], column - left)

        for node in self.graph.nodes:
            name = node.name
            if self.plan.clock.get(name) != "pixel" or not 0 <= (column := newest + self.plan.lead[name]) < width:
                continue
            extent = (state.batch, 1, 1)
            if isinstance(node.op, ops.Input):
                assert x_bc11 is not None
                value = x_bc11
            elif isinstance(node.op, ops.Conv2d):
                level = self._weighted(node, self._level[name], partial(source, column=column), extent, bias=False)
                value = _column(state.above[name], column) + level
            else:
                value = self._node(node, partial(source, column=column), extent)
            done[name] = np.concatenate([done[name], value], axis=3)
        return done

    def _node(self, node: Node, source: _Source, extent: tuple[int, int, int]) -> Array:
        """One node over a row or at a pixel; `source` gives the values of another (up, left) before it."""
        match node.op:
            case ops.Conv2d():
                return self._weighted(node, self._taps[node.name], source, extent)
            case ops.Shift2d():
                return source(node.inputs[0], node.op.down, node.op.right)
            case ops.Input() | ops.Conv1d() | ops.Shift() | ops.Pool1d():
                raise AssertionError(f"{node.name!r} is not computed over a plane")
            case _:
                args = [source(name, 0, 0) for name in node.inputs]
                classes, weight = self._found.types[node.inputs[0]].size, self._own[node.name].get("weight")
                return pointwise.forward(node.op, args, classes, weight, self.dtype)

    def _weighted(self, node: Node, taps: _Taps, source: _Source, extent: tuple[int, int, int], *, bias: bool = True) -> Array:
        """A convolution, or the part of it that some of its taps add."""
        assert isinstance(node.op, ops.Conv2d)
        steps, weight_oik = taps
        windows = [source(node.inputs[0], up, left) for up, left in steps]
        bias_o = self._own[node.name].get("bias") if bias else None
        return masked2d.weighted(windows, weight_oik, bias_o, node.op.groups, extent)


def _row(array: Array, index: int) -> Array:
    """One row of a plane, which is there; a condition (B, C) as it is."""
    return array if array.ndim == 2 else array[:, :, index : index + 1]


def _column(array: Array, index: int) -> Array:
    """One column of a plane, zero outside; a condition (B, C) as it is."""
    if array.ndim == 2:
        return array
    there = 0 <= index < array.shape[3]
    return array[..., index : index + 1] if there else np.zeros((*array.shape[:3], 1), array.dtype)
