"""The rows of a large batch in several threads: the same tokens, as long as each thread has work enough."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import refar
from refar import models
from refar.runtime import load
from refar.runtime.collected import Shared
from refar.runtime.generation import Generation
from refar.runtime.session import Session
from refar_export import export

ROWS, N = 20, 24


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Session]:
    """One network with 1 and with 2 threads."""
    graph = models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7, condition="class:3")
    path = export(graph, refar.init(graph, seed=1), tmp_path_factory.mktemp("bundle") / "b", spare=3)
    return {threads: load(path, threads=threads) for threads in (1, 2)}


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "a seed for each row": {"seed": list(range(ROWS)), "temperature": [0.5 + 0.1 * b for b in range(ROWS)]},
    "stops": {"stop": [b % 3 if b % 2 else None for b in range(ROWS)]},
    "every row stops": {"stop": 1},
    "prompts": {"prompt": [[b % 5] * (b % 4) for b in range(ROWS)], "batch": None},
    "guesses": {"ahead": 3},
}


@pytest.mark.parametrize("chosen", OPTIONS)
def test_the_same_tokens(sessions: dict[int, Session], chosen: str) -> None:
    options = {"batch": ROWS, "seed": 4, "condition": [b % 3 for b in range(ROWS)], **OPTIONS[chosen]}
    (one, log_p), (two, found) = (sessions[threads].generate(N, log_prob=True, **options) for threads in (1, 2))
    np.testing.assert_array_equal(two, one)
    np.testing.assert_allclose(found, log_p, rtol=0, atol=1e-5)


def threads_of(session: Session, batch: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Count the threads that generate."""
    seen, right = set[int](), Generation.steps

    def noted(self: Generation, count: int) -> Any:
        seen.add(threading.get_ident())
        return right(self, count)

    monkeypatch.setattr(Generation, "steps", noted)
    session.generate(600, batch=batch, condition=1)
    return len(seen)


@pytest.mark.parametrize(("threads", "batch", "expected"), [(1, 20, 1), (2, 15, 1), (2, 16, 2), (2, 64, 2)])
def test_how_many_threads(
    sessions: dict[int, Session], threads: int, batch: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threads_of(sessions[threads], batch, monkeypatch) == expected


def test_progress_is_that_of_the_last_thread(sessions: dict[int, Session]) -> None:
    seen: list[int] = []
    sessions[2].generate(N, batch=ROWS, condition=0, progress=seen.append)
    assert seen == list(range(1, N + 1))
    seen.clear()
    shared = Shared(seen.append, 2)
    for thread, done in ((0, 1), (0, 2), (1, 1), (1, 3), (0, 5)):
        shared(thread, done)
    assert seen == [1, 2, 3]


def test_progress_comes_to_the_end_where_rows_stop(sessions: dict[int, Session]) -> None:
    seen: list[int] = []
    stop = [0, 1, 2, 3, 4] * 2 + [None] * 10
    sessions[2].generate(N, batch=ROWS, condition=0, stop=stop, progress=seen.append)
    assert seen[-1] == N


def test_an_error_ends_all_threads(sessions: dict[int, Session]) -> None:
    """What `progress` raises comes to the caller, and nobody goes on."""
    seen: list[int] = []

    def progress(done: int) -> None:
        seen.append(done)
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        sessions[2].generate(10_000, batch=ROWS, condition=0, progress=progress)
    assert seen == [1]
