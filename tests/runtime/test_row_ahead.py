"""Images sampled ahead are those of one pixel after the other, and of the oracle; what cannot be guessed is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import refuses
from image_corners import CORNERS
from image_graphs import opened

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.errors import BackendError, GraphError, InputError
from refar.runtime import load, row_ahead
from refar.runtime.canvas import Canvas
from refar.runtime.pace import Pace
from refar.runtime.painter import Painter
from refar.testing.contract.cases import generic_inputs
from refar_export import export

NETWORKS: dict[str, Graph] = {
    "two stacks": models.pixelcnn(4, kernel=3, hidden=6, position=2, condition="class:3"),
    "masked": models.masked_pixelcnn(4, layers=2, hidden=8, kernel=3, first_kernel=3, condition="vector:3"),
    "gated": models.gated_pixelcnn(4, layers=2, hidden=8, kernel=3, first_kernel=5, local="vector:2"),
    "colours that do not see each other": models.pixelcnn(5, channels=3, kernel=3, hidden=6, mixture=2),
}
SHAPE = (6, 9)


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guess all the time, whatever it takes."""
    monkeypatch.setattr(Pace, "guesses", True)


def painter(name: str) -> tuple[Painter, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A painter, its parameters, and conditions of two images."""
    graph = NETWORKS[name]
    params = {each: (3 * value).astype(np.float32) for each, value in refar.init(graph, seed=2).items()}
    inputs = generic_inputs(graph, np.random.default_rng(1), 2, *SHAPE)
    return Painter(graph, opened(graph, params)), params, {n: a for n, a in inputs.items() if n != facts(graph).sequence}


@pytest.mark.parametrize("ahead", [1, 3, 8, 20])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_images_are_those_of_one_pixel_after_the_other(name: str, ahead: int) -> None:
    network, params, given = painter(name)
    options: dict[str, Any] = {"batch": 2, "seed": 3, "condition": given or None}
    x, y = network.paint_with_outputs(SHAPE, ahead=ahead, **options)
    plain, outputs = network.paint_with_outputs(SHAPE, **options)
    np.testing.assert_array_equal(x, plain)
    np.testing.assert_allclose(y, outputs, rtol=1e-4, atol=1e-4)  # float32, in another order of sums
    np.testing.assert_array_equal(x, refar.generate(NETWORKS[name], params, SHAPE, **options))


@pytest.mark.parametrize(
    "more", [{"temperature": 0.0}, {"temperature": 0.6, "top_k": 2}, {"first": 20}, {"first": 27}, {"first": 53}, {"first": 54}]
)
def test_the_same_with_options(more: dict[str, Any]) -> None:
    network, _, given = painter("two stacks")
    options = {"batch": 2, "seed": 3, "condition": given, **more}
    count = options.pop("first", 0)
    prompt = network.paint(SHAPE, batch=2, seed=9, condition=given).reshape(2, 1, -1)[:, :, :count]
    np.testing.assert_array_equal(
        network.paint(SHAPE, prompt=prompt, ahead=5, **options), network.paint(SHAPE, prompt=prompt, **options)
    )


def test_the_clock_changes_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    coming = iter(np.random.default_rng(0).integers(0, 2, 1000))
    monkeypatch.setattr(Pace, "guesses", property(lambda _: bool(next(coming))))
    network, _, given = painter("masked")
    options: dict[str, Any] = {"batch": 2, "seed": 3, "condition": given}
    np.testing.assert_array_equal(network.paint(SHAPE, ahead=4, **options), network.paint(SHAPE, **options))


def test_several_pixels_come_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pixels that depend on nothing the second call of a row confirms all guesses."""
    graph = models.pixelcnn(4, kernel=3, hidden=6)
    params = {name: np.zeros(shape, np.float32) for name, shape in facts(graph).parameters.items()}
    calls, right = [], Canvas._visit_several
    monkeypatch.setattr(Canvas, "_visit_several", lambda self, *of: calls.append(of[0]) or right(self, *of))
    network = Painter(graph, opened(graph, params))
    images = network.paint(SHAPE, seed=1, ahead=8)
    assert len(calls) <= 2 * SHAPE[0]
    np.testing.assert_array_equal(images, network.paint(SHAPE, seed=1))


def test_what_cannot_be_guessed_is_refused() -> None:
    ordered = models.masked_pixelcnn(3, channels=3, layers=1, hidden=3, kernel=3, first_kernel=5)
    params = {name: value.astype(np.float32) for name, value in refar.init(ordered).items()}
    with refuses(GraphError, "ahead: expected an output that is known before its pixel", "colours before it"):
        Painter(ordered, opened(ordered, params)).paint(SHAPE, ahead=2)
    real = CORNERS["far_rows"]
    params = {name: value.astype(np.float32) for name, value in refar.init(real).items()}
    with refuses(GraphError, "ahead: expected a network of classes", "real values"):
        Painter(real, opened(real, params)).paint(SHAPE, ahead=2)
    with refuses(InputError, "ahead", "-1"):
        painter("masked")[0].paint(SHAPE, condition=np.zeros((1, 3)), ahead=-1)


def noise_of_the_pixel_before(monkeypatch: pytest.MonkeyPatch) -> None:
    right = row_ahead.RowAhead._drawn
    monkeypatch.setattr(
        row_ahead.RowAhead, "_drawn", lambda self, y, noises, column: right(self, y, np.roll(noises, 1, axis=0), column)
    )


def not_gone_back(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Canvas._visit_several

    def late(self: Canvas, first: int, x_nbc: np.ndarray) -> np.ndarray:
        return right(self, first + (0 < first < SHAPE[1] - len(x_nbc)), x_nbc)

    monkeypatch.setattr(Canvas, "_visit_several", late)


def one_guess_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    right = row_ahead.confirmed_pixels
    monkeypatch.setattr(row_ahead, "confirmed_pixels", lambda x, drawn: min(right(x, drawn) + 1, x.shape[2]))


def longest_prefix_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    right = row_ahead.confirmed_pixels
    monkeypatch.setattr(
        row_ahead, "confirmed_pixels", lambda x, drawn: max(right(x[b : b + 1], drawn[b : b + 1]) for b in range(len(x)))
    )


MISTAKES: list[Callable[[pytest.MonkeyPatch], None]] = [
    noise_of_the_pixel_before, not_gone_back, one_guess_too_many, longest_prefix_of_a_batch
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_other_pixels(mistake: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    network, _, given = painter("masked")
    options: dict[str, Any] = {"batch": 2, "seed": 3, "condition": given}
    plain = network.paint(SHAPE, **options)
    mistake(monkeypatch)
    assert (network.paint(SHAPE, ahead=4, **options) != plain).any()


@pytest.mark.parametrize("ahead", [0, 4])
def test_outputs_that_are_not_finite_are_seen(ahead: int, tmp_path: Path) -> None:
    """Also the one at which a row begins."""
    g = Builder()
    x, c = g.image(classes=2), g.condition("c", channels=1, local=True, axes="hw")
    h = g.conv2d(g.embedding(x, 2), 2, kernel=3, mask="A")
    graph = g.build(g.add(h, g.conv2d(c, 2, kernel=1, name="k")), ops.Categorical())
    params = {name: np.full_like(array, 10) if name == "k.weight" else array for name, array in refar.init(graph).items()}
    session = load(export(graph, params, tmp_path / "b"))
    for column in (0, 5, 7):
        condition = np.zeros((1, 1, 4, 8))
        condition[0, 0, 2, column] = 2e38
        with pytest.raises(BackendError, match="expected finite outputs"):
            session.generate((4, 8), seed=1, condition=condition, ahead=ahead)
