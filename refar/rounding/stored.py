"""How far rounding the parameters to float16 moves each node, while all arithmetic stays as it is.

A number w becomes ŵ with |ŵ - w| ≤ u·|ŵ| + η: u = 2⁻¹¹, and η = 2⁻²⁵, half the spacing below 2⁻¹⁴, where float16 has no
shorter one. A convolution then moves by at most (u·|ŵ| + η) ∗ |x|, its bias included, and a looked-up row by that of its own
numbers; a scale and shift of channels likewise, a norm as that of its normalised x, a slope where x ≤ 0. Beyond 65504 nothing is
said: such a number is refused in an export.
Source: IEEE 754-2019, binary16; Higham 2002, "Accuracy and Stability of Numerical Algorithms", theorem 2.2.
"""

from __future__ import annotations

import numpy as np

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph, Node
from refar.oracle import node, pointwise
from refar.oracle.bound_graph import own_parameters, unchecked
from refar.oracle.norm import deviations
from refar.oracle.padding import values_before
from refar.rounding import bound

_FLOAT64 = np.dtype(np.float64)


def stored_bounds(graph: Graph, params: Arrays, values: Arrays) -> tuple[Arrays, Arrays]:
    """Bound how far each node with parameters is off: {node: array of its shape}, and at t < 0 {node: (B, C, 1)}.

    `params` are the rounded ones; `values` {node: array} of all nodes, from which each node's arguments are taken as exact. Both
    results add to those of `network.local_bounds`, and `network.first_order` takes their sum.
    """
    return moved_bounds(graph, params, {n: bound.FLOAT16 * np.abs(a) + bound.SUBNORMAL for n, a in params.items()}, values)


def moved_bounds(graph: Graph, params: Arrays, off: Arrays, values: Arrays) -> tuple[Arrays, Arrays]:
    """Bound the same for parameters that are `off` by so much at most: {parameter: array of its shape}."""
    found = facts(graph)
    before = values_before(unchecked(graph, params, np.float64), values, len(values[found.sequence]))
    result: Arrays = {}
    steady: Arrays = {}  # at t < 0, where every tap sees the same
    for each in graph.nodes:
        if not (own := own_parameters(each, off)):
            continue
        classes, earlier = found.types[each.inputs[0]].size, [before.get(name) for name in each.inputs]
        result[each.name] = _moved(each, [values[name] for name in each.inputs], earlier, own, classes)
        if graph.padding == "input" and found.types[each.name].timed and each.name not in found.sources:
            steady[each.name] = _moved(each, [before[name] for name in each.inputs], earlier, own, classes)
    return result, steady


def _moved(each: Node, args: list[Array], earlier: list[Array | None], off: Arrays, classes: int) -> Array:
    """The operator of a node on the magnitudes of what meets its parameters, with `off` in their place."""
    if isinstance(each.op, ops.Norm):
        d, s = deviations(each.op, args[0])
        return pointwise.scale_shift(np.abs(d) / s, off["weight"], off.get("bias"))
    if isinstance(each.op, ops.PRelu):
        return pointwise.by_channel(off["weight"], args[0]) * np.maximum(-args[0], 0)
    sizes = [array if array.dtype == np.int64 else np.abs(array) for array in args]
    return node.forward(each.op, sizes, [None if a is None else np.abs(a) for a in earlier], off, classes, _FLOAT64)
