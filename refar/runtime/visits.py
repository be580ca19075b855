"""The state of a stream on its device, and the calls that go on from it in place: everything is bound once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.runtime.buffers import Buffer, made
from refar.runtime.bundle import BLOCK, CLOCK, FIXED, OUTPUT, PAST, PRESENT, STEP, WINDOW
from refar.runtime.linear import MOST_ROWS, LinearMemory
from refar.runtime.provider import Guarded

if TYPE_CHECKING:
    from refar.runtime.opened import Opened


class Visits:
    """`past` {tensor: (slots, B, C)}, the `clock`, and `fixed` {node: (B, C)}, which calls read and, but for the last, write."""

    def __init__(self, opened: Opened, past: Arrays, fixed: Arrays) -> None:
        self._opened, self.device = opened, opened.provider
        rows = next(iter(past.values())).shape[1] if past else 0
        self._past = made(f"the state of {rows} sequences", {name: past[name] for name in opened.layout.sizes}, self.device)
        self._clock = Buffer(np.array(0, np.int64), self.device)
        self.fixed = {name: Buffer(fixed[name], self.device) for name in opened.layout.fixed}
        self._inputs: dict[str, Buffer] = {}
        self._given: dict[str, Buffer] = {}
        self._length = 0  # of the block that is bound
        self._step: Any = None
        self._block: Any = None
        self._linear: LinearMemory | None = None
        self._is_linear = False  # whether the state lies there, and not in slots
        self.ran = STEP  # the model of the last call
        self._pushed = 0  # the length of the block before, if nothing else was asked for since

    @property
    def past(self) -> dict[str, Buffer]:
        """The slots of each tensor."""
        self._go_home()
        return self._past

    @property
    def clock(self) -> Buffer:
        """How many visits the slots have seen."""
        self._go_home()
        return self._clock

    def take_back(self, visits: int) -> None:
        """Turn the clock back by so many visits."""
        clock = self.clock
        clock.set(int(clock.array) - visits)

    def _go_home(self) -> None:
        """Have the state in slots."""
        self._pushed = 0
        if self._is_linear and self._linear is not None:
            past = {name: buffer.array for name, buffer in self._past.items()}
            self._linear.leave(past)
            self._clock.set(np.array(0))
            self._is_linear = False

    def pushed(self, inputs: Arrays) -> Array:
        """Make T ≥ 1 visits: y_bct. From the second block of one length on the state lies in linear memory, on the CPU."""
        x = inputs[self._opened.found.sequence]
        rows, length = len(x), x.shape[-1]
        if length != self._pushed or length * rows > MOST_ROWS or self.device != "cpu":
            y = self.many(inputs)
            self._pushed = length
            return y
        if self._linear is None or self._linear.length != length:
            self._linear = LinearMemory(self._opened, rows, length, self.fixed)
        if not self._is_linear:
            self._linear.enter({name: buffer.array for name, buffer in self._past.items()}, int(self._clock.get()))
            self._is_linear, self.ran = True, WINDOW
        return self._linear.advance(inputs)

    def one(self, inputs: Arrays) -> Array:
        """Make one visit: y_bc, on the CPU in memory that the next one overwrites."""
        self._go_home()
        self.ran = STEP
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
        return self._y.array

    def many(self, inputs: Arrays) -> Array:
        """Make T ≥ 1 visits: y_bct, as `one`. What is bound stays for the next call of the same length."""
        self._go_home()
        self.ran = BLOCK
        if self._block is None:
            self._block = self._bound(BLOCK)
        x = inputs[self._opened.found.sequence]
        if x.shape[-1] != self._length:
            self._bind_length(inputs, x.shape[-1])
        for name, array in inputs.items():
            self._given[name].set(array)
        with Guarded(BLOCK), self._opened.mode():
            self._opened.sessions[BLOCK].run_with_iobinding(self._block)
        return self._several.array

    def _bind_length(self, inputs: Arrays, length: int) -> None:
        """Bind inputs and the output of blocks of one length."""
        rows, kind = len(inputs[self._opened.found.sequence]), self._opened.found.types[self._opened.graph.output]
        self._length, self._given = length, {name: Buffer(array, self.device) for name, array in inputs.items()}
        self._several = Buffer(np.zeros((rows, kind.size, length), np.float32), self.device)
        for name, buffer in self._given.items():
            self._block.bind_ortvalue_input(name, buffer.value)
        self._block.bind_ortvalue_output(OUTPUT, self._several.value)

    def _bound(self, model: str) -> Any:
        """Bind what a call reads and writes in place: the state, the clock and what follows from global conditions."""
        binding = self._opened.sessions[model].io_binding()
        for name, buffer in [*self._past.items(), (CLOCK, self._clock)]:
            binding.bind_ortvalue_input(f"{PAST}.{name}", buffer.value)
            binding.bind_ortvalue_output(f"{PRESENT}.{name}", buffer.value)
        for name, buffer in self.fixed.items():
            binding.bind_ortvalue_input(f"{FIXED}.{name}", buffer.value)
        return binding
