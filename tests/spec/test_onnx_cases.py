"""The onnx package's own cases, run against the NumPy operators: expected values that nobody here computed.

All 1-D convolutions among its stored pytorch-converted cases (plain, dilated, in groups, strided, padded on both sides, also
longer than the signal), its 1-D transposed convolution, which is the gradient of one, and its depthwise causal convolution
with a carried state (opset 27), for which the state is that of `refar.block`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case.node import causal_conv_with_state, convtranspose

import refar
from refar import Builder, Graph

CONVERTED = Path(loader.DATA_DIR) / "pytorch-converted"
U = 2.0**-24

Case = tuple[dict[str, Any], list[np.ndarray], list[np.ndarray]]
"""Attributes, inputs, outputs."""


def stored(name: str) -> Case:
    model = onnx.load(CONVERTED / name / "model.onnx")
    own = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    data = {kind: sorted((CONVERTED / name / "test_data_set_0").glob(f"{kind}_*.pb")) for kind in ("input", "output")}
    x, y = ([numpy_helper.to_array(onnx.load_tensor(path)) for path in data[kind]] for kind in ("input", "output"))
    (node,) = model.graph.node
    return attributes(node), [*x, *(own[source] for source in node.input if source in own)], y


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def nodes(module: Any, monkeypatch: pytest.MonkeyPatch, exporter: Any) -> tuple[onnx.NodeProto, Case]:
    """What an exporter of cases hands to `expect`."""
    found: list[tuple[onnx.NodeProto, Case]] = []

    def expect(node: onnx.NodeProto, inputs: Any, outputs: Any, **_: Any) -> None:
        found.append((node, (attributes(node), inputs, outputs)))

    monkeypatch.setattr(module, "expect", expect)
    exporter()
    return found[0]


def layer(channels: int, weight: np.ndarray, bias: bool, dilation: int, groups: int, ahead: int) -> Graph:
    """A causal convolution of which position t is read at t + ahead."""
    g = Builder()
    y = g.conv1d(
        g.input(channels=channels), len(weight), kernel=weight.shape[2], dilation=dilation, groups=groups, bias=bias, name="conv"
    )
    return g.build(g.delay(y, -ahead) if ahead else y)


def close(y: np.ndarray, expected: np.ndarray, magnitude: np.ndarray, products: int) -> None:
    """Within what a sum of so many products, in any order, may round in float32."""
    allowed = products * U / (1 - products * U) * magnitude + U * np.abs(expected)
    assert y.shape == expected.shape
    assert (np.abs(y - expected) <= allowed).all(), f"{np.abs(y - expected).max()} of {allowed.max()}"


def test_every_one_dimensional_case_is_here() -> None:
    there = {path.name for path in CONVERTED.iterdir() if path.name.startswith("test_Conv1d")}
    assert there == {"test_Conv1d" + case for case in CASES}


CASES = ["", "_dilated", "_groups", "_pad1", "_pad1size1", "_pad2", "_pad2size1", "_stride"]


@pytest.mark.row("000-3")
@pytest.mark.parametrize("case", CASES)
def test_stored_convolutions(case: str) -> None:
    """Padding on the right is x itself; that on the left is causal padding, of which `ahead` positions are passed over."""
    options, (x, weight, bias), (expected,) = stored("test_Conv1d" + case)
    (dilation,), (stride,), (left, right) = options["dilations"], options["strides"], options["pads"]
    past = (weight.shape[2] - 1) * dilation
    graph = layer(x.shape[1], weight, True, dilation, options["group"], past - left)
    length = x.shape[2] + left + right - past

    def run(sign: Any) -> np.ndarray:
        params = {"conv.weight": sign(weight), "conv.bias": sign(bias)}
        return refar.forward(graph, params, np.pad(sign(x), ((0, 0), (0, 0), (0, right))))[:, :, :length:stride]

    close(run(np.asarray), expected, run(np.abs), weight[0].size + 1)


def test_transposed_convolution_is_the_gradient_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (options, (x, weight), (expected,)) = nodes(
        convtranspose, monkeypatch, convtranspose.ConvTranspose.export_convtranspose_1d
    )
    assert options == {}
    past = weight.shape[2] - 1
    graph = layer(weight.shape[1], weight, False, 1, 1, past)
    dy = np.pad(x, ((0, 0), (0, 0), (0, past)))  # `valid`: the last positions do not exist
    signal = np.zeros((len(x), weight.shape[1], x.shape[2] + past))
    found = refar.backward(graph, {"conv.weight": weight}, signal, dy)["inputs"]["x"]
    np.testing.assert_array_equal(found, expected)


CAUSAL = causal_conv_with_state.CausalConvWithState


@pytest.mark.row("003-6")
@pytest.mark.parametrize("exporter", [name for name in vars(CAUSAL) if name.startswith("export")])
def test_causal_convolutions_with_a_carried_state(exporter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node, (options, given, (expected, present)) = nodes(causal_conv_with_state, monkeypatch, getattr(CAUSAL, exporter))
    named = dict(zip((name for name in node.input if name), given, strict=True))
    x, weight, bias = named["input"], named["weight"], named.get("bias")
    channels, kernel = len(weight), weight.shape[2]
    graph = layer(channels, weight, bias is not None, 1, channels, 0)
    zero = np.zeros((len(x), channels, kernel - 1))

    def run(sign: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        params = {"conv.weight": sign(weight)} | ({} if bias is None else {"conv.bias": sign(bias)})
        state = {"x": sign(named.get("past_state", zero))} if kernel > 1 else {}
        return refar.block(graph, params, state, sign(x))

    (y, state), (magnitude, _) = run(np.asarray), run(np.abs)
    np.testing.assert_array_equal(state.get("x", zero), present)
    if expected.dtype == np.float16 or "activation" in options:
        silu = y / (1 + np.exp(-y)) if "activation" in options else y
        resolution = 2.0**-10 if expected.dtype == np.float16 else 2.0**-20
        np.testing.assert_allclose(silu, expected.astype(float), rtol=resolution, atol=resolution * magnitude.max())
    else:
        close(y, expected, magnitude, kernel + 1)
