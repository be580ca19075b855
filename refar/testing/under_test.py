"""A function under test, watched: it gives an array of real numbers, leaves its arguments alone, and keeps its word."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import InputError
from refar.testing.report import ContractError

Convert = Callable[[Array], Any]
"""Makes of an array what a function under test takes, like `torch.from_numpy`."""


class FunctionUnderTest:
    """Calls `function` with a copy of x, `convert` of it if given, and returns an array that is the caller's own.

    Raises ContractError, saying which, if x is changed, if the result is no array of real numbers, has another shape than
    expected or holds NaN, and if what an earlier call returned is changed by a later one. A module of PyTorch without `convert`
    gets tensors, if it does not take arrays of NumPy.
    """

    def __init__(self, function: Callable[..., Any], name: str = "", convert: Convert | None = None) -> None:
        if not callable(function):
            raise InputError(f"{name or 'f'}: expected a function, got {type(function).__name__}")
        if convert is not None and not callable(convert):
            raise InputError(f"convert: expected a function of an array, like torch.from_numpy, got {type(convert).__name__}")
        self.name = name or name_of(function, "the function")
        self._function, self._convert = function, convert
        self._module = function if is_module(function) else None
        self._returned: tuple[Array, Array] | None = None

    def __call__(self, x: Array, shape: Sequence[int] | None = None) -> Array:
        """Return f(x) as an array of its own; `shape` is what it has to have."""
        given = x.copy()
        try:
            result = self._result(given)
        except Exception as error:
            self._explain(error, x)
            raise
        require_unchanged(f"{self.name} changed its argument x", "it must leave its arguments alone", given, x)
        self.recheck()
        y = as_array(self.name, result)
        self._returned = (y, y.copy())
        if shape is not None and y.shape != tuple(shape):
            raise ContractError(f"{self.name} returned the wrong shape: expected {tuple(shape)}, got {y.shape}")
        require_numbers(self.name, y)
        return y.copy()

    @property
    def mode(self) -> str:
        """Say that a module of PyTorch is in training mode; nothing of all else."""
        return "; it is in training mode (.eval() ends it)" if getattr(self._module, "training", False) else ""

    def _result(self, given: Array) -> Any:
        """Return what the function makes of an array; the first failure of a module decides that it takes tensors."""
        if self._convert is not None:
            return self._function(self._convert(given))
        try:
            return self._function(given)
        except Exception:
            if self._module is None:
                raise
        result = self._function(sys.modules["torch"].from_numpy(given))
        self._convert = sys.modules["torch"].from_numpy
        return result

    def recheck(self) -> None:
        """Require that what the last call returned is still what it was."""
        if self._returned is not None:
            what = f"a later call of {self.name} changed the y that an earlier one had returned"
            require_unchanged(what, "it gives away a view of its own buffer, return a copy", *self._returned)

    def _explain(self, error: Exception, x: Array) -> None:
        """Add a note to what the function raised, where it was given another kind of array than it takes."""
        if "ensor" in str(error) and self._convert is None:
            error.add_note(f"{self.name} gets arrays of NumPy; if it takes tensors, give convert=torch.from_numpy")
        elif re.search("Long|used as indices", str(error)) and x.dtype.kind == "f":
            error.add_note(f"{self.name} gets floats; if it takes class indices, give classes= and their shape, or integers as x")


def is_module(function: Any) -> bool:
    """Return whether this is a module of PyTorch; without importing PyTorch, for who has one has imported it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(function, torch.nn.Module)


def name_of(function: Any, anonymous: str) -> str:
    """Return the name of a function or object, as a message says it."""
    name = str(getattr(function, "__name__", type(function).__name__))
    return anonymous if name == "<lambda>" else name


def as_array(name: str, result: Any, kinds: str = "biuf") -> Array:
    """Return what a function returned as an array of real numbers, or of other `kinds`.

    Tensors lose their gradient, bfloat16 becomes float32.
    """
    if result is None or isinstance(result, tuple | dict | str):
        came = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
        came = "None" if result is None else came
        raise ContractError(f"{name} returned the wrong kind: expected one array, got {came}")
    if (detach := getattr(result, "detach", None)) is not None:
        result = detach().cpu()
    try:
        y: Array = np.asarray(result)
    except TypeError as error:  # PyTorch's bfloat16, or an object that does not let itself be made an array
        if not hasattr(result, "float"):
            kind = type(result).__name__
            raise ContractError(f"{name} returned the wrong kind: expected one array, got a {kind}: {error}") from None
        y = np.asarray(result.float())
    except ValueError as error:
        raise ContractError(f"{name} returned the wrong kind: expected one array, got a list of unequal parts: {error}") from None
    if y.dtype.name.startswith(("bfloat16", "float8")):
        y = y.astype(np.float32)
    if y.dtype.kind not in kinds:
        raise ContractError(f"{name} returned the wrong dtype: expected real numbers, got {y.dtype}")
    return y


def one_dtype(name: str, now: Any, before: str) -> str:
    """Return the name of a dtype. Raises ContractError if an earlier result had another one, `before`; "" is none."""
    found = str(now).removeprefix("torch.")
    if before not in ("", found):
        raise ContractError(f"{name} returns {found} now, and has returned {before} before: one dtype is expected")
    return found


def require_numbers(name: str, y: Array) -> None:
    """Require that there is no NaN; infinities are numbers here, as the logarithm of 0 is."""
    if y.dtype.kind == "f" and (missing := np.isnan(y)).any():
        place = np.argwhere(missing)[0].tolist()
        raise ContractError(f"{name} returned NaN for finite input at {place} ({int(missing.sum())} of {y.size} are NaN)")


def require_unchanged(what: str, advice: str, now: Array, before: Array) -> None:
    """Require the same bits. Raises ContractError with the first place and both values."""
    changed = (now != before) & ~((now != now) & (before != before))
    if changed.any():
        place = tuple(np.argwhere(changed)[0].tolist())
        raise ContractError(f"{what}: at {list(place)} it was {before[place]!s} and is {now[place]!s}; {advice}")
