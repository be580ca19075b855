"""What is known of an operator that has golden cases: how it is called, and how refar computes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refar import ops
from refar.arguments.arrays import Arrays
from refar.golden import head_operators, node_operators
from refar.golden.case import Kind, Signature
from refar.golden.node_operators import Attributes


@dataclass(frozen=True)
class Operator:
    """One operator with a documented signature. `source` is its definition, with where it comes from."""

    kind: Kind
    signature: Signature
    source: str

    @property
    def name(self) -> str:
        """Return the name that `check_function` takes."""
        return self.signature.name

    def to_op(self, attributes: Attributes, arrays: Arrays) -> ops.AnyOp | None:
        """Return the node of a graph that this is for such attributes and arrays, or None if it is none."""
        make = node_operators.TO_OP.get(self.name)
        return None if make is None else make(attributes, arrays)

    def compute(self, attributes: Attributes, arrays: Arrays, dtype: np.dtype) -> Arrays:
        """Compute result and gradients by refar's NumPy in a dtype: gradients where the upstream gradient is given."""
        return result_and_gradients(self.name, attributes, arrays, dtype)


def computes(name: str) -> bool:
    """Return whether refar's NumPy has an operator of this name."""
    return name in node_operators.TO_OP or name in head_operators.COMPUTE


def result_and_gradients(name: str, attributes: Attributes, arrays: Arrays, dtype: np.dtype) -> Arrays:
    """Compute an operator by its name, {name: array} as in `Case.expected`, from arrays in this dtype."""
    if name in node_operators.TO_OP:
        return node_operators.compute(node_operators.TO_OP[name](attributes, arrays), attributes, arrays, dtype)
    return head_operators.COMPUTE[name](attributes, arrays, dtype)
