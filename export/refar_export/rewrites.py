"""Rewrites that make a step or a block cheaper: from a graph and parameters to others that compute the same.

Each takes a pattern wherever it occurs. Nodes that keep past values stay, with their names, values and slots: the state is that
of the graph before. So every law applies to what comes out.

- `lookups`: a convolution of kernel 1 on a one-hot becomes an embedding: it reads a row where it multiplied by zeros.
- `sums`: the sum of several convolutions of kernel 1 becomes one of them on all their inputs together: one product for many.
- `gates`: a gate on a convolution becomes the product of tanh and σ of two: onnxruntime fuses each with its product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from refar import ops
from refar.analysis.facts import Facts, facts
from refar.graph.graph import Graph, Node

Params = dict[str, NDArray[Any]]
Replaced = tuple[list[Node], Params]
"""The nodes that stand in the place of one, and their parameters."""


class Search:
    """A graph with its parameters, and what a rewrite asks of it."""

    def __init__(self, graph: Graph, params: Params) -> None:
        self.graph, self.params, self.found = graph, params, facts(graph)
        self.readers = Counter(name for node in graph.nodes for name in node.inputs) + Counter([graph.output])

    def own(self, name: str) -> Params:
        """The parameters of a node by their last names."""
        return {suffix: self.params[f"{name}.{suffix}"] for suffix in self.found.own[name]}

    def point(self, name: str) -> ops.Conv1d | None:
        """The operator of a node if it is a plain convolution over time, in one group, of kernel 1 and not strict."""
        op = self.found.nodes[name].op
        plain = isinstance(op, ops.Conv1d) and op.groups == 1 and op.kernel == 1 and not op.strict
        return op if plain and isinstance(op, ops.Conv1d) and self.found.types[name].timed else None

    def fresh(self, name: str) -> str:
        """A name that no node has."""
        while name in self.found.nodes:
            name += "_"
        return name


def lookups(search: Search, node: Node) -> Replaced | None:
    """W·one_hot(x) + b = row x of Wᵀ + b."""
    op = search.point(node.name)
    source = search.found.nodes[node.inputs[0]] if op is not None else node
    if op is None or not isinstance(source.op, ops.OneHot):
        return None
    own = search.own(node.name)
    if search.graph.padding == "input" and "bias" in own:  # at t < 0 an embedding is zero, and the convolution its bias
        return None
    table = own["weight"][:, :, 0].T + own.get("bias", np.float32(0))
    embedding = Node(node.name, ops.Embedding(op.channels), source.inputs)
    return [embedding], {f"{node.name}.weight": np.ascontiguousarray(table, own["weight"].dtype)}


def sums(search: Search, node: Node) -> Replaced | None:
    """Σ_i (W_i·x_i + b_i) = [W_1 W_2 …]·[x_1; x_2; …] + Σ_i b_i."""
    if not isinstance(node.op, ops.Add):
        return None
    terms = [name for name in node.inputs if search.point(name) is not None and search.readers[name] == 1]
    leads = {_lead(search.found, search.found.nodes[name].inputs[0]) for name in terms} | {_lead(search.found, node.name)}
    if len(terms) < 2 or len(leads) > 1:
        return None
    others = [name for name in node.inputs if name not in terms]
    together = search.fresh(f"{node.name}.terms")
    product = node.name if not others else search.fresh(f"{node.name}.product")
    own = [search.own(name) for name in terms]
    biases = [each["bias"] for each in own if "bias" in each]
    op = ops.Conv1d(own[0]["weight"].shape[0], bias=bool(biases))
    joined = Node(together, ops.Concat(), tuple(search.found.nodes[name].inputs[0] for name in terms))
    nodes = [joined, Node(product, op, (together,)), *([Node(node.name, ops.Add(), (product, *others))] if others else [])]
    params = {f"{product}.weight": np.concatenate([each["weight"] for each in own], axis=1)}
    return nodes, params | ({f"{product}.bias": np.sum(biases, axis=0, dtype=biases[0].dtype)} if biases else {})


def gates(search: Search, node: Node) -> Replaced | None:
    """tanh(first half) · σ(second half) of W·x + b: the halves of W and b."""
    if not isinstance(node.op, ops.Gate):
        return None
    source = search.found.nodes[node.inputs[0]]
    op = source.op
    if (
        not isinstance(op, ops.Conv1d)
        or op.groups > 1
        or search.readers[source.name] > 1
        or not search.found.types[source.name].timed
    ):
        return None
    own, half, nodes, params = search.own(source.name), op.channels // 2, list[Node](), Params()
    for activation, rows in ((ops.Activation("tanh"), slice(None, half)), (ops.Activation("sigmoid"), slice(half, None))):
        product, value = (search.fresh(f"{source.name}.{activation.kind}.{what}") for what in ("conv", "value"))
        nodes.append(Node(product, replace(op, channels=half), source.inputs))
        nodes.append(Node(value, activation, (product,)))
        params |= {f"{product}.{suffix}": np.ascontiguousarray(array[rows]) for suffix, array in own.items()}
    return [*nodes, Node(node.name, ops.Multiply(), (nodes[1].name, nodes[3].name))], params


REWRITES: dict[str, Callable[[Search, Node], Replaced | None]] = {"lookups": lookups, "sums": sums, "gates": gates}
"""All of them, in the order in which they are applied."""


def rewritten(graph: Graph, params: Params, names: Iterable[str] = tuple(REWRITES)) -> tuple[Graph, Params]:
    """Apply rewrites over time, one after the other. The graph keeps its inputs, its output, its head and its state.

    Raises GraphError if a node looks ahead: only a graph that can be stepped is rewritten.
    """
    facts(graph).require_causal("a rewrite")
    for name in names:
        search = Search(graph, params)
        found = {node.name: replaced for node in graph.nodes if (replaced := REWRITES[name](search, node)) is not None}
        if not found:
            continue
        nodes: list[Node] = []
        params = dict(params)
        for node in graph.nodes:
            replacing, own = found.get(node.name, ([node], {}))
            nodes += replacing
            params |= own
        graph = _without_idle(replace(graph, nodes=tuple(nodes)), {name for name, count in search.readers.items() if count})
        params = {name: params[name] for name in facts(graph).parameters}
    return graph, params


def _without_idle(graph: Graph, were_read: set[str]) -> Graph:
    """Leave out the nodes that were read before, and are no more."""
    kept, read = list[Node](), {graph.output}
    for node in reversed(graph.nodes):
        if node.name in read or node.name not in were_read or isinstance(node.op, ops.Input):
            kept.append(node)
            read |= set(node.inputs)
    return replace(graph, nodes=tuple(reversed(kept)))


def _lead(found: Facts, name: str) -> int | None:
    return found.schedule(leading=found.strict).lead.get(name)
