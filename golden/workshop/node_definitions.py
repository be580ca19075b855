"""Operators that are a node of a graph: the definition comes from that of the node."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refar.arguments.arrays import Arrays
from refar.exact import literal
from refar.golden.case import Signature
from refar.golden.node_operators import TO_OP, Attributes, class_count, named_gradients, own_parameters
from workshop.making import Draft, OperatorMaker


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

    return OperatorMaker("op", known, source, define, examples)
