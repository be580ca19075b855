"""Graphs made from graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from msgspec.structs import replace

from refar import ops
from refar.analysis.causality import is_strict, require_strict
from refar.analysis.facts import facts
from refar.building.text import from_json
from refar.errors import GraphError
from refar.graph.graph import Graph, Node, to_json


def strictify(graph: Graph, at: Literal["input", "output"] = "input", *, start: str | None = None) -> Graph:
    """Return the graph one position later: y_t sees x_0..x_{t-1} and can model x_t. A strict graph is returned as it is.

    Parameters keep their names and shapes. With at="output" y_t is f(x)_{t-1}, where f is the graph as it was, and y_0 = 0, so
    that logits of 0 make every class of x_0 as likely as the others. `start` names one more node, a convolution whose weight,
    START.weight of shape (Q, 1, 1) for the Q channels of the output, is y_0; it may be trained. Under "input" padding y_0 is what
    f gives before the sequence, for zeros alone, and there is no `start`; under "valid" padding there is one output less.

    With at="input" the input comes one position later. A signal is delayed itself; for class indices every lookup is (`one_hot`,
    `embedding`, `standardize`), so that the value at t = 0 is 0, which is no class. The output at t is that of the unshifted
    graph at t - 1 for t ≥ R. Before, it is another function under layer padding: the layers answer the zero at t = 0, where the
    unshifted graph pads each of them with 0. Under "valid" padding it has one output less.
    Raises GraphError for a graph that looks ahead, that is of images, or, at its input, that reads class indices in another way;
    and for a `start` where there is no place for it, or whose name is taken.
    """
    found = facts(graph)
    found.require_causal("strictify")
    if at not in ("input", "output"):
        raise GraphError(f"strictify: at: expected 'input' or 'output', got {at!r}")
    if start is not None and (at == "input" or graph.padding != "layer"):
        came = f"{at!r} and {graph.padding!r}"
        raise GraphError(f"strictify: start: expected at='output' and padding 'layer' beside it, got {came}")
    if is_strict(graph):
        return graph
    if found.grid is not None:
        raise GraphError(
            "strictify expects a graph over time, got one of images, where one delay would not do: give the first convolution "
            "mask 'A', or shift the input down for one stack and right for another (Builder.shift2d)"
        )
    strict = _late_output(graph, start) if at == "output" else _late_input(graph)
    require_strict(facts(replace(strict, padding="layer")), "strictify")
    return strict


def _late_output(graph: Graph, start: str | None) -> Graph:
    """The graph with a delay behind its output, and with y_0 from a convolution of 1 at t = 0, which is 0 at t > 0."""
    names, size = set(facts(graph).types), facts(graph).types[graph.output].size
    if start in names:
        raise GraphError(f"strictify: start: expected a name that no node has, got {start!r}")
    output = _unused(_delayed(graph.output), names)
    nodes = [*graph.nodes, Node(output, ops.Shift(1), (graph.output,))]
    if start is not None:
        ones, later, first, whole = (_unused(f"{start}_{what}", names) for what in ("ones", "later", "first", "sum"))
        nodes += [
            Node(ones, ops.Ones(), (graph.output,)),
            Node(later, ops.Shift(1), (ones,)),
            Node(first, ops.Affine(-1.0, 1.0), (later,)),
            Node(start, ops.Conv1d(size, bias=False), (first,)),
            Node(whole, ops.Add(), (output, start)),
        ]
    return from_json(to_json(replace(graph, nodes=tuple(nodes), output=nodes[-1].name)))


def _late_input(graph: Graph) -> Graph:
    """The graph with a delay behind its input, or behind the lookups of its classes."""
    found = facts(graph)
    indexed, names = found.types[found.sequence].indexed, set(found.types)
    late: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(replace(node, inputs=tuple(late.get(name, name) for name in node.inputs)))
        lookup = isinstance(node.op, ops.OneHot | ops.Embedding | ops.Standardize) and found.sequence in node.inputs
        if lookup if indexed else node.name == found.sequence:
            late[node.name] = _unused(_delayed(node.name), names)
            nodes.append(Node(late[node.name], ops.Shift(1), (node.name,)))
    return from_json(to_json(replace(graph, nodes=tuple(nodes), output=late.get(graph.output, graph.output))))


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


def _delayed(name: str) -> str:
    """The name of a delay behind a node; the last part of a name that is a number stays a part of its own."""
    return f"{name}.delayed" if name.rpartition(".")[2].isdigit() else f"{name}_delayed"


def _unused(name: str, names: set[str]) -> str:
    while name in names:
        name += "_"
    names.add(name)
    return name
