"""Calls at the same time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from refar.testing.together import together

_ROUNDS, _TRACED = 8, 2
"""The number of times that two threads call at once, and the number of those in which they take turns at every line."""


def at_once(first: Callable[[], Any], second: Callable[[], Any]) -> list[list[Any]]:
    """Call both at the same time in two threads, several times; return what both gave each time. Raises what either raises.

    In some rounds the threads are made to take turns after every line, so that what they share shows.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        return [together([first, second], turns=n < _TRACED) for n in range(_ROUNDS)]
    finally:
        sys.setswitchinterval(interval)
