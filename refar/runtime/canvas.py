"""Images under way in onnxruntime: the state between calls, one set of buffers that the graphs read and write in place."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from refar.analysis.facts import facts
from refar.analysis.image_slots import CONDITION, PIXEL, PIXELS, ROW, image_slots
from refar.arguments.arrays import Array, Arrays, as_array, as_float32, check_array, check_row_numbers, check_rows
from refar.errors import InputError
from refar.graph.graph import Graph
from refar.runtime.alone import alone
from refar.runtime.buffers import Buffer
from refar.runtime.denormals import mode_of
from refar.runtime.provider import Guarded, finite, running, shaped

_LENGTHS = 32
"""Numbers of pixels in one call of which the buffers are kept, at most."""


class Canvas:
    """Hold a batch of images of one shape, computed pixel by pixel in raster order.

    `push` takes a pixel and gives the output at it, `block` several at once; `look` gives the output at the next pixel before
    all of that is known. A canvas belongs to one thread at a time.
    `place` says how many pixels there are. `sessions` are those of the graphs, by the names of their files; `conditions` are
    checked, of `rows` ≥ 1 images of `shape` (H, W). The buffers lie where the sessions run.
    """

    def __init__(self, graph: Graph, sessions: Mapping[str, Any], conditions: Arrays, rows: int, shape: tuple[int, int]) -> None:
        if rows < 1:
            raise InputError(f"batch: expected at least 1 image, got {rows}")
        self.shape, self.rows, self._lock = shape, rows, threading.RLock()
        self._graph, self._sessions, self._slots, self._conditions = graph, sessions, image_slots(graph), conditions
        self._guards = {file: Guarded(file) for file in sessions}
        self._found = facts(graph)
        self._mode = mode_of(self._found)()
        self._row = self._column = 0
        self._begun = False  # whether the present row is
        self._device = running(sessions[PIXEL])
        first = {**self._first_values(), **self._constants(conditions)}
        read = {name for ports in self._slots.ports.values() for name in ports.inputs} | {"row", "column"}
        self._state = {name: Buffer(array, self._device) for name, array in first.items() if name in read}
        self._visited, self._pixel = self._state["column"], self._state[self._found.sequence]
        self._nothing = self._empty(self._found.sequence)
        self._y = Buffer(self._empty(self._found.graph.output), self._device)
        self._runs: dict[int, tuple[Buffer, Buffer, Any]] = {}  # of each number of visits: pixels, outputs, binding
        self._before_row = self._bound(ROW, {}) if ROW in sessions else None
        self._visit_once = self._bound(PIXEL, {"output": self._y})

    def __repr__(self) -> str:
        return f"Canvas({self.rows} of {self.shape[0]}x{self.shape[1]}, place={self.place})"

    @property
    def place(self) -> int:
        """Count the pixels that there are."""
        return self._row * self.shape[1] + self._column

    @alone
    def push(self, x_bc: ArrayLike) -> Array:
        """Take the next pixel, of all colours, and return the output there, y_bc."""
        pixel = self._checked(x_bc)
        self._enter()
        if self._slots.output_lead:  # known before the pixel is taken
            y = finite(self._y.get(), PIXEL)
            self._take(pixel)
            return y
        self._take(pixel)
        return finite(self._y.get(), PIXEL)

    @alone
    def look(self, x_bc: ArrayLike | None = None) -> Array:
        """Return the output at the next pixel, y_bc, of which `x_bc` is what is known (zeros if it is left out).

        The pixel is not taken: looks may be repeated, with other values or with more colours.
        """
        known = self._checked(self._nothing if x_bc is None else x_bc)
        self._enter()
        y_bc = self._empty(self._found.graph.output)
        self._see(known, y_bc)
        return finite(y_bc, PIXEL)

    @alone
    def block(self, x_bcn: ArrayLike) -> Array:
        """Take the next n ≥ 0 pixels in raster order, x_bcn, and return the outputs there, y_bcn: one call for each row.

        Raises BackendError for outputs that are not finite, here and in `push`; the pixels have been taken then.
        """
        pixels = self._checked_block(x_bcn)
        outputs = np.zeros((self.rows, self._found.types[self._found.graph.output].channels, pixels.shape[2]), np.float32)
        done = 0
        while done < pixels.shape[2]:
            part = pixels[:, :, done : done + self.shape[1] - self._column % self.shape[1]]
            outputs[:, :, done : done + part.shape[2]] = finite(self._take_several(part), PIXELS)
            done += part.shape[2]
        return outputs

    @alone
    def take(self, rows: Sequence[int] | Array) -> Canvas:
        """Return a canvas of some of the images, in this order, that goes on by itself; one may be taken several times."""
        chosen = check_row_numbers("take", rows, self.rows)
        conditions = {name: array[chosen] for name, array in self._conditions.items()}
        copy = Canvas(self._graph, self._sessions, conditions, len(chosen), self.shape)
        for name, buffer in self._state.items():
            array = buffer.get()
            axis = 1 if name.startswith("past.") or name == "line" else 0  # of the images
            copy._state[name].set(array if array.ndim == 0 else np.take(array, chosen, axis))
        copy._y.set(self._y.get()[chosen])
        copy._row, copy._column, copy._begun = self._row, self._column, self._begun
        return copy

    def _enter(self) -> None:
        """Begin the next row unless it is begun."""
        if self._begin() and self._slots.first_visit < 0:
            self._visit(self._slots.first_visit, self._nothing)

    def _begin(self) -> bool:
        """Run what comes before a row's first visit, once; returns whether that was now."""
        if self._column == self.shape[1]:
            self._row, self._column, self._begun = self._row + 1, 0, False
        if self._begun:
            return False
        if self._before_row is not None:
            self._state["row"].set(self._row)
            self._run(ROW, self._before_row)
        self._begun = True
        return True

    def _take(self, x_bc: Array) -> None:
        """Take the next pixel of a row that is begun. Not checked."""
        self._visit(self._column, x_bc)
        self._column += 1

    def _see(self, x_bc: Array, y_bc: Array) -> None:
        """Write the output at the next pixel of a row that is begun into `y_bc`, given what is known of it. Not checked."""
        if not self._slots.output_lead:
            self._visit(self._column, x_bc)
        self._y.read(y_bc)  # of the last visit, where the output is one pixel ahead

    def _visit(self, visit: int, x_bc: Array) -> None:
        self._visited.set(visit)
        self._pixel.set(x_bc)
        self._run(PIXEL, self._visit_once)

    def _run(self, file: str, binding: Any) -> None:
        with self._guards[file], self._mode:
            self._sessions[file].run_with_iobinding(binding)

    def _take_several(self, x_bcn: Array) -> Array:
        """Take n ≥ 1 pixels of one row in one call, and return the outputs there, y_bcn. Not checked.

        A visit before the first pixel of a row, where there is one, sees zeros.
        """
        self._begin()
        start = self._slots.first_visit if self._column == 0 else self._column
        count, before = x_bcn.shape[2], np.zeros((self._column - start, *self._nothing.shape), self._nothing.dtype)
        known = self._y.get()[None]  # the output of visit start - 1
        known = np.concatenate([known, self._visit_several(start, np.concatenate([before, x_bcn.transpose(2, 0, 1)]))])
        first = self._column - self._slots.output_lead - start + 1
        self._go_to(self._column + count, known[-1])
        return known[first : first + count].transpose(1, 2, 0)

    def _visit_several(self, first: int, x_nbc: Array) -> Array:
        """Make n visits from the first on, in one call: their outputs, y_nbc."""
        if len(x_nbc) not in self._runs:
            if len(self._runs) == _LENGTHS:
                del self._runs[next(iter(self._runs))]
            self._runs[len(x_nbc)] = self._several(len(x_nbc))
        pixels, outputs, binding = self._runs[len(x_nbc)]
        pixels.set(x_nbc)
        self._visited.set(first)
        self._run(PIXELS, binding)
        return outputs.get()

    def _go_to(self, column: int, y_bc: Array) -> None:
        """Go on at a column of the present row, of which all before are taken; `y_bc` is the output of the last visit."""
        self._column = column
        self._y.set(y_bc)

    def _several(self, visits: int) -> tuple[Buffer, Buffer, Any]:
        x_nbc, y_nbc = (
            Buffer(np.zeros((visits, *array.shape), array.dtype), self._device) for array in (self._nothing, self._y.get())
        )
        return x_nbc, y_nbc, self._bound(PIXELS, {self._found.sequence: x_nbc, "output": y_nbc})

    def _bound(self, file: str, own: dict[str, Buffer]) -> Any:
        """Bind a graph to the buffers, once; `present.…` goes into the buffer of `past.…`, which the graphs allow."""
        buffers, ports = self._state | own, self._slots.ports[file]
        binding = self._sessions[file].io_binding()
        for name in ports.inputs:
            binding.bind_ortvalue_input(name, buffers[name].value)
        for name in ports.outputs:
            binding.bind_ortvalue_output(name, buffers[name.replace("present.", "past.", 1)].value)
        return binding

    def _first_values(self) -> Arrays:
        """Make everything that changes, zero before the first row, and the width."""
        width, slots, found = self.shape[1], self._slots, self._found
        rings = {
            f"past.rows.{name}": np.zeros((entries, self.rows, found.types[name].channels, width), np.float32)
            for name, entries in slots.rings.items()
        }
        return {
            "row": np.zeros((), np.int64),
            "column": np.zeros((), np.int64),
            "width": np.array(width, np.int64),
            "past.pixels": np.zeros((slots.slots(width), self.rows, slots.stored_channels), np.float32),
            "line": np.zeros((width + 1, self.rows, slots.line_channels), np.float32),
            found.sequence: self._empty(found.sequence),
            **rings,
        }

    def _empty(self, name: str) -> Array:
        kind = self._found.types[name]
        return np.zeros((self.rows, kind.channels), np.int64 if kind.indexed else np.float32)

    def _constants(self, conditions: Arrays) -> Arrays:
        """Compute what does not depend on the images, once."""
        if CONDITION not in self._sessions:
            return {}
        sizes = {"batch": self.rows, "height": self.shape[0], "width": self.shape[1]}
        given = {name: np.array(size, np.int64) for name, size in sizes.items()}
        given |= {name: array if array.dtype == np.int64 else array.astype(np.float32) for name, array in conditions.items()}
        ports = self._slots.ports[CONDITION]
        with Guarded(CONDITION):
            found = self._sessions[CONDITION].run(list(ports.outputs), {name: given[name] for name in ports.inputs})
        named = dict(zip(ports.outputs, map(np.ascontiguousarray, found), strict=True))
        return {name: shaped(array, self._shape(name.partition(".")[2]), CONDITION) for name, array in named.items()}

    def _shape(self, node: str) -> tuple[int, ...]:
        """Return the shape of the value of a node in all images: (B, C, H, W), or (B, C) where it is the same everywhere."""
        kind = self._found.types[node]
        return (self.rows, kind.channels, *(self.shape if kind.timed else ()))

    def _checked_block(self, x_bcn: ArrayLike) -> Array:
        name, left = self._found.sequence, self.shape[0] * self.shape[1] - self.place
        pixels = as_array(f"input {name!r}", x_bcn, "an array with axes bcn")
        if pixels.ndim != 3 or pixels.shape[1] != self._nothing.shape[1]:
            expected = f"axes bcn with {self._nothing.shape[1]} channels"
            raise InputError(f"input {name!r}: expected {expected}, got an array of shape {pixels.shape}")
        if pixels.shape[2] > left:
            raise InputError(f"canvas: expected at most the {left} pixels to come, got {pixels.shape[2]}")
        if pixels.shape == (*self._nothing.shape, 0):
            return pixels
        return self._of_all(check_array(name, pixels[:, :, None], self._found.types[name])[:, :, 0])

    def _checked(self, x_bc: ArrayLike) -> Array:
        if self.place == self.shape[0] * self.shape[1]:
            raise InputError(f"canvas: expected an image with pixels to come, got a complete one of {self.place} pixels")
        name = self._found.sequence
        return self._of_all(check_rows(name, x_bc, self._found.types[name].at_once))

    def _of_all(self, values: Array) -> Array:
        name = self._found.sequence
        if len(values) != self.rows:
            raise InputError(f"input {name!r}: expected {self.rows} rows, as there are images, got {len(values)}")
        return values if values.dtype == np.int64 else as_float32(f"input {name!r}", values)
