"""What a user gets wrong with images: graphs that have no meaning over an image, and data that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import refuses

import refar
from refar import Builder, Graph, from_json, ops, to_json
from refar.errors import GraphError, InputError, ParameterError
from refar.torch import Module


@pytest.mark.parametrize(
    ("build", "fragments"),
    [
        (lambda g, x: g.conv2d(x, 1, kernel=(2, 3), name="y"), ["an anchor, since a kernel of 2 rows has no centre", "got none"]),
        (lambda g, x: g.conv2d(x, 1, kernel=(3, 4), name="y"), ["an anchor, since a kernel of 4 columns has no centre"]),
        (lambda g, x: g.conv2d(x, 1, kernel=3, anchor=(1, 3), name="y"), ["an anchor inside the kernel (3, 3)", "got (1, 3)"]),
        (lambda g, x: g.conv2d(x, 1, kernel=(1, 2), anchor=(1, 0), name="y"), ["inside the kernel (1, 2)", "got (1, 0)"]),
        (lambda g, x: g.conv2d(x, 1, anchor=(0, -1), name="y"), ["anchor[1]", ">= 0, got -1"]),
        (lambda g, x: g.conv2d(x, 1, anchor=(0,), name="y"), ["anchor", "length 2"]),
        (lambda g, x: g.conv2d(x, 1, kernel=(3, 0), name="y"), ["kernel[1]", ">= 1, got 0"]),
        (lambda g, x: g.conv2d(x, 1, dilation=0, name="y"), ["dilation[0]", ">= 1, got 0"]),
        (lambda g, x: g.conv2d(x, 1, mask="C", name="y"), ["mask", "'C'", "'none' or 'A' or 'B'"]),
        (lambda g, x: g.conv2d(x, 4, mask="A", colours=3, name="y"), ["3 colours divide", "3 input and 4 output channels"]),
        (lambda g, x: g.conv2d(x, 4, mask="A", colours=2, name="y"), ["2 colours divide", "3 input and 4 output channels"]),
        (lambda g, x: g.conv2d(x, 3, colours=3, name="y"), ["mask 'A' or 'B' with colours, which is what they order", "'none'"]),
        (lambda g, x: g.conv2d(x, 3, mask="A", groups=2, name="y"), ["2 groups divide", "3 input and 3 output channels"]),
        (lambda g, x: g.position(x, 0, name="y"), ["bits", ">= 1, got 0"]),
        (lambda g, x: g.position(x, 17, name="y"), ["bits", "<= 16, got 17"]),
    ],
)
def test_operators_over_a_plane(build: Callable[[Builder, str], str], fragments: list[str]) -> None:
    g = Builder()
    with refuses(GraphError, "node 'y'", *fragments):
        g.build(build(g, g.image(channels=3)))


COLOURED: list[tuple[int, Callable[[Builder, str], str], list[str]]] = [
    (2, lambda g, y: g.gate(y, name="y"), ["halves that 2 colours divide", "no colour sees another's", "halves of 3 channels"]),
    (3, lambda g, y: g.gate(g.slice(y, 0, 4), name="y"), ["halves that 3 colours divide", "halves of 2 channels"]),
    (3, lambda g, y: g.slice(y, 1, 4, name="y"), ["a start that 3 colours divide, so that channels keep theirs", "got 1"]),
    (3, lambda g, y: g.pad_channels(y, 2, name="y"), ["a multiple of 3 channels before, one for each colour", "got 2"]),
    (
        3,
        lambda g, y: g.concat(g.slice(y, 0, 4), y, name="y"),
        ["a multiple of 3 channels before one whose channels are colours", "got 4 channels before 'coloured'"],
    ),
    (
        3,
        lambda g, y: g.concat(g.position(y, 1), y, name="y"),
        ["a multiple of 3 channels before one whose channels are colours", "got 2 channels before 'coloured'"],
    ),
    (3, lambda g, y: g.add(y, g.conv2d(y, 6, mask="B", colours=2), name="y"), ["equally many colours", "got 2 and 3"]),
    (3, lambda g, y: g.concat(y, g.conv2d(y, 6, mask="B", colours=2), name="y"), ["equally many colours", "got 2 and 3"]),
]


@pytest.mark.parametrize(("colours", "build", "fragments"), COLOURED)
def test_what_would_mix_up_colours(colours: int, build: Callable[[Builder, str], str], fragments: list[str]) -> None:
    g = Builder()
    y = g.conv2d(g.image(channels=colours), 6, mask="A", colours=colours, name="coloured")
    with refuses(GraphError, "node 'y'", *fragments):
        g.build(build(g, y))


def test_numbers_of_numpy_are_numbers() -> None:
    g = Builder()
    node = g.conv2d(g.image(), np.int64(2), kernel=np.int64(3), dilation=np.int32(2))
    assert g.build(node)[node].op == ops.Conv2d(2, (3, 3), dilation=(2, 2))


def test_whole_pixels_may_be_moved() -> None:
    g = Builder()
    y = g.conv2d(g.image(channels=3), 6, mask="A", colours=3)
    both = g.concat(g.slice(y, 3, 6), g.pad_channels(y, 3, 1), g.position(y, 1))
    assert refar.forward(g.build(both), refar.init(g.build(both)), np.zeros((1, 3, 2, 2))).shape == (1, 15, 2, 2)


OVER_TIME, OVER_A_PLANE = "values over time (of images there are conv2d and shift2d)", "values over an image (an input with"


@pytest.mark.parametrize(
    ("space", "build", "fragments"),
    [
        ("hw", lambda g, x: g.conv1d(x, 1, name="y"), [OVER_TIME, "got 2 channels over an image"]),
        ("hw", lambda g, x: g.delay(x, name="y"), [OVER_TIME, "got 2 channels over an image"]),
        ("hw", lambda g, x: g.pool1d(x, "max", 2, pad="zero", name="y"), [OVER_TIME, "got 2 channels over an image"]),
        ("t", lambda g, x: g.conv2d(x, 1, name="y"), [OVER_A_PLANE, "got 2 channels over time"]),
        ("t", lambda g, x: g.shift2d(x, down=1, name="y"), [OVER_A_PLANE, "got 2 channels over time"]),
        ("t", lambda g, x: g.position(x, 1, name="y"), [OVER_A_PLANE, "got 2 channels over time"]),
        ("hw", lambda g, x: g.conv2d(g.condition(channels=1), 1, name="y"), [OVER_A_PLANE, "got 1 channels constant"]),
        (
            "hw",
            lambda g, x: g.conv2d(g.condition(classes=3, channels=2, local=True, axes="hw"), 1, name="y"),
            ["real values (put one_hot, embedding or standardize before it)", "got 3 classes of 2 colours over an image"],
        ),
        ("hw", lambda g, x: g.condition("y", channels=1, local=True), ["axes='hw', as the sequence 'x' has", "got 't'"]),
        (
            "t",
            lambda g, x: g.condition("y", channels=1, local=True, axes="hw"),
            ["axes='t', as the sequence 'x' has", "got 'hw'"],
        ),
        ("hw", lambda g, x: g.condition("y", channels=1, axes="hw"), ["over an image to be local", "got a global one"]),
        ("hw", lambda g, x: g.condition("y", classes=3, local=True, axes="hw"), ["channels ≥ 1: how many a pixel has"]),
    ],
)
def test_time_and_plane_do_not_mix(space: str, build: Callable[[Builder, str], str], fragments: list[str]) -> None:
    g = Builder()
    x = g.image(channels=2) if space == "hw" else g.input(channels=2)
    build(g, x)
    with refuses(GraphError, "node 'y'", *fragments):
        g.build(x)


def test_images_without_channels_or_of_one_class() -> None:
    for options, expected in (({"channels": 0}, "channels ≥ 1"), ({"classes": 1}, "classes ≥ 2"), ({"classes": -1}, ">= 0")):
        g = Builder()
        with refuses(GraphError, "node 'x' (input)", expected):
            g.build(g.image(**options))


@pytest.mark.parametrize("padding", ["input"])
def test_a_plane_is_padded_in_every_layer(padding: Any) -> None:
    g = Builder()
    with refuses(GraphError, "padding: expected 'layer' for a graph of images", f"got {padding!r}"):
        g.build(g.image(channels=1), padding=padding)
    g = Builder()
    text = to_json(g.build(g.image(channels=1))).decode().replace('"output": "x"', f'"output": "x", "padding": "{padding}"')
    with refuses(GraphError, "padding: expected 'layer' for a graph of images", f"got {padding!r}"):
        from_json(text)


@pytest.mark.parametrize(
    ("head", "size", "fragments"),
    [
        (ops.Categorical(), 4, ["logits for the classes", "(4 classes of 3 colours over an image)", "got 4 channels"]),
        (ops.MixtureLogistics(2, 4), 6, ["18 channels", "2 components) for 4 classes", "got 6 channels"]),
        (ops.Gaussian(), 3, ["means for the channels of a signal", "4 classes of 3 colours"]),
    ],
)
def test_heads_have_parameters_for_each_colour(head: ops.AnyHead, size: int, fragments: list[str]) -> None:
    g = Builder()
    x = g.shift2d(g.standardize(g.image(classes=4, channels=3), 1, 1), right=1)
    with refuses(GraphError, *fragments):
        g.build(g.conv2d(x, size), head)


def network() -> Graph:
    """Images of two colours with three classes, a class and a map as conditions."""
    g = Builder()
    h = g.conv2d(g.embedding(g.image(classes=3, channels=2), 2), 4, kernel=3, mask="A", colours=2)
    chart = g.conv2d(g.condition("chart", channels=1, local=True, axes="hw"), 4)
    h = g.add(h, chart, g.embedding(g.condition("label", classes=5), 4))
    return g.build(g.conv2d(g.relu(h), 6, mask="B", colours=2), ops.Categorical())


GRAPH = network()
PARAMS = refar.init(GRAPH)
X = np.random.default_rng(0).integers(0, 3, (2, 2, 3, 4))
CHART, LABEL = np.zeros((2, 1, 3, 4)), np.array([0, 4])


def test_the_right_image_is_taken() -> None:
    given = {"chart": CHART, "label": LABEL}
    y = refar.forward(GRAPH, PARAMS, X, given)
    assert y.shape == (2, 6, 3, 4)
    np.testing.assert_array_equal(refar.forward(GRAPH, PARAMS, {"x": X.tolist(), **given}), y)
    alone = refar.forward(GRAPH, PARAMS, X.astype(np.uint8), {"chart": CHART[0], "label": [0, 4]})
    np.testing.assert_array_equal(alone, y)
    assert refar.forward(GRAPH, PARAMS, X[:0], {"chart": CHART[:1], "label": 0}).shape == (0, 6, 3, 4)
    assert refar.log_prob(GRAPH, PARAMS, X[:0], {"chart": CHART[:1], "label": 0}).shape == (0,)


@pytest.mark.parametrize(
    ("x", "condition", "fragments"),
    [
        (X[:, :1], {}, ["'x'", "expected axes bchw with 2 channels", "shape (2, 1, 3, 4)"]),
        (X[:, 0], {}, ["'x'", "expected axes bchw with 2 channels", "shape (2, 3, 4)"]),
        (X.reshape(2, -1), {}, ["'x'", "expected axes bchw", "shape (2, 24)"]),
        (np.moveaxis(X, 1, -1), {}, ["'x'", "expected axes bchw with 2 channels", "shape (2, 3, 4, 2)"]),
        (X[:, :, :0], {}, ["'x'", "expected an image of at least 1 x 1 pixels", "shape (2, 2, 0, 4)"]),
        (X[:, :, :, :0], {}, ["'x'", "expected an image of at least 1 x 1 pixels", "shape (2, 2, 3, 0)"]),
        (X.astype(float), {}, ["'x'", "expected integers, the class indices", "got float64"]),
        (X + 1, {}, ["'x'", "expected classes 0..2", "got 3 at index"]),
        (np.where(X == X, -1, 0), {}, ["'x'", "expected classes 0..2", "got -1 at index (0, 0, 0, 0)"]),
        (X, {"chart": CHART[:, :, :2]}, ["the inputs differ in length", "'x' has 3 x 4 pixels", "'chart' has 2 x 4 pixels"]),
        (X, {"chart": CHART.swapaxes(2, 3)}, ["the inputs differ in length", "'chart' has 4 x 3 pixels"]),
        (X, {"chart": np.zeros((2, 2, 3, 4))}, ["'chart'", "expected axes bchw with 1 channels", "shape (2, 2, 3, 4)"]),
        (X, {"chart": np.zeros((2, 3, 4))}, ["'chart'", "expected axes bchw with 1 channels", "shape (2, 3, 4)"]),
        (X, {"chart": CHART[[0, 1, 0]]}, ["condition 'chart'", "expected 1 or 2 rows", "got 3"]),
        (X, {"chart": CHART * np.nan}, ["'chart'", "expected finite numbers", "at index (0, 0, 0, 0)"]),
        (X, {"label": LABEL[:, None]}, ["'label'", "expected axes b", "shape (2, 1)"]),
        (X, {"map": CHART}, ["'map'", "the graph has no such input"]),
    ],
)
def test_images(x: Any, condition: dict[str, Any], fragments: list[str]) -> None:
    given = {"chart": CHART, "label": LABEL, **condition}
    for call in (
        lambda: refar.forward(GRAPH, PARAMS, x, given),
        lambda: refar.log_prob(GRAPH, PARAMS, x, given),
        lambda: refar.nll(GRAPH, PARAMS, x, given),
        lambda: refar.backward(GRAPH, PARAMS, x, np.ones((2, 6, 3, 4)), given),
    ):
        with refuses(InputError, *fragments):
            call()


def test_a_map_that_is_missing() -> None:
    with refuses(InputError, "condition 'chart' (1 channels over an image) is missing"):
        refar.forward(GRAPH, PARAMS, X, {"label": LABEL})
    with refuses(InputError, "expected a mapping with 'chart', 'label'", "got an array"):
        refar.forward(GRAPH, PARAMS, X, CHART)


def test_weights_of_another_shape() -> None:
    wrong = PARAMS | {"conv2d.weight": np.zeros((4, 4, 3))}
    with refuses(ParameterError, "'conv2d.weight'", "expected shape (4, 4, 3, 3)", "got (4, 4, 3)"):
        refar.forward(GRAPH, wrong, X, {"chart": CHART, "label": LABEL})
    with refuses(InputError, "dy, the gradient of the output", "expected shape (2, 6, 3, 4)", "got (2, 6, 12)"):
        refar.backward(GRAPH, PARAMS, X, np.zeros((2, 6, 12)), {"chart": CHART, "label": LABEL})


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        *(({"top_k": k}, ["top_k: expected an integer from 1 to 3", f"got {k}"]) for k in (0, 4)),
        ({"temperature": -0.5}, ["temperature", "finite number ≥ 0", "got -0.5"]),
        ({"seed": -1}, ["seed", "got -1"]),
        ({"batch": 3}, ["expected 1 or 3 rows, got 2"]),
        ({"prompt": X[:, :, :1].astype(float)}, ["'prompt'", "expected integers"]),
        ({"condition": {"label": LABEL, "chart": CHART[:, :, :2]}}, ["condition 'chart'", "3 x 4 pixels", "got 2 x 4"]),
    ],
)
@pytest.mark.parametrize("algorithm", ["fast", "slow"])
def test_generation_of_images(options: dict[str, Any], fragments: list[str], algorithm: Any) -> None:
    call = {"condition": {"chart": CHART, "label": LABEL}, **options}
    with refuses(InputError, *fragments):
        refar.generate(GRAPH, PARAMS, (3, 4), algorithm=algorithm, **call)


@pytest.mark.parametrize(
    ("x", "chart", "fragments"),
    [
        (X[:, :1], CHART, ["'x'", "expected axes bchw with 2 channels", "(2, 1, 3, 4)"]),
        (X.astype(np.float32), CHART, ["'x'", "expected integers", "float32"]),
        (X + 1, CHART, ["'x'", "expected classes 0..2, got 3"]),
        (X[:, :, :0], CHART[:, :, :0], ["'x'", "at least 1 x 1 pixels", "(2, 2, 0, 4)"]),
        (X, CHART[:, :, :2], ["expected one number of positions", "3 x 4 for 'x'", "2 x 4 for 'chart'"]),
        (X, CHART[:1], ["expected one batch size", "1 for 'chart' and 2 for 'x'"]),
    ],
)
def test_a_module_refuses_the_same(x: np.ndarray, chart: np.ndarray, fragments: list[str]) -> None:
    given = {"chart": torch.from_numpy(chart), "label": torch.from_numpy(LABEL)}
    with refuses(InputError, *fragments):
        Module(GRAPH)(torch.from_numpy(x), given)


def looking_ahead() -> Graph:
    g = Builder()
    h = g.conv2d(g.image(channels=1), 2, kernel=(2, 1), anchor=(1, 0), name="above")
    return g.build(g.conv2d(g.shift2d(h, down=-1, name="ahead"), 1, kernel=(1, 2), anchor=(0, 1)), ops.Gaussian())


PIXELS = np.arange(12.0).reshape(1, 1, 3, 4)


@pytest.mark.parametrize(
    ("call", "purpose"),
    [
        (lambda g, p: refar.generate(g, p, (3, 4)), "generate"),
        (lambda g, p: refar.log_prob(g, p, PIXELS), "log_prob"),
        (lambda g, p: refar.nll(g, p, PIXELS), "nll"),
        (lambda g, p: refar.start(g, p, shape=(3, 4)), "start"),
        (lambda g, p: refar.next(g, p, {}, PIXELS[:, :, 0, 0]), "next"),
        (lambda g, p: refar.initial_state(g, p, shape=(3, 4)), "a stream"),
        (lambda g, p: refar.strictify(g), "strictify"),
    ],
)
def test_no_stream_can_look_ahead(call: Callable[[Graph, Any], Any], purpose: str) -> None:
    graph = looking_ahead()
    with refuses(GraphError, f"{purpose} needs a causal graph", "node 'ahead' (shift2d) at pixel (r, c) reads pixel (r + 1, c)"):
        call(graph, refar.init(graph))


def test_as_a_whole_it_is_evaluated() -> None:
    graph = looking_ahead()
    assert refar.offsets(graph) == {(0, 0), (-1, 0), (0, 1), (-1, 1)}
    assert refar.forward(graph, refar.init(graph), PIXELS).shape == (1, 1, 3, 4)


def test_images_are_not_made_strict_by_a_delay() -> None:
    g = Builder()
    graph = g.build(g.conv2d(g.image(channels=1), 1, kernel=3, mask="B"))
    with refuses(GraphError, "strictify expects a graph over time, got one of images", "mask 'A'", "Builder.shift2d"):
        refar.strictify(graph)
    assert refar.strictify(GRAPH) is GRAPH
