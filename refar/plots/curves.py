"""Figures that change while a network is trained: its loss, and what it generates."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refar.arguments.arrays import Array
from refar.plots.style import BLUE, FAINT, GREY, INK, ORANGE, font

Points = Sequence[tuple[int, float]]
_SEQUENCES, _CHANNELS = 6, (BLUE, ORANGE, GREY, INK)


def losses(train: Points, validation: Points, label: str = "nats per pixel", best: tuple[int, float] | None = None) -> Figure:
    """The loss against the training step; `best` is the validation whose weights are kept, (step, loss)."""
    with font():
        figure = Figure(figsize=(7.2, 3.0), dpi=150, facecolor="white", layout="constrained")
        axes = figure.add_subplot()
    for points, name, colour, style in ((train, "training", FAINT, "-"), (validation, "validation", ORANGE, ".-")):
        if points:
            alone = "." if len(points) == 1 else style  # one point has no line
            axes.plot(*zip(*points, strict=True), alone, color=GREY if name == "training" else colour, lw=1.2, label=name)
    if best is not None:
        told = f"best, {best[1]:.4g} at step {best[0]}"
        axes.plot(*best, "o", ms=8, mfc="none", mec=INK, label=told)
    axes.set_xlabel("step", color=INK)
    axes.set_ylabel(label, color=INK)
    _frame(axes)
    axes.legend(frameon=False)
    return figure


def series(values_bct: Array, names: Sequence[str] = ()) -> Figure:
    """Signals, one below the other, at most 6; of each the first four channels, side by side, as their units may differ."""
    shown = values_bct[:_SEQUENCES, : len(_CHANNELS)]
    with font():
        figure = Figure(figsize=(7.2, 0.6 + 0.9 * len(shown)), dpi=150, facecolor="white", layout="constrained")
        panels = figure.subplots(*shown.shape[:2], sharex=True, sharey="col", squeeze=False)
    for row, signal in zip(panels, shown, strict=True):
        for axes, line, colour in zip(row, signal, _CHANNELS, strict=False):
            axes.plot(line, color=colour, lw=0.8)
            _frame(axes)
    for axes, name in zip(panels[0], names, strict=False):
        axes.set_title(name, loc="left", fontsize=9.5, color=INK)
    return figure


def _frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK)
    axes.grid(axis="y", color="#eef0f2")
