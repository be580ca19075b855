"""Denormal numbers, below 1.2e-38 in magnitude, taken as zero while a model runs: they cost a processor ten times as long.

onnxruntime can do so too, but for good: it sets the mode of the thread that loads a model, and NumPy in that thread then flushes
its own numbers. Here the mode is that of the caller again when a call returns. On Linux with x86-64 or ARM; elsewhere nothing
changes.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import sys
from typing import Any

_WORDS = {"x86_64": (7, 0x8040), "aarch64": (0, 1 << 24)}
"""Of each processor the word of glibc's fenv_t that holds the mode, and its bits: flush results and take arguments as zero."""


def _library() -> Any:
    """libm, where its fenv_t is known."""
    if sys.platform != "linux" or platform.machine() not in _WORDS or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")


_LIBM = _library()
_WORD, _BITS = _WORDS.get(platform.machine(), (0, 0))
_Environment = ctypes.c_uint32 * 16


class Flushed:
    """Take denormal numbers as zero in this thread, for the length of a `with` statement."""

    def __enter__(self) -> None:
        if _LIBM is not None:
            self._mode = _Environment()
            _LIBM.fegetenv(self._mode)
            self._before = self._mode[_WORD]
            self._mode[_WORD] |= _BITS
            _LIBM.fesetenv(self._mode)

    def __exit__(self, *_: object) -> None:
        if _LIBM is not None:
            self._mode[_WORD] = self._before
            _LIBM.fesetenv(self._mode)
