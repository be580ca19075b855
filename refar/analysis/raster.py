"""In which order the nodes of an image can be computed, one pixel at a time in raster order, and which rows each must keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refar import ops
from refar.analysis.types import Type
from refar.analysis.windows import steps_of_node
from refar.errors import GraphError
from refar.graph.graph import Graph, Node

Clock = Literal["constant", "row-start", "pixel", "row-end"]


@dataclass(frozen=True)
class RasterPlan:
    """How a graph of an image runs, one pixel at a time in raster order.

    `clock[n]`: when node n has a value. "constant": it is not computed from the sequence. "row-start": it depends on rows above
    only, so that its whole row is known before the row's first pixel. "pixel": on nothing after the pixel. "row-end": on
    pixels to the right in its own row too, so that its row is known when the row is complete.
    `lead[n]`, of the pixel nodes: 1 if the node does not see the newest pixel, and is computed one pixel further, else 0.
    `rows[n]`: how many complete rows must be kept, because a later pass reads them; nodes that keep none are absent.
    """

    clock: dict[str, Clock]
    lead: dict[str, int]
    rows: dict[str, int]


def varying(graph: Graph, sequence: str) -> frozenset[str]:
    """List the nodes that are computed from the sequence, also where no channel of theirs depends on it."""
    found = {sequence}
    for node in graph.nodes:
        reads = () if isinstance(node.op, ops.Ones | ops.Position) else node.inputs  # these use the shape of x alone
        if steps_of_node(node.op) and found.intersection(reads):
            found.add(node.name)
    return frozenset(found)


def raster_plan(graph: Graph, types: dict[str, Type], sequence: str, computed: frozenset[str]) -> RasterPlan:
    """Find clocks, leads and kept rows; `computed` are the `varying` nodes.

    Raises GraphError if a node computed from the sequence reads rows below its own.
    """
    clock: dict[str, Clock] = {}
    lead: dict[str, int] = {}
    rows: dict[str, int] = {}
    for node in graph.nodes:
        if not types[node.name].timed:
            continue
        if node.name not in computed:
            clock[node.name] = "constant"
            continue
        sources = [name for name in node.inputs if clock.get(name, "constant") != "constant"]
        seen = [(name, up, left) for name in sources for up, left in steps_of_node(node.op)]
        below = min((up for _, up, _ in seen), default=0)
        if below < 0:
            raise _reads_after(node, f"row r + {-below}")
        within = [lead[name] + left if clock[name] == "pixel" else -1 for name, up, left in seen if up + _row(clock[name]) == 0]
        if node.name == sequence:
            within = [0]
        clock[node.name] = "row-start" if not within else "pixel" if min(within) >= 0 else "row-end"
        if clock[node.name] == "pixel":
            lead[node.name] = min([1, *within])
        completes = 0 if clock[node.name] == "row-end" else 1  # what a pixel sees of rows above is summed up before its row
        for name, up, _ in seen:
            rows[name] = max(rows.get(name, 0), up + _row(clock[name]) - completes)
    return RasterPlan(clock, lead, {name: rows[name] for name in clock if rows.get(name, 0) > 0})


def _row(clock: Clock) -> int:
    return 1 if clock == "row-start" else 0


def _reads_after(node: Node, place: str) -> GraphError:
    at = f"node {node.name!r} ({node.op.__struct_config__.tag}) at pixel (r, c) reads {place}"
    return GraphError(f"a stream needs a causal graph; {at}, which comes later. Such a graph can only be evaluated as a whole")
