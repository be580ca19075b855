"""All tokens of a generation at once; the rows of a large batch are shared out to several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from refar.arguments.arrays import Array
from refar.runtime.ahead import generated_ahead
from refar.runtime.generation import Draws, empty
from refar.runtime.opened import Opened
from refar.runtime.prompts import Prompts, chosen

_BLOCK = 256
_LEAST_ROWS = 8
"""Rows of a thread: of fewer a step costs nearly as much as one of them."""

Tokens = tuple[Array, Array]
"""Tokens x_bt or x_bct, and log p of each, (B, T), or (B, 0) where it is not wanted."""


def collected(
    opened: Opened,
    prompts: Prompts,
    n: int,
    draws: Draws,
    ahead: int,
    *,
    log_prob: bool,
    progress: Callable[[int], None] | None,
    threads: int,
) -> Tokens:
    """Return `n` tokens of each row. `progress` is called, by one thread at a time, with how many all rows have."""
    shares = min(threads, draws.rows // _LEAST_ROWS)
    if shares < 2:
        return _of_rows(opened, ahead, n, log_prob, prompts, draws, progress)
    rows = np.array_split(np.arange(draws.rows), shares)
    shared = None if progress is None else Shared(progress, shares)
    reports = [None if shared is None else partial(shared, number) for number in range(shares)]
    with ThreadPoolExecutor(shares) as pool:
        one = partial(_of_rows, opened, ahead, n, log_prob)
        parts = list(pool.map(one, [chosen(prompts, each) for each in rows], [draws.of_rows(each) for each in rows], reports))
    return np.concatenate([tokens for tokens, _ in parts]), np.concatenate([log_p for _, log_p in parts])


class Shared:
    """Report how far all of some threads have come: as far as the last one."""

    def __init__(self, progress: Callable[[int], None], threads: int) -> None:
        self._progress, self._done, self._lock = progress, [0] * threads, threading.Lock()

    def __call__(self, thread: int, done: int) -> None:
        """Say how far one thread has come."""
        with self._lock:
            before = min(self._done)
            self._done[thread] = done
            if min(self._done) > before:
                self._progress(min(self._done))


def _of_rows(
    opened: Opened,
    ahead: int,
    n: int,
    log_prob: bool,
    prompts: Prompts,
    draws: Draws,
    progress: Callable[[int], None] | None,
) -> Tokens:
    """Return the tokens of some rows, drawn in this thread."""
    tokens, log_p, done = [empty(opened, draws.rows, 0)], [np.zeros((draws.rows, 0))], 0
    size = _BLOCK if progress is None else 1
    for new, each in generated_ahead(opened, prompts, n, size, draws, ahead, log_prob=log_prob):
        tokens.append(new)
        log_p.append(each)
        done += new.shape[-1]
        if progress is not None:
            progress(done)
    if done < n and draws.stops is not None and draws.rows:  # every row has stopped
        tokens.append(np.repeat(draws.stops[:, None], n - done, axis=1))
        log_p.append(np.zeros((draws.rows, (n - done) * log_prob)))
    return np.concatenate(tokens, axis=-1), np.concatenate(log_p, axis=-1)
