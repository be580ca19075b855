"""All tokens of a generation at once; the rows of a large batch are shared out to several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial

import numpy as np

from refar.arguments.arrays import Array
from refar.runtime.ahead import generated_ahead
from refar.runtime.generation import Draws
from refar.runtime.in_graph import generated_in_graph
from refar.runtime.opened import Opened
from refar.runtime.prompts import Prompts, chosen

_BLOCK = 256
_LEAST_ROWS = 8
"""Rows of a thread: with fewer a step costs nearly as much as with these."""

Tokens = tuple[Array, Array]
"""Tokens x_bt or x_bct, and log p of each, (B, T), or (B, 0) where it is not wanted."""


def collected(
    opened: Opened,
    prompts: Prompts,
    n: int,
    draws: Draws,
    ahead: int,
    *,
    sampler: bool,
    log_prob: bool,
    progress: Callable[[int], None] | None,
    threads: int,
) -> Tokens:
    """Return `n` tokens of each row. `progress` is called, by one thread at a time, with how many all rows have."""
    shares = 1 if sampler else min(threads, draws.rows // _LEAST_ROWS)
    size = _BLOCK if progress is None else 1
    way = generated_in_graph if sampler else generated_ahead

    def one(prompts: Prompts, draws: Draws, report: Callable[[int], None]) -> Tokens:
        return _joined(way(opened, prompts, n, size, draws, ahead, log_prob=log_prob), n, draws, report)

    if shares < 2:
        return one(prompts, draws, progress or _nothing)
    shared = Shared(progress or _nothing, shares)
    with ThreadPoolExecutor(shares) as pool:
        rows = np.array_split(np.arange(draws.rows), shares)
        futures = [
            pool.submit(one, chosen(prompts, each), draws.of_rows(each), partial(shared, number))
            for number, each in enumerate(rows)
        ]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:  # after an error, or Ctrl-C, the other threads need not go on
            shared.over = True
        for future in done:
            future.result()  # raises what one of them raised
    parts = [future.result() for future in futures]
    return np.concatenate([tokens for tokens, _ in parts]), np.concatenate([log_p for _, log_p in parts])


def _nothing(_: int) -> None:
    pass


class _OverError(Exception):
    """Another thread has failed, or the caller does not wait any more."""


class Shared:
    """Report how far all of some threads have come: as far as the last one. When it is `over`, no thread goes on."""

    def __init__(self, progress: Callable[[int], None], threads: int) -> None:
        self._progress, self._done, self._lock, self.over = progress, [0] * threads, threading.Lock(), False

    def __call__(self, thread: int, done: int) -> None:
        """Say how far one thread has come."""
        if self.over:
            raise _OverError
        with self._lock:
            before = min(self._done)
            self._done[thread] = done
            if min(self._done) > before:
                self._progress(min(self._done))


def _joined(pieces: Iterator[Tokens], n: int, draws: Draws, progress: Callable[[int], None]) -> Tokens:
    """Return `n` tokens from pieces, which end where every row has stopped; `progress` is called after each piece."""
    tokens, log_p, done = list[Array](), list[Array](), 0
    for new, each in pieces:
        tokens.append(new)
        log_p.append(each)
        done += new.shape[-1]
        progress(done)
    if done < n and draws.stops is not None:
        tokens.append(np.repeat(draws.stops[:, None], n - done, axis=1))
        log_p.append(np.zeros((draws.rows, (n - done) * (log_p[0].shape[1] > 0))))
        progress(n)
    return np.concatenate(tokens, axis=-1), np.concatenate(log_p, axis=-1)
