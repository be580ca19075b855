"""A training loss under test: called with copies, in a dtype that it takes, with or without its gradient."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from refar.arguments.arrays import Array
from refar.errors import InputError
from refar.testing.known import loss_tolerance
from refar.testing.report import ContractError, Raised
from refar.testing.under_test import Convert, as_array, is_module, name_of, one_dtype, require_unchanged


class LossUnderTest:
    """Calls a loss with arrays, or with what `convert` makes of them. What the loss raises is a ContractError.

    Without `convert` a module of PyTorch gets tensors, and so does a function that fails on arrays. `dtype` is that of y: float32
    for a loss that fails on float64, as one with weights of its own may.
    """

    def __init__(self, function: Callable[..., Any], convert: Convert | None, example: Sequence[Array]) -> None:
        if not callable(function):
            raise InputError(f"loss: expected a function loss(y, x), got {type(function).__name__}")
        if convert is not None and not callable(convert):
            raise InputError(f"convert: expected a function of an array, like torch.from_numpy, got {type(convert).__name__}")
        self.name, self._function = name_of(function, "the loss"), function
        self._answers: dict[str, str] = {}
        self._convert, self.dtype = self._taken(convert, example)

    def __call__(self, arrays: Sequence[Array], dtype: DTypeLike) -> tuple[Array, float]:
        """Return the loss as an array, and the unit roundoff of the dtypes that took part; y, the first array, is given so."""
        result, _ = self._called(self._convert, arrays, dtype)
        came = as_array(self.name, result)
        own, given = str(getattr(result, "dtype", came.dtype)).rpartition(".")[2], np.dtype(dtype).name
        self._answers[given] = one_dtype(self.name, own, self._answers.get(given, ""))
        return came, loss_tolerance.unit(own, came, given)

    def gradient(self, arrays: Sequence[Array], dtype: DTypeLike) -> tuple[Array, float] | None:
        """Return the gradient of the sum of what the loss gives, with respect to y; None where there is none."""
        result, given = self._called(self._convert, arrays, dtype, differentiable=True)
        if getattr(result, "grad_fn", None) is None:
            return None
        try:
            result.sum().backward()
        except Exception as error:  # a user's backward pass may raise anything; it becomes one sentence
            raise Raised(f"the gradient of {self.name} raises {type(error).__name__}: {error}") from error
        came = np.zeros_like(arrays[0]) if given.grad is None else as_array(f"the gradient of {self.name}", given.grad)
        return came, loss_tolerance.unit(str(result.dtype).rpartition(".")[2], came, np.dtype(dtype).name)

    def _taken(self, convert: Convert | None, example: Sequence[Array]) -> tuple[Convert | None, DTypeLike]:
        """Return what makes of arrays what the loss takes, and the dtype of y; as first tried if it takes none of them."""
        kinds = [convert]
        if convert is None and "torch" in sys.modules:
            tensors = sys.modules["torch"].from_numpy
            kinds = [tensors] if is_module(self._function) else [None, tensors]
        for dtype in (np.float64, np.float32):
            for kind in kinds:
                try:
                    self._called(kind, example, dtype)
                except Raised:
                    continue
                return kind, dtype
        return kinds[-1], np.float64

    def _called(
        self, convert: Convert | None, arrays: Sequence[Array], dtype: DTypeLike, differentiable: bool = False
    ) -> tuple[Any, Any]:
        """Return what the loss returns, and y as it was given."""
        y, *others = arrays
        copies = [y.astype(dtype), *(array.copy() for array in others)]
        given = copies if convert is None else [_converted(convert, array) for array in copies]
        if differentiable and hasattr(given[0], "requires_grad_"):
            given[0].requires_grad_()
        try:
            result = self._function(*given)
        except Exception as error:  # a loss of the user
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise Raised(f"{self.name} raises {type(error).__name__} on arrays of {shapes}: {error}") from error
        for name, copy, before in zip(("y", "x", "mask"), copies, (y.astype(dtype), *others), strict=False):
            require_unchanged(f"{self.name} changed its argument {name}", "it must leave its arguments alone", copy, before)
        return result, given[0]


def _converted(convert: Convert, array: Array) -> Any:
    try:
        return convert(array)
    except Exception as error:  # a user's loss may raise anything; it becomes one sentence
        raise ContractError(
            f"convert raises {type(error).__name__} on an array of {array.dtype} {array.shape}: {error}"
        ) from error
