"""Noise that is drawn in another thread while that of the steps before is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from refar.arguments.arrays import Array


class Noises:
    """The noise of the coming steps, (B, …) each, from batches (steps, B, …). It may be looked at before it is taken.

    What is taken or looked at is there until the next time: batches may take turns in one memory.
    """

    def __init__(self, batches: Iterator[Array]) -> None:
        self._batches, self._at = batches, 0
        self._batch = next(batches)

    def ready(self) -> int:
        """Of how many of the next steps the noise is there, at least one: if there is none, the next batch is waited for."""
        if self._at == len(self._batch):
            self._at, self._batch = 0, next(self._batches)
        return len(self._batch) - self._at

    def take(self) -> Array:
        """The noise of the next step."""
        self.ready()
        self._at += 1
        return self._batch[self._at - 1]

    def look(self, count: int) -> Array:
        """The noise of the next `count` steps, (count, B, …), which stay to be taken."""
        while len(self._batch) < self._at + count:
            rest = self._batch[self._at :].copy()
            self._at, self._batch = 0, np.concatenate([rest, next(self._batches)])
        return self._batch[self._at : self._at + count]

    def skip(self, count: int) -> None:
        """Take the noise of `count` steps that were looked at."""
        self._at += count


def in_batches(draw: Callable[[int, int], Array], total: int, first: int, most: int) -> Iterator[Array]:
    """Yield the noise of `total` ≥ 1 steps: a batch of `first` steps, then batches of up to `most`.

    `draw(done, steps)` draws the noise of `steps` steps after `done`. While a batch is used, another thread draws the next one,
    maybe in the memory of the one before.
    """
    if first >= total:
        yield draw(0, total)
        return
    with ThreadPoolExecutor(1) as other:
        done, batch = first, draw(0, first)
        while done < total:
            count = min(most, total - done)
            following = other.submit(draw, done, count)
            done += count
            yield batch
            batch = following.result()
        yield batch
