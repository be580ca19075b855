"""A rewrite of networks over images that makes a pixel cheaper: from a graph and parameters to others that compute the same.

Nodes keep their names, and where they are computed and stored.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from refar import ops
from refar.analysis.facts import Facts, facts
from refar.analysis.windows import steps_of_node
from refar.graph.graph import Graph, Node

Params = dict[str, NDArray[Any]]


def moved_biases(graph: Graph, params: Params) -> tuple[Graph, Params]:
    """In a sum, let a convolution that is known before its row begins take the biases of those computed pixel by pixel.

    (W·x + b) + (V·above + c) = W·x + (V·above + b + c): the bias is then added once for a row. A convolution that anything else
    reads keeps its own.
    """
    found, params = facts(graph), dict(params)
    readers = Counter(name for node in graph.nodes for name in node.inputs) + Counter([graph.output])
    changed: dict[str, bool] = {}  # convolutions, and whether they have a bias
    for node in graph.nodes:
        if not isinstance(node.op, ops.Add):
            continue
        terms = [found.nodes[name] for name in node.inputs if readers[name] == 1]
        takers = [term.name for term in terms if _clock(found, term) == "row-start"]
        givers = [term.name for term in terms if _gives(found, term)]
        if takers and givers:
            biases = [params.pop(f"{name}.bias") for name in givers]
            biases += [params[f"{takers[0]}.bias"]] if f"{takers[0]}.bias" in params else []
            params[f"{takers[0]}.bias"] = np.sum(biases, axis=0, dtype=biases[0].dtype)
            changed |= {**dict.fromkeys(givers, False), takers[0]: True}
    nodes = tuple(_with_bias(node, changed[node.name]) if node.name in changed else node for node in graph.nodes)
    graph = replace(graph, nodes=nodes)
    return graph, {name: params[name] for name in facts(graph).parameters}


def _clock(found: Facts, node: Node) -> str | None:
    """Return when a convolution of images has its value; None for other nodes."""
    return found.raster.clock.get(node.name) if isinstance(node.op, ops.Conv2d) else None


def _gives(found: Facts, node: Node) -> bool:
    """Whether a node is a convolution that adds its bias at each pixel: with taps in rows above it does so once for a row."""
    own_row = all(up == 0 for up, _ in steps_of_node(node.op))
    return _clock(found, node) == "pixel" and own_row and isinstance(node.op, ops.Conv2d) and node.op.bias


def _with_bias(node: Node, bias: bool) -> Node:
    assert isinstance(node.op, ops.Conv2d)
    return replace(node, op=replace(node.op, bias=bias))
