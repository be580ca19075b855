"""Which positions an output depends on, and through which layers, for graphs over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refar.analysis.causality import sequence_offsets
from refar.analysis.facts import facts
from refar.analysis.windows import offsets_of_node
from refar.errors import GraphError
from refar.graph.graph import Graph
from refar.plots.dots import ACROSS, BOW, DOTS, UP, arrows, figure_of, points, ruler
from refar.plots.style import BLUE, FAINT, INK, ORANGE, PALE, place, sheet


@dataclass
class Row:
    """A layer that looks into the past (or the input, or the output): `used` are the positions needed for y_t, as offsets.

    `edges`: (row below, offset there, offset here) for every connection on a path to the output.
    """

    name: str
    taps: tuple[int, ...] = (0,)
    used: frozenset[int] = frozenset()
    edges: tuple[tuple[str, int, int], ...] = ()


def rows(graph: Graph) -> list[Row]:
    """The input, then every layer that looks into the past and that the output depends on; what lies between is left out."""
    found = facts(graph)
    below = _sources(graph)
    layers = [n.name for n in graph.nodes if any(found.offsets[n.name]) and offsets_of_node(n.op) != (0,)]
    chain = {name: Row(name, tuple(sorted(offsets_of_node(graph[name].op)))) for name in [*layers]}
    sequence = Row(found.sequence)
    top = Row("output", used=frozenset({0}))
    needed: dict[str, set[int]] = {name: set() for name in [sequence.name, *layers]}
    exact = sequence_offsets(graph)
    ends = [graph.output] if graph.output in chain else below[graph.output]
    for row in [top, *reversed(chain.values())]:
        if row is not top:
            row.used = frozenset(needed[row.name])
        edges = [
            (source, here + tap, here)
            for source in (ends if row is top else below[row.name])
            for here in sorted(row.used)
            for tap in row.taps
            if source != sequence.name or here + tap in exact
        ]
        for source, there, _ in edges:
            needed[source].add(there)
        row.edges = tuple(edges)
    sequence.used = exact
    shown = [sequence, *(row for row in chain.values() if row.used)]
    return shown if len(ends) == 1 and shown[-1].used == {0} else [*shown, top]


def _sources(graph: Graph) -> dict[str, list[str]]:
    """For every node the rows that it reads, without those whose same position it sees through another one already."""
    found = facts(graph)
    row = {
        n.name for n in graph.nodes if any(found.offsets[n.name]) and (n.name == found.sequence or offsets_of_node(n.op) != (0,))
    }
    nearest: dict[str, set[str]] = {}
    for node in graph.nodes:
        read: set[str] = set()
        for name in node.inputs:
            if found.types[name].timed and any(found.offsets[node.name]):
                read |= {name} if name in row else nearest[name]
        nearest[node.name] = read

    @lru_cache(None)
    def through(name: str) -> frozenset[str]:
        """The rows whose present position this row sees."""
        if 0 not in offsets_of_node(graph[name].op) or name == found.sequence:
            return frozenset()
        return frozenset().union(*({source} | through(source) for source in nearest[name]))

    def visible(read: set[str]) -> list[str]:
        hidden = frozenset().union(*(through(name) for name in read))
        return sorted(read - hidden)

    return {name: visible(read) for name, read in nearest.items()}


def past(graph: Graph) -> Figure:
    """The receptive field: dots and arrows in the manner of WaveNet's figure 3, or strips where it is too long for that."""
    seen = sequence_offsets(graph)
    if not seen:
        raise GraphError("the output does not depend on the sequence, so there is no receptive field to draw")
    shown = rows(graph)
    places = range(min(min(row.used) for row in shown), max(max(row.used) for row in shown) + 1)
    small = len(places) <= DOTS[0] and len(shown) <= DOTS[1]
    labels = [_label(graph, row) for row in shown]
    longest = max(len(line) for label in labels for line in label.splitlines())
    axes = _axes(len(places) if small else None, len(shown), UP if small else 0.32, left=0.3 + 0.075 * longest)
    _dots(axes, shown, places) if small else _strips(axes, shown, places)
    axes.set_yticks(range(len(shown)), labels)
    title = f"$y_t$ depends on {len(seen)} positions, $t-{max(seen)}$ to $t-{min(seen)}$"
    title = title.replace("$t-0$", "$t$").replace("$t--", "$t+")
    axes.set_title(title, color=INK, loc="left", size=10)
    return figure_of(axes)


def _axes(span: int | None, count: int, height: float, left: float) -> Axes:
    width = min(max(4.0, ACROSS * span), 8.2) if span else 8.2
    right, bottom, top = 0.3, 0.45, 0.4
    figure = sheet(left + width + right, bottom + height * count + top)
    axes = place(figure, left, bottom, width, height * count)
    axes.set_ylim(-0.5, count - 0.5)
    return axes


def _dots(axes: Axes, shown: Sequence[Row], places: range) -> None:
    axes.set_xlim(-places.stop + 0.5, -places.start + 0.5)
    level = {row.name: y for y, row in enumerate(shown)}
    for y, row in enumerate(shown):
        axes.scatter(*points(places, y), s=26, color="white", edgecolors=FAINT, linewidths=0.8, zorder=2)
        colour = ORANGE if y == len(shown) - 1 else BLUE if y else INK
        axes.scatter(*points(row.used, y), s=26, color=colour, zorder=3)
        edges = [(-there, level[source], -here, y) for source, there, here in row.edges]
        near = [edge for edge in edges if edge[3] - edge[1] == 1]
        arrows(axes, near, alpha=0.75 if len(row.taps) <= 4 else 0.25)
        for x0, y0, x1, y1 in set(edges) - set(near):
            axes.annotate("", (x1, y1), (x0, y0), arrowprops=BOW, zorder=1)
    ruler(axes, places)


def _strips(axes: Axes, shown: Sequence[Row], places: range) -> None:
    axes.set_xlim(-places.stop + 0.5, -places.start + 0.5)
    for y, row in enumerate(shown):
        colour = ORANGE if y == len(shown) - 1 else BLUE if y else INK
        axes.broken_barh([(-places.stop + 0.5, len(places))], (y - 0.28, 0.56), color=PALE, zorder=1)
        axes.broken_barh(_runs(row.used), (y - 0.28, 0.56), color=colour, linewidth=0.4, zorder=2)
    ruler(axes, places)


def _runs(used: Iterable[int]) -> list[tuple[float, float]]:
    """(left end, width) of the runs without holes, the present at 0."""
    numbered = enumerate(sorted(used))
    runs = [[offset for _, offset in run] for _, run in groupby(numbered, lambda pair: pair[1] - pair[0])]
    return [(-run[-1] - 0.5, float(len(run))) for run in runs]


def _label(graph: Graph, row: Row) -> str:
    if row.name == "output" and row.taps == (0,):
        return "output"
    if row.name == facts(graph).sequence:
        return f"input {row.name}"
    shown = ", ".join(map(str, row.taps)) if len(row.taps) <= 3 else f"{row.taps[0]}, {row.taps[1]}, …, {row.taps[-1]}"
    return f"{row.name}\nsees {shown}" if len(shown) < 30 else row.name
