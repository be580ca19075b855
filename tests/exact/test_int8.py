"""int8 by its definition, against numbers worked out by hand, the NumPy of the oracle, and onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from refar import Builder, Graph, ops
from refar.analysis.int8_products import InputScale
from refar.exact import int8 as exact
from refar.oracle import int8_network
from refar_export import int8 as exported
from refar_export.build import build

Arrays = dict[str, np.ndarray[Any, Any]]
LEVELS = ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"]


def run(model: Any, feeds: Arrays, level: str = "ORT_ENABLE_ALL") -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, feeds)[0]
    return found


@pytest.mark.parametrize(
    ("x", "q"),
    [(0.0, 3), (0.25, 3), (0.75, 5), (1.25, 5), (-0.25, 3), (-0.75, 1), (1.0, 5), (200.0, 255), (-9.0, 0), (126.0, 255)],
)
def test_halves_go_to_the_even_number_and_ends_are_held(x: float, q: int) -> None:
    """With scale 1/2 and zero point 3: 0.25 lies between 0 and 1 and becomes 0, 0.75 between 1 and 2 and becomes 2."""
    assert exact.quantize(np.float32(x), np.float32(0.5), 3) == q
    assert int8_network.quantized(np.array([x]), InputScale(0.5, 3)).tolist() == [q]


def test_quantizing_is_that_of_onnxruntime() -> None:
    rng = np.random.default_rng(0)
    scale, zero = np.float32(0.0173), 101
    ties = ((np.arange(-140, 200) + 0.5) * scale).astype(np.float32)
    near = np.concatenate([ties, np.nextafter(ties, np.float32(9)), np.nextafter(ties, np.float32(-9))])
    x = np.concatenate([rng.normal(size=2000) * 2, near, [1e30, -1e30, 0.0]]).astype(np.float32)
    port = helper.make_tensor_value_info
    node = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"])
    given = [port("x", TensorProto.FLOAT, ["n"]), port("scale", TensorProto.FLOAT, []), port("zero", TensorProto.UINT8, [])]
    body = helper.make_graph([node], "quantize", given, [port("q", TensorProto.UINT8, ["n"])])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    expected = [exact.quantize(number, scale, zero) for number in x]
    assert run(model, {"x": x, "scale": np.array(scale), "zero": np.array(zero, np.uint8)}).tolist() == expected
    assert int8_network.quantized(x.astype(np.float64), InputScale(float(scale), zero)).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_weights(seed: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(4, 3, 2)).astype(np.float32)
    weight[1] = 0
    weight[2, 0, 0], weight[2, 0, 1] = np.float32(64), np.float32(0.5)
    integers, scale = exported.quantized_weight(weight.reshape(4, -1))
    by_numpy, numpy_scale = int8_network.quantized_weight(weight.astype(np.float64))
    for o in range(4):
        expected, scale_o = exact.quantize_weights(weight[o])
        assert integers[o].tolist() == by_numpy[o].reshape(-1).tolist() == expected
        assert scale[o] == numpy_scale[o] == scale_o
        assert max(map(abs, expected)) == (64 if o != 1 else 0)


def case(kernel: int, dilation: int, strict: bool, bias: bool = True) -> tuple[Graph, ops.Conv1d]:
    op = ops.Conv1d(4, kernel, dilation, bias=bias, strict=strict)
    g = Builder()
    return g.build(g.add_op(op, g.input(channels=3), name="op")), op


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("kernel", "dilation", "strict", "bias"),
    [(1, 1, False, True), (1, 1, True, False), (2, 3, False, True), (3, 2, True, True), (4, 1, False, False)],
)
def test_integers_are_equal(kernel: int, dilation: int, strict: bool, bias: bool, level: str) -> None:
    """With scales of 1 every number is an integer: definition, NumPy and onnxruntime give the same, ends held included."""
    graph, op = case(kernel, dilation, strict, bias)
    rng = np.random.default_rng(kernel)
    x = rng.integers(-150, 170, (2, 3, 9)).astype(np.float32)
    weight = rng.integers(-64, 65, (4, 3, kernel)).astype(np.float32)
    weight[:, 0, 0] = 64
    own = {"weight": weight} | ({"bias": rng.integers(-9, 9, 4).astype(np.float32)} if bias else {})
    at = InputScale(1.0, 128)
    sums, y = exact.convolution(x, weight, own.get("bias"), np.float32(1), 128, dilation=dilation, strict=strict)
    part, by_numpy = int8_network.product(op, x, own, at)
    np.testing.assert_array_equal(part, sums.astype(float))
    np.testing.assert_array_equal(by_numpy, y.astype(float))
    model = exported.stored(build(graph, {f"op.{name}": array for name, array in own.items()}, "full"), {"op": at})
    np.testing.assert_array_equal(run(model, {"x": x}, level), y.astype(float))


@pytest.mark.parametrize("level", LEVELS)
def test_real_numbers_are_within_four_roundings(level: str) -> None:
    graph, op = case(3, 2, False)
    rng = np.random.default_rng(8)
    x = rng.normal(size=(2, 3, 20)).astype(np.float32)
    own = {"weight": rng.normal(size=(4, 3, 3)).astype(np.float32), "bias": rng.normal(size=4).astype(np.float32)}
    scale, zero = np.float32(0.02), 120
    _, y = exact.convolution(x, own["weight"], own["bias"], scale, zero, dilation=2, strict=False)
    at = InputScale(float(scale), zero)
    part, by_numpy = int8_network.product(op, x, own, at)
    np.testing.assert_allclose(by_numpy, y.astype(float), rtol=1e-14)
    model = exported.stored(build(graph, {f"op.{name}": array for name, array in own.items()}, "full"), {"op": at})
    off = np.abs(run(model, {"x": x}, level) - y.astype(float))
    assert (off <= 4.001 * 2.0**-24 * (np.abs(part) + np.abs(own["bias"])[:, None])).all()


def test_the_largest_pair_of_products_fits_into_16_bits() -> None:
    """Some processors add two products of unsigned and signed bytes in 16 bits, and hold the ends there."""
    assert 2 * exact.LEVELS * exact.LARGEST < 2**15
    graph, _ = case(2, 1, False, bias=False)
    x, weight = np.full((1, 3, 40), 255, np.float32), np.full((4, 3, 2), 64, np.float32)
    model = exported.stored(build(graph, {"op.weight": weight}, "full"), {"op": InputScale(1.0, 0)})
    assert (run(model, {"x": x})[:, :, 1:] == 255 * 64 * 6).all()
