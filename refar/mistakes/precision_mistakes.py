"""Too coarse a number format somewhere inside, a mistake that every operator can have."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refar.arguments.arrays import Array, Arrays

Rounding = Callable[[Array], Array]


def bfloat16(x: Array) -> Array:
    """Round to the nearest number of 8 significant bits, of equally near ones the even one."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + (bits >> 16 & 1))) & np.uint32(0xFFFF0000)).astype(np.uint32).view(np.float32)


def _format(dtype: type[np.floating]) -> Rounding:
    return lambda x: x.astype(dtype)


_FORMATS: Mapping[str, Rounding] = {"bfloat16": bfloat16, "float16": _format(np.float16), "float32": _format(np.float32)}

ARGUMENTS: Mapping[str, Rounding] = {
    f"arguments rounded to {name}": rounding for name, rounding in _FORMATS.items() if name != "float32"
}
"""What the numbers that go in are rounded by; those of golden cases are float32 already."""

RESULTS: Mapping[str, Rounding] = {f"rounded to {name}": rounding for name, rounding in _FORMATS.items()}
"""What each number that comes out is rounded by."""

NAMES = (*ARGUMENTS, *RESULTS)


def rounded(arrays: Arrays, rounding: Rounding) -> Arrays:
    """Round every array of numbers and keep its dtype; class indices stay as they are."""
    return {name: a if a.dtype.kind != "f" else rounding(a).astype(a.dtype) for name, a in arrays.items()}
