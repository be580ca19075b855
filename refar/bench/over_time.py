"""A bundle over time: a step, a generated token, a block, and recomputing everything for each position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from refar.analysis.facts import Facts, facts
from refar.arguments.arrays import Array, Arrays, positions
from refar.bench.clock import NotTimedError, Way, in_turn, repeated
from refar.bench.comparison import Maker, check_close, compared
from refar.bench.floor import floor
from refar.bench.inputs import random_inputs
from refar.bench.results import Block, Blocks, Table, summary
from refar.runtime.session import Session
from refar.runtime.stream import Stream

STEPS = 500
"""Steps, or tokens, of one timed call."""
_BEFORE, _LAST = 8, 4
"""Positions before the window of a recomputation, and how many of the last ones the stream takes step by step."""
_MOST = 2**18
"""Positions of one recomputation at the most, over all rows."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Sequences:
    """Hold `batch` random sequences for a bundle over time."""

    session: Session
    batch: int
    threads: int = 1

    @cached_property
    def found(self) -> Facts:
        """Return the facts of the graph."""
        return facts(self.session.graph)

    @property
    def window(self) -> int:
        """The positions from which the last output of a whole pass is that of any longer past."""
        return self.found.left_context + 1

    @cached_property
    def inputs(self) -> Arrays:
        """All inputs, as long as the checks and the timed calls need."""
        return random_inputs(self.found, self.batch, (max(self.window + _BEFORE, STEPS),))

    def conditions(self, begin: int, end: int) -> Arrays:
        """Return the conditions from position `begin` to `end` - 1."""
        given = {name: self.inputs[name] for name in self.found.conditions}
        return positions(self.session.graph, given, begin, end)

    def x(self, begin: int, end: int) -> Array:
        """Return the tokens from position `begin` to `end` - 1."""
        return self.inputs[self.found.sequence][..., begin:end]

    def stream(self, taken: int = 0) -> Stream:
        """Begin a stream that has taken so many tokens."""
        given = self.conditions(0, taken + self.found.strict)
        return self.session.stream(self.batch, given or None, prompt=self.x(0, taken) if taken else None)

    def local(self, position: int) -> Arrays | None:
        """Return the local conditions of an output at one position, if there are any."""
        timed = [name for name in self.found.conditions if self.found.types[name].timed]
        return {name: self.inputs[name][..., position] for name in timed} or None

    @cached_property
    def last_output(self) -> Array:
        """The output at the last position of the window, y_bc, computed by prefill and steps."""
        end = self.window + _BEFORE
        taken = end - self.found.strict
        stream = self.stream(max(0, taken - _LAST))
        for t in range(max(0, taken - _LAST), taken):
            stream.step(self.x(t, t + 1)[..., 0], self.local(t + self.found.strict))
        assert stream.output is not None
        return stream.output


def stepping(case: Sequences) -> Way:
    """Return the way of a stream: one call of `Stream.step` for each position."""
    stream, x_t, local = case.stream(), case.x(0, 1)[..., 0], case.local(0)
    return repeated(lambda: stream.step(x_t, local), STEPS)


def generating(case: Sequences) -> Way:
    """Return the way of `Session.generate`, noise and sampling included. Raises GraphError for a network without a density."""
    given = case.conditions(0, STEPS)
    call = partial(case.session.generate, STEPS, batch=case.batch, condition=given or None)
    call()
    return Way(call, STEPS, warm=True)


def recomputing(case: Sequences) -> Way:
    """Return the way without a state: a whole pass over the last positions that an output can see, for each position."""
    begin, end = _last(case)
    call = partial(case.session.forward, case.x(begin, end), case.conditions(begin, end) or None)
    check_close(case.session.graph, call()[..., -1], case.last_output)
    return Way(call, warm=True)


def recomputing_in_torch(case: Sequences) -> Way:
    """Return the same way in PyTorch, by `refar.torch.Module`."""
    import torch

    from refar.torch.module import Module

    begin, end = _last(case)
    given = {case.found.sequence: case.x(begin, end), **case.conditions(begin, end)}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in given.items()}
    module = Module(case.session.graph, case.session.weights)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return module(tensors)

    check_close(case.session.graph, call()[..., -1].numpy(), case.last_output)
    return Way(call, warm=True)


def _last(case: Sequences) -> tuple[int, int]:
    """Return where the window of a recomputation begins and ends. Raises NotTimedError for one that would take too long."""
    if case.batch * case.window > _MOST:
        raise NotTimedError(f"left out: one pass would compute {case.batch * case.window} positions, more than {_MOST}")
    return _BEFORE, _BEFORE + case.window


def ways(case: Sequences) -> dict[str, Maker]:
    """Return what a bundle over time is compared with, by the names of the columns."""
    return {
        "floor": lambda: floor(case.session, case.batch, case.threads),
        "step": lambda: stepping(case),
        "generate": lambda: generating(case),
        "recomputing": lambda: recomputing(case),
        "torch, recomputing": lambda: recomputing_in_torch(case),
    }


def step_table(session: Session, batches: Sequence[int], threads: int, seconds: float, progress: Progress) -> Table:
    """Time a step of `batches` sequences at once, beside the floor and recomputing. `progress` hears what is measured.

    Raises GraphError for a network that looks ahead.
    """
    session.require_steps("bench")
    rows = []
    for batch in batches:
        progress(f"a step, B = {batch}")
        case = Sequences(session, batch, threads)
        rows.append(compared(f"B = {batch}", ways(case), "step", seconds, at=batch, values=batch))
    return Table("One position of a stream", "step", "step", tuple(rows), "B, sequences at once")


def block_times(session: Session, rate: float, sizes: Sequence[int], seconds: float, progress: Progress) -> Blocks:
    """Time pushes of one sequence in blocks of `sizes` samples, at `rate` samples per second."""
    progress(f"blocks of {', '.join(map(str, sizes))} samples")
    ways = {str(size): _pushing(Sequences(session, 1), size) for size in sizes}
    times = in_turn(ways, seconds * len(sizes))
    blocks = [Block(size, 1e6 * size / rate, summary(times[str(size)])) for size in sizes]
    return Blocks(rate, tuple(blocks))


def _pushing(case: Sequences, size: int) -> Way:
    """Return the way that takes a block; a call is one unit."""
    drawn = random_inputs(case.found, case.batch, (size,))
    stream, x = case.stream(), drawn.pop(case.found.sequence)
    local = {name: array for name, array in drawn.items() if case.found.types[name].timed}
    return Way(lambda: stream.push(x, local or None))
