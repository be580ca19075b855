"""Pictures: which inputs an output depends on, and through which layers. Needs matplotlib."""

from __future__ import annotations

from matplotlib.figure import Figure

from refar.analysis.facts import facts
from refar.graph.graph import Graph
from refar.plots.curves import losses, series
from refar.plots.forecast import Course, forecast
from refar.plots.image import around
from refar.plots.line import Row, past, rows
from refar.plots.strided import Level, conceptual, fits, levels
from refar.plots.style import save, svg
from refar.plots.times import TimePanel, times

__all__ = [
    "Course", "Level", "Row", "TimePanel", "conceptual", "field", "fits", "forecast", "levels", "losses", "rows", "save",
    "series", "svg", "times",
]  # fmt: skip


def field(graph: Graph) -> Figure:
    """The receptive field: over time the dots and arrows of WaveNet's figure 3, over an image the field around the pixel.

    Raises GraphError where the output does not depend on the sequence.
    """
    return past(graph) if facts(graph).grid is None else around(graph)
