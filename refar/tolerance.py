"""The one tolerance for floats, until bounds are computed node by node."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from refar.arrays import Array
from refar.graph import Graph

_PER_NODE = 16


def tolerance(graph: Graph, reference: Array, dtype: DTypeLike) -> float:
    """How far an array computed in `dtype` may lie from `reference`: 16 · u · nodes · max|reference|.

    u is half the spacing of floats at 1. A sum of m products is off by about √m·u times its typical term, which is √m times
    smaller than its magnitude, so every node adds a few u of its magnitude; later nodes pass that on with gains near 1. 16
    leaves room for the unlucky. Rounding stays far below this (the README shows by how much), and any mistake in padding,
    taps, masks or queues far above.
    """
    largest = float(np.abs(reference).max(initial=0.0))
    return _PER_NODE * float(np.finfo(dtype).eps) / 2 * len(graph.nodes) * max(largest, 1e-3)
