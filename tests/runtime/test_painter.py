"""Images painted in onnxruntime: those of `refar.generate`, outputs within the bound; prompts, and pixels pushed one by one."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
from helpers import refuses
from image_corners import CORNERS
from image_graphs import expected, opened
from small_models import IMAGE_MODELS

import refar
from refar import Builder, Graph, models, noise, ops
from refar.analysis.facts import facts
from refar.analysis.image_slots import CONDITION, PIXEL, PIXELS, ROW, image_slots
from refar.arguments.arrays import Array, Arrays
from refar.errors import BackendError, FileError, GraphError, InputError
from refar.runtime.painter import Painter
from refar.testing.contract.cases import generic_inputs, generic_parameters

STRICT = {
    **IMAGE_MODELS,
    **{name: CORNERS[name] for name in ("no_rows", "rows_alone", "whole_rows", "far_rows", "colours")},
    "map_mixture": models.pixelcnn(9, mixture=1, kernel=3, hidden=2, position=2, local="class:3"),
}
SIZES = [(1, 1), (1, 9), (9, 1), (7, 5)]
CAUSAL = {name: graph for name, graph in {**IMAGE_MODELS, **CORNERS}.items() if facts(graph).looks_ahead is None}


def prepared(graph: Graph, batch: int, shape: tuple[int, int], seed: int = 1) -> tuple[Painter, Arrays, Arrays, Arrays]:
    """A painter, its parameters as float32 holds them, all inputs, and the conditions among them."""
    rng = np.random.default_rng([seed, *shape])
    params = {name: array.astype(np.float32) for name, array in generic_parameters(graph, rng, alive=seed % 2 == 1).items()}
    inputs = generic_inputs(graph, rng, batch, *shape)
    return Painter(graph, opened(graph, params)), params, inputs, conditions(graph, inputs)


def conditions(graph: Graph, inputs: Arrays) -> Arrays:
    return {name: array for name, array in inputs.items() if name != facts(graph).sequence}


def assert_painted(graph: Graph, params: Arrays, x: Array, y: Array, given: Arrays, seed: int, temperature: float) -> None:
    """The outputs are within the bound, and of every image the first value that differs, if any, is one in doubt."""
    wanted = expected(graph, params, {facts(graph).sequence: x, **given})
    assert wanted.ratio(y) <= 1
    oracle, y_oracle = refar.bind(graph, params).generate_with_outputs(
        x.shape[2:], batch=len(x), seed=seed, condition=given or None, temperature=temperature
    )
    if not facts(graph).types[facts(graph).sequence].indexed:
        np.testing.assert_allclose(x, oracle, rtol=0, atol=1e-4)
        return
    for image, different in enumerate((x != oracle).any(axis=1)):
        for row, column in np.argwhere(different)[:1]:  # in raster order
            assert gap(graph, y_oracle[image, :, row, column], image, row * x.shape[3] + column, seed, temperature) <= (
                2 * wanted.bound_bhw[image, row, column] / (temperature or 1)
            )


def gap(graph: Graph, y_c: Array, image: int, place: int, seed: int, temperature: float) -> float:
    """How far the drawn class is before the next one, at the colour where that is least; of another head no doubt is granted."""
    if not isinstance(graph.head, ops.Categorical):
        return float("inf")
    colours = facts(graph).types[facts(graph).sequence].channels
    draws = noise.draw(graph.head, seed, [image], place * colours, colours, len(y_c) // colours)[:, 0]
    scores = [y_c[c::colours] / (temperature or 1) + draws[c] * (temperature > 0) for c in range(colours)]
    return float(min(np.diff(np.sort(score)[-2:])[0] for score in scores))


@pytest.mark.parametrize("name", STRICT)
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("batch", [1, 7])
def test_images_are_those_of_the_oracle(name: str, shape: tuple[int, int], batch: int) -> None:
    graph = STRICT[name]
    painter, params, _, given = prepared(graph, batch, shape)
    x, y = painter.paint_with_outputs(shape, batch=batch, seed=5, condition=given)
    assert (x.shape[0], x.shape[2:], y.dtype) == (batch, shape, np.float32)
    assert_painted(graph, params, x, y, given, seed=5, temperature=1.0)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 0.7}, {"top_k": 1}, {"top_k": 2, "seed": 2**63}])
def test_options_are_those_of_the_oracle(options: dict[str, Any]) -> None:
    graph = IMAGE_MODELS["gated_class"]
    painter, params, _, given = prepared(graph, 3, (5, 4), seed=2)
    wanted = refar.generate(graph, params, (5, 4), batch=3, condition=given, **options)
    np.testing.assert_array_equal(painter.paint((5, 4), batch=3, condition=given, **options), wanted)


@pytest.mark.parametrize("name", ["pixelcnn", "gated_rgb_map", "masked_rgb", "rows_alone", "no_rows"])
def test_a_prompt_of_rows_or_pixels_is_gone_on_from(name: str) -> None:
    """With the first values of an image as a prompt, the rest is painted as before: the noise goes by places."""
    painter, _, _, given = prepared(STRICT[name], 2, (4, 3), seed=2)
    whole, y = painter.paint_with_outputs((4, 3), batch=2, seed=3, condition=given)
    for rows in range(5):
        np.testing.assert_array_equal(painter.paint((4, 3), seed=3, condition=given, prompt=whole[:, :, :rows], batch=2), whole)
    pixels = whole.reshape(*whole.shape[:2], 12)
    for count in range(13):
        x, outputs = painter.paint_with_outputs((4, 3), seed=3, condition=given, prompt=pixels[:, :, :count], batch=2)
        np.testing.assert_array_equal(x, whole)
        flat = outputs.reshape(2, -1, 12)
        assert not flat[:, :, :count].any()
        scale = 1e-5 * np.abs(y).max()  # several visits at once are summed in another order
        np.testing.assert_allclose(flat[:, :, count:], y.reshape(2, -1, 12)[:, :, count:], rtol=0, atol=scale)


def test_a_prompt_of_other_pixels_is_kept() -> None:
    painter, params, inputs, _ = prepared(IMAGE_MODELS["masked_rgb"], 2, (4, 3))
    prompt = inputs["x"][:, :, :2]
    x = painter.paint((4, 3), seed=3, prompt=prompt)
    np.testing.assert_array_equal(x, refar.generate(painter.graph, params, (4, 3), batch=2, seed=3, prompt=prompt))
    one = painter.paint((4, 3), seed=3, prompt=prompt[:1], batch=3)
    assert (one[:, :, :2] == prompt[:1]).all()


class Counting:
    """A session that counts its calls."""

    def __init__(self, session: Any, name: str, calls: Counter[str]) -> None:
        self._session, self._name, self._calls = session, name, calls

    def run_with_iobinding(self, binding: Any) -> None:
        self._calls[self._name] += 1
        self._session.run_with_iobinding(binding)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.mark.parametrize(
    ("name", "pixels", "calls"),
    [
        ("pixelcnn", 0, {ROW: 4, PIXEL: 4 * 4}),  # W + 1 visits a row
        ("masked_rgb", 0, {ROW: 4, PIXEL: 4 * 3 * 4}),  # C looks and a push for each pixel
        ("pixelcnn", 7, {ROW: 4, PIXELS: 3, PIXEL: 2 + 4}),  # two rows and one pixel: a call for each
        ("masked_rgb", 6, {ROW: 4, PIXELS: 2, PIXEL: 2 * 3 * 4}),
        ("no_rows", 0, {PIXEL: 4 * 4}),
        ("pixelcnn", 12, {}),  # nothing is left to be painted
    ],
)
def test_what_an_image_costs(name: str, pixels: int, calls: dict[str, int]) -> None:
    graph, counted = STRICT[name], Counter[str]()
    _, params, inputs, given = prepared(graph, 1, (4, 3))
    sessions = {file: Counting(session, file, counted) for file, session in opened(graph, params).items()}
    prompt = inputs[facts(graph).sequence].reshape(1, -1, 12)[:, :, :pixels]
    Painter(graph, sessions).paint((4, 3), condition=given, prompt=prompt)
    assert counted == calls


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("looks", [False, True])
def test_pushed_pixels_give_the_outputs_of_the_whole_pass(name: str, looks: bool) -> None:
    """Of every causal graph, strict or not; looks in between, at other pixels, change nothing."""
    graph = CAUSAL[name]
    painter, params, inputs, given = prepared(graph, 2, (4, 3))
    x, wanted = inputs[facts(graph).sequence], expected(graph, params, inputs)
    canvas = painter.start((4, 3), 2, given)
    y = np.zeros_like(wanted.y_bchw)
    for place, (row, column) in enumerate(np.ndindex(4, 3)):
        assert canvas.place == place
        if looks:
            canvas.look()
            canvas.look(x[:, :, 3 - row, column])
            np.testing.assert_array_equal(canvas.look(x[:, :, row, column]), canvas.look(x[:, :, row, column]))
        y[:, :, row, column] = canvas.push(x[:, :, row, column])
    assert wanted.ratio(y) <= 1
    with refuses(InputError, "pixels to come", "a complete one of 12"):
        canvas.push(x[:, :, 0, 0])
    with refuses(InputError, "pixels to come"):
        canvas.look()


@pytest.mark.parametrize("name", CAUSAL)
def test_blocks_of_pixels_give_the_outputs_of_the_whole_pass(name: str) -> None:
    """From inside a row on, over several rows, after a push and after a look; `block` takes none too."""
    graph = CAUSAL[name]
    painter, params, inputs, given = prepared(graph, 2, (4, 3))
    x, wanted = inputs[facts(graph).sequence], expected(graph, params, inputs)
    pixels = x.reshape(*x.shape[:2], 12)
    canvas, outputs = painter.start((4, 3), 2, given), []
    for begin, end in ((0, 2), (2, 2), (2, 7), (7, 12)):
        canvas.look()
        outputs.append(canvas.block(pixels[:, :, begin:end]))
    assert wanted.ratio(np.concatenate(outputs, axis=2).reshape(*outputs[0].shape[:2], 4, 3)) <= 1
    canvas = painter.start((4, 3), 2, given)
    first = canvas.push(pixels[:, :, 0])[..., None]
    assert wanted.ratio(np.concatenate([first, canvas.block(pixels[:, :, 1:])], axis=2).reshape(*first.shape[:2], 4, 3)) <= 1
    with refuses(InputError, "canvas: expected at most the 0 pixels to come, got 1"):
        canvas.block(pixels[:, :, :1])


def test_a_canvas_belongs_to_one_thread_at_a_time() -> None:
    canvas = prepared(IMAGE_MODELS["masked_rgb"], 1, (2, 2))[0].start((2, 2))
    caught: list[BackendError] = []

    def look() -> None:
        try:
            canvas.look()
        except BackendError as error:
            caught.append(error)

    with canvas._lock:
        other = threading.Thread(target=look)
        other.start()
        other.join()
    assert [str(error) for error in caught] == ["look: this canvas is at work in another thread; give each thread one of its own"]


def test_a_look_sees_the_colours_that_are_known() -> None:
    graph = IMAGE_MODELS["gated_rgb_map"]
    painter, params, inputs, given = prepared(graph, 2, (3, 3))
    x, y = inputs["x"], refar.forward(graph, params, inputs)
    canvas = painter.start((3, 3), 2, given)
    for row, column in np.ndindex(3, 3):
        known = np.zeros_like(x[:, :, 0, 0])
        for colour in range(3):
            np.testing.assert_allclose(canvas.look(known)[:, colour::3], y[:, colour::3, row, column], rtol=0, atol=1e-5)
            known[:, colour] = x[:, colour, row, column]
        canvas.push(known)


def test_images_do_not_disturb_each_other() -> None:
    """Two canvases of one painter in turn, and an image painted in between."""
    painter, params, inputs, _ = prepared(IMAGE_MODELS["masked_rgb"], 2, (3, 3))
    x, y = inputs["x"], refar.forward(painter.graph, params, inputs)
    first, second = painter.start((3, 3), 2), painter.start((3, 3), 2)
    for row, column in np.ndindex(3, 3):
        found = first.push(x[:, :, row, column])
        second.push(x[:, :, 2 - row, column])
        if row == column:
            painter.paint((2, 2))
        np.testing.assert_allclose(found, y[:, :, row, column], rtol=0, atol=1e-5)


def test_no_images_and_full_prompts() -> None:
    painter, *_ = prepared(IMAGE_MODELS["masked_rgb"], 1, (2, 2))
    assert painter.paint((2, 2), batch=0).shape == (0, 3, 2, 2)
    full = np.ones((2, 3, 2, 2), np.int64)
    np.testing.assert_array_equal(painter.paint((2, 2), prompt=full), full)
    with refuses(InputError, "batch", "at least 1 image"):
        painter.start((2, 2), 0)


def test_a_row_of_a_batch_is_the_image_alone() -> None:
    painter, *_ = prepared(IMAGE_MODELS["masked_rgb"], 1, (3, 3), seed=2)
    np.testing.assert_array_equal(painter.paint((3, 3), batch=4, seed=8)[:1], painter.paint((3, 3), batch=1, seed=8))


def test_progress_counts_rows() -> None:
    painter, *_ = prepared(IMAGE_MODELS["masked_rgb"], 1, (3, 2))
    seen: list[int] = []
    painter.paint((3, 2), progress=seen.append)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"prompt": np.zeros((1, 3, 13), int)}, ["prompt", "at most 12 pixels", "13"]),
        ({"prompt": np.zeros((1, 2, 3), int)}, ["prompt", "3 channels"]),
        ({"prompt": np.full((1, 3, 2), 3)}, ["prompt", "classes 0..2"]),
        ({"prompt": np.zeros((1, 3, 5, 3), int)}, ["prompt", "4 rows and 3 columns"]),
        ({"prompt": np.zeros((2, 3, 1), int), "batch": 3}, ["prompt", "1 or 3 images", "2"]),
        ({"temperature": -1}, ["temperature"]),
        ({"top_k": 4}, ["top_k"]),
        ({"seed": -1}, ["seed"]),
        ({"condition": np.zeros(1)}, ["condition", "none"]),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], fragments: list[str]) -> None:
    painter, *_ = prepared(IMAGE_MODELS["masked_rgb"], 1, (4, 3))
    with refuses(InputError, *fragments):
        painter.paint((4, 3), **options)


def test_pixels_that_do_not_fit_are_refused() -> None:
    canvas = prepared(IMAGE_MODELS["masked_rgb"], 1, (4, 3))[0].start((4, 3), 2)
    with refuses(InputError, "'x'", "2 rows", "3"):
        canvas.push(np.zeros((3, 3), int))
    with refuses(InputError, "'x'", "classes 0..2", "7"):
        canvas.push(np.full((2, 3), 7))
    with refuses(InputError, "'x'", "axes bcn", "(2, 3)"):
        canvas.block(np.zeros((2, 3), int))
    with refuses(InputError, "'x'", "2 rows", "3"):
        canvas.block(np.zeros((3, 3, 1), int))
    with refuses(InputError, "'x'", "classes 0..2", "7"):
        canvas.block(np.full((2, 3, 2), 7))
    with refuses(InputError, "at most the 12 pixels to come, got 13"):
        canvas.block(np.zeros((2, 3, 13), int))
    assert canvas.place == 0


def test_only_strict_graphs_with_a_head_are_painted() -> None:
    with refuses(GraphError, "generate needs a strict graph"):
        prepared(CORNERS["right_neighbour"], 1, (2, 2))[0].paint((2, 2))
    with refuses(GraphError, "generate needs a graph with a head"):
        prepared(CORNERS["place_alone"], 1, (2, 2))[0].paint((2, 2))


def test_sessions_of_another_graph_are_refused() -> None:
    graph = IMAGE_MODELS["gated_class"]
    sessions = opened(graph, refar.init(graph))
    with refuses(FileError, ROW, "got none"):
        Painter(graph, {name: session for name, session in sessions.items() if name != ROW})
    with refuses(FileError, CONDITION, "expected inputs"):
        Painter(graph, sessions | {CONDITION: sessions[PIXEL]})


def test_an_output_that_is_not_finite_is_an_error() -> None:
    g = Builder()
    graph = g.build(g.conv2d(g.shift2d(g.image(channels=1), right=1), 1), ops.Gaussian(0.5))
    params = {name: np.full_like(array, 3e38) for name, array in refar.init(graph).items()}
    with refuses(BackendError, PIXEL, "finite"):
        Painter(graph, opened(graph, params)).paint((2, 4))


def test_classes_of_outputs_that_are_not_finite_are_an_error_too() -> None:
    """The classes drawn from them are classes all the same, so that the row can be completed and looked at."""
    graph = models.pixelcnn(9, mixture=2, kernel=3, hidden=2)
    params = {name: np.full_like(array, np.nan) for name, array in refar.init(graph).items()}
    with refuses(BackendError, PIXEL, "finite"):
        Painter(graph, opened(graph, params)).paint((2, 4))


@pytest.mark.parametrize("numbers", [1, 200])
@pytest.mark.parametrize("known", [0, 7])
def test_noise_that_is_drawn_ahead_is_the_same(numbers: int, known: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of one row, and of some rows; also where the first pixels are known."""
    painter, *_ = prepared(IMAGE_MODELS["masked_rgb"], 1, (6, 4))
    prompt = painter.paint((6, 4), batch=2, seed=5).reshape(2, 3, -1)[:, :, :known]
    wanted = painter.paint((6, 4), batch=2, seed=3, prompt=prompt)
    monkeypatch.setattr("refar.runtime.painter._FIRST_NUMBERS", 1)
    monkeypatch.setattr("refar.runtime.painter._NOISE_NUMBERS", numbers)
    np.testing.assert_array_equal(painter.paint((6, 4), batch=2, seed=3, prompt=prompt), wanted)


def test_slots_are_zero_left_of_the_image_ever() -> None:
    painter, _, inputs, given = prepared(IMAGE_MODELS["masked_rgb"], 2, (3, 3))
    canvas = painter.start((3, 3), 2, given)
    for row, column in np.ndindex(3, 3):
        canvas.push(inputs["x"][:, :, row, column])
    slots = image_slots(painter.graph)
    assert not canvas._state["past.pixels"].get()[: slots.past + 1 + slots.first_visit].any()
