"""In which order the nodes of a sequence can be computed, one token at a time, and how many past values each must keep."""

from __future__ import annotations

from dataclasses import dataclass

from refar.analysis.types import Type
from refar.analysis.windows import offsets_of_node
from refar.graph.graph import Graph


@dataclass(frozen=True)
class Schedule:
    """How a graph runs, one token at a time.

    `lead[n]` is 1 if node n is computed one position ahead of the newest token, else 0; constants have none. `cache[n]` is the
    cache length: how many of node n's last values a later call reads. Nodes that keep nothing are absent. This is the state.
    """

    lead: dict[str, int]
    cache: dict[str, int]


def schedule(graph: Graph, types: dict[str, Type], sequence: str, *, leading: bool) -> Schedule:
    """Find leads and cache lengths of a causal graph.

    Without `leading` every node is computed at the newest token's position. With it, a node whose offsets are all at least 1
    is computed one position ahead, as soon as the token is there. A node may lead its source only by a tap ≥ 1.
    """
    lead: dict[str, int] = {}
    cache: dict[str, int] = {}
    for node in graph.nodes:
        if not types[node.name].timed:
            continue
        sources = [name for name in node.inputs if types[name].timed]
        offsets = offsets_of_node(node.op)
        if node.name == sequence or not leading:
            lead[node.name] = 0
        else:  # a local condition has no source and is known one position ahead
            lead[node.name] = min([1, *(lead[name] + min(offsets) for name in sources)])
        for name in sources:
            cache[name] = max(cache.get(name, 0), max(offsets) + lead[name] - lead[node.name])
    return Schedule(lead, {name: cache[name] for name in lead if cache.get(name, 0) > 0})
