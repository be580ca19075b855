"""A graph bound to parameters: checked once, cast to one dtype, and sorted by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar import ops
from refar.analysis.facts import Facts, facts
from refar.arguments.arrays import Array, Arrays, check_dtype, check_parameters
from refar.graph.graph import Graph, Node
from refar.oracle.convolution import by_tap
from refar.oracle.windows import Place


@dataclass(frozen=True, eq=False)
class BoundGraph:
    """What every algorithm of the oracle runs on: a graph's facts, its parameters in `dtype`, and each node's own ones."""

    graph: Graph
    facts: Facts
    params: Arrays
    own: dict[str, Arrays]
    dtype: np.dtype
    _tapped: dict[str, tuple[list[Place], Arrays]] = field(default_factory=dict)

    def tapped(self, name: str) -> tuple[list[Place], Arrays]:
        """List the places that a node that reads other positions looks at; and its own parameters, the weight by tap."""
        found = self._tapped.get(name)
        if found is None:
            op = self.facts.nodes[name].op
            assert isinstance(op, ops.WindowedOp | ops.ImageOp)
            found = self._tapped[name] = by_tap(op, self.own[name])
        return found

    def copied(self) -> BoundGraph:
        """Return the same with copies of the parameters, which no caller can change."""
        return unchecked(self.graph, {name: array.copy() for name, array in self.params.items()}, self.dtype)

    def cast(self, inputs: Arrays) -> Arrays:
        """Return real inputs in the dtype of the computation; class indices stay integers."""
        found: Arrays = {}
        for name, array in inputs.items():
            found[name] = array if array.dtype == np.int64 else array.astype(self.dtype, copy=False)
        return found


def unchecked(graph: Graph, params: Mapping[str, Array], dtype: DTypeLike = np.float64) -> BoundGraph:
    """Bind parameters that fit the graph and have this dtype."""
    return _bound(facts(graph), dict(params), np.dtype(dtype))


def bound_graph(graph: Graph, params: Mapping[str, ArrayLike], dtype: DTypeLike = np.float64) -> BoundGraph:
    """Bind parameters after checking them. Raises GraphError, ParameterError, and InputError for the dtype."""
    found, kind = facts(graph), check_dtype(dtype)
    checked = check_parameters(found, params)
    for name, array in checked.items():
        checked[name] = array.astype(kind, copy=False)
    return _bound(found, checked, kind)


def _bound(found: Facts, params: Arrays, dtype: np.dtype) -> BoundGraph:
    own: dict[str, Arrays] = {}
    for node, names in found.own.items():
        own[node] = {}
        for name in names:
            own[node][name] = params[f"{node}.{name}"]
    return BoundGraph(found.graph, found, params, own, dtype)


def own_parameters(node: Node, params: Mapping[str, Array]) -> Arrays:
    """Return the parameters of one node, by their last names."""
    own = {name.removeprefix(f"{node.name}."): array for name, array in params.items() if name.startswith(f"{node.name}.")}
    return {name: array for name, array in own.items() if "." not in name}


def cast(inputs: Arrays, dtype: DTypeLike) -> Arrays:
    """Return real inputs in a dtype; class indices stay integers."""
    return {name: array if array.dtype == np.int64 else array.astype(dtype, copy=False) for name, array in inputs.items()}
