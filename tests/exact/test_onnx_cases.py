"""The onnx package's own cases, run against the NumPy operators: expected values that nobody here computed.

All 1-D and 2-D convolutions among its stored pytorch-converted cases and its node cases (plain, dilated, in groups, strided,
padded on all sides, also longer than the signal), all transposed ones, which are the gradients of one, its zero padding of a
plane, and its depthwise causal convolution with a carried state (opset 27), for which the state is that of `refar.block`.
Only what has three dimensions is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case.node import causal_conv_with_state, conv, convtranspose

import refar
from refar import Builder, Graph, ops

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


def nodes(module: Any, monkeypatch: pytest.MonkeyPatch, exporter: Any) -> list[tuple[str, onnx.NodeProto, Case]]:
    """What an exporter of cases hands to `expect`: each with its name."""
    found: list[tuple[str, onnx.NodeProto, Case]] = []

    def expect(node: onnx.NodeProto, inputs: Any, outputs: Any, name: str, **_: Any) -> None:
        found.append((name, node, (attributes(node), inputs, outputs)))

    monkeypatch.setattr(module, "expect", expect)
    exporter()
    return found


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
    ((_, _, (options, (x, weight), (expected,))),) = nodes(
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
    ((_, node, (options, given, (expected, present))),) = nodes(causal_conv_with_state, monkeypatch, getattr(CAUSAL, exporter))
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


CASES_2D = [
    "Conv2d", "Conv2d_depthwise", "Conv2d_depthwise_padded", "Conv2d_depthwise_strided", "Conv2d_depthwise_with_multiplier",
    "Conv2d_dilated", "Conv2d_groups", "Conv2d_groups_thnn", "Conv2d_no_bias", "Conv2d_padding", "Conv2d_strided",
]  # fmt: skip
TRANSPOSED_2D = ["ConvTranspose2d", "ConvTranspose2d_no_bias"]
EXPORTERS = [name for name in vars(conv.Conv) if name.startswith("export")]
TRANSPOSED_EXPORTERS = [
    name for name in vars(convtranspose.ConvTranspose) if name.startswith("export") and not name.endswith(("_1d", "_3d"))
]


def test_every_two_dimensional_case_is_here() -> None:
    there = {path.name for path in CONVERTED.iterdir() if path.name.startswith(("test_Conv2d", "test_ConvTranspose2d"))}
    assert there == {f"test_{case}" for case in CASES_2D + TRANSPOSED_2D}


def layer_2d(weight: np.ndarray, options: dict[str, Any], bias: bool, before: list[int], fan_in: int) -> Graph:
    """A convolution of which pixel (r, s) sees from (r, s) - `before` on: by its anchor, the rest by a shift of the image."""
    kernel, dilation = weight.shape[2:], options.get("dilations", [1, 1])
    anchor = [min(pad // d, k - 1) for pad, d, k in zip(before, dilation, kernel, strict=True)]
    down, right = (pad - a * d for pad, a, d in zip(before, anchor, dilation, strict=True))
    g = Builder()
    x = g.shift2d(g.image(channels=fan_in), down=down, right=right)
    op = ops.Conv2d(len(weight), kernel, "none", tuple(anchor), tuple(dilation), 1, bias, options.get("group", 1))
    return g.build(g.add_op(op, x, name="conv"))


def pads(options: dict[str, Any], given: Any, kernel: Any) -> tuple[list[int], list[int]]:
    """How many zeros stand before and after, by rows and columns; "SAME_LOWER" puts the odd one before."""
    if options.get("auto_pad") != b"SAME_LOWER":
        both = options.get("pads", [0, 0, 0, 0])
        return list(both[:2]), list(both[2:])
    total = [(-(-n // s) - 1) * s + k - n for n, s, k in zip(given, options["strides"], kernel, strict=True)]
    return [t - t // 2 for t in total], [t // 2 for t in total]


def convolves(case: Case) -> None:
    """The image gets as many zeros below and on the right as the case has in all; a stride picks every so many outputs."""
    options, (x, weight, *bias), (expected,) = case
    before, after = pads(options, x.shape[2:], weight.shape[2:])
    graph = layer_2d(weight, options, bool(bias), before, x.shape[1])
    room = [(0, 0), (0, 0), *((0, b + a) for b, a in zip(before, after, strict=True))]
    down, right = options.get("strides", [1, 1])
    height, width = expected.shape[2:]

    def run(sign: Any) -> np.ndarray:
        params = {"conv.weight": sign(weight)} | ({"conv.bias": sign(bias[0])} if bias else {})
        return refar.forward(graph, params, np.pad(sign(x), room))[:, :, ::down, ::right][:, :, :height, :width]

    close(run(np.asarray), expected, run(np.abs), weight[0].size + 1)


@pytest.mark.parametrize("case", CASES_2D)
def test_stored_convolutions_over_a_plane(case: str) -> None:
    convolves(stored(f"test_{case}"))


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_convolutions_over_a_plane(exporter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = nodes(conv, monkeypatch, getattr(conv.Conv, exporter))
    assert cases
    for _, _, case in cases:
        convolves(case)


def transposes(case: Case) -> None:
    """The gradient of a convolution for its input: the case's input is the upstream gradient, a stride apart, zeros between."""
    options, (x, weight, *bias), (expected,) = case
    strides, dilation, kernel = options.get("strides", [1, 1]), options.get("dilations", [1, 1]), weight.shape[2:]
    full = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(x.shape[2:], strides, kernel, dilation, strict=True)]
    before = list(options.get("pads", [0, 0])[:2])
    if options.get("auto_pad") == b"SAME_UPPER":  # the odd one comes after
        before = [(f - n * s) // 2 for f, n, s in zip(full, x.shape[2:], strides, strict=True)]
    fan_in = weight.shape[1] * options.get("group", 1)
    graph = layer_2d(weight, options, False, [0, 0], fan_in)
    height, width = expected.shape[2:]
    sides = [max(f, b + n) for f, b, n in zip(full, before, (height, width), strict=True)]  # output_padding: zeros beyond

    def run(sign: Any) -> np.ndarray:
        dy = np.zeros((len(x), x.shape[1], *sides))
        dy[:, :, : (x.shape[2] - 1) * strides[0] + 1 : strides[0], : (x.shape[3] - 1) * strides[1] + 1 : strides[1]] = sign(x)
        signal = np.zeros((len(x), fan_in, *sides))
        dx = refar.backward(graph, {"conv.weight": sign(weight)}, signal, dy)["inputs"]["x"]
        y = dx[:, :, before[0] : before[0] + height, before[1] : before[1] + width]
        return y + sign(bias[0])[:, None, None] if bias else y

    close(run(np.asarray), expected, run(np.abs), weight[:, 0].size + 1)


@pytest.mark.parametrize("case", TRANSPOSED_2D)
def test_stored_transposed_convolutions(case: str) -> None:
    transposes(stored(f"test_{case}"))


@pytest.mark.parametrize("exporter", TRANSPOSED_EXPORTERS)
def test_transposed_convolutions_are_gradients(exporter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = nodes(convtranspose, monkeypatch, getattr(convtranspose.ConvTranspose, exporter))
    assert cases
    for _, _, case in cases:
        transposes(case)


def test_zero_padding_of_a_plane_is_a_shift() -> None:
    options, (x,), (expected,) = stored("test_ZeroPad2d")
    top, left, bottom, right = (options["pads"][i] for i in (2, 3, 6, 7))
    g = Builder()
    graph = g.build(g.shift2d(g.image(channels=x.shape[1]), down=top, right=left))
    larger = np.pad(x, ((0, 0), (0, 0), (0, top + bottom), (0, left + right)))
    np.testing.assert_array_equal(refar.forward(graph, {}, larger), expected)
