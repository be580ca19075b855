"""Operators whose implementation in onnx's reference has not all that ONNX says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from refar.arguments.arrays import Array


class Pad(OpRun):
    """ONNX's Pad with constants; with negative numbers that cut away, which onnx's own does not have."""

    op_domain = ""

    def _run(self, data: Array, pads: Any = None, value: Any = None, axes: Any = None, mode: str | None = None) -> tuple[Array]:
        if mode not in (None, "constant"):
            raise ValueError(f"padding of the mode {mode!r}")
        filling = 0.0 if value is None else float(np.asarray(value).reshape(-1)[0])
        chosen = range(data.ndim) if axes is None else [int(axis) % data.ndim for axis in axes]
        for i, axis in enumerate(chosen):
            before, after = int(pads[i]), int(pads[i + len(chosen)])
            data = data.take(range(max(0, -before), data.shape[axis] - max(0, -after)), axis)
            width = [(0, 0)] * data.ndim
            width[axis] = (max(0, before), max(0, after))
            data = np.pad(data, width, constant_values=filling)
        return (data,)


class MaxPool(OpRun):
    """ONNX's MaxPool with stride 1, of which onnx's own fails with padding; what is around counts as -∞."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: Any = None,
        kernel_shape: Any = None,
        pads: Any = None,
        storage_order: int | None = None,
        strides: Any = None,
    ) -> tuple[Array]:
        count = len(kernel_shape)
        if any(stride != 1 for stride in strides or ()):
            raise ValueError(f"a maximum with strides {strides}")
        reach = [(k - 1) * d for k, d in zip(kernel_shape, dilations or [1] * count, strict=True)]
        around = {
            "NOTSET": list(zip((pads or [0] * 2 * count)[:count], (pads or [0] * 2 * count)[count:], strict=True)),
            "VALID": [(0, 0)] * count,
            "SAME_UPPER": [(r // 2, r - r // 2) for r in reach],
            "SAME_LOWER": [(r - r // 2, r // 2) for r in reach],
        }[auto_pad or "NOTSET"]
        y = np.pad(x, [(0, 0), (0, 0), *around], constant_values=-np.inf)
        for axis, (kernel, back) in enumerate(zip(kernel_shape, reach, strict=True), start=2):
            step, left = back // max(1, kernel - 1), y.shape[axis] - back
            y = np.max([y.take(range(i * step, i * step + left), axis) for i in range(kernel)], axis=0)
        return (y,)


class Gelu(OpRun):
    """ONNX's Gelu, of which onnx's own takes √2 and π in float32."""

    op_domain = ""

    def _run(self, x: Array, approximate: str | None = None) -> tuple[Array]:
        if approximate == "tanh":
            return (x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,)
        return (np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x.flat], x.dtype).reshape(x.shape),)


class Erf(OpRun):
    """ONNX's Erf, of which onnx's own is computed in float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.array([math.erf(v) for v in x.flat], x.dtype).reshape(x.shape),)


class HardSwish(OpRun):
    """ONNX's HardSwish, of which onnx's own takes 1/6 in float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x * np.minimum(np.maximum(x + 3, 0), 6) / 6,)


class OneHotOfDepth(OpRun):
    """ONNX's OneHot, whose depth may be a number or a list of one, of which onnx's own takes the first alone."""

    op_domain = ""

    def _run(self, indices: Array, depth: Array, values: Array, axis: int | None = None) -> tuple[Array]:
        count = int(np.asarray(depth).reshape(-1)[0])
        positive = np.where(indices < 0, indices + count, indices)
        found = np.arange(count) == positive[..., None]
        return (np.moveaxis(np.where(found, values[1], values[0]), -1, -1 if axis is None else axis),)


OneHotOfDepth.__name__ = "OneHot"  # onnx goes by the name of the class
OWN_OPERATORS: list[type[OpRun]] = [Pad, MaxPool, Gelu, Erf, HardSwish, OneHotOfDepth]
