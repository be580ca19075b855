"""Operators that are a node of a graph: the definition and the bound come from those of the node."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refar.arguments.arrays import Arrays
from refar.exact import literal
from refar.golden.case import Signature
from refar.golden.node_operators import TO_OP, Attributes, arguments, class_count, named_gradients, own_parameters
from refar.rounding import bound
from workshop.making import FLOAT32, Draft, OperatorMaker


def node_operator(signature: str, source: str, examples: Callable[[], Iterator[Draft]]) -> OperatorMaker:
    """Define an operator that is a node; its arguments are x, and perhaps w and b."""
    known = Signature.of(signature)
    to_op = TO_OP[known.name]

    def define(attributes: Attributes, arrays: Arrays) -> Arrays:
        op, own = to_op(attributes, arrays), own_parameters(arrays)
        found = {"y": literal.evaluate(op, [arrays["x"]], own, classes=class_count(attributes, arrays), dtype=np.float32)}
        if "dy" in arrays:
            gradients = literal.gradient(op, [arrays["x"]], arrays["dy"], own, dtype=np.float32)
            found |= named_gradients(arrays, gradients)
        return found

    def allow(attributes: Attributes, arrays: Arrays) -> Arrays:
        wide = {name: a if a.dtype == np.int64 else a.astype(np.float64) for name, a in arrays.items()}
        op, own, args = to_op(attributes, wide), own_parameters(wide), arguments(attributes, wide)
        found = {"y": bound.forward(op, args, own, class_count(attributes, wide), FLOAT32) / FLOAT32}
        if "dy" in wide:
            dargs, dparams = bound.backward(op, args, wide["dy"], own, FLOAT32)
            each = dparams | ({} if dargs[0] is None else {"0": dargs[0]})
            found |= {name: error / FLOAT32 for name, error in named_gradients(arrays, each).items()}
        return found

    return OperatorMaker("op", known, source, define, allow, examples)
