"""Denormal numbers, below 1.2e-38 in magnitude, taken as zero while a model runs: they cost a processor ten times as long.

onnxruntime can do so in the threads that it starts itself. But it also sets the mode of the thread that loads a model, for good,
and NumPy in that thread then flushes its own numbers. So loading gives the caller's mode back, and a call sets it for its own
length. On Linux with x86-64 or ARM and glibc; elsewhere nothing changes.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from refar.analysis.facts import Facts

_WORDS = {"x86_64": (7, 0x8040), "aarch64": (0, 1 << 24)}
"""Of each processor the word of glibc's fenv_t that holds the mode, and its bits: flush results and take arguments as zero."""


def _library() -> Any:
    """libm, where its fenv_t is known."""
    if sys.platform != "linux" or platform.machine() not in _WORDS or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")


_LIBM = _library()
ARE_FLUSHED = _LIBM is not None
_WORD, _BITS = _WORDS.get(platform.machine(), (0, 0))
_Environment = ctypes.c_uint32 * 16


def mode_of(found: Facts) -> Callable[[], AbstractContextManager[None]]:
    """Return the mode in which the models of a graph run. Classes make no denormal numbers; a signal that fades does."""
    return nullcontext if found.types[found.sequence].indexed else Flushed


class Flushed:
    """Take denormal numbers as zero in this thread, for the length of a `with` statement."""

    _bits = _BITS

    def __enter__(self) -> None:
        if _LIBM is not None:
            self._mode = _Environment()
            _LIBM.fegetenv(self._mode)
            self._before = self._mode[_WORD]
            self._mode[_WORD] |= self._bits
            _LIBM.fesetenv(self._mode)

    def __exit__(self, *_: object) -> None:
        if _LIBM is not None:
            self._mode[_WORD] = self._before
            _LIBM.fesetenv(self._mode)


class Kept(Flushed):
    """Give this thread the mode back that it had before a `with` statement."""

    _bits = 0
