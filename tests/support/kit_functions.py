"""Functions that `check_function` is tried on: the oracle with the documented signatures, a convolution in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from refar.golden.operator import Operator
from refar.testing import ContractError, check_function

Function = Callable[..., Any]


def reference(operator: Operator) -> tuple[Function, Function]:
    """refar's own NumPy with the documented signature, and its gradient."""
    names, upstream = list(operator.signature.arguments), operator.signature.upstream

    def named(arrays: tuple[Any, ...]) -> dict[str, Any]:
        return {name: array for name, array in zip(names, arrays, strict=False) if array is not None}

    def compute(arrays: dict[str, Any], attributes: dict[str, Any]) -> dict[str, Any]:
        dtype = next((a.dtype for a in arrays.values() if a.dtype != np.int64), np.dtype(np.float64))
        return operator.compute(operator.signature.complete(attributes), arrays, dtype)

    def f(*arrays: Any, **attributes: Any) -> Any:
        return compute(named(arrays), attributes)[operator.signature.result]

    def gradient(dy: Any, *arrays: Any, **attributes: Any) -> Any:
        found = compute(named(arrays) | {upstream: dy}, attributes)
        return {name.removeprefix("gradient."): array for name, array in found.items() if name.startswith("gradient.")}

    return f, gradient


def conv(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1, strict: bool = False) -> Any:
    pad = (w.shape[2] - 1) * dilation + strict
    return F.conv1d(F.pad(x, (pad, 0)), w, b, dilation=dilation, groups=groups)[..., : x.shape[-1]]


def failure(f: Function, operator: str, **options: Any) -> str:
    with pytest.raises(ContractError) as caught:
        check_function(f, operator, convert=torch.from_numpy, **options)
    return str(caught.value)
