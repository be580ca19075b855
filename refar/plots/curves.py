"""Figures that change while a network is trained."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from refar.plots.style import FAINT, GREY, INK, ORANGE, font


def losses(train: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]]) -> Figure:
    """The loss in nats per position against the training step."""
    with font():
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
