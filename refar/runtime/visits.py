"""The state of a stream on its device, and the calls that go on from it in place: everything is bound once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.runtime.buffers import Buffer
from refar.runtime.bundle import BLOCK, CLOCK, FIXED, OUTPUT, PAST, PRESENT, STEP
from refar.runtime.provider import Guarded, shaped

if TYPE_CHECKING:
    from refar.runtime.opened import Opened


class Visits:
    """`past` {tensor: (slots, B, C)}, the `clock`, and `fixed` {node: (B, C)}, which calls read and, but for the last, write."""

    def __init__(self, opened: Opened, past: Arrays, fixed: Arrays) -> None:
        self._opened, self.device = opened, opened.provider
        self.past = {name: Buffer(past[name], self.device) for name in opened.layout.sizes}
        self.clock = Buffer(np.array(0, np.int64), self.device)
        self.fixed = {name: Buffer(fixed[name], self.device) for name in opened.layout.fixed}
        self._inputs: dict[str, Buffer] = {}
        self._step: Any = None
        self._block: Any = None

    def one(self, inputs: Arrays) -> Array:
        """Make one visit: y_bc."""
        if self._step is None:
            self._step = self._bound(STEP)
            self._inputs = {name: Buffer(array, self.device) for name, array in inputs.items()}
            rows, kind = len(inputs[self._opened.found.sequence]), self._opened.found.types[self._opened.graph.output]
            self._y = Buffer(np.zeros((rows, kind.size), np.float32), self.device)
            for name, buffer in self._inputs.items():
                self._step.bind_ortvalue_input(name, buffer.value)
            self._step.bind_ortvalue_output(OUTPUT, self._y.value)
        for name, array in inputs.items():
            self._inputs[name].set(array)
        with Guarded(STEP), self._opened.mode():
            self._opened.sessions[STEP].run_with_iobinding(self._step)
        return self._y.get()

    def many(self, inputs: Arrays) -> Array:
        """Make T ≥ 1 visits: y_bct."""
        if self._block is None:
            self._block = self._bound(BLOCK)
        for name, array in inputs.items():
            self._block.bind_cpu_input(name, array)
        self._block.bind_output(OUTPUT, "cpu")
        with Guarded(BLOCK), self._opened.mode():
            self._opened.sessions[BLOCK].run_with_iobinding(self._block)
        y = np.array(self._block.get_outputs()[-1].numpy())  # the one that was bound last
        x = inputs[self._opened.found.sequence]
        return shaped(y, (len(x), self._opened.found.types[self._opened.graph.output].size, x.shape[-1]), BLOCK)

    def _bound(self, model: str) -> Any:
        """Bind what a call reads and writes in place: the state, the clock and what follows from global conditions."""
        binding = self._opened.sessions[model].io_binding()
        for name, buffer in [*self.past.items(), (CLOCK, self.clock)]:
            binding.bind_ortvalue_input(f"{PAST}.{name}", buffer.value)
            binding.bind_ortvalue_output(f"{PRESENT}.{name}", buffer.value)
        for name, buffer in self.fixed.items():
            binding.bind_ortvalue_input(f"{FIXED}.{name}", buffer.value)
        return binding
