"""Noise that is drawn in another thread while that of the steps before is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from refar.arguments.arrays import Array


class Noises:
    """The noise of the coming steps, (B, …) each, from batches (steps, B, …). It may be looked at before it is taken."""

    def __init__(self, batches: Iterator[Array]) -> None:
        self._batches, self._at = batches, 0
        self._batch = next(batches)

    def take(self) -> Array:
        """The noise of the next step."""
        if self._at == len(self._batch):
            self._at, self._batch = 0, next(self._batches)
        self._at += 1
        return self._batch[self._at - 1]

    def look(self, count: int) -> Array:
        """The noise of the next `count` steps, (count, B, …), which stay to be taken."""
        while len(self._batch) < self._at + count:
            self._at, self._batch = 0, np.concatenate([self._batch[self._at :], next(self._batches)])
        return self._batch[self._at : self._at + count]

    def skip(self, count: int) -> None:
        """Take the noise of `count` steps that were looked at."""
        self._at += count


def in_batches(draw: Callable[[int, int], Array], total: int, first: int, most: int, threads: int = 1) -> Iterator[Array]:
    """Yield the noise of `total` ≥ 1 steps: a batch of `first` steps, then batches of up to `most`.

    `draw(done, steps)` draws the noise of `steps` steps after `done`. While a batch is used, other `threads` draw the next ones.
    """
    if first >= total:
        yield draw(0, total)
        return
    with ThreadPoolExecutor(threads) as others:
        done, batch, following = first, draw(0, first), deque[Future[Array]]()
        while True:
            while done < total and len(following) < threads:
                count = min(most, total - done)
                following.append(others.submit(draw, done, count))
                done += count
            yield batch
            if not following:
                return
            batch = following.popleft().result()
