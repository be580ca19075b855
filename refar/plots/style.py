"""One style for all pictures, and how they become files. Readable in print."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GREY, FAINT, PALE, BLUE, ORANGE = "#1f2933", "#7b8794", "#d6dbe0", "#f1f3f5", "#2f6fb0", "#d9772b"


def sheet(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    with font():
        return Figure(figsize=(width, height), dpi=150, facecolor="white")


def place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes without a frame, where they stand in inches."""
    across, up = figure.get_size_inches()
    with font():
        axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.set_frame_on(False)
    axes.tick_params(length=0, labelsize=8.5, labelcolor=INK)
    return axes


def font() -> AbstractContextManager[None]:
    """While text is made."""
    return mpl.rc_context({"font.family": "sans-serif", "font.size": 9})


def marks(places: range, room: int) -> list[int]:
    """Places to label: every one, or every second, fourth, …, so that at most `room` are; both ends if they are not too near."""
    each = next(e for e in (2**i for i in range(32)) if len(places) / e <= room)
    return sorted({m for m in places if m % each == 0} | {m for m in (places[0], places[-1]) if abs(m) % each > each // 2})


def relative(name: str, offset: int) -> str:
    """'t−3', 't', 't+4' for what lies 3 before, at, or 4 after t."""
    return name if offset == 0 else f"{name}{-offset:+d}".replace("-", "−")


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
