"""What `refar inspect` says of a graph of images beside its layers: the field in words and in marks, order, state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby, pairwise

from refar.analysis.blind_spot import blind_spot
from refar.analysis.causality import image_field, image_offsets, is_strict, offsets
from refar.analysis.facts import facts
from refar.analysis.windows import Step
from refar.cli.console import count, number
from refar.cli.describe import LayerRow
from refar.errors import GraphError
from refar.graph.graph import Graph

TALLEST = 40
"""Lines of the picture in the terminal, at most."""


def remarks(graph: Graph, layers: Sequence[LayerRow]) -> list[tuple[str, str]]:
    """Names and what is to be said."""
    seen = image_offsets(graph)
    rows, columns = image_field(graph)
    return [
        ("receptive field", f"{rows} × {columns} pixels (rows × columns), {number(len(seen))} of them used"),
        ("offsets", steps_text(seen)),
        ("blind spot", _blind_text(graph)),
        ("order", _order(graph)),
        ("multiply-adds", _cost(graph, layers)),
        ("state", _state(graph)),
        ("bundle", "full.onnx, and graphs for a row, a pixel and several pixels"),
    ]


def field(graph: Graph, width: int) -> list[str]:
    """The picture of a graph's field."""
    try:
        blind = blind_spot(graph)
    except GraphError:
        blind = frozenset()
    return picture(image_offsets(graph), blind, width, is_strict(graph) and facts(graph).ordered)


def _blind_text(graph: Graph) -> str:
    try:
        found = blind_spot(graph)
    except GraphError as error:
        return "none, since the graph looks ahead" if facts(graph).looks_ahead else str(error)
    return f"{steps_text(found)}; no depth would reach them" if found else "none"


def _order(graph: Graph) -> str:
    if not offsets(graph):
        return "none: the output does not depend on the image"
    if (node := facts(graph).looks_ahead) is not None:
        return f"none: {node.name!r} looks ahead, so the graph can only be evaluated as a whole"
    if not is_strict(graph):
        return "not strict, y at a pixel sees x there"
    if facts(graph).ordered:
        return "strict, with the colours in order: y at a pixel models each colour of x and sees those before it"
    return "strict, y at a pixel models x there without seeing it"


def _cost(graph: Graph, layers: Sequence[LayerRow]) -> str:
    """Generation looks at a pixel once, or once for each colour before it is pushed; what rows above add is summed up once."""
    each = sum(row.cost for row in layers if row.timed)
    once = sum(row.cost for row in layers if not row.timed)
    text = f"{number(each)} per pixel and image"
    if is_strict(graph) and facts(graph).ordered:
        looks = facts(graph).types[facts(graph).sequence].channels + 1
        more = each + (looks - 1) * sum(row.level for row in layers if row.clock == "pixel")
        text += f", {number(more)} in generation (the present row {looks} times, for each colour and then for good)"
    return text + (f", {number(once)} once per image for the condition" if once else "")


def _state(graph: Graph) -> str:
    if facts(graph).looks_ahead is not None:
        return "none, since there is no pixel by pixel"
    kept = rows_kept(graph)
    if not kept:
        return "the present row alone"
    rows = f"{count(sum(rows for _, rows, _ in kept), 'complete row')} of {count(len(kept), 'node')}"
    size = count(sum(size for _, _, size in kept), "byte")
    return f"{rows}, {size} per column and image in float32, and the present row"


def rows_kept(graph: Graph) -> list[tuple[str, int, int]]:
    """(node, complete rows that later ones read, bytes per column in float32)."""
    if facts(graph).looks_ahead is not None:
        return []
    types = facts(graph).types
    return [(name, rows, 4 * rows * types[name].channels) for name, rows in facts(graph).raster.rows.items()]


def steps_text(steps: Collection[Step]) -> str:
    """The exact set in short: '50 positions: rows 1 to 5 up, columns 4 left to 4 right; own row, columns 1 to 5 left'."""
    if not steps:
        return "none"
    rows: dict[int, list[int]] = {}
    for up, left in sorted(steps):
        rows.setdefault(up, []).append(-left)
    above = [(up, tuple(sorted(rows[up]))) for up in sorted(rows) if up > 0]
    below = [(up, tuple(sorted(rows[up]))) for up in sorted(rows, reverse=True) if up < 0]
    texts = [*_row_texts(above, "up"), *([f"own row, {_columns(sorted(rows[0]))}"] if 0 in rows else [])]
    return f"{count(len(steps), 'position')}: {'; '.join([*texts, *_row_texts(below, 'down')])}"


def _row_texts(rows: Sequence[tuple[int, tuple[int, ...]]], way: str) -> list[str]:
    """Rows next to each other with the same columns together; the middle of a long list left out."""
    texts = []
    for columns, same in groupby(rows, lambda row: row[1]):
        runs = _next_to_each_other([abs(up) for up, _ in same])
        texts += [
            f"{f'rows {run[0]} to {run[-1]}' if len(run) > 1 else f'row {run[0]}'} {way}, {_columns(columns)}" for run in runs
        ]
    return texts if len(texts) <= 4 else [*texts[:2], "…", texts[-1]]


def _next_to_each_other(numbers: Iterable[int]) -> list[list[int]]:
    numbered = enumerate(numbers)
    return [[n for _, n in run] for _, run in groupby(numbered, lambda pair: pair[1] - pair[0])]


def _columns(places: Sequence[int]) -> str:
    """Columns in words, those to the right being positive: 'columns 4 left to 4 right', 'columns 1 to 5 left'."""
    first, last = places[0], places[-1]
    if first == last:
        return "own column" if first == 0 else f"column {_side(first)}"
    if last < 0:
        span = f"columns {-last} to {-first} left"
    elif first > 0:
        span = f"columns {first} to {last} right"
    else:
        span = f"columns {_side(first)} to {_side(last)}"
    gaps = {b - a for a, b in pairwise(places)}
    if gaps == {1}:
        return span
    return f"{span}, every {gaps.pop()}" if len(gaps) == 1 else f"{len(places)} of {span}"


def _side(place: int) -> str:
    return "own" if place == 0 else f"{-place} left" if place < 0 else f"{place} right"


def picture(seen: Collection[Step], blind: Collection[Step], width: int, ordered: bool = False) -> list[str]:
    """Rows of marks around the pixel □: used ■, not used ·, blind spot ×; what is not yet known is left empty.

    Where they are many, several rows and columns share a mark, partly used ▪; the pixel's own row and column never do.
    """
    steps = {(0, 0), *seen}
    rows, columns = {up for up, _ in steps}, {left for _, left in steps}
    label = max(len(_place("r", up)) for up in (min(rows), max(rows)))
    room = max(width - label - 1, 8)
    across, down = max(columns) - min(columns), max(rows) - min(rows)
    each = max(1, -(-across // (room - 1)), -(-down // (TALLEST - 1)))
    lefts = _bands(min(columns), max(columns), each)[::-1]
    ups = _bands(min(rows), max(rows), each)[::-1]
    gap = " " if 2 * len(lefts) <= min(room, 60) else ""
    lines = []
    for up in ups:
        marks = [_mark([(u, left) for u in up for left in band], seen, blind) for band in lefts]
        lines.append(f"{_place('r', up[-1] if up[0] >= 0 else up[0]):>{label}} {gap.join(marks)}".rstrip())
    lines.append(_ruler(lefts, 1 + len(gap), label + 1))
    itself = ", its earlier colours used" if ordered else ", used too" if (0, 0) in seen else ""
    if each == 1:
        names = {"■": "used", "□": f"the pixel{itself}", "×": "blind spot", "·": "not used"}
        legend = "  ".join(f"{mark} {name}" for mark, name in names.items() if any(mark in line for line in lines))
    else:
        legend = f"one mark is {each} × {each} pixels: ■ all used, ▪ some, × blind spot, · none; □ the pixel{itself}"
    return [*lines, legend]


def _bands(low: int, high: int, each: int) -> list[range]:
    """The numbers from low to high in ascending order, `each` together on either side of 0, which is alone."""
    after = [range(start, min(start + each, high + 1)) for start in range(1, high + 1, each)]
    before = [range(max(stop - each + 1, low), stop + 1) for stop in range(-1, low - 1, -each)]
    return [*before[::-1], range(1), *after]


def _mark(cell: Sequence[Step], seen: Collection[Step], blind: Collection[Step]) -> str:
    if cell == [(0, 0)]:
        return "□"
    used = sum(step in seen for step in cell)
    if used:
        return "■" if used == len(cell) else "▪"
    if cell[0] < (0, 0):
        return " "
    return "×" if all(step in blind for step in cell) else "·"


def _ruler(lefts: Sequence[range], each: int, start: int) -> str:
    """The pixel's column, and the first and the last where they have room, under their marks; those begin at `start`."""
    own = lefts.index(range(1))
    middle = start + own * each
    first, last = _place("c", lefts[0][-1]), _place("c", lefts[-1][0])
    room = own * each
    left = " " * start + first if len(first) < room else first.rjust(start + 1) if room > 1 else ""
    text = left.ljust(middle) + "c"
    end = start + (len(lefts) - 1) * each
    return text.ljust(end) + last if end > len(text) else text


def _place(name: str, offset: int) -> str:
    return name if offset == 0 else f"{name}{-offset:+d}"
