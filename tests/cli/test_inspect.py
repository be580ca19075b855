"""refar inspect: every figure against one counted by hand."""

from __future__ import annotations

import re

import pytest
from PIL import Image

import refar as library
from refar import plots
from refar.cli.describe import dependency_picture, offsets_text
from refar.cli.sources import parse_options


def stack(*dilations: int) -> library.Graph:
    g = library.Builder()
    h = g.input(channels=1)
    for dilation in dilations:
        h = g.conv1d(h, 1, kernel=2, dilation=dilation)
    return g.build(h)


def branches() -> library.Graph:
    g = library.Builder()
    x = g.input(channels=2)
    a = g.conv1d(x, 2, kernel=2, dilation=3, strict=True, name="a")
    return g.build(g.add(g.delay(x, 6, name="late"), g.delay(a, name="b"), a))


def test_holes_are_shown(refar):
    said = refar("inspect", "nettoy1d_dilated")
    assert said.code == 0
    assert "1, 3, 5, …, 31 (16 offsets, odd)" in said.out
    assert "31 positions, 16 of them used" in said.out
    assert "1: strict" in said.out
    assert "\n" + "■·" * 16 + "\n" in said.out
    assert "16 832 parameters: 16 416 weights, 416 biases" in said.out
    assert "relu3     past.float32x32[14:30]  (B, 32, 16)          2 048" in said.out


@pytest.mark.parametrize("width", [100, 60, 40, 20])
def test_no_number_is_cut(refar, monkeypatch, width):
    arguments = ["inspect", "wavenet:classes=17,dilations=1,2,4,condition=class:10"]
    numbers = re.findall(r"\d+(?: \d{3})*", refar(*arguments).out)
    monkeypatch.setenv("COLUMNS", str(width))
    said = refar(*arguments)
    assert "…" not in said.out.replace(", …,", "")
    for figure in numbers:
        assert figure in said.out
    for line in said.out.splitlines():
        assert width < 60 or len(line) <= width


def test_eighteen_weights_see_512_inputs(refar, tmp_path):
    library.save(stack(*(2**i for i in range(9))), tmp_path / "graph.json")
    said = refar("inspect", tmp_path / "graph.json")
    assert "27 parameters: 18 weights, 9 biases" in said.out
    assert "512 positions, 512 of them used" in said.out
    assert "0: not strict" in said.out
    assert "18 per step and row" in said.out


@pytest.mark.parametrize(
    ("padding", "says"),
    [("layer", None), ("input", "input: before the start the input is zero"), ("valid", "the first output is that of t = 7")],
)
def test_padding_is_said_where_it_is_not_the_usual(refar, tmp_path, padding, says):
    g = library.Builder()
    h = g.conv1d(g.conv1d(g.input(channels=1), 1, kernel=4), 1, kernel=3, dilation=2)
    library.save(g.build(h, padding=padding), tmp_path / "graph.json")
    said = refar("inspect", tmp_path / "graph.json")
    assert said.code == 0
    assert ("\npadding " in said.out) is (says is not None)
    assert (says or "") in " ".join(said.out.split())


def test_run_and_bundle_are_the_same_network(refar, here):
    run, bundle = refar("inspect", "run"), refar("inspect", "bundle")
    assert run.code == bundle.code == 0
    assert run.out.replace("run run", "bundle bundle") == bundle.out
    assert "once per sequence for the condition" in run.out


@pytest.mark.parametrize(
    ("offsets", "text"),
    [
        ([], "none"),
        ([7], "7 (1 offset)"),
        ([0, 1], "0, 1 (2 offsets, no holes)"),
        (range(1, 6), "1, 2, 3, …, 5 (5 offsets, no holes)"),
        (range(2, 12, 2), "2, 4, 6, …, 10 (5 offsets, even)"),
        (range(1, 32, 5), "1, 6, 11, …, 31 (7 offsets, every 5)"),
        ([1, 2, 4, 5, 6], "1–2, 4–6 (5 offsets, 1 hole)"),
        ([1, 2, 4, 6, 8], "1–2, 4, 6, 8 (5 offsets, 3 holes)"),
        ([0, 10, 11, 12, 40], "0, 10–12, 40 (5 offsets, 36 holes)"),
        ([a + b for a in range(0, 60, 10) for b in range(3)], "0–2, 10–12, …, 50–52 (18 offsets, 35 holes)"),
    ],
)
def test_offsets_text(offsets, text):
    assert offsets_text(offsets) == text


def test_dependency_picture_shortens_a_long_past():
    row, ruler, legend = dependency_picture({*range(1, 65), 100}, width=60)
    assert row == "■" + "·" * 17 + "▪" + "■" * 31 + "▪"
    assert ruler.startswith("t-100")
    assert ruler.endswith("t")
    assert legend.startswith("one mark is 2 positions")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        ("classes=8,dilations=1,2,4,residual=16", {"classes": "8", "dilations": "1,2,4", "residual": "16"}),
        ("dilations=1,2,4", {"dilations": "1,2,4"}),
        ("condition=class:10", {"condition": "class:10"}),
    ],
)
def test_options(text, options):
    assert parse_options("wavenet", text) == options


@pytest.mark.parametrize(
    "graph", [library.models.nettoy1d_dilated(), stack(1, 2, 4), branches()], ids=["toy", "stack", "branches"]
)
def test_picture_connects_exactly_the_offsets(graph):
    rows = plots.rows(graph)
    assert rows[0].used == library.offsets(graph) == {there for row in rows for source, there, _ in row.edges if source == "x"}
    by_name = {row.name: row for row in rows}
    for row in rows:
        assert all(there in by_name[source].used and here in row.used for source, there, here in row.edges)
        assert {here for _, _, here in row.edges} == (row.used if row is not rows[0] else set())


@pytest.mark.parametrize("name", ["nettoy1d_dilated", "wavenet:dilations=1,2,4,8,16,32,64,128", "linear_ar:order=1"])
def test_plot(refar, tmp_path, name):
    said = refar("inspect", name, "--plot", tmp_path / "field.png")
    assert said.code == 0
    with Image.open(tmp_path / "field.png") as picture:
        assert picture.size[0] > 500
    assert [path.name for path in tmp_path.iterdir()] == ["field.png"]
