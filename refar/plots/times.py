"""Times against what they grow with: a panel for each table, a line for each way to compute the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from refar.plots.style import BLUE, FAINT, GREY, INK, ORANGE, font

_COLOURS = (BLUE, ORANGE, GREY, "#4c9a6a", "#8a5fb0", "#b5485d", "#3d8f9c")
_MARKS = "osD^vPX"
_WIDE, _HIGH = 4.6, 3.9
"""Inches of a panel."""
_ACROSS = 3
"""Panels beside each other."""


@dataclass(frozen=True)
class TimePanel:
    """One panel: for each way the points (x, median, low, high), in the unit that `up` names, over what `across` names."""

    title: str
    across: str
    up: str
    ways: Mapping[str, Sequence[tuple[float, float, float, float]]]


def times(panels: Sequence[TimePanel]) -> Figure:
    """Draw the panels, both axes logarithmic; a bar reaches from the lower to the upper quartile."""
    columns = min(len(panels), _ACROSS)
    rows = -(-len(panels) // _ACROSS)
    names = list(dict.fromkeys(name for panel in panels for name in panel.ways))
    styles = {name: (_COLOURS[i % len(_COLOURS)], _MARKS[i % len(_MARKS)]) for i, name in enumerate(names)}
    with font():
        figure = Figure(figsize=(_WIDE * columns, _HIGH * rows), dpi=150, facecolor="white", layout="constrained")
        shown: dict[str, Any] = {}
        for place, panel in enumerate(panels, 1):
            axes = figure.add_subplot(rows, columns, place)
            _draw(axes, panel, styles)
            shown |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        ordered = [shown[name] for name in names]
        figure.legend(ordered, names, loc="outside lower left", ncols=3 * columns, frameon=False, fontsize=8)
    return figure


def _draw(axes: Axes, panel: TimePanel, styles: Mapping[str, tuple[str, str]]) -> None:
    for name, points in panel.ways.items():
        xs, medians, lows, highs = zip(*points, strict=True)
        below = [median - low for median, low in zip(medians, lows, strict=True)]
        above = [high - median for median, high in zip(medians, highs, strict=True)]
        colour, mark = styles[name]
        axes.errorbar(
            xs, medians, (below, above), color=colour, marker=mark, markersize=4, lw=1.3, capsize=2, elinewidth=0.8, label=name
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    places = sorted({point[0] for points in panel.ways.values() for point in points})
    axes.set_xticks(places, [f"{x:g}" for x in places], fontsize=8)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", bottom=False, left=False)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}".replace(",", " ")))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(panel.title, fontsize=9.5, color=INK, loc="left")
    axes.set_xlabel(panel.across, color=INK)
    axes.set_ylabel(panel.up, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK)
    axes.grid(axis="y", color="#eef0f2")
