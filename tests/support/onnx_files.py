"""ONNX files for the tests: those that torch.onnx.export writes, and small ones written node by node as other exporters do."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

Written = tuple[ModelProto, dict[str, Any]]
"""A model, and options of `from_onnx`."""


def exported(module: nn.Module, example: Any, options: Mapping[str, Any], *, fixed: bool = False, opset: int = 20) -> ModelProto:
    """Export a module with TorchScript's exporter; its batch and length are free unless they are `fixed`."""
    given = dict(example) if isinstance(example, dict) else {}
    if not given:
        listed = example if isinstance(example, tuple) else (example,)
        given = {f"in{i}" if i else "x": tensor for i, tensor in enumerate(listed)}
    first = next(iter(given.values()))
    length = first.shape[1 if options.get("axes") == "BTC" or first.ndim == 2 else 2]
    free = {
        name: {0: "batch", **{i: "time" for i, n in enumerate(tensor.shape) if i and n == length}}
        for name, tensor in given.items()
    }
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(given.values()),
            file,
            dynamo=False,
            input_names=list(given),
            dynamic_axes=None if fixed else free,
            opset_version=opset,
        )
    return onnx.load_from_string(file.getvalue())


def written(
    nodes: Sequence[Any],
    weights: Mapping[str, Any],
    *,
    x: Sequence[int | str | None] | None = ("batch", 2, "time"),
    kind: int = TensorProto.FLOAT,
    opset: int = 18,
    outputs: Sequence[str] = ("y",),
    more: Sequence[Any] = (),
) -> ModelProto:
    """Write a model of these nodes, from x to y."""
    held = [
        numpy_helper.from_array(np.asarray(array, np.asarray(array).dtype if _whole(array) else np.float32), name)
        for name, array in weights.items()
    ]
    inputs = [helper.make_tensor_value_info("x", kind, x), *more]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(list(nodes), "written", inputs, ends, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def _whole(array: Any) -> bool:
    return np.asarray(array).dtype.kind in "iub"


node = helper.make_node
"""Write one node: its operator, inputs, outputs and attributes."""


def numbers(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Draw weights that are not small."""
    drawn = np.random.default_rng(seed).uniform(0.2, 0.9, shape)
    return (drawn * np.random.default_rng(seed + 1).choice([-1, 1], shape)).astype(np.float32)


def whole(*values: int) -> np.ndarray[Any, Any]:
    """Return whole numbers as exporters hold them."""
    return np.array(values, np.int64)


CONV = node("Conv", ["x", "conv.weight", "conv.bias"], ["h"], name="conv", pads=[2, 0])
"""A causal convolution of kernel 3 from 2 to 3 channels."""
WEIGHTS = {"conv.weight": numbers(3, 2, 3), "conv.bias": numbers(3, seed=2)}


def as_image() -> Written:
    """As tf2onnx writes a Conv1D of Keras: channels last, and images of one row."""
    nodes = [
        node("Transpose", ["x"], ["first"], perm=[0, 2, 1]),
        node("Unsqueeze", ["first", "two"], ["image"]),
        node("Conv", ["image", "W", "b"], ["wide"], pads=[0, 4, 0, 0], dilations=[1, 2], kernel_shape=[1, 3]),
        node("Squeeze", ["wide", "two"], ["narrow"]),
        node("Transpose", ["narrow"], ["last"], perm=[0, 2, 1]),
        node("MatMul", ["last", "kernel"], ["product"]),
        node("Add", ["product", "bias"], ["y"]),
    ]
    weights = {"W": numbers(3, 2, 1, 3), "b": numbers(3, seed=2), "kernel": numbers(3, 4, seed=3), "bias": numbers(4, seed=4)}
    return written(nodes, {**weights, "two": whole(2)}, x=("batch", "time", 2)), {}


def as_column() -> Written:
    """Images of one column, and a pooling of them."""
    nodes = [
        node("Unsqueeze", ["x", "three"], ["image"]),
        node("Conv", ["image", "W"], ["wide"], auto_pad="VALID"),
        node("Pad", ["wide", "pads"], ["padded"]),
        node("MaxPool", ["padded"], ["pooled"], kernel_shape=[2, 1], strides=[1, 1]),
        node("Squeeze", ["pooled", "three"], ["y"]),
    ]
    return written(nodes, {"W": numbers(3, 2, 1, 1), "three": whole(3), "pads": whole(0, 0, 1, 0, 0, 0, 0, 0)}), {}


def squeezed_if_it_can_be() -> Written:
    """A squeeze of an axis of unknown size, which torch writes with If; the condition is the same at every length."""
    squeeze = helper.make_graph([node("Squeeze", ["wide", "one"], ["flat"])], "then", [], [_end("flat")])
    leave = helper.make_graph([node("Identity", ["wide"], ["same"])], "else", [], [_end("same")])
    nodes = [
        CONV,
        node("Unsqueeze", ["h", "one"], ["wide"]),
        node("Shape", ["wide"], ["shape"]),
        node("Gather", ["shape", "one"], ["size"]),
        node("Equal", ["size", "one"], ["is_one"]),
        node("Squeeze", ["is_one"], ["condition"]),
        node("If", ["condition"], ["chosen"], then_branch=squeeze, else_branch=leave),
        node("Tanh", ["chosen"], ["y"]),
    ]
    return written(nodes, {**WEIGHTS, "one": whole(1)}), {}


def _end(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def shapes_evaluated() -> Written:
    """A crop whose end is computed from the shape, zeros of a computed shape in front, and a choice between two fixed cases."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "zero", "one"], ["batch"]),
        node("Concat", ["batch", "two", "one"], ["wanted"], axis=0),
        node("ConstantOfShape", ["wanted"], ["zeros"]),
        node("Concat", ["zeros", "x", "zeros"], ["long"], axis=2),
        node("Conv", ["long", "W"], ["h"], pads=[1, 1]),
        node("Gather", ["shape", "two_"], ["length"]),
        node("Range", ["zero_", "length", "one_"], ["positions"]),
        node("Less", ["positions", "zero_"], ["never"]),
        node("Cast", ["never"], ["counts"], to=TensorProto.INT64),
        node("ReduceMax", ["counts"], ["any"], keepdims=0),
        node("Cast", ["any"], ["condition"], to=TensorProto.BOOL),
        node("Where", ["condition", "nothing", "h"], ["kept"]),
        node("Unsqueeze", ["length", "zero"], ["end"]),
        node("Slice", ["kept", "zero", "end", "two"], ["y"]),
    ]
    fixed = {"zero": whole(0), "one": whole(1), "two": whole(2), "two_": np.int64(2), "zero_": np.int64(0), "one_": np.int64(1)}
    return written(nodes, {"W": numbers(3, 2, 3), "nothing": np.float32(0), **fixed}), {}


def gemm_of_merged_axes() -> Written:
    """A dense layer of Keras: batch and time merged for Gemm, and parted again."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "zero", "two"], ["around"]),
        node("Concat", ["around", "five"], ["back"], axis=0),
        node("Reshape", ["x", "rows"], ["flat"]),
        node("Gemm", ["flat", "W", "b"], ["product"], alpha=0.5, beta=2.0, transB=1),
        node("Reshape", ["product", "back"], ["wide"]),
        node("LeakyRelu", ["wide"], ["y"]),
    ]
    weights = {"W": numbers(5, 2), "b": numbers(1, 5, seed=2)}
    fixed = {"zero": whole(0), "two": whole(2), "five": whole(5), "rows": whole(-1, 2)}
    return written(nodes, {**weights, **fixed}, x=("batch", "time", 2)), {}


def normed_by_hand() -> Written:
    """Batch norm as a chain of sums and products, a swish, and weights of a computed norm."""
    nodes = [
        node("ReduceL2", ["v", "axes"], ["norm"], keepdims=1),
        node("Div", ["v", "norm"], ["unit"]),
        node("Mul", ["unit", "g"], ["weight"]),
        node("Conv", ["x", "weight"], ["h"], pads=[2, 0], name="conv"),
        node("Sub", ["h", "mean"], ["centred"]),
        node("Div", ["centred", "deviation"], ["normed"]),
        node("Mul", ["scale", "normed"], ["scaled"]),
        node("Add", ["scaled", "shift"], ["shifted"]),
        node("Sigmoid", ["shifted"], ["gate"]),
        node("Mul", ["shifted", "gate"], ["swish"]),
        node("BatchNormalization", ["swish", "s", "b", "m", "v2"], ["y"], epsilon=0.1),
    ]
    one = {name: numbers(3, 1, seed=i) for i, name in enumerate(("mean", "deviation", "scale", "shift"))}
    four = {name: np.abs(numbers(3, seed=9 + i)) for i, name in enumerate(("s", "b", "m", "v2"))}
    return written(nodes, {"v": numbers(3, 2, 3), "g": numbers(3, 1, 1, seed=8), "axes": whole(1, 2), **one, **four}), {}


def one_hot_classes() -> Written:
    """Class indices, as unit vectors with channels first, and logits from a matrix on the left."""
    nodes = [
        node("OneHot", ["x", "depth", "values"], ["units"], axis=1),
        node("Conv", ["units", "W"], ["h"], pads=[1, 0]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["left", "r"], ["y"]),
    ]
    weights = {"W": numbers(3, 6, 2), "left": numbers(6, 3, seed=3), "values": np.float32([0, 1]), "depth": whole(6)}
    return written(nodes, weights, x=("batch", "time"), kind=TensorProto.INT64), {"classes": 6}


def compared_classes() -> Written:
    """Unit vectors written as a comparison with all classes, as torch's newer exporter does; indices in 32 bits."""
    nodes = [
        node("Unsqueeze", ["x", "last"], ["column"]),
        node("Equal", ["column", "all"], ["same"]),
        node("Cast", ["same"], ["whole"], to=TensorProto.INT64),
        node("Cast", ["whole"], ["units"], to=TensorProto.FLOAT),
        node("Transpose", ["units"], ["first"], perm=[0, 2, 1]),
        node("Conv", ["first", "W"], ["y"], pads=[2, 0]),
    ]
    weights = {"W": numbers(4, 5, 3), "all": np.arange(5, dtype=np.int32), "last": whole(-1)}
    return written(nodes, weights, x=("batch", "time"), kind=TensorProto.INT32), {"classes": 5}


def stacked_skips() -> Written:
    """Values along a new axis, summed; parts of channels, taken and split; a mean of channels."""
    nodes = [
        CONV,
        node("Tanh", ["h"], ["t"]),
        node("Unsqueeze", ["h", "zero"], ["h0"]),
        node("Unsqueeze", ["t", "zero"], ["t0"]),
        node("Concat", ["h0", "t0"], ["both"], axis=0),
        node("ReduceSum", ["both", "zero"], ["total"], keepdims=0),
        node("Split", ["total", "widths"], ["a", "b"], axis=1),
        node("ReduceMean", ["b", "one"], ["mean"], keepdims=1),
        node("Gather", ["h", "pick"], ["some"], axis=1),
        node("Sum", ["a", "mean", "a"], ["sum"]),
        node("Concat", ["sum", "some"], ["joined"], axis=1),
        node("Softmax", ["joined"], ["y"], axis=1),
    ]
    return written(nodes, {**WEIGHTS, "zero": whole(0), "one": whole(1), "widths": whole(1, 2), "pick": whole(1, 2)}), {}


def pooled_left() -> Written:
    """A maximum that leaves its padding on the left out, an average that counts it, and a relu written as a maximum."""
    nodes = [
        node("MaxPool", ["x"], ["high"], kernel_shape=[3], pads=[2, 0]),
        node("AveragePool", ["x"], ["mean"], kernel_shape=[2], pads=[1, 0], count_include_pad=1),
        node("Max", ["zero", "mean"], ["r"]),
        node("Concat", ["high", "r"], ["joined"], axis=1),
        node("Clip", ["joined", "zero"], ["y"]),
    ]
    return written(nodes, {"zero": np.float32(0)}), {}


def old_opset() -> Written:
    """Axes, ends and pads as attributes, as up to opset 9."""
    nodes = [
        node("Pad", ["x"], ["padded"], pads=[0, 0, 3, 0, 0, 0], mode="constant"),
        node("Conv", ["padded", "W"], ["h"]),
        node("Unsqueeze", ["h"], ["wide"], axes=[3]),
        node("Squeeze", ["wide"], ["flat"], axes=[3]),
        node("Slice", ["flat"], ["cut"], axes=[2], starts=[1], ends=[2**31 - 1]),
        node("Dropout", ["cut"], ["y"], ratio=0.5),
    ]
    return written(nodes, {"W": numbers(3, 2, 3)}, opset=9), {}


def slopes() -> Written:
    """One learnt slope, a square, a difference from a number, and a fixed power."""
    nodes = [
        CONV,
        node("PRelu", ["h", "slope"], ["p"]),
        node("Pow", ["p", "two"], ["squared"]),
        node("Sub", ["half", "squared"], ["less"]),
        node("Neg", ["less"], ["n"]),
        node("Identity", ["n"], ["y"]),
    ]
    return written(nodes, {**WEIGHTS, "slope": numbers(1, 1) ** 2, "two": np.float32(2), "half": np.float32(0.5)}), {}


def gelus() -> Written:
    """Gelu as PyTorch's exporter writes it before opset 20, and as others do, with numbers in float32."""
    nodes = [
        CONV,
        node("Div", ["h", "root"], ["scaled"]),
        node("Erf", ["scaled"], ["erf"]),
        node("Add", ["erf", "one"], ["both"]),
        node("Mul", ["h", "both"], ["twice"]),
        node("Mul", ["twice", "half"], ["gelu"]),
        node("Mul", ["gelu", "inverse"], ["scaled2"]),
        node("Erf", ["scaled2"], ["erf2"]),
        node("Add", ["one", "erf2"], ["both2"]),
        node("Mul", ["half", "both2"], ["normal"]),
        node("Mul", ["normal", "gelu"], ["y"]),
    ]
    fixed = {"root": 2**0.5, "inverse": 0.5**0.5, "one": 1.0, "half": 0.5}
    return written(nodes, {**WEIGHTS, **{name: np.float32(number) for name, number in fixed.items()}}), {}


WRITTEN: dict[str, Callable[[], Written]] = {
    made.__name__: made
    for made in (
        as_image, as_column, squeezed_if_it_can_be, shapes_evaluated, gemm_of_merged_axes, normed_by_hand, one_hot_classes,
        compared_classes, stacked_skips, pooled_left, old_opset, slopes, gelus,
    )
}  # fmt: skip
"""Files that have to be taken."""
