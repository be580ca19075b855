"""Outputs of a sequence whose windows lie apart, so that one row of a batch shows all of them at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from refar.arguments.arrays import Array


class Windows:
    """The window of the output at q are the positions q - o for all `offsets` o; `span` positions hold it.

    A *phase* chooses some outputs: those at phase, phase + 2·span, phase + 4·span, …, whose windows do not touch; or some inputs:
    those at phase, phase + span, phase + 2·span, …, of which each span holds one.
    """

    def __init__(self, count: int, offsets: Collection[int]) -> None:
        self.count, self.offsets = count, np.array(sorted(offsets), dtype=int)
        self.span = int(self.offsets[-1] - self.offsets[0]) + 1 if len(self.offsets) else 1

    def phases(self, spans: int, most: int, rows: int, rng: np.random.Generator) -> Iterator[list[int]]:
        """Yield phases below `spans`·span in any order, `most` of them, a batch of rows at a time; the last is filled up."""
        period = min(spans * self.span, self.count)
        order = rng.permutation(period)[: max(most, 1)].tolist()
        for begin in range(0, len(order), rows):
            some = order[begin : begin + rows]
            yield some + rng.integers(0, period, rows - len(some)).tolist()

    def outputs(self, phase: int) -> Array:
        """Return the outputs that a phase chooses."""
        return np.arange(phase, self.count, 2 * self.span)

    def outside(self, phase: int) -> Array:
        """Return the positions in the windows of none of these outputs."""
        inside = (self.outputs(phase)[:, None] - self.offsets).ravel()
        free = np.ones(self.count, bool)
        free[inside[(inside >= 0) & (inside < self.count)]] = False
        return np.flatnonzero(free)

    def apart(self, phase: int) -> Array:
        """Return the inputs that a phase chooses."""
        return np.arange(phase, self.count, self.span)

    def owners(self, phase: int) -> Array:
        """Return for each output the one chosen input that lies in the span of its window; -1 where none does."""
        first = np.arange(self.count) - (self.offsets[-1] if len(self.offsets) else 0)
        owner = first + (phase - first) % self.span
        return np.where((owner >= 0) & (owner < self.count), owner, -1)
