"""The networks over images: sizes, exactly which pixels and colours they see, blind spots, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import refuses

import refar
from refar import Graph, models, ops
from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.errors import GraphError

BUILDERS = {"pixelcnn": models.pixelcnn, "masked_pixelcnn": models.masked_pixelcnn, "gated_pixelcnn": models.gated_pixelcnn}
Seen = set[tuple[int, int, int]]


def count(graph: Graph) -> int:
    return sum(int(np.prod(shape)) for shape in facts(graph).parameters.values())


def draw(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """Weights that keep the scale, biases that are nowhere zero."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=shape) * 1.5 / np.sqrt(max(np.prod(shape[1:]), 1))
        for name, shape in facts(graph).parameters.items()
    }


def measured(graph: Graph, height: int, width: int, draws: int = 6) -> list[Seen]:
    """For each colour of the output all (up, left, colour) at which a changed value changes it, at some pixel of the image."""
    found = facts(graph)
    kind = found.types[found.sequence]
    colours, values = kind.channels, kind.channels * height * width
    felt: list[Seen] = [set() for _ in range(colours)]
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        x = rng.integers(0, kind.size, (colours, height, width))
        changed = np.stack([x] * (values + 1))
        places = [tuple(map(int, place)) for place in np.ndindex(colours, height, width)]
        for row, place in zip(changed[1:], places, strict=True):
            row[place] = (row[place] + rng.integers(1, kind.size)) % kind.size
        y = refar.forward(graph, draw(graph, seed), changed)
        differ = abs(y[1:] - y[0]).reshape(values, -1, colours, height, width).max(axis=1) > 1e-12
        for (colour, r, s), outputs in zip(places, differ, strict=True):
            for wanted, row, column in np.argwhere(outputs).tolist():
                felt[wanted].add((row - r, column - s, colour))
    return felt


def everywhere(positions: set[tuple[int, int]], colours: int) -> Seen:
    return {(up, left, colour) for up, left in positions for colour in range(colours)}


def two_stack(kernel: int) -> set[tuple[int, int]]:
    reach = 2 * (kernel // 2)
    above = {(up, left) for up in range(1, kernel + 1) for left in range(-reach, reach + 1)}
    return above | {(0, left) for left in range(1, kernel + 1)}


@pytest.mark.row("001-10")
@pytest.mark.parametrize("classes", [2, 10, 256])
def test_parameters_of_pixelcnn(classes: int) -> None:
    assert count(models.pixelcnn(classes)) == 54_144 + 129 * classes
    assert count(models.pixelcnn(classes, channels=3)) == 54_144 + 2 * 32 * (15 + 3) + 129 * 3 * classes
    assert count(models.pixelcnn(classes, position=5)) == 54_144 + 10 * 32 * (15 + 3) + 129 * classes
    assert count(models.pixelcnn(classes, mixture=4)) == 54_144 + 129 * 12
    conditioned = models.pixelcnn(classes, condition="class:10", local="vector:3")
    assert count(conditioned) == 54_144 + 129 * classes + 13 * (32 + 32 + 64 + 64 + 128)


@pytest.mark.parametrize(("colours", "mixture"), [(1, 0), (3, 0), (3, 2)])
@pytest.mark.parametrize(("condition", "c"), [(None, 0), ("class:4", 4)])
@pytest.mark.parametrize(("local", "l"), [(None, 0), ("class:5", 5), ("vector:2", 2)])
def test_parameters_of_masked_and_gated_pixelcnn(
    colours: int,
    mixture: int,
    condition: str | None,
    c: int,
    local: str | None,
    l: int,  # noqa: E741
) -> None:
    options: dict[str, Any] = {"channels": colours, "mixture": mixture, "condition": condition, "local": local}
    h, n, given = 6, 3 * colours * mixture or 4 * colours, c + l
    head = h * (h + 1) + n * (h + 1)
    plain = models.masked_pixelcnn(4, layers=2, hidden=h, kernel=3, first_kernel=5, residual=False, **options)
    assert count(plain) == h * (colours * 25 + 1 + given) + 2 * h * (h * 9 + 1 + given) + head
    residual, w = models.masked_pixelcnn(4, layers=2, hidden=h, kernel=3, first_kernel=5, **options), 2 * h
    blocks = 2 * (h * (h * 9 + 1 + given) + 2 * h * w + h + w)
    assert count(residual) == w * (colours * 25 + 1 + given) + blocks + h * (w + 1) + n * (h + 1)
    gated = models.gated_pixelcnn(4, layers=2, hidden=h, kernel=3, first_kernel=5, **options)
    layers = [2 * h * (i * f * k + 1) + 2 * h * (i * f + 1) for i, f, k in ((colours, 3, 5), (h, 2, 3))]
    # what leaves the last vertical stack goes into the horizontal one alone, before the gate
    assert count(gated) == sum(layers) + 2 * (2 * h * (2 * h + 1) + h * (h + 1)) + 3 * 2 * h * given + head


@pytest.mark.row("001-10")
def test_pixelcnn_sees_fifty_positions() -> None:
    """Rows y-5..y-1 × columns x-4..x+4, and (y, x-5..x-1)."""
    seen = {(up, left) for up in range(1, 6) for left in range(-4, 5)} | {(0, left) for left in range(1, 6)}
    assert len(seen) == 50
    assert refar.offsets(models.pixelcnn(10)) == seen
    assert refar.receptive_field(models.pixelcnn(10)) == (6, 10)
    assert measured(models.pixelcnn(4, hidden=3), 8, 12) == [everywhere(seen, 1)]


@pytest.mark.row("001-10")
@pytest.mark.parametrize(("kernel", "colours"), [(1, 1), (3, 1), (3, 2), (7, 1)])
def test_pixelcnn_sees_what_its_kernel_says(kernel: int, colours: int) -> None:
    graph = models.pixelcnn(4, kernel=kernel, channels=colours, hidden=3, position=2, local="vector:2")
    seen = everywhere(two_stack(kernel), colours)
    assert [set(s) for s in refar.colour_offsets(graph)] == [seen] * colours, "no colour of its own pixel"
    if kernel < 7:
        assert measured(models.pixelcnn(4, kernel=kernel, channels=colours, hidden=3), 5, 9) == [seen] * colours


def masked_reach(first: int, kernel: int, layers: int) -> set[tuple[int, int]]:
    """One layer after the other: positions before the pixel in each kernel, the pixel itself in all but the first."""

    def taps(side: int, itself: bool) -> set[tuple[int, int]]:
        half = side // 2
        last = (0, 0 if itself else 1)
        return {(up, left) for up in range(half + 1) for left in range(-half, half + 1) if (up, left) >= last}

    seen = taps(first, False)
    for _ in range(layers):
        seen = {(up + u, left + v) for up, left in seen for u, v in taps(kernel, True)}
    return seen


def box(seen: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """All positions before the pixel within the reach to each side, as far to the right as to the left."""
    rows, columns = max(up for up, _ in seen), max(abs(left) for _, left in seen)
    return {(up, left) for up in range(rows + 1) for left in range(-columns, columns + 1) if (up, left) > (0, 0)}


@pytest.mark.row("001-11")
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("kernel", "layers"), [(3, 0), (3, 1), (3, 4), (5, 3), (7, 2)])
def test_the_blind_spot_of_masked_convolutions(kernel: int, layers: int, residual: bool) -> None:
    """In the box of its reach the stack misses exactly (y-r, x+j) with j > ⌊k/2⌋·r, at any depth."""
    graph = models.masked_pixelcnn(4, layers=layers, hidden=4, kernel=kernel, first_kernel=kernel, residual=residual)
    seen = set(refar.offsets(graph))
    assert seen == masked_reach(kernel, kernel, layers)
    earlier = box(seen)
    assert max(up for up, _ in earlier) == (layers + 1) * (kernel // 2) == max(left for _, left in earlier)
    missed = {(r, -j) for r, j in ((up, -left) for up, left in earlier) if j > kernel // 2 * r}
    assert earlier - seen == missed == refar.blind_spot(graph)
    assert bool(missed) == (layers > 0)


@pytest.mark.row("001-11")
def test_a_wider_first_kernel_moves_the_blind_spot() -> None:
    graph = models.masked_pixelcnn(4, layers=5, hidden=4)
    seen = set(refar.offsets(graph))
    assert seen == masked_reach(7, 3, 5)
    assert box(seen) - seen == {(r, -j) for r in range(1, 9) for j in range(1, 9) if j > 3 + (r - 1)}
    assert refar.blind_spot(graph) == {(r, -j) for r in range(1, 9) for j in range(1, 9) if j > 3 * r}, "the first repeated too"


@pytest.mark.row("001-11")
@pytest.mark.parametrize(("first", "kernel", "layers"), [(3, 3, 1), (3, 3, 4), (7, 3, 3), (5, 5, 3)])
def test_two_stacks_have_no_blind_spot(first: int, kernel: int, layers: int) -> None:
    """Rows above: all columns on both sides. The vertical stack reaches one row more than its kernels, by its shift."""
    graph = models.gated_pixelcnn(4, layers=layers, hidden=4, kernel=kernel, first_kernel=first)
    seen = set(refar.offsets(graph))
    reach = first // 2 + (layers - 1) * (kernel // 2)
    above = {(up, left) for up in range(1, reach + 2) for left in range(-reach, reach + 1)}
    assert seen == above | {(0, left) for left in range(1, reach + 1)}
    assert not refar.blind_spot(graph)
    assert not refar.blind_spot(models.pixelcnn(4, hidden=2))


SMALL = {
    "masked": (models.masked_pixelcnn, {"layers": 2, "hidden": 6, "kernel": 3, "first_kernel": 3, "residual": False}),
    "residual": (models.masked_pixelcnn, {"layers": 2, "hidden": 6, "kernel": 3, "first_kernel": 3}),
    "gated": (models.gated_pixelcnn, {"layers": 3, "hidden": 6, "kernel": 3, "first_kernel": 3}),
}


@pytest.mark.row("003-3")
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("colours", [1, 2, 3])
def test_colours_are_seen_in_order(name: str, colours: int) -> None:
    """Of earlier pixels every colour, of its own pixel those before it: by the graph, and by perturbation."""
    build, options = SMALL[name]
    graph = build(4, channels=colours, **options)
    positions = set(refar.offsets(graph)) - {(0, 0)}
    expected = [everywhere(positions, colours) | {(0, 0, before) for before in range(c)} for c in range(colours)]
    assert [set(s) for s in refar.colour_offsets(graph)] == expected
    assert measured(graph, 5, 8) == expected
    assert is_strict(graph)
    assert facts(graph).ordered == (colours > 1)


@pytest.mark.parametrize("name", BUILDERS)
def test_conditions_and_heads_change_no_reach(name: str) -> None:
    build = BUILDERS[name]
    plain = build(4, channels=3, hidden=6)
    rich = build(4, channels=3, hidden=6, condition="vector:2", local="class:3", mixture=2)
    assert refar.colour_offsets(plain) == refar.colour_offsets(rich)
    assert facts(rich).conditions == ("condition", "local")
    assert plain.head == ops.Categorical()
    assert rich.head == ops.MixtureLogistics(2, 4)


def test_by_name_with_options_as_text() -> None:
    text = {"classes": "2", "channels": "3", "hidden": "6", "condition": "class:4", "mean": "0.5", "std": "none"}
    for name, build in BUILDERS.items():
        assert models.by_name(name, text) == build(2, channels=3, hidden=6, condition="class:4", mean=0.5)
    assert models.by_name("masked_pixelcnn", {"residual": "false"}) == models.masked_pixelcnn(residual=False)


@pytest.mark.parametrize(
    ("name", "options", "fragments"),
    [
        ("pixelcnn", {"kernel": 4}, ["pixelcnn: kernel: expected an odd number", "≥ 1", "centre", "got 4"]),
        ("masked_pixelcnn", {"kernel": "2"}, ["masked_pixelcnn: kernel: expected an odd number", "got 2"]),
        ("masked_pixelcnn", {"first_kernel": 6}, ["masked_pixelcnn: first_kernel: expected an odd number", "got 6"]),
        ("masked_pixelcnn", {"first_kernel": 1}, ["masked_pixelcnn: first_kernel: expected an odd number ≥ 3", "got 1"]),
        ("gated_pixelcnn", {"first_kernel": 6}, ["gated_pixelcnn: first_kernel: expected an odd number", "got 6"]),
        ("gated_pixelcnn", {"channels": 3, "hidden": 8}, ["hidden", "a multiple of the 3 colours", "got 8"]),
        ("masked_pixelcnn", {"channels": 3, "hidden": 8}, ["hidden", "a multiple of the 3 colours", "got 8"]),
        ("gated_pixelcnn", {"layers": 0}, ["layers", ">= 1"]),
        ("pixelcnn", {"position": 17}, ["position", "17"]),
        ("pixelcnn", {"std": 0}, ["std", "0"]),
        ("pixelcnn", {"condition": "latent:3"}, ["pixelcnn: condition: expected 'class:N'", "got 'latent:3'"]),
        ("gated_pixelcnn", {"local": "vector:0"}, ["gated_pixelcnn: local:", "N ≥ 1", "got 'vector:0'"]),
        ("pixelcnn", {"mixture": -1}, ["mixture", ">= 0"]),
    ],
)
def test_options_without_a_meaning(name: str, options: dict[str, Any], fragments: list[str]) -> None:
    with refuses(GraphError, *fragments):
        models.by_name(name, options)
