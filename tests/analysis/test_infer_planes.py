"""What is said of a graph of images without running it: offsets by colour, clocks, strictness; and its text."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from helpers import refuses, single_2d
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.causality import colour_offsets, is_strict, offsets, receptive_field, require_strict
from refar.analysis.facts import facts
from refar.analysis.raster import RasterPlan
from refar.analysis.windows import Grid
from refar.errors import GraphError
from refar.graph.graph import digest

Pairs = set[tuple[int, int]]

ABOVE = {(1, 1), (1, 0), (1, -1)}


@pytest.mark.parametrize(
    ("op", "seen", "box"),
    [
        (ops.Conv2d(1, (3, 3), "A"), ABOVE | {(0, 1)}, (2, 3)),
        (ops.Conv2d(1, (3, 3), "B"), ABOVE | {(0, 1), (0, 0)}, (2, 3)),
        (ops.Conv2d(1, (3, 3)), {*product((-1, 0, 1), (-1, 0, 1))}, (3, 3)),
        (ops.Conv2d(1, (2, 2), anchor=(1, 0)), {(1, 0), (1, -1), (0, 0), (0, -1)}, (2, 2)),
        (ops.Conv2d(1, (2, 3), "B", (1, 2), (3, 2)), {(3, 4), (3, 2), (3, 0), (0, 4), (0, 2), (0, 0)}, (4, 5)),
        (ops.Conv2d(1, (1, 1), "A"), set(), (0, 0)),
        (ops.Shift2d(2, -1), {(2, -1)}, (1, 1)),
        (ops.Position(2), set(), (0, 0)),
        (ops.Affine(2.0), {(0, 0)}, (1, 1)),
    ],
)
def test_offsets_of_one_operator(op: ops.AnyOp, seen: Pairs, box: tuple[int, int]) -> None:
    graph = single_2d(op)
    assert offsets(graph) == refar.offsets(graph) == seen
    assert receptive_field(graph) == box
    assert colour_offsets(graph)[0] == {(up, left, 0) for up, left in seen}


def two_stacks() -> Graph:
    g = Builder()
    x = g.image(channels=1)
    above, left = g.shift2d(x, down=1, name="down"), g.shift2d(x, right=1, name="right")
    for _ in range(2):
        above = g.conv2d(above, 2, kernel=(3, 5), anchor=(2, 2))
        left = g.conv2d(left, 2, kernel=(1, 3), anchor=(0, 2))
    both = g.concat(above, left, g.position(x, 5, name="where"))
    return g.build(g.conv2d(both, 1, name="last"), ops.Gaussian())


@pytest.mark.row("001-10")
def test_two_stacks_of_kernel_five_see_fifty_pixels() -> None:
    graph = two_stacks()
    assert offsets(graph) == {*product(range(1, 6), range(-4, 5)), *product((0,), range(1, 6))}
    assert len(offsets(graph)) == 50
    assert receptive_field(graph) == (6, 10)


def test_sums_of_steps_do_not_wrap_around() -> None:
    """As numbers in rows of some width, ten columns to the left and one row up could be told apart no longer."""
    g = Builder()
    far = g.shift2d(g.shift2d(g.image(channels=1), right=5), right=5)
    graph = g.build(g.concat(far, g.shift2d(g.shift2d(far, down=1), right=-20), g.shift2d(far, down=-1, right=10)))
    assert [{facts(graph).grid.step(n) for n in seen} for seen in facts(graph).offsets[graph.output]] == [
        {(0, 10)}, {(1, -10)}, {(-1, 20)}
    ]  # fmt: skip


def test_layers_side_by_side_need_no_wider_grid() -> None:
    """As many as there are, a sum of steps goes along one path; with a column for each, analysis took minutes."""
    g = Builder()
    x = g.image()
    graph = g.build(g.add(*(g.conv2d(x, 1, kernel=3, dilation=(1, 4)) for _ in range(9))))
    assert facts(graph).grid == Grid(9, 1)
    assert offsets(graph) == {(up, left) for up in (-1, 0, 1) for left in (-4, 0, 4)}


def test_colours_of_the_masks() -> None:
    """Of its own pixel, each colour sees those before it; of pixels before it, all."""
    left = {(0, 1, 0), (0, 1, 1), (0, 1, 2)}
    assert colour_offsets(single_2d(ops.Conv2d(3, (1, 3), "A", colours=3), channels=3)) == (
        left, left | {(0, 0, 0)}, left | {(0, 0, 0), (0, 0, 1)}
    )  # fmt: skip
    assert colour_offsets(single_2d(ops.Conv2d(6, (1, 1), "B", colours=3), channels=6, classes=0))[0] == {
        (0, 0, 0), (0, 0, 3)
    }  # fmt: skip
    g = Builder()
    x = g.one_hot(g.image(classes=4, channels=3))
    graph = g.build(g.conv2d(x, 6, mask="A", colours=3))
    assert colour_offsets(graph) == (set(), {(0, 0, 0)}, {(0, 0, 0), (0, 0, 1)})
    assert offsets(graph) == {(0, 0)}


def test_colours_through_the_operators() -> None:
    """One hot, a gate, a slice of whole pixels and a shift keep the colour of each channel; a free convolution mixes them."""
    g = Builder()
    x = g.one_hot(g.image(classes=2, channels=3), name="hot")
    seen = {"hot": [c % 3 for c in range(6)], "sliced": [0, 1, 2], "gated": [0, 1, 2]}
    sliced, gated = g.slice(x, 3, 6, name="sliced"), g.gate(x, name="gated")
    free = g.conv2d(gated, 1, name="free")
    graph = g.build(g.concat(sliced, gated, g.shift2d(sliced, right=1, name="late"), free))
    found = facts(graph)
    grid = found.grid
    assert grid is not None
    for name, colours in seen.items():
        assert found.offsets[name] == tuple(frozenset({c}) for c in colours)
    assert found.offsets["free"] == (frozenset({0, 1, 2}),)
    assert [[(*grid.step(n), grid.colour(n)) for n in channel] for channel in found.offsets["late"]] == [
        [(0, 1, 0)], [(0, 1, 1)], [(0, 1, 2)]
    ]  # fmt: skip


def test_offsets_by_colour_are_for_images() -> None:
    with refuses(GraphError, "colour_offsets: expected a graph of images, got one over time (its sequence is 'x')"):
        refar.colour_offsets(models.linear_ar(2))


@st.composite
def stacks(draw: DrawFn) -> Graph:
    """Two layers of masked or free convolutions in any groups over an image with one to three colours."""
    g, colours = Builder(), draw(st.integers(1, 3))
    h = g.image(channels=colours)
    width = colours
    for _ in range(2):
        kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        anchor = draw(st.tuples(*(st.integers(0, side - 1) for side in kernel)))
        dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
        mask: Any = draw(st.sampled_from(("none", "A", "B")))
        ordered = colours if mask != "none" and draw(st.booleans()) else 1
        groups = draw(st.sampled_from([n for n in (1, colours) if width % n == 0]))
        width = colours * draw(st.integers(1, 2))
        h = g.add_op(ops.Conv2d(width, kernel, mask, anchor, dilation, ordered, False, groups), h)
        if draw(st.booleans()):
            h = g.add(h, g.shift2d(h, down=draw(st.integers(-1, 2)), right=draw(st.integers(-2, 2))))
    return g.build(h)


@settings(max_examples=60)
@given(stacks())
def test_offsets_are_where_a_gradient_arrives(graph: Graph) -> None:
    """With positive weights nothing cancels; the pixel in the middle is as far from every side as any offset reaches."""
    found, side = facts(graph), 2 * facts(graph).lookback[graph.output] + 1
    params = {name: np.ones(shape) for name, shape in found.parameters.items()}
    x = np.zeros((1, found.types["x"].size, side, side))
    for colour, expected in enumerate(colour_offsets(graph)):
        dy = np.zeros((1, found.types[graph.output].size, side, side))
        dy[:, colour :: x.shape[1], side // 2, side // 2] = 1
        dx = refar.backward(graph, params, x, dy)["inputs"]["x"][0]
        felt = {(side // 2 - int(r), side // 2 - int(s), int(c)) for c, r, s in np.argwhere(dx)}
        assert felt == expected


def vertical(*, shifted: bool, horizontal: bool = True) -> Graph:
    """The vertical stack of Gated PixelCNN with its kernel of 3, and the horizontal one that it feeds."""
    g = Builder()
    x = g.image(channels=1)
    v = g.conv2d(g.conv2d(x, 2, kernel=(2, 3), anchor=(1, 1), name="v1"), 2, kernel=(2, 3), anchor=(1, 1), name="v2")
    v = g.shift2d(v, down=1, name="shift") if shifted else v
    if not horizontal:
        return g.build(v)
    h = g.conv2d(x, 1, kernel=(1, 2), anchor=(0, 1), mask="A", name="h")
    return g.build(g.add(h, g.conv2d(v, 1, name="above"), name="out"), ops.Gaussian())


def test_the_clocks_of_a_vertical_stack() -> None:
    """Before its shift it sees its own row to the right, after it rows above only."""
    graph = vertical(shifted=True)
    assert facts(graph).raster == RasterPlan(
        clock={
            "x": "pixel", "v1": "row-end", "v2": "row-end", "shift": "row-start", "h": "pixel", "above": "row-start",
            "out": "pixel",
        },
        lead={"x": 0, "h": 1, "out": 1},
        rows={"x": 1, "v1": 1},
    )  # fmt: skip
    assert offsets(graph) == {*product((1, 2, 3), range(-2, 3)), (0, 1)}
    assert is_strict(graph)
    assert not facts(graph).ordered


def test_without_its_shift_it_looks_ahead() -> None:
    for horizontal in (True, False):
        graph = vertical(shifted=False, horizontal=horizontal)
        assert facts(graph).raster.clock[graph.output] == "row-end"
        assert not is_strict(graph)
        with refuses(GraphError, "generate needs a causal graph", "node 'v1' (conv2d) at pixel (r, c) reads pixel (r, c + 1)"):
            require_strict(facts(graph), "generate")


def test_the_clocks_of_two_stacks() -> None:
    found = facts(two_stacks()).raster
    assert found.clock == {
        "x": "pixel", "down": "row-start", "right": "pixel", "conv2d": "row-start", "conv2d_2": "pixel",
        "conv2d_3": "row-start", "conv2d_4": "pixel", "where": "constant", "concat": "pixel", "last": "pixel",
    }  # fmt: skip
    assert found.lead == {"x": 0, "right": 1, "conv2d_2": 1, "conv2d_4": 1, "concat": 1, "last": 1}
    assert found.rows == {"down": 2, "conv2d": 2}


def test_the_clocks_of_masked_layers_and_of_what_does_not_depend_on_the_sequence() -> None:
    """A row above the present one is read as it is completed; two rows above, one has to be kept."""
    g = Builder()
    x, where = g.image(channels=1), g.condition("map", channels=1, local=True, axes="hw")
    h = g.conv2d(x, 1, kernel=3, mask="A", name="first")
    h = g.conv2d(g.add(h, g.conv2d(where, 1, kernel=3, name="around"), name="sum"), 1, kernel=3, mask="B", name="second")
    wide = g.conv2d(h, 1, kernel=3, mask="B", dilation=2, name="wide")
    graph = g.build(g.add(wide, g.conv1d(g.condition("c", channels=2), 1, name="dense"), name="out"))
    assert facts(graph).raster == RasterPlan(
        clock={
            "x": "pixel", "map": "constant", "first": "pixel", "around": "constant", "sum": "pixel", "second": "pixel",
            "wide": "pixel", "out": "pixel",
        },
        lead={"x": 0, "first": 1, "sum": 1, "second": 1, "wide": 1, "out": 1},
        rows={"second": 1},
    )  # fmt: skip


def test_one_pixel_ahead_may_be_spent() -> None:
    """A layer that does not see its pixel may be read one column further right, but not two."""
    for right, clock, lead in ((0, "pixel", 1), (1, "pixel", 0), (2, "row-end", None)):
        g = Builder()
        h = g.conv2d(g.image(channels=1), 1, kernel=(1, 3), mask="A", name="strict")
        graph = g.build(g.shift2d(h, right=-right, name="moved"))
        assert (facts(graph).raster.clock["moved"], facts(graph).raster.lead.get("moved")) == (clock, lead)
        assert offsets(graph) == {(0, 1 - right)}
        assert is_strict(graph) is (right == 0)
    g = Builder()
    graph = g.build(g.shift2d(g.image(channels=1), right=3, name="moved"))
    assert facts(graph).raster.lead["moved"] == 1


def test_rows_below_have_no_clock() -> None:
    g = Builder()
    graph = g.build(g.shift2d(g.shift2d(g.image(channels=1), down=2), down=-1, name="up"))
    with refuses(GraphError, "node 'up' (shift2d) at pixel (r, c) reads row r + 1, which comes later"):
        assert facts(graph).raster is None
    assert not is_strict(graph)


def coloured(mask: Any, order: int = 3) -> Graph:
    g = Builder()
    h = g.conv2d(g.image(channels=3), 6, kernel=3, mask=mask, colours=order, name="first")
    return g.build(g.conv2d(h, 3, mask="B", colours=order, name="last"), ops.Gaussian())


@pytest.mark.row("003-3")
@pytest.mark.parametrize(
    ("graph", "strict", "ordered"),
    [
        (coloured("A"), True, True),
        (coloured("B"), False, True),
        (coloured("A", 1), True, False),  # colours of one pixel are modelled without seeing each other
        (two_stacks(), True, False),
        (single_2d(ops.Conv2d(1, (3, 3), "B")), False, True),
        (single_2d(ops.Shift2d(0, 1)), True, False),
        (single_2d(ops.Shift2d(1, -3)), True, False),
        (single_2d(ops.Shift2d(0, -1)), False, False),
        (models.linear_ar(2), True, False),
    ],
)
def test_strictness_and_order(graph: Graph, strict: bool, ordered: bool) -> None:
    assert is_strict(graph) is refar.is_strict(graph) is strict
    assert facts(graph).ordered is ordered


@pytest.mark.parametrize(
    ("graph", "fragments"),
    [
        (coloured("B"), ["here channel 0 of 'last', of colour 0, sees colour 0 of the same pixel. Shift the input"]),
        (single_2d(ops.Conv2d(1, (3, 3), "B")), ["here channel 0 of 'op' sees it. Shift the input", "mask 'A'"]),
    ],
)
def test_who_sees_the_pixel_is_named(graph: Graph, fragments: list[str]) -> None:
    with refuses(GraphError, "log_prob needs a strict graph, in which an output models its pixel without seeing it", *fragments):
        require_strict(facts(graph), "log_prob")


def test_a_later_colour_is_ahead_too() -> None:
    """Channel 3 of the output is of colour 0 again, but a slice has put there what colour 1 may see."""
    g = Builder()
    h = g.conv2d(g.image(channels=3), 3, mask="A", colours=3)
    second = g.add_op(ops.Conv2d(1), g.slice(h, 0, 3), name="mixed")
    graph = g.build(g.concat(second, second, second))
    with refuses(GraphError, "channel 0 of 'concat', of colour 0, sees colour 1 of the same pixel"):
        require_strict(facts(graph), "score")


@pytest.mark.parametrize(
    ("build", "most"),
    [
        (lambda g, x: g.conv2d(x, 1, kernel=2**20 - 1), "524287"),
        (lambda g, x: g.conv2d(x, 1, kernel=(1, 2), anchor=(0, 0), dilation=(1, 513)), "513"),
        (lambda g, x: g.shift2d(g.shift2d(x, down=400), right=-113), "513"),
    ],
)
def test_absurd_sizes_end_with_a_sentence(build: Callable[[Builder, str], str], most: str) -> None:
    g = Builder()
    with refuses(GraphError, "expected at most 512 rows or columns to look away from here, all layers together", f"got {most}"):
        g.build(build(g, g.image(channels=1)))
    for shift in ({"down": 513}, {"right": -513}):
        g = Builder()
        with refuses(GraphError, "node 'shift2d' (shift2d)", "512", str(*shift.values())):
            g.build(g.shift2d(g.image(channels=1), **shift))


def test_the_text_of_a_graph_over_a_plane() -> None:
    g = Builder()
    x = g.image(classes=4, channels=3)
    h = g.conv2d(g.shift2d(g.one_hot(x), right=1), 6, kernel=(2, 3), mask="B", anchor=(1, 1), dilation=2, colours=3)
    graph = g.build(g.concat(h, g.position(h, 5)))
    text = refar.to_json(graph)
    assert json.loads(text)["nodes"] == [
        {"name": "x", "op": {"type": "input", "classes": 4, "channels": 3, "axes": "hw"}},
        {"name": "one_hot", "op": {"type": "one_hot"}, "inputs": ["x"]},
        {"name": "shift2d", "op": {"type": "shift2d", "right": 1}, "inputs": ["one_hot"]},
        {
            "name": "conv2d",
            "op": {
                "type": "conv2d", "channels": 6, "kernel": [2, 3], "mask": "B", "anchor": [1, 1], "dilation": [2, 2],
                "colours": 3,
            },
            "inputs": ["shift2d"],
        },
        {"name": "position", "op": {"type": "position", "bits": 5}, "inputs": ["conv2d"]},
        {"name": "concat", "op": {"type": "concat"}, "inputs": ["conv2d", "position"]},
    ]  # fmt: skip
    assert refar.from_json(text) == graph
    assert refar.to_json(refar.from_json(text)) == text
    assert refar.from_json(refar.to_json(two_stacks())) == two_stacks()


@pytest.mark.parametrize(
    ("graph", "written"),
    [
        (models.linear_ar(4), "ad309c2466be6374c26c6e2e1976fee248f7dc1b0652e446413ffba56bd6cf11"),
        (
            models.nettoy1d_dilated(7, hidden=8, mean=3.0, std=2.0),
            "980c9e3281f96fac1b02ab1b593608da78d245847f06a07afb83f040e7143b5d",
        ),
        (models.tcn(5, [4, 4, 6], kernel=2), "dfb9bd5fae3053dd07928b29b8081590ae7da77f46e5f55de7f33288dbaeb745"),
        (
            models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7, condition="class:3"),
            "c7a24698f091f07db19db62c71196092b7f30382d8bfad59968f2ce106b1d213",
        ),
    ],
)
def test_graphs_over_time_are_written_as_before_there_were_planes(graph: Graph, written: str) -> None:
    """Byte for byte, so that what was exported then still belongs to its graph."""
    assert digest(graph) == written
    assert b"axes" not in refar.to_json(graph)
