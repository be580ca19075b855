"""A network as data: nodes in the order of evaluation. Only names and order are checked here, the rest by `analysis.facts`."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

import msgspec

from refar import ops
from refar.errors import GraphError
from refar.ops import AnyHead, AnyOp

Padding = Literal["layer", "input", "valid"]

_PART = r"([A-Za-z_][A-Za-z0-9_]*|[0-9]+)"
_NAME = re.compile(rf"{_PART}(\.{_PART})*")


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One operator applied to the values of earlier nodes."""

    name: str
    op: AnyOp
    inputs: tuple[str, ...] = ()


class Graph(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, cache_hash=True, dict=True
):
    """A whole network: `nodes` in the order of evaluation, the node whose value is the `output`, and what it means (`head`).

    `padding` chooses the values at t < 0. "layer": zero at the input of every layer. "input": zero at the network input only;
    every node is what it computes from that. "valid": none; there is an output only where every layer has its whole window,
    which drops the first R - 1 if the present counts. All three agree for t ≥ R - 1.

    Raises GraphError when names repeat or are malformed, or a node uses one that does not come before it. Whether each node
    has a meaning for its operator, every function that takes a graph checks first; see `analysis.facts`.
    """

    format: Literal["refar-graph"]
    version: Literal[1]
    nodes: tuple[Node, ...]
    output: str
    head: AnyHead | None = None
    padding: Padding = "layer"

    def __post_init__(self) -> None:
        if not isinstance(self.nodes, tuple):
            raise GraphError(f"nodes: expected a tuple of refar nodes, got {type(self.nodes).__name__}")
        names = [node.name for node in self.nodes]
        for name in names:
            if not _NAME.fullmatch(name):
                expected = "expected identifiers joined by dots, or whole numbers among them, such as 'block0.conv' and 'convs.0'"
                raise GraphError(f"node name {name!r}: {expected}")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise GraphError(f"node name {twice!r} is used twice; every node needs a name of its own")
        known: set[str] = set()
        for node in self.nodes:
            for source in node.inputs:
                if source not in known:
                    raise GraphError(self._unknown_source(node, source, names))
            known.add(node.name)
        if self.output not in known:
            raise GraphError(f"output {self.output!r} is not a node; the nodes are {', '.join(names) or 'none'}")

    def __repr__(self) -> str:
        return f"Graph({len(self.nodes)} nodes, output {self.output!r})"

    def _unknown_source(self, node: Node, source: str, names: list[str]) -> str:
        if source not in names:
            return f"node {node.name!r}: its input {source!r} is not a node; the nodes are {', '.join(names)}"
        sources = {n.name: n.inputs for n in self.nodes}
        paths: list[tuple[str, ...]] = [(node.name, source)]
        seen: set[str] = set()
        while paths:
            path = paths.pop()
            if path[-1] == node.name:
                return f"node {node.name!r}: the graph has a cycle: {' ← '.join(path)}"
            if path[-1] not in seen:
                seen.add(path[-1])
                paths.extend((*path, s) for s in sources.get(path[-1], ()))
        return f"node {node.name!r}: its input {source!r} comes later; list nodes in the order of evaluation"

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise GraphError(f"{name!r} is not a node; the nodes are {', '.join(n.name for n in self.nodes)}")


def unread(graph: Graph) -> tuple[str, ...]:
    """Return the nodes, the sequence left out, that neither are the output nor go into it, in their order."""
    read = {graph.output}
    for node in reversed(graph.nodes):
        if node.name in read:
            read.update(node.inputs)
    modelled = {node.name for node in graph.nodes if isinstance(node.op, ops.Input) and node.op.role == "sequence"}
    return tuple(node.name for node in graph.nodes if node.name not in read | modelled)


def pruned(graph: Graph) -> Graph:
    """Return the graph without the operators that its output does not need; inputs stay, since a caller gives them."""
    left = set(unread(graph))
    nodes = tuple(node for node in graph.nodes if node.name not in left or isinstance(node.op, ops.Input))
    return graph if len(nodes) == len(graph.nodes) else msgspec.structs.replace(graph, nodes=nodes)


def check_graph(graph: object) -> Graph:
    """The graph itself. Raises GraphError if it is none."""
    if not isinstance(graph, Graph):
        came = type(graph).__name__
        raise GraphError(f"expected a refar.Graph, got {came}; refar.load reads one from a file, Builder.build makes one")
    return graph


def to_json(graph: Graph) -> bytes:
    """Canonical JSON: fields in declared order, defaults left out, two spaces of indent, one final newline."""
    return msgspec.json.format(msgspec.json.encode(check_graph(graph)), indent=2) + b"\n"


def digest(graph: Graph) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(to_json(graph)).hexdigest()


def require_head(graph: Graph, purpose: str) -> ops.AnyHead:
    """The head. Raises GraphError if there is none."""
    if graph.head is None:
        raise GraphError(f"{purpose} needs a graph with a head, which says what the output means; this one has none")
    return graph.head
