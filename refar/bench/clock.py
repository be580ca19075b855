"""Time several ways to compute the same, in turn, as other programs slow all of them down at times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_LEAST = 5
"""Rounds of each comparison at the least."""
_TURNS = 10
"""Turns into which the seconds of a comparison are divided, if calls are short enough."""


class NotTimedError(Exception):
    """Say why a way is not timed: what it needs is not there, or its outputs are not refar's."""


@dataclass(frozen=True)
class Way:
    """Hold one way to compute something. `call` computes `units` steps, pixels, or whatever is counted.

    `warm`: whether it has been called already.
    """

    call: Callable[[], object]
    units: float = 1.0
    warm: bool = False


def repeated(call: Callable[[], object], times: int) -> Way:
    """Return the way that calls a function so many times, where one call is one unit."""

    def calls() -> None:
        for _ in range(times):
            call()

    return Way(calls, times)


def in_turn(ways: Mapping[str, Way], seconds: float) -> dict[str, list[float]]:
    """Return microseconds per unit of every timed call of each way, {name: times}.

    Each way is called once before, unless it is warm. Then they take turns for about `seconds`, five turns each at the least.
    """
    for way in ways.values():
        if not way.warm:
            way.call()
    found: dict[str, list[float]] = {name: [] for name in ways}
    begin, rounds = time.perf_counter(), 0
    while ways and (rounds < _LEAST or time.perf_counter() - begin < seconds):
        for name, way in ways.items():
            found[name] += _turn(way, seconds / _TURNS / len(ways))
        rounds += 1
    return found


def _turn(way: Way, seconds: float) -> list[float]:
    """Call a way for so many seconds, once at the least."""
    begin = time.perf_counter()
    found: list[float] = []
    while not found or time.perf_counter() - begin < seconds:
        before = time.perf_counter()
        way.call()
        found.append(1e6 * (time.perf_counter() - before) / way.units)
    return found
