"""A function under test in a stream, watched more closely: in which dtype it answers, and what it does with odd layouts of x."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import RefarError
from refar.testing.layouts import Layout
from refar.testing.report import ContractError, Raised
from refar.testing.under_test import Convert, FunctionUnderTest, one_dtype


def as_it_is(x: Array) -> Array:
    """Return x."""
    return x


NOTHING = np.zeros(0)
"""Stands for an output that a function holds back; it has no dtype of the function's."""


class Observed(FunctionUnderTest):
    """Calls a function as `FunctionUnderTest` does; what it raises becomes one sentence, and all results have one dtype.

    `layout` says how x lies in memory when it is given.
    """

    def __init__(self, function: Callable[..., Any], name: str = "", convert: Convert | None = None) -> None:
        super().__init__(function, name, convert)
        self._inner, self._given_convert = function, convert
        self._function, self._convert = self._observed, None
        self.layout: Layout = as_it_is
        self.dtype, self.converts, self._names = "", convert is not None, dict[Any, str]()

    def __call__(self, x: Array, shape: Any = None) -> Array:
        """Return f(x). Raises Raised, one sentence, whatever the function itself raises."""
        try:
            return super().__call__(x, shape)
        except (ContractError, RefarError):
            raise
        except Exception as error:
            hints = "".join(f"; {note}" for note in getattr(error, "__notes__", []))
            raise Raised(f"{self.name} raises {described(error)}{hints}") from None

    def _observed(self, x: Array) -> Any:
        result = self._called(self.layout(x))
        if result is not NOTHING and (dtype := getattr(result, "dtype", None)) is not None:
            self._note(self._names.get(dtype) or self._names.setdefault(dtype, str(dtype).removeprefix("torch.")))
        return result

    def _called(self, x: Array) -> Any:
        """Return what the function makes of an array; the first failure of a module decides that it takes tensors."""
        if self._given_convert is None:
            try:
                return self._inner(x)
            except Exception:  # what the function raises, which is told if tensors do not help
                if self._module is None:
                    raise
            self._given_convert, self.converts = sys.modules["torch"].from_numpy, True
        return self._inner(self._given_convert(x))

    def _note(self, dtype: str) -> None:
        """Require the dtype of the results before."""
        self.dtype = one_dtype(self.name, dtype, self.dtype)

    def _explain(self, error: Exception, x: Array) -> None:
        if self._given_convert is None:
            super()._explain(error, x)


def described(error: Exception) -> str:
    """Say what was raised, in one line, and where in the code that is not refar's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/refar/" not in frame.filename.replace("\\", "/")]
    where = f" ({own[0].filename.replace(chr(92), '/').rpartition('/')[2]}, line {own[0].lineno})" if own else ""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}{where}" if said else f"{type(error).__name__}{where}"


class Heard(io.StringIO):
    """Passes on what is printed, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self._out = sys.stdout

    def write(self, text: str) -> int:
        """Write to where it went before, and here."""
        self._out.write(text)
        return super().write(text)

    def flush(self) -> None:
        """Flush where it goes."""
        self._out.flush()
