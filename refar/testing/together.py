"""Computations at once, each in a thread of its own; two may hand over to each other at every line of Python."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
_LINES = 300
_FOREIGN = (str(Path(__file__).parent), str(Path(np.__file__).parent), "<")
_STANDARD = str(Path(threading.__file__).parent)
_WAIT = 1.0
"""Seconds until one goes on, and takes turns no more, that is not handed back to: the other may wait for a lock."""


def together(computations: Sequence[Callable[[], T]], *, turns: bool = True) -> list[T]:
    """Return what the computations give, each in a thread of its own. Raises what one of them raises.

    With `turns` two hand over to each other after each of the first lines of Python that they run; lines of refar.testing, of
    NumPy and of Python's own library are left out.
    """
    results: dict[int, T] = {}
    raised: list[BaseException] = []
    handing, turn, done = threading.Condition(), [0], set[int]()

    def one(n: int) -> None:
        lines = 0

        def hand_over(frame: Any, event: str, argument: Any) -> Any:
            nonlocal lines
            if _is_foreign(frame.f_code.co_filename):
                return None
            lines += 1
            if lines > _LINES:
                sys.settrace(None)
                return None
            with handing:
                turn[0] = 1 - n
                handing.notify_all()
                in_turn = handing.wait_for(lambda: turn[0] == n or done, _WAIT)
            lines += 0 if in_turn else _LINES
            return hand_over

        sys.settrace(hand_over if turns and len(computations) > 1 else None)
        try:
            results[n] = computations[n]()
        except BaseException as error:  # whatever a thread raises is raised where its result is waited for
            raised.append(error)
        finally:
            sys.settrace(None)
            with handing:
                done.add(n)
                handing.notify_all()

    threads = [threading.Thread(target=contextvars.copy_context().run, args=(one, n)) for n in range(len(computations))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
    return [results[n] for n in range(len(computations))]


@cache
def _is_foreign(filename: str) -> bool:
    return filename.startswith(_FOREIGN) or (filename.startswith(_STANDARD) and "site-packages" not in filename)
