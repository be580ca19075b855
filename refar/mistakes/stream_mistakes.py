"""Wrong streams: right steps from a wrong state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refar.arguments.arrays import Arrays

State = Arrays
Change = Callable[[list[State], int], State]
"""What is fed to step t instead of the last of the states so far, of which the first is the initial one."""


def _stale(states: list[State], t: int) -> State:
    return states[max(t - 1, 0)]


def _oldest_lost(states: list[State], t: int) -> State:
    return {n: np.concatenate([np.zeros_like(a[..., :1]), a[..., 1:]], axis=-1) for n, a in states[t].items()}


def _newest_twice(states: list[State], t: int) -> State:
    return {n: np.concatenate([a[..., 1:], a[..., -1:]], axis=-1) for n, a in states[t].items()}


def _reversed(states: list[State], t: int) -> State:
    return {n: a[..., ::-1] for n, a in states[t].items()}


def _of_other_rows(states: list[State], t: int) -> State:
    return {n: a[::-1] for n, a in states[t].items()}


def _zeros_at_first(states: list[State], t: int) -> State:
    return {n: np.zeros_like(a) for n, a in states[0].items()} if t == 0 else states[t]


MISTAKES: Mapping[str, Change] = {
    "state never fed back": lambda states, t: states[0],
    "state of the step before": _stale,
    "queue one too short: the oldest value is lost": _oldest_lost,
    "queue read after the newest value was pushed twice": _newest_twice,
    "queue read from the wrong end": _reversed,
    "rows of the state mixed up": _of_other_rows,
    "queue begins with zeros, whatever the values at t < 0 are": _zeros_at_first,
}
