"""The operators of ONNX that are known: each decodes its node into calls of the core. What no table has is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto

from refar import ops
from refar.importing.onnx_call import NodeCall, PerRun, together
from refar.importing.onnx_file import REAL
from refar.importing.onnx_shapes import SHAPES
from refar.importing.onnx_windows import WINDOWS
from refar.importing.refusal import REFUSED, refuse_call
from refar.importing.values import Anything, Constant, Filled, Labelled, StackedValues, shape

Handler = Callable[[NodeCall], Anything]

_QUANTISED = (
    "a quantised operator",
    "it rounds to few whole numbers, which the network that was trained does not",
    "import the file as it was before quantisation",
)
_CONTROL = ("control flow", "which nodes run depends on the data", "decide before the export which branch is meant, unroll loops")
_RANDOM = REFUSED["randn"]

REFUSED_NODES: dict[str, tuple[str, str, str]] = {
    **dict.fromkeys(("ConvTranspose", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth"), REFUSED["conv_transpose1d"]),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), REFUSED["lstm"]),
    **dict.fromkeys(("DFT", "STFT", "FFT"), REFUSED["stft"]),
    **dict.fromkeys(("InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization"), REFUSED["instance_norm"]),
    **dict.fromkeys(("LpNormalization", "LRN"), REFUSED["instance_norm"]),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), REFUSED["adaptive_avg_pool1d"]),
    **dict.fromkeys(("Attention", "RotaryEmbedding"), REFUSED["scaled_dot_product_attention"]),
    **dict.fromkeys(("CumSum", "CumProd"), REFUSED["cumsum"]),
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), _CONTROL),
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), _RANDOM),
    **dict.fromkeys(("Bernoulli", "Multinomial"), _RANDOM),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv"), _QUANTISED),
    **dict.fromkeys(("QLinearMatMul", "ConvInteger", "MatMulInteger"), _QUANTISED),
    **dict.fromkeys(("Where", "Trilu"), REFUSED["masked_fill"]),
    "Einsum": REFUSED["einsum"],
    "LogSoftmax": REFUSED["log_softmax"],
    "ReverseSequence": REFUSED["flip"],
}
"""Of operators that are known and not taken: what each is, why not, and what to do."""


@dataclass(frozen=True)
class Pointwise:
    """A function of one number: its name in the core; of each attribute both its names, and what it is if left out."""

    call: str
    attributes: tuple[tuple[str, str, float], ...] = ()


POINTWISE: dict[str, Pointwise] = {
    "Relu": Pointwise("relu"),
    "Tanh": Pointwise("tanh"),
    "Sigmoid": Pointwise("sigmoid"),
    "LeakyRelu": Pointwise("leaky_relu", (("alpha", "negative_slope", 0.01),)),
    "Elu": Pointwise("elu", (("alpha", "alpha", 1.0),)),
    "Celu": Pointwise("celu", (("alpha", "alpha", 1.0),)),
    "Softplus": Pointwise("softplus"),
    "Softsign": Pointwise("softsign"),
    "HardSwish": Pointwise("hardswish"),
    "Mish": Pointwise("mish"),
    "Sin": Pointwise("sin"),
    "Erf": Pointwise("erf"),
    "Abs": Pointwise("abs"),
    "Neg": Pointwise("neg"),
    "Identity": Pointwise("contiguous"),
}
"""Operators of one argument that the core has under another name."""


def _pointwise(rule: Pointwise) -> Handler:
    def apply(n: NodeCall) -> Anything:
        if isinstance(n.input(0), PerRun | StackedValues):
            return n.input(0) if rule.call == "contiguous" else n.value(0)
        given = {argument: n.real(name, default) for name, argument, default in rule.attributes}
        return n.core(rule.call, self=n.operand(0), **given)

    return apply


def _gelu(n: NodeCall) -> Anything:
    return n.core("gelu", self=n.operand(0), approximate=n.attribute("approximate", "none"))


def _selu(n: NodeCall) -> Anything:
    """γ·elu(x), with the numbers of the file, which are those of PyTorch rounded to float32."""
    return _scaled(n, n.core("elu", self=n.operand(0), alpha=n.real("alpha", 1.67326319217681884765625)),
                   n.real("gamma", 1.05070102214813232421875))  # fmt: skip


def _hard_sigmoid(n: NodeCall) -> Anything:
    """α·x + β between 0 and 1."""
    line = n.core("add", self=_scaled(n, n.operand(0), n.real("alpha", 0.2)), other=n.real("beta", 0.5))
    return n.core("hardtanh", self=line, min_val=0.0, max_val=1.0)


def _scaled(n: NodeCall, x: Anything, by: float) -> Anything:
    return n.core("mul", self=x, other=by)


def _log(n: NodeCall) -> Anything:
    """The logarithm of a sigmoid, as PyTorch's logsigmoid is written."""
    x = n.value(0)
    if n.c.draft.planned[x.node].op != ops.Activation("sigmoid") or not x.inputs:
        raise refuse_call(n.c.place, "Log of anything but a sigmoid")
    return n.core("log_sigmoid", self=x.inputs[0])


def _joined(name: str) -> Handler:
    """Sums and products; exporters write a bias and a norm so, and these become a part of their layer."""
    return lambda n: n.core(name, self=n.operand(0), other=n.operand(1), folds=True)


def _div(n: NodeCall) -> Anything:
    if isinstance(n.operand(0), Labelled) and n.value(0).indexed:
        raise n.refuse("a division of whole numbers, which rounds", "cast to real numbers before")
    return n.core("div", self=n.operand(0), other=n.operand(1), folds=True)


def _sum(n: NodeCall) -> Anything:
    total = n.operand(0)
    for i in range(1, len(n.given)):
        total = n.core("add", self=total, other=n.operand(i))
    return total


def _pow(n: NodeCall) -> Anything:
    exponent = n.constant(1, "its exponent").array
    if exponent.size != 1:
        raise n.refuse("powers with several exponents", "multiply a value with itself")
    return n.core("pow", self=n.operand(0), exponent=float(exponent.reshape(())))


def _max(n: NodeCall) -> Anything:
    values = [n.operand(i) for i in range(len(n.given))]
    computed, fixed = [v for v in values if isinstance(v, Labelled)], [v for v in values if not isinstance(v, Labelled)]
    if len(computed) == len(fixed) == 1 and _all_zero(fixed[0]):
        return n.core("relu", self=computed[0])
    raise refuse_call(n.c.place, "Max of anything but a value and 0")


def _all_zero(given: Anything) -> bool:
    match given:
        case Constant(array):
            return not array.any()
        case Filled(number):
            return number == 0
        case _:
            return False


def _clip(n: NodeCall) -> Anything:
    if n.opset < 11:
        low, high = n.attribute("min"), n.attribute("max")
    else:
        low, high = (None if n.input(i) is None else float(n.constant(i, "its bound").array.reshape(())) for i in (1, 2))
    if low == 0 and (high is None or high >= np.finfo(np.float32).max):
        return n.core("relu", self=n.operand(0))
    return n.core("hardtanh", self=n.operand(0), min_val=low, max_val=high)


def _prelu(n: NodeCall) -> Anything:
    x, slope = n.value(0), n.constant(1, "its slope")
    meet = zip(reversed(slope.array.shape), reversed(x.axes), strict=False)
    if any(size > 1 and axis != "C" for size, axis in meet):
        raise n.refuse(f"slopes of the shape {slope.array.shape} for the axes {', '.join(x.axes)}", "one for each channel")
    return n.core("prelu", self=x, weight=slope, dim=x.axes.index("C") if "C" in x.axes else 1)


def _softmax(n: NodeCall) -> Anything:
    x, axis = n.value(0), n.attribute("axis", -1 if n.opset >= 13 else 1)
    if n.opset < 13 and axis % len(x.axes) != len(x.axes) - 1:
        raise n.refuse(f"softmax over all axes from {axis} on, as before opset 13", "export with opset 13 or newer")
    return n.core("softmax", self=x, dim=axis)


def _gemm(n: NodeCall) -> Anything:
    if not isinstance(n.operand(0), Labelled):
        raise refuse_call(n.c.place, "matmul")
    weight = n.constant(1, "its weight")
    if n.attribute("transA", 0):
        raise n.refuse("a product of a transposed value", "transpose before, and write a dense layer")
    array = weight.array if n.attribute("transB", 0) else weight.array.T
    weight, bias = Constant(array * n.real("alpha", 1.0), weight.origins), None
    if n.input(2) is not None:
        given = n.constant(2, "its bias")
        wide = np.broadcast_to(given.array * n.real("beta", 1.0), (1, len(array)))
        bias = Constant(wide.reshape(-1), given.origins)
    return n.core("linear", input=n.value(0), weight=weight, bias=bias)


def _matmul(n: NodeCall) -> Anything:
    match n.operand(0), n.operand(1):
        case Labelled() as x, Constant(array, origins) if array.ndim == 2:
            return n.core("linear", input=x, weight=Constant(array.T, origins), bias=None)
        case Constant(array) as weight, Labelled() as x if array.ndim == 2 and len(x.axes) > 1:
            last = n.core("linear", input=n.core("transpose", self=x, dim0=-1, dim1=-2), weight=weight, bias=None)
            return n.core("transpose", self=last, dim0=-1, dim1=-2)
        case Labelled(), Labelled():
            raise refuse_call(n.c.place, "MatMul", {"MatMul": REFUSED["bmm"]})
        case _:
            raise refuse_call(n.c.place, "MatMul", {"MatMul": REFUSED["matmul"]})


def _batch_norm(n: NodeCall) -> Anything:
    if n.attribute("training_mode", 0) or n.attribute("spatial", 1) == 0:
        raise n.refuse("batch norm by the statistics of the batch, or of each position", "export in eval mode")
    weight, bias, mean, var = (n.constant(i, "its parameter") for i in range(1, 5))
    more = {"running_mean": mean, "running_var": var, "training": False, "eps": n.real("epsilon", 1e-5)}
    return n.core("batch_norm", input=n.operand(0), weight=weight, bias=bias, **more)


def _norm(name: str) -> Handler:
    def apply(n: NodeCall) -> Anything:
        x, weight = n.value(0), n.constant(1, "its scale")
        bias = None if n.input(2) is None else n.constant(2, "its bias")
        over = x.axes[n.attribute("axis", -1) % len(x.axes) :]
        return n.core(name, input=x, normalized_shape=over, weight=weight, bias=bias, eps=n.real("epsilon", 1e-5))

    return apply


def _cast(n: NodeCall) -> Anything:
    given = n.input(0)
    kind = n.attribute("to")
    if not isinstance(given, Labelled):
        return n.operand(0)
    name = TensorProto.DataType.Name(kind).lower()
    if kind not in REAL and isinstance(n.c.draft.planned[given.node].op, ops.OneHot):
        return given  # zeros and ones in any type
    if kind not in REAL and (kind in (TensorProto.BOOL, TensorProto.STRING) or not given.indexed):
        raise n.refuse(f"numbers are cut to {name}", "leave the cast out")
    return n.core("to", self=given, dtype=_Kind(name, kind in REAL))


@dataclass(frozen=True)
class _Kind:
    """A type of numbers, as the core asks of it."""

    name: str
    is_floating_point: bool

    def __str__(self) -> str:
        return self.name


def _dropout(n: NodeCall) -> Anything:
    training = n.input(2)
    if training is not None and not (isinstance(training, Constant) and not training.array.any()):
        raise n.refuse("dropout in training mode", "export in eval mode")
    return n.core("dropout", input=n.operand(0), train=False)


def _gather(n: NodeCall) -> Anything:
    axis = n.attribute("axis", 0)
    match n.operand(0), n.operand(1):
        case Constant() as table, Labelled() as x:
            if axis != 0:
                raise n.refuse(f"a lookup along axis {axis} of a table", "look up rows")
            return n.core("embedding", weight=table, indices=x)
        case (Labelled() | StackedValues()) as x, Constant(array) if array.size == 1 and array.ndim == 0:
            return n.core("select", self=x, dim=axis, index=int(array))
        case Labelled() as x, Constant(array) if array.ndim == 1 and _consecutive(array):
            return n.core("slice", self=x, dim=axis, start=int(array[0]), end=int(array[-1]) + 1, step=1)
        case Labelled() | StackedValues(), Constant():
            raise n.refuse("positions or channels picked one by one, out of their order", "slice, or multiply by a fixed matrix")
        case _:
            raise n.refuse("a lookup at places that depend on the length or the data", "slice by fixed numbers")


def _consecutive(array: Any) -> bool:
    return (
        array.size > 0 and bool((array >= 0).all()) and array.tolist() == list(range(int(array[0]), int(array[0]) + array.size))
    )


def _one_hot(n: NodeCall) -> Anything:
    x, values = n.value(0), n.constant(2, "its values").array
    depth = n.numbers(1, "its depth")
    axis = n.attribute("axis", -1) % (len(x.axes) + 1)
    found = n.core("one_hot", self=x, num_classes=(depth or [0])[0])
    if axis != len(x.axes):
        found = n.core("movedim", self=found, source=len(x.axes), destination=axis)
    off, on = (float(v) for v in values)
    return found if (off, on) == (0, 1) else n.core("add", self=n.core("mul", self=found, other=on - off), other=off)


def _equal(n: NodeCall) -> Anything:
    """A comparison of class indices with all classes in order, as one-hots are written; it gives numbers."""
    one, other = n.operand(0), n.operand(1)
    x, fixed = (one, other) if isinstance(one, Labelled) else (other, one)
    if isinstance(x, Labelled) and isinstance(fixed, Constant) and x.indexed and x.axes[-1] == "1":
        classes = np.reshape(fixed.array, -1)
        if classes.size == fixed.array.shape[-1] and np.array_equal(classes, np.arange(x.size)):
            return n.core("one_hot", self=replace(x, axes=x.axes[:-1]), num_classes=x.size)
    raise refuse_call(n.c.place, "Equal, a comparison of anything but class indices with all classes")


def _compared(compare: Callable[[Any, Any], Any]) -> Handler:
    """A comparison of class indices with a number, as exporters ask for negative ones; it must come out the same for all."""

    def apply(n: NodeCall) -> Anything:
        one, other = n.operand(0), n.operand(1)
        x = one if isinstance(one, Labelled) else other
        fixed = other if x is one else one
        if not (isinstance(x, Labelled) and x.indexed and isinstance(fixed, Constant) and fixed.array.size == 1):
            raise refuse_call(n.c.place, f"{n.node.op_type}, a comparison of computed values")
        classes, number = np.arange(x.size), fixed.array.reshape(())
        found = compare(classes, number) if x is one else compare(number, classes)
        if found.min() != found.max():
            raise refuse_call(n.c.place, f"{n.node.op_type}, a comparison that tells classes apart")
        return together([np.full(sizes, found[0]) for sizes in zip(*shape(x, n.c.runs), strict=True)])

    return apply


def _chosen(n: NodeCall) -> Anything:
    """Where, of a condition that is the same everywhere."""
    condition = n.operand(0)
    match condition:
        case Constant(array) if array.all() or not array.any():
            return n.input(1) if array.all() else n.input(2)
        case Filled(number):
            return n.input(1) if number else n.input(2)
        case _:
            raise refuse_call(n.c.place, "Where", REFUSED_NODES)


def _reduced(name: str, since: int) -> Handler:
    def reduce(n: NodeCall) -> Anything:
        dims = n.fixed("axes", 1, since)
        keep = bool(n.attribute("keepdims", 1))
        return n.core(name, self=n.operand(0), dim=dims or [None], keepdim=keep)

    return reduce


NODES: dict[str, Handler] = {
    **{name: _pointwise(rule) for name, rule in POINTWISE.items()},
    **SHAPES,
    **WINDOWS,
    "Add": _joined("add"),
    "Sub": _joined("sub"),
    "Mul": _joined("mul"),
    "Div": _div,
    "Sum": _sum,
    "Pow": _pow,
    "Max": _max,
    "Clip": _clip,
    "Gelu": _gelu,
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
    "Log": _log,
    "PRelu": _prelu,
    "Softmax": _softmax,
    "Sqrt": lambda n: n.core("sqrt", self=n.operand(0)),
    "Reciprocal": lambda n: n.core("reciprocal", self=n.operand(0)),
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _norm("layer_norm"),
    "RMSNormalization": _norm("rms_norm"),
    "Cast": _cast,
    "Dropout": _dropout,
    "Gather": _gather,
    "OneHot": _one_hot,
    "Equal": _equal,
    "Less": _compared(np.less),
    "LessOrEqual": _compared(np.less_equal),
    "Greater": _compared(np.greater),
    "GreaterOrEqual": _compared(np.greater_equal),
    "Where": _chosen,
    "ReduceSum": _reduced("sum", 13),
    "ReduceMean": _reduced("mean", 18),
}
"""The meaning of each node, by its operator. A node of fixed numbers alone, or of shapes, is evaluated before this is asked."""


def decoded(n: NodeCall) -> Anything:
    """Take one node into the draft. Raises ImportRefused for one that is not known."""
    name = n.node.op_type
    if name not in NODES:
        raise refuse_call(n.c.place, name, REFUSED_NODES)
    return NODES[name](n)
