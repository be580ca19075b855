"""refar inspect on images: every figure against one counted by hand."""

from __future__ import annotations

import re

import pytest

import refar as library
from refar import Builder, Graph, ops
from refar.cli import inspect_images
from refar.cli.describe import layers, operator

MASKED = "masked_pixelcnn:classes=4,hidden=6,layers=2,kernel=3,first_kernel=3,residual=false"


def squashed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def three_colours() -> Graph:
    g = Builder()
    h = g.one_hot(g.image(classes=2, channels=3))
    h = g.conv2d(h, 3, kernel=3, mask="A", colours=3, name="front")
    return g.build(g.conv2d(h, 6, mask="B", colours=3, name="logits"), ops.Categorical())


@pytest.mark.row("001-10")
def test_the_two_stacks(refar):
    said = refar("inspect", "pixelcnn:classes=10")
    assert said.code == 0
    text = squashed(said.out)
    assert f"{54144 + 129 * 10:,} parameters".replace(",", " ") in text
    assert "6 × 10 pixels (rows × columns), 50 of them used" in text
    assert "50 positions: rows 1 to 5 up, columns 4 left to 4 right; own row, columns 1 to 5 left" in text
    assert "blind spot none" in text
    assert "strict, y at a pixel models x there without seeing it" in text
    assert "conv1h conv2d 3×5 anchor=2,2 down row-start 32 480 + 32" in text
    assert "right shift2d right 1 standardize pixel 1" in text
    # Kernels of three rows read two rows above: of the shifted input, one channel, and of the first layer's 32.
    assert "4 complete rows of 2 nodes, 264 bytes per column and image" in text
    assert "conv1h_relu 2 256" in text
    assert "full.onnx, and graphs for a row" in text
    assert "past." not in text
    assert "r-5 · ■ ■ ■ ■ ■ ■ ■ ■ ■\n" in said.out
    assert "  r ■ ■ ■ ■ ■ □\n    c-5       c       c+4\n■ used  □ the pixel  · not used\n" in said.out


@pytest.mark.row("001-11")
def test_the_blind_spot(refar):
    said = refar("inspect", MASKED)
    assert said.code == 0
    assert "3 positions: row 1 up, columns 2 to 3 right; row 2 up, column 3 right; no depth would" in squashed(said.out)
    assert (
        "\nr-3 ■ ■ ■ ■ ■ ■ ■\nr-2 ■ ■ ■ ■ ■ ■ ×\nr-1 ■ ■ ■ ■ ■ × ×\n  r ■ ■ ■ □\n    c-3   c     c+3\n"
        "■ used  □ the pixel  × blind spot\n"
    ) in said.out


def test_colours_in_order(refar, tmp_path):
    library.save(three_colours(), tmp_path / "graph.json")
    text = squashed(refar("inspect", tmp_path / "graph.json").out)
    assert "x input 2 classes 3 colours pixel 2" in text
    assert "front conv2d 3×3 mask A colours=3 one_hot pixel 3 162 + 3" in text
    assert "strict, with the colours in order" in text
    # Of 162 weights, 18 at each of nine places, four places are masked whole, and at the pixel all but 0→1, 0→2, 1→2, twice;
    # of the 18 of the logits 0→1, 0→2, 1→2 and the diagonal are left, twice.
    above, own, logits = 3 * 18, 18 + 2 * 3, 2 * 6
    assert f"189 parameters: 180 weights ({180 - above - own - logits} of them masked), 9 biases" in text
    assert f"{above + own + logits} per pixel and image, {above + 4 * (own + logits)} in generation" in text
    assert "state the present row alone" in text
    assert "its earlier colours used" in text


def test_what_looks_ahead_has_no_order(refar, tmp_path):
    g = Builder()
    x = g.image(channels=1)
    library.save(g.build(g.add(g.conv2d(x, 1, kernel=3, name="wide"), g.shift2d(x, down=2, right=-3))), tmp_path / "graph.json")
    said = refar("inspect", tmp_path / "graph.json", "--plot", tmp_path / "field.svg")
    text = squashed(said.out)
    assert said.code == 0
    assert "own row, columns 1 left to 1 right; row 1 down, columns 1 left to 1 right" in text
    assert "'wide' looks ahead, so the graph can only be evaluated as a whole" in text
    assert "blind spot none, since the graph looks ahead" in text
    assert "state none" in text
    assert "clock" not in text
    assert "r-2 · · · · ■\nr-1 ■ ■ ■ · ·\n  r ■ □ ■\nr+1 ■ ■ ■\n" in said.out


def test_what_sees_itself_and_what_sees_nothing(refar, tmp_path):
    g = Builder()
    library.save(g.build(g.conv2d(g.image(), 1, kernel=3, mask="B")), tmp_path / "itself.json")
    text = squashed(refar("inspect", tmp_path / "itself.json").out)
    assert "not strict, y at a pixel sees x there" in text
    assert "□ the pixel, used too" in text
    g = Builder()
    library.save(g.build(g.position(g.image(), 3)), tmp_path / "nothing.json")
    text = squashed(refar("inspect", tmp_path / "nothing.json").out)
    assert "0 × 0 pixels (rows × columns), 0 of them used" in text
    assert "none: the output does not depend on the image" in text
    assert "position position 3 bits x constant 6" in text


def test_a_condition_is_paid_for_once_per_image(refar):
    text = squashed(refar("inspect", "gated_pixelcnn:classes=4,hidden=4,layers=1,condition=class:10").out)
    assert re.search(r"per pixel and image, \d+ once per image for the condition", text)
    assert "* one value for the whole sequence" in text


@pytest.mark.parametrize("width", [100, 70, 40, 20])
def test_no_number_is_cut(refar, monkeypatch, width):
    arguments = ["inspect", "gated_pixelcnn:classes=4,hidden=6,channels=3,layers=2"]
    numbers = re.findall(r"(?<![\w.-])\d+(?: \d{3})*(?![\w.])", refar(*arguments).out.partition("\nr-")[0])
    monkeypatch.setenv("COLUMNS", str(width))
    said = refar(*arguments)
    for figure in numbers:
        assert figure in said.out
    for line in said.out.splitlines():
        assert width < 70 or len(line) <= width or line.startswith("■")


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (ops.Conv2d(4, (3, 5), "A", None, (1, 1), 3), "conv2d 3×5 mask A colours=3"),
        (ops.Conv2d(4, (3, 3), anchor=(1, 1)), "conv2d 3×3"),
        (ops.Conv2d(4, (2, 3), anchor=(1, 1), dilation=(2, 1), groups=2), "conv2d 2×3 D=2×1 groups=2"),
        (ops.Conv2d(4, (2, 3), anchor=(0, 1)), "conv2d 2×3 anchor=0,1"),
        (ops.Conv2d(4, dilation=(2, 2)), "conv2d 1×1"),
        (ops.Shift2d(1, 2), "shift2d down 1 right 2"),
        (ops.Shift2d(-1, -2), "shift2d up 1 left 2"),
        (ops.Shift2d(), "shift2d"),
        (ops.Position(5), "position 5 bits"),
        (ops.Input("sequence", 4, 3, "hw"), "input 4 classes 3 colours"),
        (ops.Input("sequence", 4, 1, "hw"), "input 4 classes"),
        (ops.Input("local", 0, 2, "hw"), "local input"),
    ],
)
def test_operators_are_named_with_what_sets_them_apart(op, text):
    assert operator(library.Node("n", op)) == text


def test_clocks_stand_beside_the_layers():
    found = {row.name: row.clock for row in layers(library.models.by_name("gated_pixelcnn", {"hidden": "4", "layers": "2"}))}
    assert found["layer0.vertical.conv"] == "row-end"
    assert found["layer0.horizontal.shifted"] == "row-start"
    assert found["head.logits"] == "pixel"


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([], "none"),
        ([(0, 0)], "1 position: own row, own column"),
        ([(0, 1), (0, 0)], "2 positions: own row, columns 1 left to own"),
        ([(1, -1), (1, 0)], "2 positions: row 1 up, columns own to 1 right"),
        ([(1, -3)], "1 position: row 1 up, column 3 right"),
        ([(2, left) for left in range(-4, 5, 2)], "5 positions: row 2 up, columns 4 left to 4 right, every 2"),
        ([(0, 1), (0, 2), (0, 5)], "3 positions: own row, 3 of columns 1 to 5 left"),
        ([(-1, 0), (-2, 0), (1, 0)], "3 positions: row 1 up, own column; rows 1 to 2 down, own column"),
        ([(up, 0) for up in (1, 2, 4)], "3 positions: rows 1 to 2 up, own column; row 4 up, own column"),
        (
            [(up, left) for up in range(1, 6) for left in range(up + 1)],
            "20 positions: row 1 up, columns 1 left to own; row 2 up, columns 2 left to own; …; row 5 up, columns 5 left to own",
        ),
    ],
)
def test_steps_in_words(steps, text):
    assert inspect_images.steps_text(steps) == text


@pytest.mark.parametrize(
    ("seen", "blind", "lines"),
    [
        ([], [], ["r □", "  c", "□ the pixel"]),
        ([(0, 1)], [], ["r ■ □", "c-1 c", "■ used  □ the pixel"]),
        ([(0, 2)], [], ["r ■ · □", "  c-2 c", "■ used  □ the pixel  · not used"]),
        ([(0, -1)], [], ["r □ ■", "  c c+1", "■ used  □ the pixel"]),
        ([(1, 0)], [(1, -1)], ["r-1 ■", "  r □", "    c", "■ used  □ the pixel"]),
        (
            [(1, 1), (1, -1)], [(1, 0)],
            ["r-1 ■ × ■", "  r · □", "  c-1 c c+1", "■ used  □ the pixel  × blind spot  · not used"],
        ),
    ],
)  # fmt: skip
def test_the_picture_in_the_terminal(seen, blind, lines):
    assert inspect_images.picture(seen, blind, 60) == lines


def test_a_large_field_shares_its_marks():
    seen = {(up, left) for up in range(1, 101) for left in range(-100, 101) if left != 7} | {(0, left) for left in range(1, 101)}
    *rows, ruler, legend = inspect_images.picture(seen, {(up, 7) for up in range(1, 101)}, 80)
    assert len(rows) <= inspect_images.TALLEST
    assert max(map(len, rows)) <= 80
    assert rows[-1] == "    r " + "■" * 34 + "□"
    assert set(rows[0].split()[1]) == {"■", "▪"}
    assert ruler == "      c-100" + " " * 29 + "c" + " " * 33 + "c+100"
    assert legend.startswith("one mark is 3 × 3 pixels")


def test_marks_of_a_terminal_without_unicode(refar):
    assert "□ × ■".encode("ascii", errors="refar") == b"o x #"


def test_a_bundle_of_images_is_inspected(refar, tmp_path):
    from refar_export import export

    graph = library.models.by_name("masked_pixelcnn", {"classes": "4", "hidden": "6", "layers": "1", "residual": "false"})
    export(graph, library.init(graph), tmp_path / "bundle")
    library.save(graph, tmp_path / "graph.json")
    bundle, file = refar("inspect", tmp_path / "bundle"), refar("inspect", tmp_path / "graph.json")
    assert bundle.code == 0
    assert bundle.out.partition("\n")[2] == file.out.partition("\n")[2]
