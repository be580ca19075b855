"""Pictures: which inputs an output depends on, and through which layers. Needs matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refar import conceptual as concepts
from refar.errors import GraphError
from refar.graph import Graph
from refar.infer import analyse, offsets, taps

INK, GREY, FAINT, BLUE, ORANGE = "#1f2933", "#7b8794", "#d6dbe0", "#2f6fb0", "#d9772b"
ACROSS, UP = 0.21, 0.62
"""Inches between two positions (less if the picture would grow too wide), and between two rows."""
DOTS = (96, 12)
"""The largest picture with a dot for every position: positions, rows. Beyond that each row is a strip."""


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
    found = analyse(graph)
    below = _sources(graph)
    layers = [n.name for n in graph.nodes if any(found.offsets[n.name]) and taps(n.op) != {0}]
    chain = {name: Row(name, tuple(sorted(taps(graph[name].op)))) for name in [*layers]}
    sequence = Row(found.sequence)
    top = Row("output", used=frozenset({0}))
    needed: dict[str, set[int]] = {name: set() for name in [sequence.name, *layers]}
    exact = offsets(graph)
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
    found = analyse(graph)
    row = {n.name for n in graph.nodes if any(found.offsets[n.name]) and (n.name == found.sequence or taps(n.op) != {0})}
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
        if 0 not in taps(graph[name].op) or name == found.sequence:
            return frozenset()
        return frozenset().union(*({source} | through(source) for source in nearest[name]))

    def visible(read: set[str]) -> list[str]:
        hidden = frozenset().union(*(through(name) for name in read))
        return sorted(read - hidden)

    return {name: visible(read) for name, read in nearest.items()}


def field(graph: Graph) -> Figure:
    """The receptive field: dots and arrows in the manner of WaveNet's figure 3, or strips where it is too long for that."""
    seen = offsets(graph)
    if not seen:
        raise GraphError("the output does not depend on the sequence, so there is no receptive field to draw")
    shown = rows(graph)
    places = range(min(min(row.used) for row in shown), max(max(row.used) for row in shown) + 1)
    small = len(places) <= DOTS[0] and len(shown) <= DOTS[1]
    labels = [_label(graph, row) for row in shown]
    longest = max(len(line) for label in labels for line in label.splitlines())
    figure = _figure(len(places) if small else None, len(shown), UP if small else 0.32, left=0.3 + 0.075 * longest)
    axes = figure.axes[0]
    _dots(axes, shown, places) if small else _strips(axes, shown, places)
    axes.set_yticks(range(len(shown)), labels)
    title = f"$y_t$ depends on {len(seen)} positions, $t-{max(seen)}$ to $t-{min(seen)}$"
    title = title.replace("$t-0$", "$t$").replace("$t--", "$t+")
    axes.set_title(title, color=INK, loc="left", size=10)
    return figure


def _figure(span: int | None, count: int, height: float, left: float) -> Figure:
    width = min(max(4.0, ACROSS * span), 8.2) if span else 8.2
    right, bottom, top = 0.3, 0.45, 0.4
    total = (left + width + right, bottom + height * count + top)
    with mpl.rc_context({"font.family": "sans-serif", "font.size": 9}):
        figure = Figure(figsize=total, dpi=150, facecolor="white")
        axes = figure.add_axes((left / total[0], bottom / total[1], width / total[0], height * count / total[1]))
    axes.set_ylim(-0.5, count - 0.5)
    axes.set_frame_on(False)
    axes.tick_params(length=0, labelsize=8.5, labelcolor=INK)
    return figure


def _dots(axes: Axes, shown: Sequence[Row], places: range) -> None:
    axes.set_xlim(-places.stop + 0.5, -places.start + 0.5)
    level = {row.name: y for y, row in enumerate(shown)}
    for y, row in enumerate(shown):
        axes.scatter(*_points(places, y), s=26, color="white", edgecolors=FAINT, linewidths=0.8, zorder=2)
        colour = ORANGE if y == len(shown) - 1 else BLUE if y else INK
        axes.scatter(*_points(row.used, y), s=26, color=colour, zorder=3)
        edges = [(-there, level[source], -here, y) for source, there, here in row.edges]
        near = [edge for edge in edges if edge[3] - edge[1] == 1]
        _arrows(axes, near, alpha=0.75 if len(row.taps) <= 4 else 0.25)
        for x0, y0, x1, y1 in set(edges) - set(near):
            axes.annotate("", (x1, y1), (x0, y0), arrowprops=_BOW, zorder=1)
    _ruler(axes, places)


_BOW = {
    "arrowstyle": "-|>,head_width=.12,head_length=.25", "connectionstyle": "arc3,rad=-.25",
    "color": GREY, "lw": 0.6, "shrinkA": 4, "shrinkB": 4,
}  # fmt: skip


def _points(used: Iterable[int], y: int) -> tuple[list[int], list[int]]:
    xs = [-offset for offset in sorted(used)]
    return xs, [y] * len(xs)


def _arrows(axes: Axes, edges: Sequence[tuple[int, int, int, int]], alpha: float, color: str = BLUE) -> None:
    """All in one collection, from the rim of a dot to the rim of the next."""
    if not edges:
        return
    radius = 0.048
    starts, moves = [], []
    for x0, y0, x1, y1 in edges:
        dx, dy = (x1 - x0) * _unit(axes), (y1 - y0) * UP
        rim = radius / math.hypot(dx, dy)
        starts.append((x0 + (x1 - x0) * rim, y0 + (y1 - y0) * rim))
        moves.append(((x1 - x0) * (1 - 2 * rim), (y1 - y0) * (1 - 2 * rim)))
    axes.quiver(
        *zip(*starts, strict=True), *zip(*moves, strict=True), angles="xy", scale_units="xy", scale=1, units="inches",
        width=0.0085, headwidth=6, headlength=7, headaxislength=6.5, minlength=0, color=color, alpha=alpha, zorder=1,
    )  # fmt: skip


def _unit(axes: Axes) -> float:
    """Inches between two positions."""
    low, high = axes.get_xlim()
    figure = axes.get_figure(root=True)
    assert figure is not None
    return float(figure.get_figwidth() * axes.get_position().width / (high - low))


def _strips(axes: Axes, shown: Sequence[Row], places: range) -> None:
    axes.set_xlim(-places.stop + 0.5, -places.start + 0.5)
    for y, row in enumerate(shown):
        colour = ORANGE if y == len(shown) - 1 else BLUE if y else INK
        axes.broken_barh([(-places.stop + 0.5, len(places))], (y - 0.28, 0.56), color="#f1f3f5", zorder=1)
        axes.broken_barh(_runs(row.used), (y - 0.28, 0.56), color=colour, linewidth=0.4, zorder=2)
    _ruler(axes, places)


def _runs(used: Iterable[int]) -> list[tuple[float, float]]:
    """(left end, width) of the runs without holes, the present at 0."""
    numbered = enumerate(sorted(used))
    runs = [[offset for _, offset in run] for _, run in groupby(numbered, lambda pair: pair[1] - pair[0])]
    return [(-run[-1] - 0.5, float(len(run))) for run in runs]


def _ruler(axes: Axes, places: range, room: int = 12) -> None:
    each = next(e for e in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2**20) if len(places) / e <= room)
    marks = {m for m in places if m % each == 0} | {m for m in (places[0], places[-1]) if abs(m) % each > each // 2}
    axes.set_xticks([-m for m in sorted(marks)], ["t" if m == 0 else f"t{-m:+d}".replace("-", "−") for m in sorted(marks)])


def _label(graph: Graph, row: Row) -> str:
    if row.name == "output" and row.taps == (0,):
        return "output"
    if row.name == analyse(graph).sequence:
        return f"input {row.name}"
    shown = ", ".join(map(str, row.taps)) if len(row.taps) <= 3 else f"{row.taps[0]}, {row.taps[1]}, …, {row.taps[-1]}"
    return f"{row.name}\nsees {shown}" if len(shown) < 30 else row.name


@dataclass
class Level:
    """The input or a layer of a conceptual network: the offsets at which one window has a value, and those y_t needs."""

    label: str
    dilation: int = 1
    taps: tuple[int, ...] = ()
    skip: bool = False
    there: tuple[int, ...] = ()
    used: frozenset[int] = frozenset()


def levels(net: concepts.Network) -> list[Level]:
    """The input, then every layer; a flatten is part of the dense layer above it."""
    found = [Level("input", there=tuple(range(concepts.receptive_field(net))))]
    flattened, spacing = 1, 1
    above = zip(net.layers, concepts.names(net), concepts.dilations(net), concepts.widths(net)[1:], strict=True)
    for layer, name, dilation, width in above:
        kernel, stride, own = concepts.geometry(layer)
        spacing *= stride
        if isinstance(layer, concepts.Flatten):
            flattened = kernel
            continue
        if isinstance(layer, concepts.Dense):
            kernel, flattened = flattened, 1
        words: list[str] = [layer.kind] if isinstance(layer, concepts.Pool) else []
        words += [f"kernel {kernel}"] if kernel > 1 and not isinstance(layer, concepts.Dense) else []
        words += [f"stride {stride}"] if stride > 1 and width > 1 else []
        words += [f"dilation {own}"] if own > 1 else []
        found.append(
            Level(
                name + "\n" * bool(words) + ", ".join(words),
                dilation,
                tuple(k * dilation for k in range(kernel)),
                isinstance(layer, concepts.Conv) and layer.skip is not None,
                tuple(spacing * j for j in range(width)),
            )
        )
    found[-1].used = frozenset({0})
    for level, below in zip(found[:0:-1], found[-2::-1], strict=True):
        below.used = frozenset(here + tap for here in level.used for tap in level.taps)
    return found


def conceptual(net: concepts.Network) -> Figure:
    """The network on one window, with its strides, beside the practical graph, with the dilations that take their place.

    What one window computes for y_t is filled; on the right, the arrows of all other outputs stand behind it.
    Raises GraphError where the window is too long for a dot at every position.
    """
    shown = levels(net)
    span = concepts.receptive_field(net)
    if span > DOTS[0] // 2 or len(shown) > DOTS[1]:
        raise GraphError(f"a window of {span} positions and {len(shown) - 1} layers is too large to draw; draw its `field`")
    width, height = min(max(2.1, ACROSS * span), 4.2), UP * len(shown)
    longest = max(len(line) for level in shown for line in level.label.splitlines())
    left, between, right, bottom, top = 0.3 + 0.068 * longest, 1.1, 0.25, 0.45, 0.4
    total = (left + between + right + 2 * width, bottom + height + top)
    with mpl.rc_context({"font.family": "sans-serif", "font.size": 9}):
        figure = Figure(figsize=total, dpi=150, facecolor="white")
    for practical in (False, True):
        start = left + practical * (width + between)
        axes = figure.add_axes((start / total[0], bottom / total[1], width / total[0], height / total[1]))
        axes.set_frame_on(False)
        axes.tick_params(length=0, labelsize=8.5, labelcolor=INK)
        axes.set_xlim(-span + 0.5, 0.5)
        axes.set_ylim(-0.5, len(shown) - 0.5)
        _levels(axes, shown, span, practical)
        labels = [f"dilation {level.dilation}" if practical and len(level.taps) > 1 else "" for level in shown]
        axes.set_yticks(range(len(shown)), labels if practical else [level.label for level in shown])
        title = "in practice, at every position" if practical else f"one window of {span}"
        axes.set_title(title, color=INK, loc="left", size=10)
    return figure


def _levels(axes: Axes, shown: Sequence[Level], span: int, practical: bool) -> None:
    _ruler(axes, range(span), room=int(_unit(axes) * span / 0.45))
    for y, level in enumerate(shown):
        there = range(span) if practical else level.there
        axes.scatter(*_points(there, y), s=26, color="white", edgecolors=FAINT, linewidths=0.8, zorder=2)
        axes.scatter(*_points(level.used, y), s=26, color=ORANGE if y == len(shown) - 1 else BLUE if y else INK, zorder=3)
        if practical:
            others = [(here + tap, here) for here in range(span) for tap in level.taps if here + tap < span]
            _arrows(axes, [(-there, y - 1, -here, y) for there, here in others if here not in level.used], 1, FAINT)
        _arrows(axes, [(-here - tap, y - 1, -here, y) for here in level.used for tap in level.taps], 0.75)
        for here in level.used if level.skip else ():
            axes.annotate("", (-here, y), (-here, y - 1), arrowprops=_BOW | {"color": ORANGE, "lw": 0.9}, zorder=1)


def losses(train: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]]) -> Figure:
    """The loss in nats per position against the training step."""
    with mpl.rc_context({"font.family": "sans-serif", "font.size": 9}):
        figure = Figure(figsize=(7.2, 3.0), dpi=150, facecolor="white", layout="constrained")
        axes = figure.add_subplot()
    for points, name, colour, style in ((train, "training", FAINT, "-"), (validation, "validation", ORANGE, ".-")):
        if points:
            axes.plot(*zip(*points, strict=True), style, color=GREY if name == "training" else colour, lw=1.2, label=name)
    axes.set_xlabel("step", color=INK)
    axes.set_ylabel("nats per pixel", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK)
    axes.grid(axis="y", color="#eef0f2")
    axes.legend(frameon=False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """As .png, .svg or .pdf, by the name."""
    with _svg_options():
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def svg(figure: Figure) -> str:
    """The <svg> element alone, to stand in a page."""
    text = io.StringIO()
    with _svg_options():
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _svg_options() -> AbstractContextManager[None]:
    """Letters as outlines look the same everywhere; a fixed salt makes the same picture the same bytes."""
    return mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "refar"})
