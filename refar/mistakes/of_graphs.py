"""Whole graphs with one mistake in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from msgspec.structs import replace

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.errors import RefarError
from refar.graph.graph import Graph, Node
from refar.mistakes.precision_mistakes import ARGUMENTS, rounded
from refar.mistakes.rewrites import REWRITES, Rewritten, rewritten
from refar.oracle.bound_graph import cast, unchecked
from refar.oracle.whole import forward_nodes

PADDINGS: Mapping[str, Literal["layer", "input"]] = {
    "zeros in front of every layer": "layer",
    "zeros in front of the input alone": "input",
}
HALVES = "halves of the gate swapped"
POWERS = "dilations 1, 2, 4, … by the number of the layer"
ROUNDED = {name.replace("arguments", "weights"): rounding for name, rounding in ARGUMENTS.items()}
NAMES = (*PADDINGS, *REWRITES, HALVES)
"""Every mistake that golden networks are held to; two kinds more are tried on modules."""


@dataclass(frozen=True)
class Mistaken:
    """A graph with one mistake, in words: its name, and where it is."""

    words: str
    graph: Graph
    params: Arrays


def everywhere(name: str, graph: Graph, params: Arrays) -> Mistaken | None:
    """Put a mistake in every node that can have it. Returns None where none can, or the graph would have no meaning."""
    if name in PADDINGS:
        return _built(name, graph, params, padding=PADDINGS[name]) if PADDINGS[name] != graph.padding else None
    if name == HALVES:
        nodes = _with_halves_swapped(graph)
        return _built(name, graph, params, nodes=nodes) if nodes != graph.nodes else None
    if name == POWERS:
        nodes = _with_powers(graph)
        return _built(name, graph, params, nodes=nodes) if nodes != graph.nodes else None
    if name in ROUNDED:
        return _built(name, graph, rounded(params, ROUNDED[name]))
    return _changed(name, graph, params, _changes(name, graph, params))


def one_by_one(graph: Graph, params: Arrays) -> Iterator[Mistaken]:
    """Give each mistake everywhere, then in all nodes whose names end alike, then in one node after the other."""
    for name in (*NAMES, POWERS, *ROUNDED):
        if name not in REWRITES:
            groups: list[Any] = [everywhere(name, graph, params)]
        else:
            changes = _changes(name, graph, params)
            groups = [_changed(_where(name, nodes, changes), graph, params, nodes) for nodes in _groups(changes)]
        yield from (found for found in groups if found is not None)


def _changes(name: str, graph: Graph, params: Arrays) -> dict[str, Rewritten]:
    each = {node.name: rewritten(name, node.op, _own(node, params)) for node in graph.nodes}
    return {node: change for node, change in each.items() if change is not None}


def _own(node: Node, params: Arrays) -> Arrays:
    return {leaf: params[key] for leaf in ("weight", "bias") if (key := f"{node.name}.{leaf}") in params}


def _groups(changes: Mapping[str, Rewritten]) -> list[dict[str, Rewritten]]:
    endings = dict.fromkeys(name.rpartition(".")[2] for name in changes)
    alike = [tuple(name for name in changes if name.rpartition(".")[2] == end) for end in endings]
    groups = dict.fromkeys((tuple(changes), *alike, *((name,) for name in changes)))
    return [{name: changes[name] for name in group} for group in groups]


def _where(name: str, nodes: Mapping[str, Rewritten], able: Mapping[str, Rewritten]) -> str:
    return f"{name} everywhere" if 1 < len(nodes) == len(able) else f"{name} in {', '.join(map(repr, [*nodes][:4]))}"


def _changed(words: str, graph: Graph, params: Arrays, changes: Mapping[str, Rewritten]) -> Mistaken | None:
    nodes = tuple(replace(node, op=changes[node.name][0]) if node.name in changes else node for node in graph.nodes)
    weights = {f"{name}.{leaf}": array for name, (_, own) in changes.items() for leaf, array in own.items()}
    return _built(words, graph, params | weights, nodes=nodes) if changes else None


def _built(words: str, graph: Graph, params: Arrays, **fields: Any) -> Mistaken | None:
    wrong = replace(graph, **fields)
    try:
        facts(wrong)
    except RefarError:
        return None
    return Mistaken(words, wrong, params)


def _with_halves_swapped(graph: Graph) -> tuple[Node, ...]:
    """The second half of the channels in front of the first, before every gate: σ where tanh was meant."""
    nodes: list[Node] = []
    sizes = facts(graph).types
    for node in graph.nodes:
        if not isinstance(node.op, ops.Gate):
            nodes.append(node)
            continue
        first, second, both = (f"{node.name}_{part}" for part in ("first", "second", "swapped"))
        half = sizes[node.name].size
        nodes += [
            Node(first, ops.Slice(start=0, stop=half), node.inputs),
            Node(second, ops.Slice(start=half, stop=2 * half), node.inputs),
            Node(both, ops.Concat(), (second, first)),
            replace(node, inputs=(both,)),
        ]
    return tuple(nodes)


def _with_powers(graph: Graph) -> tuple[Node, ...]:
    """Convolutions over time of more than one tap, counted from 0 in their order: the one that is number n gets dilation 2ⁿ."""
    nodes: list[Node] = []
    count = 0
    for node in graph.nodes:
        if isinstance(node.op, ops.Conv1d) and node.op.kernel > 1 and not node.op.strict:
            nodes.append(replace(node, op=replace(node.op, dilation=2**count)))
            count += 1
        else:
            nodes.append(node)
    return tuple(nodes)


def output(wrong: Mistaken, inputs: Arrays) -> Array:
    """Compute what such a graph gives, in float64. It need not be one that a builder would make."""
    with np.errstate(all="ignore"):
        return forward_nodes(unchecked(wrong.graph, wrong.params, np.float64), cast(inputs, np.float64))[wrong.graph.output]
