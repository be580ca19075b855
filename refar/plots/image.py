"""Which pixels and colours an output depends on, for graphs of images: the field around the pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from refar.analysis.blind_spot import blind_spot
from refar.analysis.causality import colour_offsets, is_strict
from refar.analysis.facts import facts
from refar.analysis.windows import Step
from refar.errors import GraphError
from refar.graph.graph import Graph
from refar.plots.style import BLUE, FAINT, GREY, INK, ORANGE, PALE, marks, place, relative, sheet

Colours = frozenset[tuple[int, int, int]]
Corners = list[tuple[float, float]]

CELL, WIDTH, HEIGHT = 0.3, 8.4, 7.0
"""Inches: the largest side of a cell, the widest picture, the highest panel."""
LINES, BESIDE, APART = 0.04, 0.12, 0.18
"""The least side of a cell for lines between cells, for panels side by side, and for cells that do not touch."""
PANELS = 4
"""With more colours than this they are drawn together."""
NEAR = range(-1, 3), range(-3, 4)
"""Rows up and columns left of the small panels that show only what is near the pixel."""

SEEN, PIXEL, BLIND, UNSEEN, LATER = "seen", "the pixel itself", "blind spot", "not seen", "not yet known"
STYLE: dict[str, dict[str, Any]] = {
    SEEN: {"facecolor": BLUE, "edgecolor": BLUE},
    PIXEL: {"facecolor": ORANGE, "edgecolor": ORANGE},
    BLIND: {"facecolor": "white", "edgecolor": GREY, "hatch": "/////"},
    UNSEEN: {"facecolor": "white", "edgecolor": FAINT},
    LATER: {"facecolor": PALE, "edgecolor": PALE},
}


@dataclass(frozen=True)
class Panel:
    """What the outputs of one colour see, or of all together (None): which colours at which step.

    `cells`: how each cell is painted, one kind, or one for each colour in order, as stripes; over these `rows` up and
    `columns` left. `itself`: whether an output sees what it stands for.
    """

    colour: int | None
    sees: dict[Step, frozenset[int]]
    cells: dict[Step, tuple[str, ...]]
    itself: bool
    rows: range
    columns: range


def panels(graph: Graph) -> list[Panel]:
    """All colours together, and then one for each if they are few. Raises GraphError if the output depends on nothing."""
    outputs = colour_offsets(graph)
    if not any(outputs):
        raise GraphError("the output does not depend on the sequence, so there is no receptive field to draw")
    blind = _blind(graph) or frozenset()
    itself = [(0, 0, c) in numbers for c, numbers in enumerate(outputs)]
    everything = frozenset((up, left, 0) for numbers in outputs for up, left, _ in numbers)
    found = [_panel(None, everything, 1, everything, blind, any(itself))]
    if 1 < len(outputs) <= PANELS:
        found += [_panel(c, numbers, len(outputs), everything, blind, itself[c]) for c, numbers in enumerate(outputs)]
    return found


def _blind(graph: Graph) -> frozenset[Step] | None:
    """The blind spot; None where there is none to be found."""
    try:
        return blind_spot(graph)
    except GraphError:
        return None


def _panel(
    colour: int | None, numbers: Colours, colours: int, everything: Colours, blind: frozenset[Step], itself: bool
) -> Panel:
    """One panel, over the box around everything that any output sees and the pixel, and one row that is not yet known."""
    sees: dict[Step, frozenset[int]] = {}
    for up, left, given in numbers:
        sees[up, left] = sees.get((up, left), frozenset()) | {given}
    ups, lefts = {0, *(up for up, _, _ in everything)}, {0, *(left for _, left, _ in everything)}
    rows, columns = range(min(-1, *ups), max(ups) + 1), range(min(lefts), max(lefts) + 1)
    cells = {(up, left): _paint((up, left), sees, colour or 0, colours, blind) for up in rows for left in columns}
    return Panel(colour, sees, cells, itself, rows, columns)


def _paint(step: Step, sees: dict[Step, frozenset[int]], own: int, colours: int, blind: frozenset[Step]) -> tuple[str, ...]:
    seen = sees.get(step, frozenset())
    rest = BLIND if step in blind else UNSEEN if step > (0, 0) else LATER
    kinds = tuple(SEEN if c in seen else rest for c in range(colours))
    if step == (0, 0):
        kinds = (*kinds[:own], PIXEL, *kinds[own + 1 :])
    return kinds if len(set(kinds)) > 1 else kinds[:1]


def near(panel: Panel) -> Panel:
    """What is near the pixel."""
    rows, columns = (
        range(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(NEAR, (panel.rows, panel.columns), strict=True)
    )
    cells = {(up, left): panel.cells[up, left] for up in rows for left in columns}
    return replace(panel, cells=cells, rows=rows, columns=columns)


def arranged(shown: Sequence[Panel]) -> list[list[Panel]]:
    """Panels line by line: the colours side by side if they have room.

    Else together, with what is near the pixel of each colour below; or one above the other if they differ further out.
    """
    together, *each = shown
    if not each:
        return [[together]]
    if _side(each) >= BESIDE:
        return [each]
    close = near(together).cells
    far = [{step: seen for step, seen in panel.sees.items() if step not in close} for panel in each]
    return [[together], [near(panel) for panel in each]] if all(f == far[0] for f in far) else [[panel] for panel in each]


def _side(line: Sequence[Panel]) -> float:
    """The side of a cell, in inches."""
    return min(CELL, (WIDTH / len(line) - LEFT) / len(line[0].columns), HEIGHT / len(line[0].rows))


LEFT, BELOW, TITLE, LEGEND = 0.62, 0.32, 0.3, 0.36
"""Inches: left of and below a panel, where its axes are labelled; above it for its title; for the legend."""


def around(graph: Graph) -> Figure:
    """The field around the pixel: what is seen, what the blind spot is, what is not yet known; a panel for each colour.

    Raises GraphError where the output does not depend on the sequence.
    """
    shown = panels(graph)
    lines, head = arranged(shown), _head(graph, shown)
    heights = [(TITLE if line[0].colour is not None else 0.1) + _side(line) * len(line[0].rows) + BELOW for line in lines]
    titles = max(len(_title(panel, shown)) for panel in shown)
    widths = [max(LEFT + _side(line) * len(line[0].columns), (len(line) > 1) * (0.2 + 0.067 * titles)) for line in lines]
    y = 0.15 + 0.2 * len(head) + sum(heights) + LEGEND
    figure = sheet(
        max(
            0.2 + max(len(line) * width for line, width in zip(lines, widths, strict=True)),
            0.4 + 0.073 * max(map(len, head)),
            5.2,
        ),
        y,
    )
    for n, text in enumerate(head):
        figure.text(0.15 / figure.get_figwidth(), 1 - (0.2 + 0.2 * n) / y, text, color=INK, size=10, va="center")
    y -= 0.15 + 0.2 * len(head)
    for line, height, width in zip(lines, heights, widths, strict=True):
        y -= height
        side = _side(line)
        for n, panel in enumerate(line):
            axes = place(figure, LEFT + n * width, y + BELOW, side * len(panel.columns), side * len(panel.rows))
            _cells(axes, panel, side)
            if panel.colour is not None:
                axes.set_title(_title(panel, shown), color=INK, loc="left", size=9, pad=5)
    partly = any(UNSEEN in kinds and step in shown[0].sees for panel in shown for step, kinds in panel.cells.items())
    _legend(figure, [panel for line in lines for panel in line], partly or _blind(graph) is None)
    return figure


def _cells(axes: Axes, panel: Panel, side: float) -> None:
    rows, columns = panel.rows, panel.columns
    axes.set_xlim(-columns.stop + 0.5, -columns.start + 0.5)
    axes.set_ylim(rows.start - 0.5, rows.stop - 0.5)
    gap = 0.04 if side >= APART else 0.0
    boxes: dict[str, list[Corners]] = {}
    for up in rows:
        for x, width, kind in _runs(panel, up, apart=gap > 0):
            boxes.setdefault(kind, []).append(_box(x + gap, up - 0.5 + gap, width - 2 * gap, 1 - 2 * gap))
    for kind, corners in boxes.items():
        line = 0.6 if gap else 0.0 if kind in (BLIND, UNSEEN) else 0.2
        axes.add_collection(PolyCollection(corners, linewidths=line, **STYLE[kind]))
    if LINES <= side < APART:
        across = [[(x - 0.5, rows.start - 0.5), (x - 0.5, rows.stop - 0.5)] for x in range(1 - columns.stop, -columns.start + 2)]
        upright = [[(0.5 - columns.stop, y - 0.5), (0.5 - columns.start, y - 0.5)] for y in range(rows.start, rows.stop + 1)]
        axes.add_collection(LineCollection([*across, *upright], colors="white", linewidths=0.4, alpha=0.5))
    if panel.itself:
        wide = 1 / len(panel.cells[0, 0])
        inner = _box(-0.5 + ((panel.colour or 0) + 0.3) * wide, -0.2, 0.4 * wide, 0.4)
        axes.add_collection(PolyCollection([inner], **STYLE[SEEN]))
    shown = marks(columns, min(12, max(1, int(len(columns) * side / 0.38))))
    axes.set_xticks([-left for left in shown], [relative("c", left) for left in shown])
    shown = marks(rows, min(12, max(2, int(len(rows) * side / 0.2))))
    axes.set_yticks(shown, [relative("r", up) for up in shown])


def _runs(panel: Panel, up: int, apart: bool) -> list[tuple[float, float, str]]:
    """(left end, width, kind) of what is painted alike in one row; `apart`: within one cell only."""
    stripes = []
    for left in reversed(panel.columns):
        kinds = panel.cells[up, left]
        stripes += [(-left - 0.5 + c / len(kinds), 1 / len(kinds), kind, left if apart else 0) for c, kind in enumerate(kinds)]
    runs = [list(run) for _, run in groupby(stripes, lambda stripe: stripe[2:])]
    return [(run[0][0], sum(wide for _, wide, _, _ in run), run[0][2]) for run in runs]


def _box(x: float, y: float, width: float, height: float) -> Corners:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _head(graph: Graph, shown: Sequence[Panel]) -> list[str]:
    """How many pixels, and where; whether the colours are in order; the blind spot."""
    ordered = is_strict(graph) and facts(graph).ordered
    steps = set(shown[0].sees) - ({(0, 0)} if ordered else set())
    if steps <= {(0, 0)}:
        lines = ["pixel (r, c) depends on itself alone"]
    else:
        itself = "itself among them, " if (0, 0) in steps else ""
        where = f"{_span('row', 'r', {up for up, _ in steps})}, {_span('column', 'c', {left for _, left in steps})}"
        lines = [f"pixel (r, c) depends on {_pixels(len(steps))}, {itself}{where}"]
    if (colours := len(colour_offsets(graph))) > PANELS:
        lines.append(f"all {colours} colours together")
    if ordered:
        lines.append("colours in order: each depends on those before it of the same pixel, too")
    if (node := facts(graph).looks_ahead) is not None:
        return [*lines, f"{node.name!r} looks ahead, at pixels that are not yet known"]
    blind = _blind(graph)
    if blind is None:
        return [*lines, "blind spot not known: the dilations are too large to search"]
    return [*lines, f"blind spot: {_pixels(len(blind))}" if blind else "no blind spot"]


def _pixels(count: int) -> str:
    return f"{count:,} pixel{'s' * (count != 1)}".replace(",", " ")


def _span(kind: str, name: str, numbers: set[int]) -> str:
    if len(numbers) == 1:
        return f"{kind} {relative(name, *numbers)}"
    return f"{kind}s {relative(name, max(numbers))} to {relative(name, min(numbers))}"


def _title(panel: Panel, shown: Sequence[Panel]) -> str:
    own = sorted(panel.sees.get((0, 0), ()))
    colours = f"colour{'s' * (len(own) > 1)} {', '.join(map(str, own))}" if own else "nothing"
    others = [len(each.sees.keys() - {(0, 0)}) for each in shown]
    pixels = f"{_pixels(len(panel.sees.keys() - {(0, 0)}))}, " if len(set(others)) > 1 else ""
    return f"colour {panel.colour}: {pixels}{colours} of (r, c)"


def _legend(figure: Figure, shown: Sequence[Panel], anyhow: bool) -> None:
    """What is painted how; `anyhow`: for other reasons than too few layers is something not seen."""
    kinds = [kind for kind in STYLE if any(kind in cell for panel in shown for cell in panel.cells.values())]
    words = {
        UNSEEN: UNSEEN if anyhow else "more layers would see it",
        PIXEL: PIXEL if len(shown) == 1 else "the output's own colour",
    }
    handles = [Patch(label=words.get(kind, kind), linewidth=0.6, **STYLE[kind]) for kind in kinds]
    corner = (0.15 / figure.get_figwidth(), 0.12 / figure.get_figheight())
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=corner, ncols=5, frameon=False, fontsize=8.5, labelcolor=INK,
        handlelength=1.2, handleheight=1.2, handletextpad=0.5, columnspacing=1.2, borderpad=0, borderaxespad=0,
    )  # fmt: skip
