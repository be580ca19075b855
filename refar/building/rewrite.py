"""Graphs made from graphs."""

from __future__ import annotations

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


def _unused(name: str, names: set[str]) -> str:
    while name in names:
        name += "_"
    names.add(name)
    return name
