"""How far a whole network may be off in floating point, in units of u, to first order: outputs and gradients.

Outputs: E₁ = Σ_n |∂y/∂n|·ε_n over all nodes n, with ε of `rounding.bound` (`rounding.network.first_order`).
Gradients: g_j = ∂L/∂p_j with L = Σ dy·y is moved by an error e_n of a node's value by ∂²L/∂p_j∂n, which is how the gradient of
that node moves with p_j; and by an error of a node's gradient by ∂n/∂p_j. Both come with one complex step in p_j:
E₁(g_j) = Σ_n |d(∂L/∂n)/dp_j|·ε_n + Σ_n |dn/dp_j|·ε'_n + ε'_j, with ε' the local bounds of the backward sweep.
"""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph
from refar.oracle import node
from refar.oracle.bound_graph import cast, own_parameters, unchecked
from refar.oracle.whole import backward_nodes, forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding
from workshop.making import FLOAT32

_STEP = 2.0**-64


def outputs(graph: Graph, params: Arrays, inputs: Arrays) -> Array:
    """Compute E₁ of each number of the output, in its shape."""
    weights, values = _forward(graph, params, inputs)
    local = rounding.local_bounds(graph, weights, values, FLOAT32)
    y = values[graph.output]
    found = np.zeros(y.shape)
    for place in np.ndindex(y.shape[1:]):
        dy = np.zeros(y.shape)
        dy[:, *place] = 1
        found[:, *place] = rounding.first_order(graph, weights, values, local, dy)[0]
    return found / FLOAT32


def gradients(graph: Graph, params: Arrays, inputs: Arrays, dy: Array) -> Arrays:
    """Compute E₁ of the gradient of Σ dy·y for each parameter and each input of real numbers."""
    weights, values = _forward(graph, params, inputs)
    upstream = dy.astype(np.float64)
    dvalues, _ = backward_nodes(unchecked(graph, weights, upstream.dtype), values, upstream)
    local, _ = rounding.local_bounds(graph, weights, values, FLOAT32)
    passed, own = _backward_bounds(graph, weights, values, dvalues)
    real = {name: array for name, array in cast(inputs, np.float64).items() if array.dtype != np.int64}
    found = {name: np.zeros(array.shape) for name, array in (weights | real).items()}
    for name, array in found.items():
        for place in np.ndindex(array.shape):
            moved, dmoved = _step_in(graph, weights, inputs, upstream, name, place)
            array[place] = sum((np.abs(dmoved[n]) * e).sum() for n, e in local.items() if e.dtype.kind == "f" and n in dmoved)
            array[place] += sum((np.abs(moved[n]) * e).sum() for n, e in passed.items() if n in moved)
        array += own.get(name, 0)
    return {name: array / FLOAT32 for name, array in found.items()}


def _forward(graph: Graph, params: Arrays, inputs: Arrays) -> tuple[Arrays, Arrays]:
    weights = {name: array.astype(np.float64) for name, array in params.items()}
    return weights, forward_nodes(unchecked(graph, weights, np.float64), cast(inputs, np.float64))


def _step_in(graph: Graph, params: Arrays, inputs: Arrays, dy: Array, name: str, place: tuple[int, ...]) -> tuple[Arrays, Arrays]:
    """How all values and all their gradients move with one number of a parameter or an input."""
    weights, given = (_complex(arrays) for arrays in (params, inputs))
    holder = weights if name in weights else given
    holder[name][place] += 1j * _STEP
    values = forward_nodes(unchecked(graph, weights, np.complex128), given)
    dvalues, _ = backward_nodes(unchecked(graph, weights, (dy.astype(np.complex128)).dtype), values, dy.astype(np.complex128))
    found = ({n: a.imag / _STEP for n, a in each.items() if a.dtype.kind == "c"} for each in (values, dvalues))
    moved, dmoved = found
    return moved, dmoved


def _complex(arrays: Arrays) -> Arrays:
    return {name: a.copy() if a.dtype == np.int64 else a.astype(np.complex128) for name, a in arrays.items()}


def _backward_bounds(graph: Graph, params: Arrays, values: Arrays, dvalues: Arrays) -> tuple[Arrays, Arrays]:
    """The local errors of the gradient of each node's value, with the sum over its readers, and of each parameter."""
    sums: Arrays = {}
    sizes: dict[str, list[Array]] = {}
    own: Arrays = {}
    for each in graph.nodes:
        if not each.inputs:
            continue
        args, mine, dy = [values[name] for name in each.inputs], own_parameters(each, params), dvalues[each.name]
        errors, more = bound.backward(each.op, args, dy, mine, FLOAT32)
        parts, _, _ = node.backward(each.op, args, [None] * len(args), mine, values[each.name], dy)
        for name, part, error in zip(each.inputs, parts, errors, strict=True):
            if part is not None and error is not None:
                sums[name] = sums.get(name, 0) + error
                sizes.setdefault(name, []).append(np.abs(part))
        own |= {f"{each.name}.{suffix}": error for suffix, error in more.items()}
    return {n: e + bound.gamma(len(sizes[n]) - 1, FLOAT32) * np.sum(sizes[n], axis=0) for n, e in sums.items()}, own
