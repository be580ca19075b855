"""Graphs made from graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec.structs import replace

from refar import ops
from refar.analysis.causality import is_strict, require_strict
from refar.analysis.facts import facts
from refar.building.text import from_json
from refar.errors import GraphError
from refar.graph.graph import Graph, Node, to_json


def strictify(graph: Graph) -> Graph:
    """The graph with its input one position later: y_t sees x_0..x_{t-1} and can model x_t. A strict graph is returned as it is.

    A signal is delayed itself; for class indices every lookup is (`one_hot`, `embedding`, `standardize`), so that the value at
    t = 0 is 0, which is no class. Parameters keep their names and shapes.
    The output at t is that of the unshifted graph at t - 1 for t ≥ R. Before, it is another
    function under layer padding: the layers answer the zero at t = 0, where the unshifted graph pads each of them with 0. Under
    "valid" padding it has one output less.
    Raises GraphError for a graph that looks ahead, that reads class indices in another way, or that is of images.
    """
    facts(graph).require_causal("strictify")
    if is_strict(graph):
        return graph
    found = facts(graph)
    if found.grid is not None:
        raise GraphError(
            "strictify expects a graph over time, got one of images, where one delay would not do: give the first convolution "
            "mask 'A', or shift the input down for one stack and right for another (Builder.shift2d)"
        )
    indexed, names = found.types[found.sequence].indexed, set(found.types)
    late: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(replace(node, inputs=tuple(late.get(name, name) for name in node.inputs)))
        lookup = isinstance(node.op, ops.OneHot | ops.Embedding | ops.Standardize) and found.sequence in node.inputs
        if lookup if indexed else node.name == found.sequence:
            late[node.name] = _unused(f"{node.name}_delayed", names)
            nodes.append(Node(late[node.name], ops.Shift(1), (node.name,)))
    strict = from_json(to_json(replace(graph, nodes=tuple(nodes), output=late.get(graph.output, graph.output))))
    require_strict(facts(replace(strict, padding="layer")), "strictify")
    return strict


def relaxed(graph: Graph) -> Graph:
    """The graph of a signal p_bqt with a channel for each of the Q classes, in place of class indices x_bt; it has no head.

    A lookup of class q becomes a sum over all q, weighed by p: `one_hot` passes p on as it is, `embedding` gives
    Σ_q weight[q,c]·p[b,q,t], and `standardize` Σ_q (q - mean)/std · p[b,q,t], each a convolution of kernel 1 without bias. For
    the unit vectors of x the output is that of the graph for x; between them a token is a mixture of classes, with a gradient.
    `relaxed_parameters` has the parameters. A graph of a signal keeps its nodes. Raises GraphError for one of images.
    """
    found = facts(graph)
    if found.grid is not None:
        raise GraphError("expected a graph over time, whose tokens come one after the other; got one of images")
    classes = found.types[found.sequence].size if found.types[found.sequence].indexed else 0
    nodes = [_relaxed_node(node, classes, found.sequence) for node in graph.nodes] if classes else graph.nodes
    return from_json(to_json(replace(graph, nodes=tuple(nodes), head=None)))


def _relaxed_node(node: Node, classes: int, sequence: str) -> Node:
    if node.name == sequence:
        return replace(node, op=ops.Input("sequence", channels=classes))
    if sequence in node.inputs:
        if isinstance(node.op, ops.OneHot):
            return replace(node, op=ops.Affine(1.0, 0.0))
        if isinstance(node.op, ops.Embedding | ops.Standardize):
            channels = node.op.channels if isinstance(node.op, ops.Embedding) else 1
            return replace(node, op=ops.Conv1d(channels, bias=False))
    return node


def relaxed_parameters(graph: Graph, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `relaxed(graph)`: a table weight_qc of classes becomes weight_cq1, and (q - mean)/std is one too.

    `params` are arrays or tensors; what is made anew is an array in float64.
    """
    made = dict(params)
    found = facts(graph)
    for node in graph.nodes:
        if found.types[found.sequence].indexed and found.sequence in node.inputs:
            name = f"{node.name}.weight"
            if isinstance(node.op, ops.Embedding):
                made[name] = params[name].T[:, :, None]
            elif isinstance(node.op, ops.Standardize):
                made[name] = ((np.arange(found.types[found.sequence].size) - node.op.mean) / node.op.std)[None, :, None]
    return made


def unrelaxed_gradients(graph: Graph, gradients: Mapping[str, Any]) -> dict[str, Any]:
    """The gradients of the graph's own parameters, from those of `relaxed_parameters`."""
    found, own = facts(graph), {}
    for name in found.parameters:
        node = graph[name.rpartition(".")[0]]
        table = isinstance(node.op, ops.Embedding) and found.sequence in node.inputs
        own[name] = gradients[name][:, :, 0].T if table else gradients[name]
    return own


def _unused(name: str, names: set[str]) -> str:
    while name in names:
        name += "_"
    names.add(name)
    return name
