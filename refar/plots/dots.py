"""What pictures of dots and arrows share: an axis of positions, the present at the right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refar.plots.style import BLUE, GREY, marks, relative

ACROSS, UP = 0.21, 0.62
"""Inches between two positions (less if the picture would grow too wide), and between two rows."""
DOTS = (96, 12)
"""The largest picture with a dot for every position: positions, rows."""

BOW = {
    "arrowstyle": "-|>,head_width=.12,head_length=.25", "connectionstyle": "arc3,rad=-.25",
    "color": GREY, "lw": 0.6, "shrinkA": 4, "shrinkB": 4,
}  # fmt: skip
"""An arrow past the rows between."""


def points(used: Iterable[int], y: int) -> tuple[list[int], list[int]]:
    """Coordinates of the offsets in row y."""
    xs = [-offset for offset in sorted(used)]
    return xs, [y] * len(xs)


def arrows(axes: Axes, edges: Sequence[tuple[int, int, int, int]], alpha: float, color: str = BLUE) -> None:
    """All in one collection, from the rim of a dot to the rim of the next."""
    if not edges:
        return
    radius = 0.048
    starts, moves = [], []
    for x0, y0, x1, y1 in edges:
        dx, dy = (x1 - x0) * unit(axes), (y1 - y0) * UP
        rim = radius / math.hypot(dx, dy)
        starts.append((x0 + (x1 - x0) * rim, y0 + (y1 - y0) * rim))
        moves.append(((x1 - x0) * (1 - 2 * rim), (y1 - y0) * (1 - 2 * rim)))
    axes.quiver(
        *zip(*starts, strict=True), *zip(*moves, strict=True), angles="xy", scale_units="xy", scale=1, units="inches",
        width=0.0085, headwidth=6, headlength=7, headaxislength=6.5, minlength=0, color=color, alpha=alpha, zorder=1,
    )  # fmt: skip


def figure_of(axes: Axes) -> Figure:
    """The figure that holds the axes."""
    figure = axes.figure  # axes.get_figure(root=True) is not there before matplotlib 3.10
    assert isinstance(figure, Figure)
    return figure


def unit(axes: Axes) -> float:
    """Inches between two positions."""
    low, high = axes.get_xlim()
    return float(figure_of(axes).get_figwidth() * axes.get_position().width / (high - low))


def ruler(axes: Axes, places: range, room: int = 12) -> None:
    """Label the positions, at most `room` of them and the ends."""
    shown = marks(places, room)
    axes.set_xticks([-m for m in shown], [relative("t", m) for m in shown])
