"""Whole graphs on integers, of which every backend must give the exact result."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np

from refar import ops
from refar.analysis.causality import offsets
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.exact import literal
from refar.graph.graph import Graph, Node
from refar.oracle.bound_graph import cast, unchecked
from refar.oracle.whole import backward_nodes, forward_nodes
from refar.testing.contract.cases import Extent, integer_inputs, masks, other_values
from refar.testing.contract.operators import OperatorCase, integral

_FLOAT32_INTEGERS = 2**24
_CHANGES = 16


def integral_graph(graph: Graph) -> Graph | None:
    """The whole graph with integral attributes and no head; None if it has an operator that is not exact."""
    if not all(literal.is_exact(node.op) for node in graph.nodes):
        return None
    nodes = tuple(Node(node.name, integral(node.op), node.inputs) for node in graph.nodes)
    return msgspec.structs.replace(graph, nodes=nodes, head=None)


def integer_case(graph: Graph, rng: np.random.Generator, batch: int, extent: Extent) -> OperatorCase | None:
    """Integers for a whole integral graph on which nothing rounds in float32 and nothing is dead; None if no draw is such."""
    found, seen = facts(graph), masks(graph)
    shape = (batch, found.types[graph.output].size, *extent)
    for draw in _DRAWS:
        inputs = integer_inputs(graph, rng, draw.largest, batch, *extent)
        params = {name: draw.parameter(name, sizes, rng, seen.get(name)) for name, sizes in found.parameters.items()}
        dy = rng.integers(-draw.largest, draw.largest + 1, shape).astype(np.float64)
        case = OperatorCase("the whole graph", graph, params, inputs, dy)
        if _is_exact(case) and _is_alive(case, rng):
            return case
    return None


@dataclass(frozen=True)
class _Draw:
    """How integers are drawn: up to `largest`, and, unless dense, into thin convolutions.

    A thin weight_oik has ±1 at as few places as let each output and each input have its part at each tap, so that sums stay
    small through depth. Still fewer: of an output's taps all but one are left out unless kept with probability `kept`.
    Signs are `negative` with that probability only, and most biases positive, so that most relus let something through.
    """

    largest: int
    kept: float = 1.0
    negative: float | None = None

    def parameter(self, name: str, shape: tuple[int, ...], rng: np.random.Generator, mask: Array | None = None) -> Array:
        """A weight, of a convolution thin where its mask, if any, shows something, or a bias."""
        if self.negative is None or len(shape) == 2 or (len(shape) == 1 and name.endswith(".weight")):
            return rng.choice((-1.0, 1.0), shape) * rng.integers(1, self.largest + 1, shape)
        if len(shape) == 1:
            return rng.integers(-1, 3, shape).astype(np.float64)
        weight = np.zeros((*shape[:2], math.prod(shape[2:])))
        shown = np.ones(weight.shape, bool) if mask is None else mask.reshape(weight.shape)
        links = np.arange(max(shape[:2]))
        taps = np.flatnonzero(shown.any(axis=(0, 1)))
        always = taps[rng.integers(0, len(taps), len(links))] if len(taps) else links
        for k in taps:
            kept = (always == k) | (rng.random(len(links)) < self.kept)
            signs = np.where(rng.random(len(links)) < self.negative, -1, 1)
            for o, i, sign in zip(links % shape[0], rng.permutation(links) % shape[1], kept * signs, strict=True):
                seen = np.flatnonzero(shown[o, :, k])
                if len(seen):
                    weight[o, i if shown[o, i, k] else rng.choice(seen), k] = sign
        return np.where(shown, weight, self.largest).reshape(shape)


_THIN = [_Draw(n, kept, negative) for negative in (0.25, 0.05) for kept in (1.0, 0.7, 0.4, 0.1) for n in (8, 3, 1, 1)]
_DRAWS = [_Draw(8), _Draw(3), _Draw(1), *_THIN]


def _sweep(graph: Graph, params: Arrays, inputs: Arrays, dy: Array) -> tuple[Arrays, Arrays]:
    """The oracle's value of every node, and the gradient of every node and parameter."""
    values = forward_nodes(unchecked(graph, params, np.float64), cast(inputs, np.float64))
    dvalues, dparams = backward_nodes(unchecked(graph, params, dy.dtype), values, dy)
    return values, dvalues | dparams


def _is_exact(case: OperatorCase) -> bool:
    """No sum of products, forward or backward, leaves what float32 holds: the same graph on magnitudes bounds them all.

    Averages of two give fractions; the products of numbers with f binary places have 2f.
    """
    params, inputs = ({name: np.abs(array) for name, array in arrays.items()} for arrays in (case.params, case.inputs))
    bounds = _sweep(_magnitudes(case.graph), params, inputs, np.abs(case.dy))
    largest = max(float(array.max(initial=0)) for arrays in bounds for array in arrays.values())
    if largest >= _FLOAT32_INTEGERS:
        return False
    numbers = [a for arrays in _sweep(case.graph, case.params, case.inputs, case.dy) for a in arrays.values()]
    places = next((f for f in range(13) if not any((array * 2.0**f % 1).any() for array in numbers)), 13)
    return largest * 4**places < _FLOAT32_INTEGERS


def _is_alive(case: OperatorCase, rng: np.random.Generator) -> bool:
    """Every gradient to which a path leads is not zero throughout, and y changes at every inferred offset of a change of x."""
    graph, found = case.graph, facts(case.graph)
    values, gradients = _sweep(graph, case.params, case.inputs, case.dy)
    params, inputs = ({name: np.ones_like(array) for name, array in arrays.items()} for arrays in (case.params, case.inputs))
    _, paths = _sweep(_magnitudes(graph), params, inputs, np.ones_like(case.dy))
    leaves = [*case.params, *(name for name in case.inputs if not found.types[name].indexed)]
    if any(paths[name].any() and not gradients[name].any() for name in leaves):
        return False
    x, kind, extent = case.inputs[found.sequence], found.types[found.sequence], case.dy.shape[2:]
    inferred = {offset if found.grid else (offset,) for offset in offsets(graph)}
    along = list(zip((0,) * len(extent), *inferred, strict=True))
    felt = set[tuple[int, ...]]()
    for _ in range(_CHANGES):
        places = np.stack([rng.integers(-min(a), n - max(a), len(x)) for a, n in zip(along, extent, strict=True)], axis=1)
        changed, other = x.copy(), other_values(kind, x, rng)
        for b, place in enumerate(places):
            changed[b, ..., *place] = other[b, ..., *place]
        inputs = cast({**case.inputs, found.sequence: changed}, np.float64)
        after = forward_nodes(unchecked(graph, case.params, np.float64), inputs)[graph.output]
        for b, place in enumerate(places):
            differs = (after[b] != values[graph.output][b]).any(axis=0)
            felt |= {tuple(int(n) for n in index - place) for index in np.argwhere(differs)}
        if inferred <= felt:
            return True
    return False


def _magnitudes(graph: Graph) -> Graph:
    """A graph of which the values and gradients on magnitudes are at least the magnitudes of this one's, sum by sum."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, ops.Pool1d):  # the sum of the window: wherever the largest of it stands
            mean = Node(f"{node.name}.mean", msgspec.structs.replace(node.op, kind="avg"), node.inputs)
            nodes += [mean, Node(node.name, ops.Affine(float(node.op.kernel)), (mean.name,))]
        else:
            nodes.append(Node(node.name, _magnitude(node.op), node.inputs))
    return msgspec.structs.replace(graph, nodes=tuple(nodes), head=None)


def _magnitude(op: ops.AnyOp) -> ops.AnyOp:
    """The operator with attributes that are magnitudes: what is exact is a sum of products, and grows with all of them."""
    if isinstance(op, ops.Activation):
        ends = max(abs(op.low), abs(op.high)) if op.kind == "clip" else 0.0
        return ops.Affine(max(1.0, op.slope) if op.kind == "leaky_relu" else 1.0, ends)
    if isinstance(op, ops.PRelu):  # of slopes that are no less than 1
        return ops.ScaleShift(bias=False)
    if isinstance(op, ops.Standardize):  # which subtracts its mean
        return ops.Standardize(-abs(op.mean), op.std)
    numbers = {name: abs(value) for name in op.__struct_fields__ if isinstance(value := getattr(op, name), float)}
    return msgspec.structs.replace(op, **numbers)
