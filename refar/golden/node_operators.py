"""The golden operators that are a node of a graph: which node, and what refar's NumPy makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.building.builder import Builder
from refar.golden.case import Case
from refar.graph.graph import Graph
from refar.oracle import node

Attributes = Mapping[str, Any]

OWN = {"w": "weight", "b": "bias"}
"""The arguments that are a node's parameters."""


def _conv1d(a: Attributes, arrays: Arrays) -> ops.Conv1d:
    w = arrays["w"]
    return ops.Conv1d(len(w), w.shape[2], a["dilation"], a["strict"], "b" in arrays, a["groups"])


def _conv2d(a: Attributes, arrays: Arrays) -> ops.Conv2d:
    w = arrays["w"]
    anchor = None if a["anchor"] is None else tuple(a["anchor"])
    sides = (w.shape[2], w.shape[3])
    return ops.Conv2d(len(w), sides, a["mask"], anchor, tuple(a["dilation"]), a["colours"], "b" in arrays, a["groups"])


FUNCTIONS: tuple[ops.FunctionName, ...] = (
    "elu", "selu", "gelu", "gelu_tanh", "silu", "softplus", "softsign", "clip", "hard_sigmoid", "hard_swish", "mish", "sin",
    "snake",
)  # fmt: skip
"""The functions of an element that are operators by their own names; the other four are the kinds of "activation"."""


def _function(kind: ops.FunctionName) -> Callable[[Attributes, Arrays], ops.Activation]:
    return lambda a, _: ops.Activation(kind, **a)


ACTIVATIONS: dict[str, Callable[[Attributes, Arrays], ops.Activation]] = {
    "activation": lambda a, _: ops.Activation(a["kind"], a["slope"]),
    **{kind: _function(kind) for kind in FUNCTIONS},
}
"""The node that a function of an element is, by its name."""

TO_OP: dict[str, Callable[[Attributes, Arrays], ops.AnyOp]] = {
    "causal_conv1d": _conv1d,
    "masked_conv2d": _conv2d,
    "causal_pool1d": lambda a, _: ops.Pool1d(a["kind"], a["kernel"], a["pad"], a["dilation"]),
    "shift1d": lambda a, _: ops.Shift(a["steps"]),
    "shift2d": lambda a, _: ops.Shift2d(a["down"], a["right"]),
    "gate": lambda a, _: ops.Gate(),
    "softmax": lambda a, _: ops.Softmax(),
    "one_hot": lambda a, _: ops.OneHot(),
    "embedding": lambda a, arrays: ops.Embedding(arrays["w"].shape[1]),
    "standardize": lambda a, _: ops.Standardize(a["mean"], a["std"]),
    "positional_encoding": lambda a, _: ops.Position(a["bits"]),
    "layer_norm": lambda a, arrays: ops.Norm("layer", a["eps"], "b" in arrays),
    "rms_norm": lambda a, _: ops.Norm("rms", a["eps"], bias=False),
    "prelu": lambda a, _: ops.PRelu(),
    **ACTIVATIONS,
}
"""The node that an operator is, by its name, from the attributes and arrays of a case."""


def compute(op: ops.AnyOp, attributes: Attributes, arrays: Arrays, dtype: np.dtype, own: Arrays | None = None) -> Arrays:
    """Compute {"y": …, "gradient.x": …, …} of one node on the arrays of a case; gradients where "dy" is among them.

    `own` are the node's parameters, by default those of the case.
    """
    own, args = own_parameters(arrays) if own is None else own, arguments(attributes, arrays)
    before = [None] * len(args)
    y = node.forward(op, args, before, own, class_count(attributes, arrays), dtype)
    if "dy" not in arrays or y.shape != arrays["dy"].shape:
        return {"y": y}
    dargs, _, dparams = node.backward(op, args, before, own, y, arrays["dy"])
    return {"y": y} | named_gradients(arrays, dparams | ({} if dargs[0] is None else {"0": dargs[0]}))


def as_graph(case: Case, op: ops.AnyOp) -> tuple[Graph, Arrays]:
    """Make a graph of one node "op" on the input "x", with its parameters. Raises GraphError where there is no such graph."""
    g, x = Builder(), case.arrays["x"]
    classes = class_count(case.attributes, case.arrays)
    source = g.image(channels=x.shape[1]) if x.ndim == 4 else g.input(classes=classes, channels=0 if classes else x.shape[1])
    more = [g.add_op(ops.Ones(), source)] if isinstance(op, ops.Pool1d) and op.pad == "exclude" else []
    graph = g.build(g.add_op(op, source, *more, name="op"))
    return graph, {f"op.{name}": array for name, array in own_parameters(case.arrays).items()}


def arguments(attributes: Attributes, arrays: Arrays) -> list[Array]:
    """Return the node's inputs: x, and for a pool that leaves out the padding its ones."""
    x = arrays["x"]
    return [x, np.ones_like(x[:, :1])] if attributes.get("pad") == "exclude" else [x]


def own_parameters(arrays: Arrays) -> Arrays:
    """Return the node's parameters, {"weight": …, "bias": …}."""
    return {own: arrays[name] for name, own in OWN.items() if name in arrays}


def class_count(attributes: Attributes, arrays: Arrays) -> int:
    """Return how many classes x has if it holds class indices, else 0."""
    if arrays["x"].dtype != np.int64:
        return 0
    return int(attributes["classes"] if "classes" in attributes else len(arrays["w"]) if "w" in arrays else arrays["x"].max() + 1)


def named_gradients(arrays: Arrays, gradients: Mapping[str, Array]) -> Arrays:
    """Rename {"0", "weight", …} to {"gradient.x", "gradient.w", …}; class indices have no gradient."""
    names = {"0": "x"} | {own: name for name, own in OWN.items()}
    named = {names[key]: gradient for key, gradient in gradients.items()}
    return {f"gradient.{name}": named[name] for name in arrays if name in named and arrays[name].dtype != np.int64}
