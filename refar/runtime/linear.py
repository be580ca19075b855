"""Blocks of one length over linear memory: what the network reads and writes are pieces of it, which are bound and not copied.

See refar.analysis.linear. The memory has room for the rows of some blocks more than a stream needs. A block writes behind the one
before; at the end of the memory the last rows are moved to its beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refar.analysis.linear import windows
from refar.arguments.arrays import Array, Arrays
from refar.runtime.buffers import Buffer, zeros
from refar.runtime.bundle import FIXED, OUTPUT, PAST, PRESENT, WINDOW
from refar.runtime.provider import Guarded

if TYPE_CHECKING:
    from refar.runtime.opened import Opened

MOST_ROWS = 1024
"""Rows of a block, T·B. Of more, wide networks lose up to a tenth."""

_BLOCKS, _ROWS = 16, 4096
"""Blocks that the memory has room for, at most; and their rows, but for two blocks."""

_VISITS_FIRST = {2: (1, 0), 3: (2, 0, 1)}
"""(B, T) and (B, C, T) with the time in front."""


class LinearMemory:
    """The memory of blocks of `length` visits of `rows` sequences, {node: (visits, B, C)}, and what is bound to it."""

    def __init__(self, opened: Opened, rows: int, length: int, fixed: dict[str, Buffer]) -> None:
        self._opened, self.length, self._fixed = opened, length, fixed
        self._reads = list(dict.fromkeys(windows(opened.found, opened.layout).values()))
        self._blocks = max(2, min(_BLOCKS, _ROWS // (length * rows)))
        self._slots = opened.layout.slots
        shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {}
        for name, each in self._slots.items():
            shape = (each.count + self._blocks * length, rows, *([] if each.classes else [each.channels]))
            shapes[name] = shape, np.int64 if each.classes else np.float32
        self._memory = zeros(f"linear memory of {rows} sequences", shapes)
        self._session, self._guarded, self._mode = opened.sessions[WINDOW], Guarded(WINDOW), opened.mode()
        self._bindings: list[Any] = []  # of block 0, 1, …, each made when it is first needed
        self._place = 0
        kind = opened.found.types[opened.graph.output]
        self._y = Buffer(np.zeros((length * rows, kind.size), np.float32), opened.provider)
        self._y_bct = self._y.array.reshape(length, rows, kind.size).transpose(1, 2, 0)
        self._inputs: dict[str, Buffer] = {}

    def enter(self, past: Arrays, clock: int) -> None:
        """Take the state over from slots at a clock."""
        self._place = 0
        for name, each in self._slots.items():
            slots = each.base + np.arange(clock - each.count, clock) % each.count
            self._memory[name][: each.count] = past[each.tensor][slots].reshape(self._memory[name][: each.count].shape)

    def leave(self, past: Arrays) -> None:
        """Write the state into slots, in order, as they are at clock 0."""
        for name, each in self._slots.items():
            slots = past[each.tensor][each.base : each.base + each.count]
            slots[...] = self._last(name, each.count).reshape(slots.shape)

    def advance(self, inputs: Arrays) -> Array:
        """Make the visits of one block: y_bct, in memory that the next block overwrites."""
        if self._place == self._blocks:
            for name, each in self._slots.items():
                self._memory[name][: each.count] = self._last(name, each.count)
            self._place = 0
        if self._place == len(self._bindings):
            self._bindings.append(self._bound(inputs))
        for name, array in inputs.items():
            self._inputs[name].set(array.transpose(_VISITS_FIRST[array.ndim]))
        with self._guarded, self._mode:
            self._session.run_with_iobinding(self._bindings[self._place])
        self._place += 1
        return self._y_bct

    def _last(self, name: str, count: int) -> Array:
        """The newest rows of a node."""
        end = self._slots[name].count + self._place * self.length
        return self._memory[name][end - count : end]

    def _bound(self, inputs: Arrays) -> Any:
        """Bind all that the block at this place reads and writes."""
        if not self._inputs:
            self._inputs = {
                name: Buffer(array.transpose(_VISITS_FIRST[array.ndim]), self._opened.provider) for name, array in inputs.items()
            }
        binding = self._session.io_binding()
        for name, buffer in [*self._inputs.items(), *((f"{FIXED}.{name}", each) for name, each in self._fixed.items())]:
            binding.bind_ortvalue_input(name, buffer.value)
        binding.bind_ortvalue_output(OUTPUT, self._y.value)
        for window in self._reads:
            binding.bind_input(f"{PAST}.{window.port}", *self._rows(window.node, -window.age, window.visits(self.length)))
        for name in self._slots:
            binding.bind_output(f"{PRESENT}.{name}", *self._rows(name, 0, self.length))
        return binding

    def _rows(self, name: str, begin: int, visits: int) -> tuple[str, int, type, list[int], int]:
        """The memory of some visits of a node, counted from the first of the block, as rows (visits·B, C): how to bind it."""
        memory, first = self._memory[name], self._slots[name].count + self._place * self.length + begin
        shape = [visits * memory.shape[1], *memory.shape[2:]]
        return "cpu", 0, memory.dtype.type, shape, memory.ctypes.data + first * memory.strides[0]
