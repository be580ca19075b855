"""Operators that are a node of a graph: definition, NumPy and bound come from the readings of `refar.ops`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.building.builder import Builder
from refar.exact import literal
from refar.golden.case import Case, Kind, Signature
from refar.golden.operator import FLOAT32, Attributes, Example, Mistake, Operator
from refar.graph.graph import Graph
from refar.oracle import node
from refar.rounding import bound

OWN = {"w": "weight", "b": "bias"}
"""The arguments that are a node's parameters."""


def node_operator(
    signature: str,
    source: str,
    to_op: Callable[[Attributes, Arrays], ops.AnyOp],
    examples: Callable[[], Iterator[Example]],
    mistakes: Mapping[str, Mistake],
    kind: Kind = "op",
) -> Operator:
    """An operator that `to_op` makes a node of; its arguments are x, and perhaps w and b."""

    def define(attributes: Attributes, arrays: Arrays) -> Arrays:
        op, own = to_op(attributes, arrays), _own(arrays)
        found = {"y": literal.evaluate(op, [arrays["x"]], own, classes=_classes(attributes, arrays), dtype=np.float32)}
        if "dy" in arrays:
            gradients = literal.gradient(op, [arrays["x"]], arrays["dy"], own, dtype=np.float32)
            found |= _named(arrays, gradients)
        return found

    def compute(attributes: Attributes, arrays: Arrays, dtype: np.dtype) -> Arrays:
        op, own, args = to_op(attributes, arrays), _own(arrays), _args(attributes, arrays)
        before = [None] * len(args)
        y = node.forward(op, args, before, own, _classes(attributes, arrays), dtype)
        if "dy" not in arrays:
            return {"y": y}
        dargs, _, dparams = node.backward(op, args, before, own, y, arrays["dy"])
        return {"y": y} | _named(arrays, dparams | ({} if dargs[0] is None else {"0": dargs[0]}))

    def allow(attributes: Attributes, arrays: Arrays) -> Arrays:
        wide = {name: a if a.dtype == np.int64 else a.astype(np.float64) for name, a in arrays.items()}
        op, own, args = to_op(attributes, wide), _own(wide), _args(attributes, wide)
        found = {"y": bound.forward(op, args, own, _classes(attributes, wide), FLOAT32) / FLOAT32}
        if "dy" in wide:
            dargs, dparams = bound.backward(op, args, wide["dy"], own, FLOAT32)
            each = dparams | ({} if dargs[0] is None else {"0": dargs[0]})
            found |= {name: error / FLOAT32 for name, error in _named(arrays, each).items()}
        return found

    return Operator(kind, Signature.of(signature), source, define, compute, allow, mistakes, examples, to_op)


def as_graph(case: Case, op: ops.AnyOp) -> tuple[Graph, Arrays]:
    """The case as a graph of one node "op" on its input "x", with its parameters. Raises GraphError where there is none."""
    g, x = Builder(), case.arrays["x"]
    classes = _classes(case.attributes, case.arrays)
    source = g.image(channels=x.shape[1]) if x.ndim == 4 else g.input(classes=classes, channels=0 if classes else x.shape[1])
    more = [g.add_op(ops.Ones(), source)] if isinstance(op, ops.Pool1d) and op.pad == "exclude" else []
    graph = g.build(g.add_op(op, source, *more, name="op"))
    return graph, {f"op.{name}": array for name, array in _own(case.arrays).items()}


def _args(attributes: Attributes, arrays: Arrays) -> list[Array]:
    x = arrays["x"]
    return [x, np.ones_like(x[:, :1])] if attributes.get("pad") == "exclude" else [x]


def _own(arrays: Arrays) -> Arrays:
    return {own: arrays[name] for name, own in OWN.items() if name in arrays}


def _classes(attributes: Attributes, arrays: Arrays) -> int:
    """Of class indices, else 0."""
    if arrays["x"].dtype != np.int64:
        return 0
    return int(attributes["classes"] if "classes" in attributes else len(arrays["w"]) if "w" in arrays else arrays["x"].max() + 1)


def _named(arrays: Arrays, gradients: Mapping[str, Array]) -> Arrays:
    """{"0", "weight", …} as {"gradient.x", "gradient.w", …}; class indices have none."""
    names = {"0": "x"} | {own: name for name, own in OWN.items()}
    named = {names[key]: gradient for key, gradient in gradients.items()}
    return {f"gradient.{name}": named[name] for name in arrays if name in named and arrays[name].dtype != np.int64}
