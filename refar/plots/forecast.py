"""Curves of observed values and their continuations: trajectories, quantile bands, and the truth where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from refar.arguments.arrays import Array
from refar.plots.style import BLUE, FAINT, GREY, INK, ORANGE, font

_WIDE, _HIGH, _EDGES = 8.4, 1.9, 0.9
"""Inches: the width of the picture, the height of a panel, and of legend and label together."""
_BACK = 3
"""The observed part is drawn as far back as so many times the length of the part to come."""
_SHADES = ("#d5e2ef", "#a9c5de", "#7fa8ce")
"""The colours of the bands, from the outermost on."""


@dataclass(frozen=True)
class Course:
    """One series in a panel, of which N values were observed and n are to come.

    `observed` (N), `trajectories` (S, n), of which all are drawn, `quantiles` (Q, n), one row for each level, and `truth`: the
    values that the data hold from position 0 on, at least N; the first N are drawn where noise was observed.
    """

    title: str
    observed: Array
    trajectories: Array
    quantiles: Array
    truth: Array


def forecast(courses: Sequence[Course], levels: Sequence[float], across: str = "position", up: str = "value") -> Figure:
    """Draw a panel for each course. `levels` are those of the quantiles, ascending; two of them make a band, from outside in."""
    with font():
        size = (_WIDE, _HIGH * len(courses) + _EDGES)
        figure = Figure(figsize=size, dpi=150, facecolor="white", layout="constrained")
        shown: dict[str, Any] = {}
        for place, course in enumerate(courses, 1):
            axes = figure.add_subplot(len(courses), 1, place)
            _draw(axes, course, list(levels))
            axes.set_title(course.title, fontsize=9.5, color=INK, loc="left")
            axes.set_ylabel(up, color=INK)
            shown |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        axes.set_xlabel(across, color=INK)
        figure.legend(shown.values(), shown.keys(), loc="outside upper right", ncols=6, frameon=False, fontsize=8)
    return figure


def _draw(axes: Axes, course: Course, levels: list[float]) -> None:
    known, count = len(course.observed), course.quantiles.shape[1]
    first = max(0, known - _BACK * count)
    joined = course.observed[-1:]  # what is to come begins where the observed part ends
    ahead = np.arange(known - len(joined), known + count)
    for i, values in enumerate(course.trajectories):
        label = "trajectories" if i == 0 else None
        axes.plot(ahead, [*joined, *values], color=BLUE, lw=0.6, alpha=0.55, label=label, zorder=2)
    for i in range(len(levels) // 2):
        low, high = (np.concatenate([joined, course.quantiles[q]]) for q in (i, len(levels) - 1 - i))
        shade, label = _SHADES[min(i, len(_SHADES) - 1)], f"{100 * levels[i]:g} % to {100 * levels[-1 - i]:g} %"
        axes.fill_between(ahead, low, high, color=shade, lw=0, label=label, zorder=1)
    if len(levels) % 2:
        middle = len(levels) // 2
        label = "median" if levels[middle] == 0.5 else f"{100 * levels[middle]:g} %"
        axes.plot(ahead, [*joined, *course.quantiles[middle]], color=BLUE, lw=1.6, label=label, zorder=4)
    noisy = not np.array_equal(course.truth[:known], course.observed)
    true = np.arange(first if noisy else ahead[0], min(len(course.truth), known + count))
    if noisy or len(course.truth) > known:
        axes.plot(true, course.truth[true], color=ORANGE, lw=1.2, ls=(0, (4, 1.5)), label="truth", zorder=5)
    axes.plot(np.arange(first, known), course.observed[first:], color=INK, lw=1.2, label="observed", zorder=6)
    _frame(axes, first, known, known + count)


def _frame(axes: Axes, first: int, known: int, end: int) -> None:
    """Mark where the observed part ends, and leave nothing beside what is drawn."""
    if known:
        axes.axvline(known - 1, color=GREY, lw=0.7, ls=":", zorder=0)
    axes.set_xlim(first, max(end - 1, first + 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK)
    axes.grid(axis="y", color="#eef0f2")
