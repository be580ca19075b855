"""The field around the pixel: what is painted where, and that every size of it can be drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import refuses
from PIL import Image

import refar
from refar import Builder, Graph, models, ops, plots
from refar.analysis import blind_spot as fields
from refar.errors import GraphError
from refar.plots import image as plane
from refar.plots.image import BLIND, LATER, PIXEL, SEEN, UNSEEN, Panel, arranged, panels


def masked(depth: int, colours: int = 1, width: int = 1) -> Graph:
    g = Builder()
    h = g.conv2d(g.one_hot(g.image(classes=2, channels=colours)), width * colours, kernel=3, mask="A", colours=colours)
    for _ in range(depth):
        h = g.conv2d(g.relu(h), width * colours, kernel=3, mask="B", colours=colours)
    return g.build(g.conv2d(h, 2 * colours, mask="B", colours=colours), ops.Categorical())


def only(graph: Graph) -> Panel:
    (panel,) = panels(graph)
    return panel


def test_cells_of_the_two_stacks() -> None:
    panel = only(models.pixelcnn(4))
    assert (panel.rows, panel.columns, panel.itself) == (range(-1, 6), range(-4, 6), False)
    kinds = {kind: {step for step, cell in panel.cells.items() if cell == (kind,)} for kind in plane.STYLE}
    assert kinds[SEEN] == refar.offsets(models.pixelcnn(4))
    assert kinds[PIXEL] == {(0, 0)}
    assert kinds[UNSEEN] == {(up, 5) for up in range(1, 6)}
    assert kinds[BLIND] == set()
    assert kinds[LATER] == {(0, -j) for j in range(1, 5)} | {(-1, left) for left in range(-4, 6)}


@pytest.mark.row("001-11")
def test_the_blind_spot_is_painted() -> None:
    panel = only(masked(3))
    assert {step for step, cell in panel.cells.items() if cell == (BLIND,)} == refar.blind_spot(masked(3))


def test_colours_in_order_are_stripes() -> None:
    together, *each = panels(masked(1, 3))
    assert together.colour is None
    assert together.cells[0, 0] == (PIXEL,)
    assert [panel.cells[0, 0] for panel in each] == [(PIXEL, LATER, LATER), (SEEN, PIXEL, LATER), (SEEN, SEEN, PIXEL)]
    for panel in each:
        assert not panel.itself
        assert {cell for step, cell in panel.cells.items() if step != (0, 0)} == {(SEEN,), (BLIND,), (LATER,)}


def test_a_cell_seen_in_part() -> None:
    g = Builder()
    x = g.image(channels=2)
    graph = g.build(g.concat(g.slice(g.shift2d(x, down=1), 1, 2), g.slice(g.shift2d(x, right=1), 0, 1)))
    _, first, second = panels(graph)
    assert (first.cells[1, 0], first.cells[0, 1]) == ((UNSEEN, SEEN), (UNSEEN,))
    assert (second.cells[1, 0], second.cells[0, 1]) == ((UNSEEN,), (SEEN, UNSEEN))
    assert "not seen" in legend(graph)


def test_what_more_layers_would_see_is_said() -> None:
    assert "more layers would see it" in legend(models.pixelcnn(4))
    assert "blind spot" in legend(masked(2))


def legend(graph: Graph) -> list[str]:
    return [text.get_text() for text in plots.field(graph).legends[0].get_texts()]


def test_what_sees_itself_is_marked() -> None:
    g = Builder()
    assert only(g.build(g.conv2d(g.image(), 1, kernel=3, mask="B"))).itself
    g = Builder()
    _, first, second = panels(g.build(g.conv2d(g.image(channels=2), 2)))
    assert (first.itself, second.itself) == (True, True)


def test_many_colours_are_drawn_together() -> None:
    g = Builder()
    assert only(g.build(g.conv2d(g.image(channels=5), 5, kernel=3, mask="A"))).colour is None


def test_panels_stand_where_they_have_room() -> None:
    assert [len(line) for line in arranged(panels(masked(1)))] == [1]
    assert [len(line) for line in arranged(panels(masked(1, 3)))] == [3]
    wide = arranged(panels(masked(20, 3)))
    assert [[panel.colour for panel in line] for line in wide] == [[None], [0, 1, 2]]
    assert all((panel.rows, panel.columns) == plane.NEAR for panel in wide[1])
    g = Builder()
    x = g.image(channels=2)
    apart = g.concat(g.slice(g.shift2d(x, down=1, right=40), 0, 1), g.slice(g.shift2d(x, down=1, right=-40), 1, 2))
    assert [[panel.colour for panel in line] for line in arranged(panels(g.build(apart)))] == [[0], [1]]


def one_step(down: int, right: int) -> Graph:
    g = Builder()
    return g.build(g.shift2d(g.image(), down=down, right=right))


@pytest.mark.parametrize(
    "graph",
    [
        models.pixelcnn(4), masked(3), masked(2, 3), masked(59), masked(20, 2), one_step(0, 1), one_step(300, 0),
        one_step(-1, 2), one_step(0, -200), one_step(0, 0), models.gated_pixelcnn(4, channels=3, hidden=3, layers=2),
    ],
)  # fmt: skip
def test_every_size_is_drawn(graph: Graph, tmp_path: Path) -> None:
    plots.save(plots.field(graph), tmp_path / "field.png")
    with Image.open(tmp_path / "field.png") as picture:
        assert 500 < picture.width < 1600
        assert 150 < picture.height < 1600
    assert plots.svg(plots.field(graph)) == plots.svg(plots.field(graph))


def texts(graph: Graph) -> list[str]:
    figure = plots.field(graph)
    return [text.get_text() for text in figure.texts] + [axes.get_title(loc="left") for axes in figure.axes]


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (models.pixelcnn(4), ["pixel (r, c) depends on 50 pixels, rows r−5 to r, columns c−5 to c+4", "no blind spot", ""]),
        (masked(2), ["pixel (r, c) depends on 21 pixels, rows r−3 to r, columns c−3 to c+3", "blind spot: 3 pixels", ""]),
        (
            masked(1, 3),
            [
                "pixel (r, c) depends on 11 pixels, rows r−2 to r, columns c−2 to c+2",
                "colours in order: each depends on those before it of the same pixel, too", "blind spot: 1 pixel",
                "colour 0: nothing of (r, c)", "colour 1: colour 0 of (r, c)", "colour 2: colours 0, 1 of (r, c)",
            ],
        ),
        (one_step(0, 0), ["pixel (r, c) depends on itself alone", "no blind spot", ""]),
        (
            one_step(0, -1),
            ["pixel (r, c) depends on 1 pixel, row r, column c+1", "'shift2d' looks ahead, at pixels that are not yet known", ""],
        ),
    ],
)  # fmt: skip
def test_titles_state_the_figures(graph: Graph, said: list[str]) -> None:
    assert texts(graph) == said


def test_a_blind_spot_too_large_to_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "MOST_BITS", 20)
    graph = masked(2, width=5)
    assert texts(graph)[1] == "blind spot not known: the dilations are too large to search"
    assert "blind spot" not in legend(graph)
    assert "not seen" in legend(graph)


def test_the_figures_of_many_are_grouped() -> None:
    assert texts(masked(59))[0].startswith("pixel (r, c) depends on 5 550 pixels")


def test_colours_that_differ_are_counted() -> None:
    g = Builder()
    x = g.image(channels=2)
    graph = g.build(g.concat(g.slice(x, 0, 1), g.slice(g.conv2d(x, 2, kernel=3, mask="A"), 0, 1)))
    assert texts(graph)[-2:] == ["colour 0: 0 pixels, colour 0 of (r, c)", "colour 1: 4 pixels, nothing of (r, c)"]


def test_nothing_to_draw() -> None:
    g = Builder()
    with refuses(GraphError, "the output does not depend on the sequence"):
        plots.field(g.build(g.position(g.image(), 2)))
