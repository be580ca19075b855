"""ONNX files that cannot be taken, one function for each: the model, options, and words that the refusal must say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import refused_modules
from causal_modules import randomised
from onnx import ModelProto, TensorProto, helper
from onnx_files import CONV, WEIGHTS, exported, node, numbers, whole, written

RefusedFile = tuple[ModelProto, dict[str, Any], tuple[str, ...]]


def behind(*nodes: Any, words: tuple[str, ...], opset: int = 18, **weights: Any) -> RefusedFile:
    """Put nodes from h to y behind a causal convolution."""
    return written([CONV, *nodes], {**WEIGHTS, **weights}, opset=opset), {}, words


def of_module(name: str, *words: str) -> Callable[[], RefusedFile]:
    """Export a module that from_torch refuses too."""

    def made() -> RefusedFile:
        module, example, options, _ = getattr(refused_modules, name)()
        return exported(randomised(module), example, options), {}, words

    made.__name__ = name
    return made


def unknown_domain() -> RefusedFile:
    fused = node("FusedConv", ["x", "conv.weight"], ["y"], name="fused", domain="com.microsoft")
    model = written([fused], WEIGHTS)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model, {}, ("FusedConv 'fused' (its output is 'y')", "com.microsoft", "export without it")


def branch_by_data() -> RefusedFile:
    branches = [
        helper.make_graph([node(kind, ["h"], [kind])], kind, [], [helper.make_tensor_value_info(kind, TensorProto.FLOAT, None)])
        for kind in ("Relu", "Tanh")
    ]
    nodes = [
        node("ReduceMax", ["h"], ["top"], keepdims=0),
        node("Cast", ["top"], ["condition"], to=TensorProto.BOOL),
        node("If", ["condition"], ["y"], then_branch=branches[0], else_branch=branches[1], name="which"),
    ]
    return behind(*nodes, words=("ReduceMax (its output is 'top')",))


def branch_by_input() -> RefusedFile:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("r", "t")]
    relu = helper.make_graph([node("Relu", ["h"], ["r"])], "then", [], ends[:1])
    tanh = helper.make_graph([node("Tanh", ["h"], ["t"])], "else", [], ends[1:])
    which = node("If", ["condition"], ["y"], then_branch=relu, else_branch=tanh, name="which")
    flags = [node("Cast", ["x"], ["condition"], to=TensorProto.BOOL)]
    return written([CONV, *flags, which], WEIGHTS), {}, ("Cast (its output is 'condition')", "bool")


def loop() -> RefusedFile:
    body = helper.make_graph(
        [node("Relu", ["before"], ["after"]), node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
        ],
    )
    return behind(
        node("Loop", ["three", "", "h"], ["y"], body=body, name="rounds"),
        words=("Loop 'rounds'", "control flow", "unroll"),
        three=np.int64(3),
    )


def newer_opset() -> RefusedFile:
    return written([CONV], WEIGHTS, opset=999, outputs=("h",)), {}, ("opset 999", "installed onnx", "upgrade onnx")


def newer_format() -> RefusedFile:
    model = written([CONV], WEIGHTS, outputs=("h",))
    model.ir_version = 999
    return model, {}, ("IR version 999", "upgrade onnx")


def older_opset() -> RefusedFile:
    return written([CONV], WEIGHTS, opset=6, outputs=("h",)), {}, ("opset 6", "convert_version")


def no_shape() -> RefusedFile:
    return written([CONV], WEIGHTS, x=None, outputs=("h",)), {}, ("nothing of the shape of its input 'x'",)


def free_channels() -> RefusedFile:
    model = written([CONV], WEIGHTS, x=("batch", "channels", "time"), outputs=("h",))
    return model, {}, ("how many channels", "(batch, channels, time)", "axes=")


def an_image() -> RefusedFile:
    conv = node("Conv", ["x", "W"], ["y"], pads=[1, 1, 0, 1])
    return written([conv], {"W": numbers(3, 2, 2, 3)}, x=("b", 2, "h", "w")), {}, ("sizes (b, 2, h, w)", "(B, C, T)")


def texts() -> RefusedFile:
    return written([node("Identity", ["x"], ["y"])], {}, kind=TensorProto.STRING), {}, ("input 'x' is of the type string",)


def classes_not_said() -> RefusedFile:
    nodes = [node("Gather", ["table", "x"], ["y"])]
    model = written(nodes, {"table": numbers(5, 4)}, x=("batch", "time"), kind=TensorProto.INT64)
    return model, {}, ("how many classes", "classes={'x': 256}")


def too_few_classes() -> RefusedFile:
    model, _, _ = classes_not_said()
    return model, {"classes": 4}, ("Gather (its output is 'y')", "a table of 5 rows for 4 classes", "classes=5")


def two_outputs() -> RefusedFile:
    nodes = [CONV, node("Relu", ["h"], ["y"])]
    return written(nodes, WEIGHTS, outputs=("y", "h")), {}, ("2 outputs", "'y', 'h'", "extract_model")


def invalid() -> RefusedFile:
    return written([node("Relu", ["nothing"], ["y"])], {}), {}, ("no valid ONNX model", "nothing")


def quantised() -> RefusedFile:
    nodes = [node("QuantizeLinear", ["h", "s", "z"], ["q"], name="quantise"), node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    zero = {"s": np.float32(0.1), "z": np.array(3, np.uint8)}
    return behind(*nodes, words=("QuantizeLinear 'quantise'", "quantised", "before quantisation"), **zero)


def integer_convolution() -> RefusedFile:
    nodes = [
        node("DynamicQuantizeLinear", ["h"], ["q", "s", "z"]),
        node("ConvInteger", ["q", "W", "z"], ["y"]),
    ]
    return behind(*nodes, words=("DynamicQuantizeLinear", "'q', 's', 'z'", "quantised"), W=np.ones((3, 3, 2), np.uint8))


def resized() -> RefusedFile:
    return behind(
        node("Resize", ["h", "", "scales"], ["y"], mode="nearest"),
        words=("Resize", "a change of rate"),
        scales=np.float32([1, 1, 2]),
    )


def einsum() -> RefusedFile:
    return behind(node("Einsum", ["h", "W"], ["y"], equation="bct,oc->bot"), words=("Einsum", "write conv1d"), W=numbers(4, 3))


def unknown_activation() -> RefusedFile:
    words = ("ThresholdedRelu 'on'", "no operator for ThresholdedRelu")
    return behind(node("ThresholdedRelu", ["h"], ["y"], name="on"), words=words)


def error_function() -> RefusedFile:
    return behind(node("Erf", ["h"], ["y"]), words=("Erf", "no part of gelu"))


def old_softmax() -> RefusedFile:
    return behind(node("Softmax", ["h"], ["y"]), words=("Softmax", "before opset 13"), opset=12)


def picked_channels() -> RefusedFile:
    return behind(node("Gather", ["h", "order"], ["y"], axis=1), words=("Gather", "one by one"), order=whole(2, 0))


def fixed_weights_of_time() -> RefusedFile:
    return behind(node("Mul", ["h", "W"], ["y"]), words=("Mul", "axis T", "position"), W=numbers(1, 1, 70))


def computed_kernel() -> RefusedFile:
    nodes = [node("Slice", ["h", "zero", "two", "one_"], ["W"]), node("Conv", ["h", "W"], ["y"])]
    fixed = {"zero": whole(0), "two": whole(2), "one_": whole(2)}
    return behind(*nodes, words=("Conv (its output is 'y')", "its weight is computed"), **fixed)


def division_by_a_value() -> RefusedFile:
    return behind(node("Div", ["h", "h"], ["y"]), words=("Div", "a division by a computed value"))


def not_finite() -> RefusedFile:
    model = written([CONV], {**WEIGHTS, "conv.bias": np.float32([1, np.nan, 2])}, outputs=("h",))
    return model, {}, ("conv.bias", "not finite")


def always_the_same() -> RefusedFile:
    nodes = [node("Mul", ["h", "zero"], ["none"]), node("Relu", ["none"], ["y"])]
    return behind(*nodes, words=("same for every input",), zero=np.float32(0))


def fixed_length_cut() -> RefusedFile:
    nodes = [CONV, node("Slice", ["h", "zero", "end", "two"], ["y"], name="cut")]
    fixed = {"zero": whole(0), "end": whole(19), "two": whole(2)}
    words = ("Slice 'cut'", "the file fixes its length to 20", "dynamic_axes")
    return written(nodes, {**WEIGHTS, **fixed}, x=("batch", 2, 20)), {}, words


def fixed_batch_joined() -> RefusedFile:
    nodes = [node("Concat", ["zeros", "x"], ["long"], axis=2), node("Conv", ["long", "W"], ["y"])]
    model = written(nodes, {"zeros": np.zeros((1, 2, 2)), "W": numbers(3, 2, 3)}, x=(1, 2, "time"))
    return model, {}, ("fails at another length and batch", "the file fixes its batch to 1")


def fixed_channels_last() -> RefusedFile:
    nodes = [node("MatMul", ["x", "W"], ["h"]), node("Tanh", ["h"], ["y"])]
    return written(nodes, {"W": numbers(3, 4)}, x=(1, 20, 3)), {}, ("MatMul", "axis T", "axes={'x': 'BTC'}")


REFUSED_FILES: dict[str, Callable[[], RefusedFile]] = {
    made.__name__: made
    for made in (
        of_module("strided", "Conv '/layer/Conv'", "stride 2"),
        of_module("strided_pool", "MaxPool '/layer/MaxPool'", "stride 2"),
        of_module("every_second", "Slice", "a slice with step 2"),
        of_module("transposed_convolution", "ConvTranspose '/layer/ConvTranspose'", "a change of rate"),
        of_module("reflection", "Pad", "reflect padding", "pad with zeros"),
        of_module("replication", "Pad", "edge padding"),
        of_module("symmetric", "Conv '/layer/Conv'", "looks ahead", "i + 1"),
        of_module("symmetric_residual", "Conv '/conv/Conv' (its output is '/conv/Conv_output_0')", "looks ahead"),
        of_module("never_chomped", "2 positions longer", "/layer/Conv"),
        of_module("instance_norm", "InstanceNormalization '/layer/InstanceNormalization'", "over time", "BatchNorm1d"),
        of_module("mean_over_time", "ReduceMean", "mean over axis T"),
        of_module("softmax_over_time", "Softmax", "softmax over axis T"),
        of_module("scaled_dot_product", "MatMul", "every position may read every other"),
        of_module("attention", "'/attention/Reshape"),
        of_module("lstm", "LSTM '/rnn/LSTM'", "a recurrent layer", "convolutional part"),
        of_module("gru", "GRU '/rnn/GRU'", "a recurrent layer"),
        of_module("cumulative", "CumSum", "all past positions"),
        of_module("reversed_in_time", "Slice", "reversal"),
        of_module("positions", "Add", "depend on the position"),
        of_module("scaled_by_length", "Mul", "follows from the length"),
        of_module("half_of_time", "Slice", "do not move with the length"),
        of_module("last_position", "Gather", "one index of axis T"),
        of_module("mixed_reshape", "Reshape '/Reshape'", "mixes"),
        unknown_activation, error_function,
        of_module("random_numbers", "RandomNormalLike", "random numbers"),
        unknown_domain, branch_by_data, branch_by_input, loop, newer_opset, newer_format, older_opset, no_shape, free_channels,
        an_image, texts, classes_not_said, too_few_classes, two_outputs, invalid, quantised, integer_convolution, resized, einsum,
        old_softmax, picked_channels, fixed_weights_of_time, computed_kernel, division_by_a_value, not_finite, always_the_same,
        fixed_length_cut, fixed_batch_joined, fixed_channels_last,
    )
}  # fmt: skip
