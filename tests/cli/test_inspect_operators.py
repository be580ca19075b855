"""refar inspect on pools, groups, shifts both ways and local conditions: every figure against one counted by hand."""

from __future__ import annotations

import pytest

import refar as library
from refar import ops, plots
from refar.cli.describe import dependency_picture, layers, offsets_text


def mixed() -> library.Graph:
    g = library.Builder()
    x, speaker = g.input(channels=3), g.condition("speaker", classes=10)
    pitch = g.condition("pitch", channels=2, local=True)
    h = g.conv1d(g.pad_channels(x, 1, 2), 8, kernel=2, dilation=3, groups=2, strict=True, name="grouped")
    h = g.add(h, g.conv1d(pitch, 8, kernel=3, dilation=2, bias=False, name="melody"), g.embedding(speaker, 8))
    h = g.pool1d(h, "max", 3, dilation=2, pad="exclude", name="largest")
    h = g.pool1d(h, "avg", 2, pad="zero", name="average")
    return g.build(g.conv1d(h, 3, name="out"), ops.Gaussian())


def ahead() -> library.Graph:
    g = library.Builder()
    x = g.input(channels=1)
    return g.build(g.add(g.conv1d(g.delay(x, -4, name="early"), 1, kernel=3, dilation=2), g.delay(x, 3, name="late")))


def test_operators_are_named_with_what_sets_them_apart() -> None:
    shown = {row.name: row.operator for row in [*layers(mixed()), *layers(ahead())]}
    expected = {
        "speaker": "global input 10 classes",
        "pitch": "local input",
        "pad_channels": "pad_channels 1, 2",
        "grouped": "conv1d K=2 D=3 strict groups=2",
        "melody": "conv1d K=3 D=2",
        "ones": "ones",
        "largest": "max pool K=3 D=2 exclude",
        "average": "avg pool K=2 zero",
        "early": "shift ahead by 4",
        "late": "shift by 3",
    }
    assert {name: shown[name] for name in expected} == expected


def test_a_grouped_convolution_costs_its_weights() -> None:
    """Eight outputs, each of three of the six inputs, at two positions; those on a local condition are due at every step."""
    cost = {row.name: row.cost for row in layers(mixed())}
    assert (cost["grouped"], cost["melody"], cost["largest"], cost["out"]) == (8 * 3 * 2, 8 * 2 * 3, 0, 3 * 8)


def test_inspect(refar, tmp_path):
    library.save(mixed(), tmp_path / "graph.json")
    said = refar("inspect", tmp_path / "graph.json", "--plot", tmp_path / "field.png")
    assert said.code == 0
    assert "1, 2, 3, …, 9 (9 offsets, no holes)" in said.out
    assert "120 per step and row" in said.out
    assert "1: strict" in said.out
    # The pads of two pools (4·8 and 4·1, 1·8), the window of the grouped one (3·6), and of the melody (4·2), four bytes each.
    assert f"{4 * (32 + 4 + 8 + 18 + 8)} bytes per row" in said.out


def test_inspect_a_graph_that_looks_ahead(refar, tmp_path):
    library.save(ahead(), tmp_path / "graph.json")
    said = refar("inspect", tmp_path / "graph.json", "--plot", tmp_path / "field.svg")
    assert said.code == 0
    assert "-4, -2, 0, 3 (4 offsets, 4 holes)" in said.out
    assert "8 positions, 4 of them used" in said.out
    assert "-4: 'early' looks ahead" in said.out
    assert "none, since there is no step by step" in said.out
    assert "■··■·■·■\nt-3  t+4\n" in said.out


@pytest.mark.parametrize(
    ("offsets", "text"),
    [
        (range(-4, 2), "-4, -3, -2, …, 1 (6 offsets, no holes)"),
        (range(-3, 6, 2), "-3, -1, 1, …, 5 (5 offsets, odd)"),
        ([-2, -1, 3, 4, 5], "-2 to -1, 3–5 (5 offsets, 3 holes)"),
    ],
)
def test_offsets_ahead(offsets, text):
    assert offsets_text(offsets) == text


@pytest.mark.parametrize(
    ("offsets", "row", "ruler"),
    [([], "·", "t"), ([0], "■", "t"), ([-2], "··■", "t+2"), ([1, 3], "■·■·", "   t"), ([-1, 5], "■·····■", "t-5 t+1")],
)
def test_dependency_picture(offsets, row, ruler):
    assert dependency_picture(offsets, 60)[:2] == [row, ruler]


@pytest.mark.parametrize("graph", [mixed(), ahead()], ids=["pools", "ahead"])
def test_picture_connects_exactly_the_offsets(graph):
    rows = plots.rows(graph)
    assert rows[0].used == library.offsets(graph) == {there for row in rows for source, there, _ in row.edges if source == "x"}
    by_name = {row.name: row for row in rows}
    assert "melody" not in by_name, "what depends on conditions alone is no row"
    for row in rows:
        assert all(there in by_name[source].used and here in row.used for source, there, here in row.edges)
        assert {here for _, _, here in row.edges} == (row.used if row is not rows[0] else set())


def test_picture_of_pools():
    rows = {row.name: row for row in plots.rows(mixed())}
    assert [(name, sorted(row.used)) for name, row in rows.items()] == [
        ("x", list(range(1, 10))),
        ("grouped", [0, 1, 2, 3, 4, 5]),
        ("largest", [0, 1]),
        ("average", [0]),
    ]
    assert sorted(rows["largest"].edges) == [("grouped", here + tap, here) for tap in (0, 2, 4) for here in (0, 1)]


@pytest.mark.parametrize(
    ("head", "size", "said"),
    [
        (ops.Categorical(), 4, "categorical: 4 logits"),
        (ops.MixtureLogistics(2, 4), 6, "mixture of logistics over 4 classes: 2 logits, means and log-scales"),
        (ops.Gaussian(0.5), 2, "Gaussian with a standard deviation of 0.5: a mean for each channel"),
        (ops.LearntGaussian(), 4, "Gaussian with a learnt scale: a mean and a log-scale ≥ -7 for each channel"),
        (ops.MixtureGaussians(3, -2.5), 18, "mixture of Gaussians: 3 logits, means and log-scales ≥ -2.5 for each channel"),
    ],
)
def test_what_the_head_is(refar, tmp_path, head, size, said):
    g = library.Builder()
    x = g.input(channels=2) if isinstance(head, ops.SignalHead) else g.one_hot(g.input(classes=4))
    library.save(g.build(g.conv1d(x, size, strict=True), head), tmp_path / "graph.json")
    assert f"head {said}" in " ".join(refar("inspect", tmp_path / "graph.json").out.split())
