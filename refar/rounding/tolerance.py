"""The one tolerance for floats, until bounds are computed node by node."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.graph.graph import Graph


def relative_tolerance(graph: Graph, dtype: DTypeLike, positions: int = 1) -> float:
    """u · nodes · max(64, 2·√m), relative to the largest magnitude of the reference; m = the most products in a sum.

    u is half the spacing of floats at 1. Gradients of parameters sum over `positions` = B·T as well. Not a bound, but a
    scale: a node adds an error of about √m·u to the values that it sums up, and passes on what it got about unchanged, if
    the network keeps the scale of its values. A mistake in padding, taps, masks or queues shows at the scale of the values
    themselves. What has to be exact is compared by == elsewhere.
    """
    shapes = facts(graph).parameters.values()
    products = max([positions, *(math.prod(shape[1:]) for shape in shapes)])
    return float(np.finfo(dtype).eps) / 2 * len(graph.nodes) * max(64, 2 * math.sqrt(products))


def tolerance(graph: Graph, reference: Array, dtype: DTypeLike, positions: int = 1) -> float:
    """How far an array computed in `dtype` may lie from `reference`."""
    return relative_tolerance(graph, dtype, positions) * float(np.abs(reference).max(initial=0.0))
