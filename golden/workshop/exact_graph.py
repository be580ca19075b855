"""A whole graph by the literal definitions: values and gradients with at least 70 digits, whatever its depth.

Every node is evaluated by `exact.literal` on the exact values of those before it. Sums of products stay exact; what has an
exponential is kept to 2^-256, far below anything that a float64 can tell.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.exact import literal
from refar.graph.graph import Graph
from refar.oracle.bound_graph import own_parameters

_KEPT = 2**256


def values(graph: Graph, params: Arrays, inputs: Arrays) -> Arrays:
    """Compute {node: its value}, integers and fractions; class indices as they are. Under layer padding."""
    found: Arrays = {}
    types = facts(graph).types
    for each in graph.nodes:
        if isinstance(each.op, ops.Input):
            x = inputs[each.name]
            found[each.name] = x if types[each.name].indexed else literal.exact(x)
            continue
        first = types[each.inputs[0]]
        y = literal.evaluate(
            each.op,
            [found[name] for name in each.inputs],
            own_parameters(each, params),
            classes=first.size if first.indexed else 0,
            dtype=np.float32,
            rounded=False,
        )
        found[each.name] = y if literal.is_exact(each.op) else _trimmed(y)
    return found


def gradients(graph: Graph, params: Arrays, known: Arrays, dy: Array) -> Arrays:
    """Compute the gradients of Σ dy·y for each parameter and each input of real numbers, from the `values` of all nodes."""
    upstream = {name: literal.exact(np.zeros(value.shape, np.int64)) for name, value in known.items()}
    upstream[graph.output] = literal.exact(dy)
    found: Arrays = {}
    for each in reversed(graph.nodes):
        if isinstance(each.op, ops.Input):
            continue
        own, args = own_parameters(each, params), [known[name] for name in each.inputs]
        passed = literal.gradient(each.op, args, upstream[each.name], own, dtype=np.float32, rounded=False)
        for n, name in enumerate(each.inputs):
            if not facts(graph).types[name].indexed:
                more = passed[str(n)]
                upstream[name] = upstream[name] + (more if literal.is_exact(each.op) else _trimmed(more))
        found |= {f"{each.name}.{suffix}": passed[suffix] for suffix in own}
    types = facts(graph).types
    real = [n.name for n in graph.nodes if isinstance(n.op, ops.Input) and not types[n.name].indexed]
    return found | {name: upstream[name] for name in real}


def rounded(array: Array) -> Array:
    """Round to float64, once."""
    return array if array.dtype == np.int64 else np.ascontiguousarray(array.astype(np.float64))


def _trimmed(array: Array) -> Array:
    result = np.empty(array.shape, object)
    for index in np.ndindex(array.shape):
        value: Any = array[index]
        result[index] = Fraction(round(value * _KEPT), _KEPT)
    return result
