"""Compute the offsets and the receptive field of a graph, and whether it is strict."""

from __future__ import annotations

from collections.abc import Collection

from refar.analysis.facts import Facts, facts
from refar.analysis.offsets import union
from refar.analysis.windows import Step, offsets_of_node
from refar.errors import GraphError
from refar.graph.graph import Graph


def offsets(graph: Graph) -> frozenset[int] | frozenset[Step]:
    """List the exact offsets that the output depends on, holes included; 0 is the present sample.

    Of an image the set of (rows up, columns left), all colours together; `colour_offsets` keeps them apart.
    """
    return sequence_offsets(graph) if facts(graph).grid is None else image_offsets(graph)


def sequence_offsets(graph: Graph) -> frozenset[int]:
    """List the `offsets` of a graph over time."""
    return union(facts(graph).offsets[graph.output])


def image_offsets(graph: Graph) -> frozenset[Step]:
    """List the `offsets` of a graph of images."""
    found = facts(graph)
    assert found.grid is not None
    return frozenset(map(found.grid.step, union(found.offsets[graph.output])))


def colour_offsets(graph: Graph) -> tuple[frozenset[tuple[int, int, int]], ...]:
    """For the outputs of each colour, list the exact (rows up, columns left, colour) that they depend on.

    Raises GraphError for a graph over time.
    """
    found = facts(graph)
    if found.grid is None:
        raise GraphError(f"colour_offsets: expected a graph of images, got one over time (its sequence is {found.sequence!r})")
    grid, channels = found.grid, found.offsets[graph.output]
    seen = [union(channels[c :: grid.colours]) for c in range(grid.colours)]
    return tuple(frozenset((*grid.step(number), grid.colour(number)) for number in numbers) for numbers in seen)


def receptive_field(graph: Graph) -> int | tuple[int, int]:
    """Return R = largest - smallest offset + 1; 0 if the output depends on nothing. Of an image the box (rows, columns)."""
    return sequence_field(graph) if facts(graph).grid is None else image_field(graph)


def sequence_field(graph: Graph) -> int:
    """Return the `receptive_field` of a graph over time."""
    return _span(sequence_offsets(graph))


def image_field(graph: Graph) -> tuple[int, int]:
    """Return the `receptive_field` of a graph of images."""
    seen = image_offsets(graph)
    return _span({up for up, _ in seen}), _span({left for _, left in seen})


def _span(numbers: Collection[int]) -> int:
    return max(numbers) - min(numbers) + 1 if numbers else 0


def is_strict(graph: Graph) -> bool:
    """Return whether y_t is computed without x_t, so that it can model x_t.

    Over time this goes by nodes: one that joins channels which see the present with channels which do not is computed at the
    present. In an image it goes by channels: colour c of a pixel may be computed from the colours before it.
    """
    return facts(graph).strict


def require_strict(found: Facts, purpose: str) -> None:
    """Raise GraphError unless every position has an output that does not see it, naming the path by which the present comes."""
    graph = found.graph
    if found.strict and graph.padding != "valid":
        return
    found.require_causal(purpose)
    if graph.padding == "valid":
        raise GraphError(
            f"{purpose} needs an output at every position; under padding 'valid' the first {found.left_context} have "
            "none, so no p(x_t) either. Build the graph with padding='layer': the same parameters, and the same outputs after "
            "those"
        )
    if found.grid is not None:
        raise _sees_its_pixel(found, found.grid.colours, purpose)
    if min(sequence_offsets(graph), default=0) >= 1:
        raise GraphError(
            f"{purpose} needs a strict graph; here y_t does not depend on x_t, but some node joins channels that see the "
            "present with channels that do not, so it cannot be computed before x_t is known. Slice before joining them"
        )
    lead = found.leading.lead
    path = [graph.output]
    while (node := found.nodes[path[-1]]).inputs:
        path.append(next(name for name in node.inputs if lead.get(name) == 0 and min(offsets_of_node(node.op)) == 0))
    raise GraphError(
        f"{purpose} needs a strict graph, in which y_t models x_t without seeing it; here offset 0 gets through "
        f"{' → '.join(reversed(path))}. Delay the input (Builder.delay) or make the first convolution strict"
    )


def _sees_its_pixel(found: Facts, colours: int, purpose: str) -> GraphError:
    channel, seen = found.sees_itself or (0, 0)
    sees = f", of colour {channel % colours}, sees colour {seen} of the same pixel" if colours > 1 else " sees it"
    masks = "Shift the input (Builder.shift2d) or give the first convolution mask 'A'"
    orders = f"{masks}, and every masked convolution colours={colours}" if colours > 1 else masks
    return GraphError(
        f"{purpose} needs a strict graph, in which an output models its pixel without seeing it; here channel {channel} of "
        f"{found.graph.output!r}{sees}. {orders}"
    )
