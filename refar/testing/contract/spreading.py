"""Part of law 9: no perturbation that a bound allows leads beyond it, node by node on the oracle's own values."""

from __future__ import annotations

import numpy as np

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph, Node
from refar.oracle import node
from refar.oracle.bound_graph import own_parameters
from refar.rounding import bound
from refar.rounding.spread import Situation, spread
from refar.testing.report import ContractError, Measure

_DRAWS, _OFF, _SLACK = 4, 2.0**-6, 1 + 1e-9
"""How many perturbations of each node, by how much of the largest of its arguments, and what the oracle's own rounding may do."""


def perturb(graph: Graph, params: Arrays, values: Arrays, rng: np.random.Generator, measure: Measure) -> None:
    """Move the arguments of every node, and compare how far its value moves with `spread`, and the bounds of its rounding.

    `values` {node: array} are those of the oracle in float64. Raises ContractError naming a node that a bound does not hold.
    """
    for each in graph.nodes:
        if not isinstance(each.op, ops.Input):
            _perturb(graph, each, own_parameters(each, params), [values[name] for name in each.inputs], rng, measure)


def _perturb(graph: Graph, each: Node, own: Arrays, args: list[Array], rng: np.random.Generator, measure: Measure) -> None:
    op, classes, none = each.op, facts(graph).types[each.inputs[0]].size, [None] * len(args)
    off = [_error(graph, name, x, rng) for name, x in zip(each.inputs, args, strict=True)]
    y = node.forward(op, args, none, own, classes, np.dtype(np.float64))
    spare = bound.forward(op, args, own, classes, bound.FLOAT64, off=off)
    moved = spread(op).each(Situation(op, args, off, none, own, classes, y)) * _SLACK + 2 * spare
    around = bound.forward(op, args, own, classes, off=off) * _SLACK
    for _ in range(_DRAWS):
        other = [x if x.dtype == np.int64 else x + e * rng.choice([-1, -0.5, 1], e.shape) for x, e in zip(args, off, strict=True)]
        here = np.abs(node.forward(op, other, none, own, classes, np.dtype(np.float64)) - y)
        _require(each, "its value moves by", here, moved, measure)
        _require(each, "its rounding is up to", bound.forward(op, other, own, classes), around, measure)


def _error(graph: Graph, name: str, x: Array, rng: np.random.Generator) -> Array:
    """How far a value may be off; what marks the positions that exist is exact."""
    if x.dtype == np.int64 or isinstance(graph[name].op, ops.Ones):
        return np.zeros(x.shape)
    return _OFF * max(1.0, float(np.abs(x).max(initial=0))) * rng.uniform(0, 1, x.shape)


def _require(each: Node, what: str, found: Array, allowed: Array, measure: Measure) -> None:
    measure.statements += 1
    wrong = found > allowed
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        where = f"{each.name!r} ({each.op.__struct_config__.tag}) at {list(at)}"
        raise ContractError(f"{where}: {what} {found[at]:.3g} where its arguments are off, bound {allowed[at]:.3g}")
