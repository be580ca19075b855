"""Who may be computed when: causality, strictness, and how a graph runs position by position or pixel by pixel.

Every streaming reading takes from here where each node stands and how much of it must be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from refar import ops
from refar.analysis.infer import analyse, offsets, taps, transient
from refar.analysis.plane import steps
from refar.errors import GraphError
from refar.graph.graph import Graph, Node, check_graph


@dataclass(frozen=True)
class Stream:
    """How a graph is run position by position.

    `lead[n]`: the position at which node n stands, relative to the newest token. `history[n]`: how many of its last
    values must be kept, because a later call reads them; nodes that keep nothing are absent. This is the state.
    """

    lead: dict[str, int]
    history: dict[str, int]


Clock = Literal["constant", "row-start", "pixel", "row-end"]


@dataclass(frozen=True)
class Raster:
    """How a graph over a plane is run pixel by pixel, in raster order.

    `clock[n]`: when node n has a value. "constant": it is not computed from the sequence. "row-start": it depends on rows above
    only, so that its whole row is known before the row's first pixel. "pixel": on nothing after the pixel. "row-end": on
    pixels to the right in its own row too, so that its row is known when the row is complete.
    `lead[n]`, of the pixel nodes: 1 if the node does not see the newest pixel, and so stands one pixel further, else 0.
    `rows[n]`: how many complete rows must be kept, because a later pass reads them; nodes that keep none are absent.
    """

    clock: dict[str, Clock]
    lead: dict[str, int]
    rows: dict[str, int]


def moves(node: Node) -> frozenset[tuple[int, int]]:
    """Where a node over a plane looks, as (rows up, columns left): only at its own pixel, unless it is a convolution or shift."""
    return steps(node.op) if isinstance(node.op, ops.PlaneOp) else frozenset({(0, 0)})


@lru_cache(maxsize=256)
def varying(graph: Graph) -> frozenset[str]:
    """The nodes over a plane that are computed from the sequence, also where it has no part in any of their channels."""
    found = {analyse(graph).sequence}
    for node in graph.nodes:
        reads = () if isinstance(node.op, ops.Ones | ops.Position) else node.inputs  # whose values do not matter
        if moves(node) and found.intersection(reads):
            found.add(node.name)
    return frozenset(found)


@lru_cache(maxsize=256)
def raster(graph: Graph) -> Raster:
    """The clocks of a graph over a plane. Raises GraphError if a node computed from the sequence reads rows below its own."""
    found, computed = analyse(graph), varying(graph)
    clock: dict[str, Clock] = {}
    lead: dict[str, int] = {}
    rows: dict[str, int] = {}
    for node in graph.nodes:
        if not found.types[node.name].timed:
            continue
        if node.name not in computed:
            clock[node.name] = "constant"
            continue
        sources = [name for name in node.inputs if clock.get(name, "constant") != "constant"]
        seen = [(name, up, left) for name in sources for up, left in moves(node)]
        below = min((up for _, up, _ in seen), default=0)
        if below < 0:
            raise _reads_after(node, f"row r + {-below}")
        within = [lead[name] + left if clock[name] == "pixel" else -1 for name, up, left in seen if up + _row(clock[name]) == 0]
        if node.name == found.sequence:
            within = [0]
        clock[node.name] = "row-start" if not within else "pixel" if min(within) >= 0 else "row-end"
        if clock[node.name] == "pixel":
            lead[node.name] = min([1, *within])
        completes = 0 if clock[node.name] == "row-end" else 1  # what a pixel sees of rows above is summed up before its row
        for name, up, _ in seen:
            rows[name] = max(rows.get(name, 0), up + _row(clock[name]) - completes)
    return Raster(clock, lead, {name: rows[name] for name in clock if rows.get(name, 0) > 0})


def _row(clock: Clock) -> int:
    return 1 if clock == "row-start" else 0


def _reads_after(node: Node, place: str) -> GraphError:
    at = f"node {node.name!r} ({node.op.__struct_config__.tag}) at pixel (r, c) reads {place}"
    return GraphError(f"a stream needs a causal graph; {at}, which comes later. Such a graph can only be evaluated as a whole")


def looks_ahead(graph: Graph) -> Node | None:
    """The first node that reads positions after its own, which no stream can do; None if there is none.

    Over a plane rows below count, and what lies to the right in the same row if the output sees it: on the way a node may
    see its whole row, of which a later one hides what comes after the pixel.
    """
    found = analyse(check_graph(graph))
    if found.grid is None:
        return next((node for node in graph.nodes if min(taps(node.op)) < 0), None)
    depends = [node for node in graph.nodes if node.name in varying(graph)]
    below = next((node for node in depends if min(moves(node))[0] < 0), None)
    if below is None and raster(graph).clock[graph.output] == "row-end":
        return next(node for node in depends if raster(graph).clock[node.name] == "row-end")
    return below


def require_causal(graph: Graph, purpose: str) -> None:
    """Raise GraphError, naming node and position, if some node looks ahead."""
    node = looks_ahead(graph)
    if node is None:
        return
    if analyse(graph).grid is None:
        here, there = "position t", f"position t + {-min(taps(node.op))}"
    else:
        up, left = min(moves(node))
        here, there = "pixel (r, c)", f"pixel ({_before('r', up)}, {_before('c', left)})"
    raise GraphError(
        f"{purpose} needs a causal graph; node {node.name!r} ({node.op.__struct_config__.tag}) at {here} reads {there}. "
        "Such a graph can only be evaluated as a whole"
    )


def _before(place: str, by: int) -> str:
    return place if by == 0 else f"{place} {'-' if by > 0 else '+'} {abs(by)}"


@lru_cache(maxsize=256)
def stream(graph: Graph, ahead: bool) -> Stream:
    """How to run the graph position by position.

    Not ahead: every node stands at the newest token's position; this is `step`, whose output is the one of `forward`.
    Ahead: a node whose offsets are all at least 1 *emits* the next position (lead 1) as soon as the token is there; the
    others *push* the token (lead 0); this is `next`. A node may stand one position ahead of its source only by a tap ≥ 1.
    Raises GraphError for a graph that looks ahead.
    """
    require_causal(graph, "a stream")
    types = analyse(graph).types
    lead: dict[str, int] = {}
    history: dict[str, int] = {}
    for node in graph.nodes:
        if not types[node.name].timed:
            continue
        sources = [name for name in node.inputs if types[name].timed]
        reach = taps(node.op)
        if node.name == analyse(graph).sequence:
            lead[node.name] = 0
        else:  # a local condition has no source and is known one position ahead
            lead[node.name] = min([1, *(lead[name] + min(reach) for name in sources)]) if ahead else 0
        for name in sources:
            kept = max(reach) + lead[name] - lead[node.name]
            history[name] = max(history.get(name, 0), kept)
    return Stream(lead, {name: history[name] for name in lead if history.get(name, 0) > 0})


def is_strict(graph: Graph) -> bool:
    """Whether y_t is computed without x_t, so that it can model x_t.

    Over time this goes by nodes: one that joins channels which see the present with channels which do not stands at the
    present. Over a plane it goes by channels: colour c of a pixel may be computed from the colours before it.
    """
    if looks_ahead(graph) is not None:
        return False
    return _sees_itself(graph) is None if analyse(graph).grid else stream(graph, ahead=True).lead[graph.output] == 1


def is_ordered(graph: Graph) -> bool:
    """Whether a strict graph over a plane must be evaluated once for each colour: some output sees colours of its own pixel."""
    found = analyse(graph)
    return found.grid is not None and any(
        0 <= number < found.grid.colours for seen in found.offsets[graph.output] for number in seen
    )


def _sees_itself(graph: Graph) -> tuple[int, int] | None:
    """The first output channel that sees its own colour of the pixel or a later one, and which; None if none does."""
    found = analyse(graph)
    assert found.grid is not None
    for channel, seen in enumerate(found.offsets[graph.output]):
        wrong = [number for number in seen if channel % found.grid.colours <= number < found.grid.colours]
        if wrong:
            return channel, max(wrong)
    return None


def require_strict(graph: Graph, purpose: str) -> None:
    """Raise GraphError unless every position has an output that does not see it, naming the path by which the present comes."""
    require_causal(graph, purpose)
    if graph.padding == "valid":
        raise GraphError(
            f"{purpose} needs an output at every position; under padding 'valid' the first {transient(graph)} have none, so no "
            "p(x_t) either. Build the graph with padding='layer': the same parameters, and the same outputs after those"
        )
    if is_strict(graph):
        return
    if (grid := analyse(graph).grid) is not None:
        channel, seen = _sees_itself(graph) or (0, 0)
        sees = f", of colour {channel % grid.colours}, sees colour {seen} of the same pixel" if grid.colours > 1 else " sees it"
        masks = "Shift the input (Builder.shift2d) or give the first convolution mask 'A'"
        orders = f"{masks}, and every masked convolution colours={grid.colours}" if grid.colours > 1 else masks
        raise GraphError(
            f"{purpose} needs a strict graph, in which an output models its pixel without seeing it; here channel {channel} of "
            f"{graph.output!r}{sees}. {orders}"
        )
    if min(offsets(graph), default=0) >= 1:
        raise GraphError(
            f"{purpose} needs a strict graph; here y_t does not depend on x_t, but some node joins channels that see the "
            "present with channels that do not, so it cannot be computed before x_t is known. Slice before joining them"
        )
    lead = stream(graph, ahead=True).lead
    path = [graph.output]
    while (node := graph[path[-1]]).inputs:
        path.append(next(name for name in node.inputs if lead.get(name) == 0 and min(taps(node.op)) == 0))
    raise GraphError(
        f"{purpose} needs a strict graph, in which y_t models x_t without seeing it; here offset 0 gets through "
        f"{' → '.join(reversed(path))}. Delay the input (Builder.delay) or make the first convolution strict"
    )
