"""Objects whose methods run in one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from refar.errors import BackendError


class Locked(Protocol):
    """An object with a lock of its own."""

    _lock: threading.RLock


_S = TypeVar("_S", bound=Locked)
_P = ParamSpec("_P")
_R = TypeVar("_R")


def alone(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], _R]:
    """Let a method run in one thread at a time. A second one that comes meanwhile gets a BackendError."""

    @wraps(method)
    def locked(self: _S, /, *arguments: _P.args, **named: _P.kwargs) -> _R:
        if not self._lock.acquire(blocking=False):
            kind = type(self).__name__.lower()
            raise BackendError(f"{method.__name__}: this {kind} is at work in another thread; give each thread one of its own")
        try:
            return method(self, *arguments, **named)
        finally:
            self._lock.release()

    return locked
