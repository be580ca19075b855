"""The function that `check_causality` is given, at any rate: what it raises or returns amiss becomes one sentence."""

from __future__ import annotations

import contextlib
import io
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import InputError, RefarError
from refar.testing.probe.rate import Rate
from refar.testing.probe.tolerance import BITS, Tolerance, computed_in, tolerance
from refar.testing.report import ContractError, Raised
from refar.testing.under_test import Convert, FunctionUnderTest, is_module

_BITS = {**BITS, "float8": 3}


class Watched(FunctionUnderTest):
    """A function of one array, called with frames (see `Rate`). Raises ContractError for all that it does amiss."""

    def __init__(self, function: Callable[..., Any], convert: Convert | None, rate: Rate, name: str = "") -> None:
        super().__init__(function, name, convert)
        parameters = getattr(function, "parameters", None) if is_module(function) else None
        if parameters is not None and any(map(_is_lazy, parameters())):
            what = "whose parameters have no shape yet: call it once on an example first"
            raise InputError(f"f: expected a module with parameters, got a lazy one, {self.name}, {what}")
        self.function, self.rate, self.calls, self.printed, self.tensors = function, rate, 0, "", False
        self.dtype, self._given = "", ""
        self._dtypes: dict[np.dtype[Any], np.dtype[Any]] = {}

    @property
    def eps(self) -> float:
        """The distance of 1 to the next number in the dtype that f gave last; 0 for integers."""
        return epsilon(self.dtype)

    def tolerance(self, y: Array, axes: int) -> Tolerance:
        """Return how far another computation of y may lie from y, for each channel; the last `axes` axes of y are positions.

        The coarser of the dtypes of x and y decides: of float32 inputs, NumPy computes an FFT in float32 also beside float64.
        A note: `most` is what counts as equal, `rounding` what rounding may do; between the two its dtype shows nothing.
        """
        found = tolerance(y.reshape(*y.shape[:-axes], -1), [computed_in(y, self.dtype), self._given])
        shape = (*y.shape[1:-axes], *[1] * axes)
        return replace(found, most=found.most.reshape(shape), rounding=found.rounding.reshape(shape))

    @property
    def convert(self) -> Convert | None:
        """What makes of an array what the function takes."""
        return self._convert

    def __call__(self, x: Array, shape: Sequence[int] | None = None) -> Array:
        """Return f(x), as many positions as x has frames; `shape` is what it has to have."""
        y, self._given = super().__call__(self.rate.unfold(x)), floats(x.dtype)
        if self.dtype == "float64" and (y.astype(np.float32) == y).all():
            self.dtype = "float32"  # it was computed so
        if self.rate.up > 1:
            if y.ndim < 2 or y.shape[-1] != self.rate.up * x.shape[-1]:
                expected = f"expected {self.rate.up * x.shape[-1]} positions at rate {self.rate.up}"
                raise ContractError(f"{self.name} returned the wrong shape: {expected}, got {y.shape}")
            y = self.rate.fold(y, self.rate.up)
        if shape is not None and y.shape != tuple(shape):
            raise ContractError(f"{self.name} returned the wrong shape: expected {tuple(shape)}, got {y.shape}")
        before = self._dtypes.setdefault(x.dtype, y.dtype)
        if before != y.dtype:
            raise ContractError(f"{self.name} returned {y.dtype} at call {self.calls}, {before} at earlier ones of {x.dtype}")
        return y

    def _result(self, given: Array) -> Any:
        self.calls += 1
        try:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                result = super()._result(given)
        except RefarError:
            raise
        except Exception as error:
            raise Raised(self._sentence(error, given)) from None
        finally:
            self.printed = self.printed or out.getvalue().strip()
        self.tensors, self.dtype = hasattr(result, "requires_grad"), floats(getattr(result, "dtype", None))
        return result

    def _explain(self, error: Exception, x: Array) -> None:
        """Add notes to what was not made a sentence yet."""
        if not isinstance(error, ContractError):
            super()._explain(error, x)

    def _sentence(self, error: Exception, x: Array) -> str:
        self._explain(error, x)
        last = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(str(error).split()) or "no message"
        said = said if len(said) <= 300 else f"{said[:300]}…"
        when = f" at call {self.calls}, after {self.calls - 1} that returned" if self._dtypes else ""
        where = f"{type(error).__name__}{when} for x of shape {x.shape} and {x.dtype}"
        hints = "".join(f"; {note}" for note in getattr(error, "__notes__", []))
        return f"{self.name} raised {where}: {said} ({last.filename.rpartition('/')[2]}:{last.lineno}){hints}"


def floats(dtype: Any) -> str:
    """Return the name of a dtype of floats of NumPy, PyTorch or others; "" for integers and others."""
    name = str(dtype).rpartition(".")[2]
    return next((known for known in _BITS if name.startswith(known)), "")


def epsilon(dtype: Any) -> float:
    """Return the distance of 1 to the next number of a dtype; 0 for integers."""
    name = floats(dtype)
    return 2.0 ** (1 - _BITS[name]) if name else 0.0


def _is_lazy(parameter: Any) -> bool:
    return type(parameter).__name__.startswith("Uninitialized")
