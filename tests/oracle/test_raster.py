"""Images pixel by pixel: step, start and next equal the whole pass, slow and fast generation agree, at a cost per pixel."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from helpers import generate_with_outputs, refuses

import refar
from refar import Builder, Graph, ops
from refar.analysis.facts import facts
from refar.analysis.windows import steps
from refar.errors import GraphError, InputError
from refar.oracle import forward as values
from refar.testing.contract.cases import generic_parameters


def two_stacks(channels: int = 2) -> Graph:
    g = Builder()
    x = g.standardize(g.image(classes=3, channels=channels), 1, 2)
    above, left = g.shift2d(x, down=1), g.shift2d(x, right=1)
    for size in (4, 5):
        above = g.relu(g.conv2d(above, size, kernel=(2, 3), anchor=(1, 1)))
        left = g.relu(g.conv2d(left, size, kernel=(1, 2), anchor=(0, 1)))
    h = g.relu(g.conv2d(g.concat(above, left, g.position(x, 3)), 7))
    return g.build(g.conv2d(h, 3 * channels), ops.Categorical())


def masked(colours: int = 3) -> Graph:
    """Groups, dilation, an even kernel, a class and a map as conditions."""
    g = Builder()
    x = g.embedding(g.image(classes=3, channels=colours), 2)
    label, chart = g.one_hot(g.condition("label", classes=4)), g.condition("chart", channels=2, local=True, axes="hw")
    h = g.conv2d(x, 4 * colours, kernel=5, mask="A", colours=colours, groups=2)
    h = g.add(h, g.conv1d(label, 4 * colours), g.conv2d(chart, 4 * colours, kernel=3))
    h = g.gate(g.conv2d(h, 4 * colours, kernel=3, mask="B", colours=colours, dilation=(1, 2)))
    h = g.gate(g.conv2d(h, 4 * colours, kernel=(2, 2), anchor=(1, 1), mask="B", colours=colours))
    return g.build(g.conv2d(h, 3 * colours, mask="B", colours=colours), ops.Categorical())


def gated(colours: int = 1) -> Graph:
    """A vertical stack that sees its whole row, one row further down."""
    g = Builder()
    v = h = g.one_hot(g.image(classes=3, channels=colours))
    for i in range(3):
        tall = g.conv2d(v, 4 * colours, kernel=(2, 3), anchor=(1, 1))
        wide = g.conv2d(h, 4 * colours, kernel=(1, 3), mask="B" if i else "A", colours=colours)
        z = g.gate(g.add(wide, g.conv2d(g.shift2d(tall, down=1), 4 * colours)))
        out = g.conv2d(z, 2 * colours, mask="B", colours=colours)
        h = g.add(h, out) if i else out
        v = g.gate(tall) if i < 2 else v
    return g.build(g.conv2d(g.relu(h), 3 * colours, mask="B", colours=colours), ops.Categorical())


def signal() -> Graph:
    """Real values of two channels, drawn together; one convolution is anchored at its left end."""
    g = Builder()
    h = g.tanh(g.conv2d(g.shift2d(g.image(channels=2), right=1), 4, kernel=3, mask="B"))
    h = g.add(h, g.conv2d(h, 4, kernel=(2, 3), anchor=(1, 0), mask="B"))
    return g.build(g.conv2d(h, 2), ops.Gaussian(0.5))


def mapped() -> Graph:
    """A map read where whole rows are, in the row itself and in the one above, and a class."""
    g = Builder()
    x, label, chart = (
        g.image(channels=2),
        g.condition("label", classes=4),
        g.condition("chart", channels=2, local=True, axes="hw"),
    )
    v = g.multiply(g.conv2d(x, 2, kernel=(2, 3), anchor=(1, 1)), chart, g.embedding(label, 2))
    h = g.conv2d(x, 2, kernel=3, mask="A")
    return g.build(g.add(h, g.multiply(g.shift2d(g.tanh(v), down=1), chart)), ops.Gaussian(0.5))


GRAPHS = {
    "two stacks": two_stacks(),
    "masked, one colour": masked(1),
    "masked, colours": masked(),
    "gated": gated(),
    "gated, colours": gated(3),
    "signal": signal(),
    "mapped": mapped(),
}
SHAPES = [(1, 1), (1, 5), (4, 1), (3, 4), (6, 5)]


def case(name: str, shape: tuple[int, int], batch: int = 2) -> tuple[Graph, Any, Any, Any]:
    """Graph, parameters, images, conditions."""
    graph, rng = GRAPHS[name], np.random.default_rng([len(name), *shape])
    found = facts(graph)
    kind = found.types[found.sequence]
    size = (batch, kind.channels, *shape)
    x = rng.integers(0, kind.size, size) if kind.indexed else rng.normal(size=size)
    condition = {"label": rng.integers(0, 4, batch), "chart": rng.normal(size=(batch, 2, *shape))} if found.conditions else None
    return graph, generic_parameters(graph, rng), x, condition


@pytest.fixture(params=GRAPHS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("shape", SHAPES)
def test_step_is_forward(name: str, shape: tuple[int, int]) -> None:
    graph, params, x, condition = case(name, shape)
    y = refar.forward(graph, params, x, condition)
    state = refar.initial_state(graph, params, len(x), condition, shape=shape)
    for row, column in np.ndindex(shape):
        y_bc, state = refar.step(graph, params, state, x[:, :, row, column])
        np.testing.assert_allclose(y_bc, y[:, :, row, column], rtol=0, atol=1e-13 * np.abs(y).max(), err_msg=f"{row, column}")


@pytest.mark.parametrize("shape", SHAPES)
def test_next_is_forward_one_pixel_further(name: str, shape: tuple[int, int]) -> None:
    graph, params, x, condition = case(name, shape)
    y, colours = refar.forward(graph, params, x, condition), x.shape[1]
    first = 1 if not facts(graph).ordered else colours  # of ordered colours only the first is known beforehand
    seen, state = refar.start(graph, params, len(x), condition, shape=shape)
    for row, column in np.ndindex(shape):
        expected = y[:, ::first, row, column]
        np.testing.assert_allclose(seen[:, ::first], expected, rtol=0, atol=1e-13 * np.abs(y).max(), err_msg=f"{row, column}")
        assert all(np.isnan(seen[:, colour::first]).all() for colour in range(1, first)), "not known yet, and not zero either"
        seen, state = refar.next(graph, params, state, x[:, :, row, column])
    assert seen is None
    with refuses(InputError, "state", "pixels to come"):
        refar.next(graph, params, state, x[:, :, 0, 0])


def test_integers_are_equal() -> None:
    rng = np.random.default_rng(0)
    g = Builder()
    v = h = g.one_hot(g.image(classes=3, channels=3))
    for mask in ("A", "B"):
        tall = g.conv2d(v, 6, kernel=3, anchor=(2, 1))
        h = g.relu(g.add(g.conv2d(h, 6, kernel=3, mask=mask, colours=3), g.shift2d(tall, down=1)))
        v = tall
    graph = g.build(h)
    params = {name: rng.integers(-3, 4, array.shape).astype(float) for name, array in refar.init(graph).items()}
    x = rng.integers(0, 3, (2, 3, 4, 5))
    y = refar.forward(graph, params, x)
    state = refar.initial_state(graph, params, 2, shape=(4, 5))
    for row, column in np.ndindex(4, 5):
        y_bc, state = refar.step(graph, params, state, x[:, :, row, column])
        assert (y_bc == y[:, :, row, column]).all()


def test_colours_one_by_one() -> None:
    graph, params, x, _ = case("gated, colours", (3, 3))
    y = refar.forward(graph, params, x)
    _, state = refar.start(graph, params, 2, shape=(3, 3))
    for row, column in np.ndindex(3, 3):
        known = np.zeros_like(x[:, :, 0, 0])
        for colour in range(3):
            seen, _ = refar.step(graph, params, state, known)
            np.testing.assert_allclose(seen[:, colour::3], y[:, colour::3, row, column], rtol=0, atol=1e-12)
            known[:, colour] = x[:, colour, row, column]
        _, state = refar.next(graph, params, state, known)


@pytest.mark.row("002-8")
@pytest.mark.row("003-6")
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (5, 2)])
def test_slow_and_fast_paint_the_same(name: str, shape: tuple[int, int]) -> None:
    graph, params, x, condition = case(name, shape, batch=3)
    (slow, y_slow), (fast, y_fast) = (
        generate_with_outputs(graph, params, shape, batch=3, seed=5, condition=condition, algorithm=algorithm)
        for algorithm in ("slow", "fast")
    )
    np.testing.assert_allclose(y_fast, y_slow, rtol=0, atol=1e-12 * max(1, np.abs(y_slow).max()))
    if x.dtype == np.int64:
        assert (slow == fast).all()
        assert fast.shape == x.shape
    # teacher forcing: the whole pass over the painted image gives the outputs that it was drawn from
    np.testing.assert_allclose(refar.forward(graph, params, fast, condition), y_fast, rtol=0, atol=1e-12 * np.abs(y_fast).max())


@pytest.mark.row("003-4")
def test_completion_keeps_the_first_rows(name: str) -> None:
    graph, params, x, condition = case(name, (4, 3))
    whole = refar.generate(graph, params, (4, 3), batch=2, seed=3, condition=condition)
    for rows in (0, 2, 4):
        again = refar.generate(graph, params, (4, 3), batch=2, seed=3, condition=condition, prompt=whole[:, :, :rows])
        np.testing.assert_allclose(again, whole, atol=1e-12)
    other = refar.generate(graph, params, (4, 3), batch=2, seed=3, condition=condition, prompt=x[:, :, :2])
    assert (other[:, :, :2] == x[:, :, :2]).all()


def test_a_row_of_a_batch_is_the_row_alone() -> None:
    graph, params, _, _ = case("gated", (3, 3))
    three = refar.generate(graph, params, (3, 3), batch=3, seed=1)
    assert (refar.generate(graph, params, (3, 3), batch=1, seed=1) == three[:1]).all()


def test_temperature_zero_and_top_k_one_take_the_largest() -> None:
    graph, params, _, condition = case("masked, colours", (3, 4))
    greedy, y = generate_with_outputs(graph, params, (3, 4), batch=2, temperature=0, condition=condition)
    assert (greedy == y.reshape(2, 3, 3, 3, 4).argmax(axis=1)).all()
    assert (refar.generate(graph, params, (3, 4), batch=2, top_k=1, condition=condition) == greedy).all()


def products_per_pixel(graph: Graph) -> int:
    """Each weight that is not masked once, and in the pixel's own row once more for every look: one per colour, and the push."""
    found, clock = facts(graph), facts(graph).raster.clock
    looks = found.types[found.sequence].channels + 1 if facts(graph).ordered else 1
    total = 0
    for node in graph.nodes:
        if isinstance(node.op, ops.Conv2d):
            shape = found.parameters[f"{node.name}.weight"]
            level = sum(up == 0 for up, _ in steps(node.op)) if clock[node.name] == "pixel" else 0
            total += shape[0] * shape[1] * (len(steps(node.op)) - level + level * looks)
    return total


@pytest.mark.parametrize("algorithm", ["fast", "slow"])
def test_multiply_adds_per_pixel(name: str, algorithm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast algorithm costs at most the same per pixel whatever the image; the slow one as many times as it has pixels."""
    right, count = values.convolve, 0

    def counted(windows: Any, weight_oik: Any, bias_o: Any, groups: int) -> Any:
        nonlocal count
        if windows.ndim == 5:  # of an image: a condition is convolved once, whatever the image
            batch, _, _, height, width = windows.shape
            count += weight_oik.size * batch * height * width
        return right(windows, weight_oik, bias_o, groups)

    monkeypatch.setattr(values, "convolve", counted)
    limit = products_per_pixel(GRAPHS[name])
    each = []
    for shape in [(2, 3), (4, 4), (6, 5)]:
        graph, params, _, condition = case(name, shape, batch=1)
        count = 0
        refar.generate(graph, params, shape, batch=1, condition=condition, algorithm=algorithm)
        each.append(count / (shape[0] * shape[1]) / limit)
    if algorithm == "fast":  # a little less, since nothing is computed below the last row
        assert all(0.6 < ratio <= 1 for ratio in each), each
    else:
        assert each[0] > 1, each
        assert all(later > 1.5 * earlier for earlier, later in pairwise(each)), each


def test_states_are_values() -> None:
    graph, params, x, condition = case("masked, colours", (3, 4))
    _, state = refar.start(graph, params, 2, condition, shape=(3, 4))
    seen = []
    for _ in range(2):
        y, other = refar.next(graph, params, state, x[:, :, 0, 0])
        y, _ = refar.step(graph, params, other, x[:, :, 0, 1])
        seen.append(y)
    assert (seen[0] == seen[1]).all()


def test_the_state_of_another_graph() -> None:
    def build(kernel: int, condition: bool) -> Graph:
        g = Builder()
        h = g.conv2d(g.image(channels=1), 2, kernel=kernel, mask="A", name="front")
        if condition:
            h = g.add(h, g.conv1d(g.condition(channels=1), 2, name="matrix"), name="front2")
        return g.build(g.conv2d(h, 1, name="last"))

    own, x = build(5, condition=False), np.zeros((1, 1))
    params = refar.init(own)
    refar.step(own, params, refar.initial_state(own, params, shape=(9, 9)), x)
    for other, condition in ((build(3, condition=False), None), (build(5, condition=True), [[0.0]])):
        state = refar.initial_state(other, refar.init(other), 1, condition, shape=(9, 9))
        with refuses(InputError, "state", "this graph", "another"):
            refar.step(own, params, state, x)


def test_a_prompt_without_rows_still_has_its_images() -> None:
    graph = refar.models.masked_pixelcnn(2, layers=1, hidden=2)
    none = np.zeros((3, 1, 0, 4), int)
    assert len(refar.generate(graph, refar.init(graph), (3, 4), prompt=none)) == 3


def test_what_is_refused() -> None:
    graph, params, x, _ = case("gated", (3, 3))
    _, state = refar.start(graph, params, 2, shape=(3, 3))
    with refuses(InputError, "shape", "(rows, columns)", "none"):
        refar.start(graph, params, 2)
    with refuses(InputError, "shape", "pair", "9"):
        refar.generate(graph, params, 9)
    with refuses(InputError, "rows", "0"):
        refar.generate(graph, params, (0, 3))
    with refuses(InputError, "state", "initial_state or start", "dict"):
        refar.step(graph, params, {}, x[:, :, 0, 0])
    with refuses(InputError, "state", "step and next return", "tuple"):
        refar.next(graph, params, (None, state), x[:, :, 0, 0])
    with refuses(InputError, "state", "another"):
        refar.step(GRAPHS["two stacks"], case("two stacks", (3, 3))[1], state, x[:, :, 0, 0])
    with refuses(InputError, "state", "float32"):
        refar.step(graph, params, state, x[:, :, 0, 0], dtype="float32")
    with refuses(InputError, "2 rows", "1"):
        refar.step(graph, params, state, x[:1, :, 0, 0])
    with refuses(InputError, "condition", "state"):
        refar.step(graph, params, state, x[:, :, 0, 0], condition=np.zeros(2))
    with refuses(InputError, "prompt", "3 rows and 3 columns", "1 rows of 4"):
        refar.generate(graph, params, (3, 3), prompt=np.zeros((1, 1, 1, 4), int))
    with refuses(InputError, "prompt", "1 or 3 images", "got 2"):
        refar.generate(graph, params, (3, 3), prompt=x[:, :, :1], batch=3)
    with refuses(InputError, "at most 2147483647 tokens", "1073741824 for each of 2 rows"):
        refar.generate(graph, params, (2**15, 2**15), batch=2)
    with refuses(GraphError, "block", "pixel by pixel"):
        refar.block(graph, params, state, x)
    with refuses(GraphError, "next_block", "pixel by pixel"):
        refar.next_block(graph, params, state, x)
    with refuses(InputError, "shape", "over time"):
        refar.start(refar.models.nettoy1d(4), refar.init(refar.models.nettoy1d(4)), shape=(2, 2))
    chart = np.zeros((2, 2, 3, 4))
    with refuses(InputError, "chart", "2 x 3", "3 x 4"):
        refar.generate(masked(), refar.init(masked()), (2, 3), condition={"label": [0, 1], "chart": chart})


@pytest.mark.parametrize(
    ("build", "place"),
    [
        (lambda g, x: g.shift2d(x, down=-1), "(r + 1, c)"),
        (lambda g, x: g.shift2d(x, right=-2), "(r, c + 2)"),
        (lambda g, x: g.conv2d(x, 2, kernel=3), "(r + 1, c + 1)"),
    ],
)
def test_what_looks_ahead_is_named(build: Any, place: str) -> None:
    g = Builder()
    graph = g.build(build(g, g.image(channels=2)), ops.Gaussian())
    x = np.ones((1, 2, 3, 3))
    refar.forward(graph, refar.init(graph), x)  # as a whole it can be evaluated
    for call in (
        lambda: refar.generate(graph, refar.init(graph), (3, 3)),
        lambda: refar.log_prob(graph, refar.init(graph), x),
        lambda: refar.initial_state(graph, refar.init(graph), shape=(3, 3)),
        lambda: refar.start(graph, refar.init(graph), shape=(3, 3)),
    ):
        with refuses(GraphError, graph.output, "pixel (r, c)", place):
            call()


def test_a_row_that_was_looked_ahead_in_may_be_used_below() -> None:
    """Two columns to the right, then one row down: causal, though a node on the way sees what comes after its pixel."""
    g = Builder()
    graph = g.build(g.shift2d(g.shift2d(g.image(channels=1), right=-2), down=1), ops.Gaussian())
    assert facts(graph).raster.clock == {"x": "pixel", "shift2d": "row-end", "shift2d_2": "row-start"}
    x = np.arange(12.0).reshape(1, 1, 3, 4)
    state = refar.initial_state(graph, {}, shape=(3, 4))
    for row, column in np.ndindex(3, 4):
        y, state = refar.step(graph, {}, state, x[:, :, row, column])
        assert y.item() == (x[0, 0, row - 1, column + 2] if row and column < 2 else 0)
