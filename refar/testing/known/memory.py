"""Arguments that lie in memory in other ways than freshly made arrays do, and calls at the same time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import numpy as np

from refar.arguments.arrays import Array

Layout = Callable[[Array], Array]

_ROUNDS, _TRACED, _LINES = 8, 2, 2000
"""How often two threads call at once; how many of these times they take turns after a line, and after how many lines."""


def _gaps(a: Array) -> Array:
    """Every second number of the last axis of a larger array; between them stands nothing that may be read."""
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), np.nan if a.dtype.kind == "f" else 0, a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def _inside(a: Array) -> Array:
    """The middle of a larger array: rows do not follow each other, and the first number is not at the start."""
    wide = np.full((*a.shape[:-1], a.shape[-1] + 3), np.nan if a.dtype.kind == "f" else 0, a.dtype)
    wide[..., 1:-2] = a
    return wide[..., 1:-2]


def _transposed(a: Array) -> Array:
    """Stored with its first two axes exchanged, as (in, out, taps) or (time, batch) are."""
    return a if a.ndim < 2 else np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1)


def _channels_last(a: Array) -> Array:
    return a if a.ndim < 3 else np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def _read_only(a: Array) -> Array:
    fixed = a.copy()
    fixed.setflags(write=False)
    return fixed


LAYOUTS: Mapping[str, Layout] = {
    "with gaps between the numbers (strided)": _gaps,
    "in Fortran's order": np.asfortranarray,
    "that are transposed views": _transposed,
    "that are parts of larger ones": _inside,
    "with the channels last in memory": _channels_last,
}
"""The same numbers, laid out in memory otherwise."""

READ_ONLY: Mapping[str, Layout] = {"that are read-only": _read_only}
"""For functions that take arrays of NumPy themselves: no tensor knows of this."""


def at_once(first: Callable[[], Any], second: Callable[[], Any]) -> list[tuple[Any, Any]]:
    """Call both at the same time in two threads, several times; return what both gave each time. Raises what either raises.

    In some rounds the threads are made to take turns after every line, so that what they share shows.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        return [_round(first, second, traced=n < _TRACED) for n in range(_ROUNDS)]
    finally:
        sys.setswitchinterval(interval)


def _round(first: Callable[[], Any], second: Callable[[], Any], traced: bool) -> tuple[Any, Any]:
    found: list[Any] = [None, None]
    raised: list[BaseException] = []
    together = threading.Barrier(2)

    def run(n: int, call: Callable[[], Any]) -> None:
        together.wait()
        if traced:
            sys.settrace(_taking_turns())
        try:
            found[n] = call()
        except BaseException as error:  # it belongs to the caller's thread
            raised.append(error)
        finally:
            sys.settrace(None)

    threads = [threading.Thread(target=run, args=each) for each in enumerate((first, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
    return found[0], found[1]


def _taking_turns() -> Any:
    """Make a tracing function, called at every line, that lets the other thread go on."""
    left = [_LINES]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        left[0] -= event == "line"
        if left[0] < 0:
            sys.settrace(None)
            return None
        time.sleep(0)
        return trace

    return trace
