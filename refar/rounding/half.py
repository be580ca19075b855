"""Half precision: how far a network may be off whose numbers have so few bits that its own rounding can be computed."""

from __future__ import annotations

from typing import Literal

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes

Half = Literal["bfloat16", "float16"]
BITS: dict[str, int] = {"bfloat16": 8, "float16": 11}
"""Significant bits, the leading one counted."""

_FACTOR = 8
"""What is allowed over the effect of rounding parameters and inputs: values on the way are rounded too, each by as much."""


def rounded(array: Array, dtype: str) -> Array:
    """Return the numbers of `array` with the significant bits of `dtype`, ties to even, as float64; its range is not limited."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, BITS[dtype])), exponent - BITS[dtype])


def relative_tolerance(graph: Graph, params: Arrays, inputs: Arrays, dtype: str) -> float:
    """Return how far outputs computed in `dtype` may be off, relative to the largest: 8 · max |f(x) - f'(x')| / max |f(x)|.

    f' and x' are the network and its inputs after each number was rounded to `dtype`. It is no bound, but a scale that is
    measured: rounding of the values in between is of the size of that of the parameters that they are multiplied with.
    """
    right = forward_nodes(unchecked(graph, params), inputs, keep=False)[graph.output]
    given = {name: array if array.dtype == np.int64 else rounded(array, dtype) for name, array in inputs.items()}
    net = unchecked(graph, {name: rounded(array, dtype) for name, array in params.items()})
    off = float(np.abs(forward_nodes(net, given, keep=False)[graph.output] - right).max(initial=0.0))
    largest = float(np.abs(right).max(initial=0.0))
    return _FACTOR * max(2.0 ** -BITS[dtype], off / largest if largest else 0.0)
