"""The blind spot: closed forms of the known networks, and deep repetition layer by layer as the definition has it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import refuses, with_surplus

import refar
from refar import Builder, Graph, ops
from refar.analysis import blind_spot as fields
from refar.analysis.windows import Step
from refar.errors import GraphError


def masked(depth: int, k: int, colours: int = 1) -> Graph:
    g = Builder()
    h = g.conv2d(g.one_hot(g.image(classes=2, channels=colours)), 3 * colours, kernel=k, mask="A", colours=colours)
    for _ in range(depth):
        h = g.relu(g.conv2d(h, 3 * colours, kernel=k, mask="B", colours=colours))
    return g.build(g.conv2d(h, 2 * colours, mask="B", colours=colours), ops.Categorical())


def two_stacks(ks: int = 5) -> Graph:
    g, half = Builder(), ks // 2
    x = g.standardize(g.image(classes=4), 1.5, 1.0)
    rows, columns = g.shift2d(x, down=1), g.shift2d(x, right=1)
    for _ in range(2):
        rows = g.relu(g.conv2d(rows, 6, kernel=(half + 1, ks), anchor=(half, half)))
        columns = g.relu(g.conv2d(columns, 6, kernel=(1, half + 1), anchor=(0, half)))
    return g.build(g.conv2d(g.concat(rows, columns, g.position(x, 5)), 4), ops.Categorical())


def gated(layers: int, k: int) -> Graph:
    """The vertical stack, of the rows above alone, is added to the horizontal one; their channels grow and are cut again."""
    g, half = Builder(), k // 2
    x = g.one_hot(g.image(classes=2))
    above = g.conv2d(g.shift2d(x, down=1), 4, kernel=(half, k), anchor=(half - 1, half))
    beside = g.gate(g.add(g.conv2d(x, 4, kernel=(1, k), mask="A"), g.conv2d(above, 4)))
    for _ in range(layers - 1):
        above = g.conv2d(g.gate(above), 4, kernel=(half + 1, k), anchor=(half, half))
        both = g.concat(g.conv2d(beside, 4, kernel=(1, k), mask="B"), g.conv2d(above, 4))
        beside = g.gate(g.add(g.slice(both, 0, 4), g.slice(both, 4, 8)))
    return g.build(g.conv2d(beside, 2), ops.Categorical())


@pytest.mark.row("001-11")
@pytest.mark.parametrize(
    ("depth", "k", "colours"), [(0, 3, 1), (1, 3, 1), (4, 3, 1), (3, 5, 1), (2, 7, 1), (3, 3, 3), (25, 3, 1)]
)
def test_of_masked_square_kernels(depth: int, k: int, colours: int) -> None:
    graph, most = masked(depth, k, colours), (k // 2) * (depth + 1)
    expected = {(r, -j) for r in range(1, most + 1) for j in range(most + 1) if j > (k // 2) * r}
    assert refar.blind_spot(graph) == expected
    assert not refar.offsets(graph) & expected


@pytest.mark.row("001-11")
@pytest.mark.parametrize("graph", [two_stacks(3), two_stacks(), gated(1, 3), gated(4, 3), gated(3, 5)])
def test_none_for_two_stacks(graph: Graph) -> None:
    assert refar.blind_spot(graph) == frozenset()


@pytest.mark.row("001-10")
def test_what_is_missing_for_lack_of_depth_is_not_blind() -> None:
    seen = refar.offsets(two_stacks())
    assert len(seen) == 50
    assert not {(up, 5) for up in range(1, 6)} & seen


def test_a_shift_is_not_repeated() -> None:
    g = Builder()
    x = g.image()
    graph = g.build(g.add(g.shift2d(x, down=1, right=1), g.conv2d(x, 1, kernel=(1, 2), anchor=(0, 1))))
    assert refar.offsets(graph) == {(0, 0), (0, 1), (1, 1)}
    assert refar.blind_spot(graph) == {(1, 0)}


def test_a_channel_that_is_cut_off_reaches_nothing() -> None:
    g = Builder()
    x = g.image(channels=2)
    far = g.conv2d(x, 2, kernel=3, mask="B", groups=2)
    graph = g.build(g.add(g.slice(far, 0, 1), g.slice(g.conv2d(x, 2, kernel=(1, 5), mask="B", groups=2), 1, 2)))
    assert refar.blind_spot(graph) == set(), "a row of 5 and a square of 3 leave no place in the box"
    narrow = with_surplus(g, g.add(g.slice(far, 0, 1), g.shift2d(g.slice(x, 0, 1), right=-3, down=2)))
    assert refar.blind_spot(narrow) == {(1, -2), (1, -3), (2, -3)} - refar.offsets(narrow)


def test_nothing_seen_nothing_blind() -> None:
    g = Builder()
    assert refar.blind_spot(g.build(g.position(g.image(), 3))) == frozenset()


def test_over_time_there_is_none() -> None:
    with refuses(GraphError, "blind_spot: expected a graph of images, got one over time", "'x'"):
        refar.blind_spot(refar.models.nettoy1d())


def test_looking_ahead_is_refused() -> None:
    g = Builder()
    graph = g.build(g.conv2d(g.image(), 1, kernel=3, name="wide"))
    with refuses(GraphError, "a blind spot needs a causal graph", "'wide'"):
        refar.blind_spot(graph)


def test_a_search_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "MOST_BITS", 20)
    with refuses(GraphError, "blind_spot: these dilations would need a search in 9 rows by"):
        refar.blind_spot(masked(1, 9))


Layer = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Kernel, anchor and dilation."""


def layered(layers: list[Layer], times: tuple[int, ...], skips: list[bool]) -> Graph:
    """Each layer so many times; with a skip, its first time may be left out."""
    g = Builder()
    h = g.shift2d(g.image(), down=1)
    for (kernel, anchor, dilation), count, skip in zip(layers, times, skips, strict=True):
        y = h
        for _ in range(count):
            y = g.conv2d(y, 1, kernel=kernel, anchor=anchor, dilation=dilation)
        h = g.add(h, y) if skip else y
    return g.build(h)


@pytest.mark.parametrize("seed", range(30))
def test_repetition_reaches_all_the_rest(seed: int) -> None:
    """Against the definition: the union over all numbers of repetitions up to eight, in a box that these suffice for."""
    rng = np.random.default_rng(seed)
    layers: list[Layer] = []
    for _ in range(2):
        sides = (int(rng.integers(1, 3)), int(rng.integers(1, 4)))
        anchor = (sides[0] - 1, int(rng.integers(sides[1])))
        layers.append((sides, anchor, (int(rng.integers(1, 3)), int(rng.integers(1, 4)))))
    skips = [bool(rng.integers(2)) for _ in layers]
    graph = layered(layers, (1, 1), skips)
    deep = frozenset[Step]().union(*(refar.offsets(layered(layers, n, skips)) for n in itertools.product(range(1, 9), repeat=2)))
    seen = refar.offsets(graph)
    lefts = [left for _, left in seen]
    box = itertools.product(range(max(up for up, _ in seen) + 1), range(min(lefts), max(lefts) + 1))
    assert refar.blind_spot(graph) == {step for step in box if step > (0, 0)} - deep


def test_a_way_that_goes_far_to_the_side_first() -> None:
    """Only 7 steps of 8 to the left and 8 of 7 to the right, or the like, meet at every column: far outside the box."""
    g = Builder()
    h = g.shift2d(g.image(), down=1)
    h = g.conv2d(g.conv2d(h, 1, kernel=(1, 3), dilation=(1, 8)), 1, kernel=(1, 3), dilation=(1, 7))
    assert len(refar.offsets(g.build(h))) == 9
    assert refar.blind_spot(g.build(h)) == {(0, left) for left in range(1, 16)}
