"""Models with their convolutions over time in int8: integers are multiplied and summed, all else stays float32.

The scales of the inputs are given, from calibration data. Scales taken from the values of each call (dynamic quantisation)
would let an output depend on what comes after it, and on other rows. Operators of ONNX alone are used, QuantizeLinear and
MatMulInteger, whose sums are exact; onnxruntime runs ConvInteger several times slower than Conv.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from refar.analysis.int8_products import InputScale

_LARGEST = np.float32(64)
_LAST = np.iinfo(np.int64).max

_Array = NDArray[Any]


def stored(model: onnx.ModelProto, scales: Mapping[str, InputScale]) -> onnx.ModelProto:
    """Return `model` with each product of a convolution in `scales`, {node: scale and zero point of its input}, in int8.

    The product is a Conv or a Gemm on the parameter <node>.weight. Ports stay as they are.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    rewriting = _Rewriting(found, scales)
    nodes = list(found.graph.node)
    del found.graph.node[:]
    for node in nodes:
        found.graph.node.extend(rewriting.replaced(node))
    assert rewriting.done in (set(), set(scales)), "all of them, or none in what follows from the conditions alone"
    read = {name for node in found.graph.node for name in node.input}
    tensors = [tensor for tensor in [*found.graph.initializer, *rewriting.tensors()] if tensor.name in read]
    del found.graph.initializer[:]
    found.graph.initializer.extend(tensors)
    onnx.checker.check_model(found, full_check=True)
    return found


class _Rewriting:
    """The nodes that stand in the place of products, and their initialisers."""

    def __init__(self, model: onnx.ModelProto, scales: Mapping[str, InputScale]) -> None:
        self._given = {tensor.name: tensor for tensor in model.graph.initializer}
        self._scales = scales
        self._added: dict[str, _Array] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._owner = ""
        self._shared: dict[tuple[str, InputScale], str] = {}
        self.done: set[str] = set()

    def tensors(self) -> list[onnx.TensorProto]:
        """The new initialisers."""
        return [numpy_helper.from_array(array, name) for name, array in self._added.items()]

    def replaced(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The nodes in the place of one: itself if it is no product of a convolution in int8."""
        name = node.input[1].removesuffix(".weight") if node.op_type in ("Conv", "Gemm") else ""
        if name not in self._scales:
            return [node]
        self._nodes, self._owner = [], node.output[0]
        self.done.add(name)
        weight, attributes = numpy_helper.to_array(self._given[node.input[1]]), _attributes(node)
        if node.op_type == "Gemm":
            self._product(name, self._quantized(name, node.input[0], turned=False), weight, node, node.output[0])
        else:
            rows = self._taps(name, node.input[0], weight.shape[2], attributes["dilations"][0], attributes["pads"][0])
            y = f"{self._owner}/rows"
            self._product(name, rows, weight.swapaxes(1, 2).reshape(len(weight), -1), node, y)
            self._emit("Transpose", y, output=self._owner, perm=[0, 2, 1])
        return self._nodes

    def _taps(self, name: str, x: str, kernel: int, dilation: int, pad: int) -> str:
        """The quantised values at each tap side by side: x (B, C, T) to (B, T, kernel·C), oldest first."""
        if pad:
            x = self._emit("Pad", x, self._constant("pads", np.array([0, 0, pad, 0, 0, 0])))
        rows = self._quantized(name, x, turned=True)
        if kernel == 1:
            return rows
        one, windows = self._constant("axis", np.array([1])), []
        for k in range(kernel):
            later = (kernel - 1 - k) * dilation
            first = self._constant(f"first{k}", np.array([k * dilation]))
            end = self._constant(f"end{k}", np.array([-later if later else _LAST]))
            windows.append(self._emit("Slice", rows, first, end, one))
        return self._emit("Concat", *windows, axis=2)

    def _quantized(self, name: str, x: str, *, turned: bool) -> str:
        """The integers of x, `turned` from (B, C, T) to (B, T, C): once for all convolutions that read it with the same scale."""
        at = self._scales[name]
        if (x, at) not in self._shared:
            rows = self._emit("Transpose", x, perm=[0, 2, 1]) if turned else x
            scale = self._own(name, "scale", np.float32(at.scale))
            self._shared[x, at] = self._emit("QuantizeLinear", rows, scale, self._zero(name))
        return self._shared[x, at]

    def _zero(self, name: str) -> str:
        return self._own(name, "zero", np.uint8(self._scales[name].zero))

    def _product(self, name: str, rows: str, weight: _Array, node: onnx.NodeProto, output: str) -> None:
        """Multiply integer `rows` (…, N) by `weight` (O, N): sums of integers, times both scales, and the bias."""
        integers, scale = quantized_weight(weight)
        matrix = self._own(name, "weight", np.ascontiguousarray(integers.T))
        sums = self._emit("Cast", self._emit("MatMulInteger", rows, matrix, self._zero(name)), to=TensorProto.FLOAT)
        bias = list(node.input[2:])
        step = self._own(name, "step", np.float32(self._scales[name].scale) * scale)
        y = self._emit("Mul", sums, step, output="" if bias else output)
        if bias:
            self._emit("Add", y, *bias, output=output)

    def _own(self, name: str, what: str, value: Any) -> str:
        """An initialiser of a refar node, the same wherever the node is computed."""
        self._added[f"{name}.weight/{what}"] = np.asarray(value)
        return f"{name}.weight/{what}"

    def _constant(self, what: str, value: _Array) -> str:
        self._added[f"{self._owner}/{what}"] = value
        return f"{self._owner}/{what}"

    def _emit(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{self._owner}/int8/{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}:{output}", **attributes))
        return output


def quantized_weight(weight: _Array) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round float32 `weight` (O, N) to integers -64 … 64: (O, N), and the scale of each row, (O,); that of zeros is 1.

    Seven bits, because some processors add pairs of products in 16 bits: 2 · 255 · 64 < 2^15.
    """
    scale = np.abs(weight).max(axis=1, initial=0) / _LARGEST
    scale = np.where(scale == 0, np.float32(1), scale).astype(np.float32)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
