"""Convolutions that are rounded as by an FFT: right, though not within the bound of sums of products."""

from __future__ import annotations

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.golden.case import Case
from refar.golden.compare import as_dtype
from refar.golden.node_operators import named_gradients, own_parameters
from refar.golden.operator import Operator
from refar.rounding import transforms


def as_by_transform(operator: Operator, case: Case, name: str, came: Array, unit: float) -> bool:
    """Say whether an array of the expected shape is within the bound of an FFT; of nothing but a convolution it never is."""
    arrays = as_dtype(case.arrays, "float64")
    op = operator.to_op(case.attributes, arrays)
    if not isinstance(op, ops.Conv1d | ops.Conv2d):
        return False
    found = transforms.convolution(op, arrays["x"], own_parameters(arrays), arrays.get("dy"))
    bounds = {"y": found.pop("y")} | named_gradients(arrays, found)
    return name in bounds and bool(np.all(np.abs(came.astype(np.float64) - case.expected[name]) <= bounds[name] * unit))
