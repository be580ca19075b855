"""Session.complete: the tokens that the oracle generates from a prompt, a row for each trajectory; bands, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import refuses, with_surplus
from small_models import MODELS
from stream_graphs import GRAPHS

import refar
from refar import Builder, Graph, models, noise, ops, quantize
from refar.analysis.causality import receptive_field
from refar.analysis.facts import facts
from refar.errors import GraphError, InputError
from refar.rounding.tolerance import tolerance
from refar.runtime import completion, load
from refar.runtime.completion import Completion
from refar.runtime.opened import Opened
from refar.runtime.session import Session
from refar.testing.contract.cases import generic_inputs
from refar_export import export

Pair = tuple[Session, dict[str, np.ndarray]]
EXAMPLES, SAMPLES, LENGTH, SHAPE = 3, 4, 14, (4, 5)
ROWS = np.repeat(np.arange(EXAMPLES), SAMPLES)
GENERATING = {name: graph for name, graph in {**MODELS, **GRAPHS}.items() if graph.head is not None and facts(graph).strict}


def opened(graph: Graph, folder: Path) -> Pair:
    """A session, and its parameters: three times as wide as for training, so that logits lie well apart."""
    params = {name: 3 * value for name, value in refar.init(graph, seed=4).items()}
    return load(export(graph, params, folder / "b")), params


@pytest.fixture(params=GENERATING, scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return opened(GENERATING[request.param], tmp_path_factory.mktemp("b"))


@pytest.fixture(scope="module")
def painted(image_model: Graph, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return opened(image_model, tmp_path_factory.mktemp("b"))


def examples(graph: Graph, *size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """x and the conditions of three examples."""
    inputs = generic_inputs(graph, np.random.default_rng(6), EXAMPLES, *size)
    return inputs.pop(facts(graph).sequence), inputs


def of_rows(conditions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array[ROWS] for name, array in conditions.items()}


def assert_same(graph: Graph, found: np.ndarray, expected: np.ndarray) -> None:
    """Equal classes; signals but for rounding."""
    assert found.shape == (EXAMPLES, SAMPLES, *expected.shape[1:])
    difference = np.abs(found.reshape(expected.shape) - expected).max()
    exact = facts(graph).types[facts(graph).sequence].indexed
    assert difference <= (0 if exact else tolerance(graph, expected, np.float32))


@pytest.mark.row("002-13")
@pytest.mark.parametrize("observed", ["0", "1", "R", "all"])
def test_trajectories_are_the_oracles_tokens(pair: Pair, observed: str) -> None:
    session, params = pair
    graph = session.graph
    x, conditions = examples(graph, LENGTH)
    known = {"0": 0, "1": 1, "R": min(int(np.max(receptive_field(graph))), LENGTH - 2), "all": LENGTH - 3}[observed]
    options: dict[str, Any] = {"seed": 11, "temperature": 0.8}
    n = 3 if observed == "all" else None
    found = session.complete(x, known, n, samples=SAMPLES, condition=conditions, **options)
    new = LENGTH - known if n is None else n
    expected = refar.generate(
        graph, params, new, batch=len(ROWS), prompt=x[ROWS][..., :known], condition=of_rows(conditions), **options
    )
    assert_same(graph, found.trajectories, expected)
    np.testing.assert_array_equal(found.observed, x[..., :known])
    np.testing.assert_array_equal(found.truth, x[..., known : known + new])


@pytest.mark.row("002-13")
@pytest.mark.parametrize("known", [0, 5, 15, 19, 7])
def test_images_are_completed_as_the_oracle_paints(painted: Pair, known: int) -> None:
    """From whole rows as the oracle, which takes nothing else; from pixels as `generate`, which is held against the oracle."""
    session, params = painted
    graph = session.graph
    x, conditions = examples(graph, *SHAPE)
    found = session.complete(x, known, samples=SAMPLES, condition=conditions, seed=3)
    options: dict[str, Any] = {"batch": len(ROWS), "condition": of_rows(conditions), "seed": 3}
    pixels = x.reshape(*x.shape[:2], -1)[:, :, :known]
    expected = session.generate(SHAPE, prompt=pixels[ROWS], **options)
    if known % SHAPE[1] == 0:
        expected = refar.generate(graph, params, SHAPE, prompt=x[ROWS][:, :, : known // SHAPE[1]], **options)
    assert_same(graph, found.trajectories, expected)
    np.testing.assert_array_equal(found.observed, pixels)
    np.testing.assert_array_equal(found.truth, x)


def test_local_conditions_are_those_of_each_position(tmp_path: Path) -> None:
    graph = models.wavenet(5, [1, 2], residual=6, gate=4, skip=7, local="vector:2")
    session, params = opened(graph, tmp_path)
    x, conditions = examples(graph, LENGTH)
    found = session.complete(x, 6, samples=SAMPLES, condition=conditions)
    expected = refar.generate(graph, params, 8, batch=len(ROWS), prompt=x[ROWS, :6], condition=of_rows(conditions))
    assert_same(graph, found.trajectories, expected)
    with refuses(InputError, "expected at least 20 positions, got 14"):
        session.complete(x, 6, 14, condition=conditions)


def test_one_example_without_its_axis_and_one_condition_for_all(wavenet_bundle: Path) -> None:
    session = load(wavenet_bundle)
    x = np.random.default_rng(1).integers(0, 5, (2, 9))
    both = session.complete(x, 4, samples=2, condition=1)
    np.testing.assert_array_equal(both.trajectories, session.complete(x, 4, samples=2, condition=[1, 1]).trajectories)
    np.testing.assert_array_equal(session.complete(x[0], 4, samples=2, condition=1).trajectories[0], both.trajectories[0])
    ended = session.complete(x[:, :4], 4, 5, samples=2, condition=1)
    np.testing.assert_array_equal(ended.trajectories, both.trajectories)
    assert ended.truth.shape == (2, 0)
    assert ended.coverage(0, 1) == (0, 0)
    greedy = session.complete(x, 4, samples=3, temperature=0, condition=1).trajectories
    assert (greedy == greedy[:, :1]).all()
    assert session.complete(x[:0], 4, samples=2, condition=np.zeros(0, int)).trajectories.shape == (0, 2, 5)


@pytest.mark.parametrize("numbers", [1, 2000, 10**9])
def test_pieces_and_threads_do_not_matter(wavenet_bundle: Path, monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    session = load(wavenet_bundle)
    x = np.random.default_rng(1).integers(0, 5, (5, 9))
    options: dict[str, Any] = {"samples": 9, "condition": [0, 1, 2, 1, 0], "seed": 2, "top_k": 3}
    expected = session.complete(x, 4, **options).trajectories
    monkeypatch.setattr("refar.runtime.completion._NUMBERS", numbers)
    done: list[int] = []
    found = load(wavenet_bundle, threads=3).complete(x, 4, **options, progress=done.append).trajectories
    np.testing.assert_array_equal(found, expected)
    assert done == sorted(done)
    assert done[-1] == 5 * 9 * 5


def test_pieces_of_images_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = opened(models.pixelcnn(4, kernel=3, hidden=3, condition="class:3"), tmp_path)
    x = np.random.default_rng(1).integers(0, 4, (3, 1, *SHAPE))
    options: dict[str, Any] = {"samples": 5, "condition": [0, 1, 2], "seed": 2}
    expected = session.complete(x, 8, **options).trajectories
    for numbers in (1, 1000):
        monkeypatch.setattr("refar.runtime.completion._NUMBERS", numbers)
        done: list[int] = []
        np.testing.assert_array_equal(session.complete(x, 8, **options, progress=done.append).trajectories, expected)
        assert done == sorted(done)
        assert done[-1] == 3 * 5 * SHAPE[0]


def test_whole_examples_stay_together() -> None:
    def ends(*arguments: int) -> list[int]:
        return [piece.stop for piece in completion._pieces(*arguments)]

    each = completion._NUMBERS
    assert ends(30, 10, each // 25) == [20, 30]
    assert ends(30, 10, each // 7) == [7, 14, 21, 28, 30]
    assert ends(3, 10, 5 * each) == [1, 2, 3]
    assert ends(30, 10, 1) == [30]
    assert ends(0, 10, 1) == []


def test_each_prompt_is_computed_once(wavenet_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, rows = load(wavenet_bundle), list[int]()
    run = Opened.run

    def counted(self: Opened, model: str, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        rows.append(len(inputs["x"]))
        return run(self, model, outputs, inputs)

    monkeypatch.setattr(Opened, "run", counted)
    session.complete(np.zeros((2, 9), int), 4, samples=50, condition=[0, 1])
    assert rows == [2]


def test_quantiles_by_hand() -> None:
    trajectories = np.array([[[30], [10], [20]]])  # of one example, three of one position
    found = Completion(np.zeros((1, 0), int), trajectories, np.array([[20]]))
    levels = [0, 0.25, 0.375, 0.5, 0.75, 1]
    np.testing.assert_allclose(found.quantiles(levels)[:, 0, 0], [10, 10, 15, 20, 30, 30])
    assert found.quantiles(0.5).shape == (1, 1)
    halves = found.decoded(lambda x: x / 2).quantiles([0.5, 1])
    np.testing.assert_allclose(halves[:, 0, 0], [10, 15])


def test_coverage_by_hand() -> None:
    trajectories = np.arange(9).reshape(1, 9, 1) + np.array([0, 100, 200])
    found = Completion(np.zeros((1, 4), int), trajectories, np.array([[1, 109, 207]]))
    assert found.coverage(0.1, 0.9) == (2, 3)  # 0..8, 100..108, 200..208
    assert found.coverage(0.5, 0.9) == (1, 3)  # 4..8, 104..108, 204..208
    assert found.coverage(0.2, 0.2) == (1, 3)  # 1, 101, 201
    with refuses(InputError, "the lower one first, got 0.9 and 0.1"):
        found.coverage(0.9, 0.1)


def test_only_hidden_pixels_are_covered() -> None:
    images = np.stack([np.full((2, 3, 4), value) for value in range(9)])[None]
    truth = np.full((1, 2, 3, 4), 99)
    truth[0, :, 1, 2:] = 4  # of two colours: the observed row and two pixels more do not count
    found = Completion(truth.reshape(1, 2, 12)[:, :, :6], images, truth)
    assert found.coverage(0.1, 0.9) == (4, 12)


def autoregressive(tmp_path: Path) -> Session:
    """x_t ~ N(x_{t-1} - x_{t-2} / 2, 1)."""
    graph = models.linear_ar(2)
    params = refar.init(graph)
    weights = {name: np.array([[[-0.5, 1.0]]]) if value.ndim == 3 else np.zeros_like(value) for name, value in params.items()}
    return load(export(graph, weights, tmp_path / "ar"))


@pytest.mark.row("002-13")
@pytest.mark.parametrize("samples", [19, 99])
def test_the_bands_of_a_network_that_is_right_hold_what_they_say(tmp_path: Path, samples: int) -> None:
    """Of series drawn from the network itself, which are independent, a value lies in the band with probability 0.9."""
    session, series = autoregressive(tmp_path), 2000
    x = session.generate(8, batch=series, seed=1)
    found = session.complete(x, 5, samples=samples, seed=2)
    for position in range(3):
        last = Completion(found.observed, found.trajectories[..., position, None], found.truth[..., position, None])
        held, count = last.coverage(0.05, 0.95)
        assert count == series
        assert abs(held / count - 0.9) < 4 * np.sqrt(0.9 * 0.1 / series)


def test_the_bands_are_those_of_the_distribution(tmp_path: Path) -> None:
    """Of x_t ~ N(x_{t-1} - x_{t-2} / 2, 1) the mean and the standard deviation two steps ahead are known."""
    session = autoregressive(tmp_path)
    found = session.complete(np.array([[[1.0, 3.0]]]), 2, 2, samples=20000, seed=3)
    one, two = 3 - 0.5, (3 - 0.5) - 1.5
    deviations = [1, np.sqrt(1 + 1)]
    bands = found.quantiles([0.025, 0.5, 0.975])[:, 0, 0]
    expected = np.array([[one, two] + z * np.array(deviations) for z in (-1.96, 0, 1.96)])
    assert np.abs(bands - expected).max() < 4 * 2.7 * np.sqrt(2) / np.sqrt(20000)  # of a quantile: √(p·(1-p)) / density


def test_classes_count_by_what_they_stand_for(wavenet_bundle: Path) -> None:
    quantizer = quantize.mu_law(5)
    found = load(wavenet_bundle).complete(np.zeros((2, 7), int), 3, samples=9, condition=0)
    values = quantizer.decode(found.trajectories)
    decoded = found.decoded(quantizer.decode)
    np.testing.assert_allclose(decoded.quantiles([0.1, 0.5]), np.sort(values, axis=1)[:, [0, 4]].swapaxes(0, 1))
    np.testing.assert_array_equal(decoded.truth, quantizer.decode(found.truth))
    np.testing.assert_array_equal(decoded.observed, quantizer.decode(found.observed))
    assert decoded.coverage(0.1, 0.9) == found.coverage(0.1, 0.9)
    with_axis = found.decoded(lambda x: quantizer.decode(x)[:, None])
    assert with_axis.trajectories.shape == (2, 9, 1, 4)
    assert with_axis.quantiles(0.5).shape == (2, 1, 4)
    assert not with_axis.is_image


def test_noise_is_added_to_what_is_observed_and_to_nothing_else(tmp_path: Path) -> None:
    session = autoregressive(tmp_path)
    x = np.random.default_rng(0).normal(size=(4, 1, 2000))
    found = session.complete(x, 1990, samples=2, seed=5, noise=0.3)
    added = (found.observed - x[..., :1990])[:, 0]
    assert np.abs(added.std(axis=1) / 0.3 - 1).max() < 4 / np.sqrt(2 * 1990)
    assert np.abs(np.corrcoef(added) - np.eye(4)).max() < 5 / np.sqrt(1990)
    np.testing.assert_array_equal(found.truth, x[..., 1990:])
    from_noisy = session.complete(found.observed, 1990, 10, samples=2, seed=5)
    np.testing.assert_array_equal(found.trajectories, from_noisy.trajectories)
    again = session.complete(x[:2], 1990, samples=2, seed=5, noise=0.3)
    np.testing.assert_array_equal(again.observed, found.observed[:2])
    other = session.complete(x[:2], 1990, samples=2, seed=6, noise=0.3)
    assert (other.observed != again.observed).all()
    np.testing.assert_array_equal(session.complete(x, 1990, seed=5, noise=0).observed, x[..., :1990])
    row = noise.draw(ops.Gaussian(), 5, [2**33 + 1], 0, 1990, 1)[:, 0, 0]
    np.testing.assert_allclose(added[1], 0.3 * row, rtol=1e-9, atol=1e-12)


def test_noise_moves_classes_by_steps_and_not_beyond_the_ends(tmp_path: Path) -> None:
    session, _ = opened(models.wavenet(5, [1], residual=4, gate=4, skip=4), tmp_path / "s")
    x = np.random.default_rng(0).integers(0, 5, (3, 400))
    found = session.complete(x, 399, noise=2.0)
    assert found.observed.dtype == np.int64
    assert set(found.observed.ravel().tolist()) == set(range(5))
    assert (session.complete(x, 399, noise=0.01).observed == x[:, :399]).all()
    painter, _ = opened(models.masked_pixelcnn(3, channels=3, hidden=6, layers=1), tmp_path / "p")
    images = np.random.default_rng(0).integers(0, 3, (2, 3, *SHAPE))
    completed = painter.complete(images, 12, noise=1.0)
    np.testing.assert_array_equal(completed.trajectories.reshape(2, 3, -1)[:, :, :12], completed.observed)
    assert (completed.observed != images.reshape(2, 3, -1)[:, :, :12]).any()
    np.testing.assert_array_equal(completed.truth, images)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"observed": 10}, "observed: expected at most 9 positions, as many as there are, got 10"),
        ({"observed": -1}, "observed: expected an integer ≥ 0, got -1"),
        ({"observed": 2.5}, "observed: expected an integer ≥ 0, got 2.5"),
        ({"observed": 9}, "observed: everything is observed, so nothing is left to complete"),
        ({"n": 0}, "n: expected an integer ≥ 1, got 0"),
        ({"samples": 0}, "samples: expected an integer from 1 to 1073741823, got 0"),
        ({"samples": 2**30}, "samples: expected an integer from 1 to 1073741823, got 1073741824"),
        ({"samples": 2**29}, "n: expected at most 2147483647 tokens in all rows together"),
        ({"temperature": -1}, "temperature: expected a finite number ≥ 0, got -1"),
        ({"seed": -1}, "seed: expected an integer from 0"),
        ({"top_k": 6}, "top_k: expected an integer from 1 to 5, got 6"),
        ({"noise": -0.1}, "noise: expected a finite number ≥ 0, the standard deviation, got -0.1"),
        ({"noise": float("nan")}, "noise: expected a finite number ≥ 0, the standard deviation, got nan"),
        ({"noise": "much"}, "noise: expected a number ≥ 0, the standard deviation, got 'much'"),
        ({"condition": None}, "condition 'condition' (3 classes constant) is missing"),
        ({"condition": [0, 1, 2]}, "condition 'condition': expected 1 or 2 rows, got 3"),
        ({"x": np.zeros((2, 1, 9))}, "input 'x': expected integers, the class indices, got float64"),
    ],
)
def test_bad_options_of_sequences(wavenet_bundle: Path, change: dict[str, Any], said: str) -> None:
    options = {"x": np.zeros((2, 9), int), "observed": 4, "condition": 0} | change
    with refuses(InputError, said):
        load(wavenet_bundle).complete(**options)


@pytest.mark.parametrize("levels", [1.5, [-0.1, 0.5], [float("nan")], ["a"], [0.5, None]])
def test_levels_are_between_0_and_1(levels: object) -> None:
    found = Completion(np.zeros((1, 0), int), np.zeros((1, 2, 3), int), np.zeros((1, 3), int))
    with refuses(InputError, "levels: expected numbers from 0 to 1, got"):
        found.quantiles(levels)  # type: ignore[arg-type]


def test_what_networks_cannot_complete(tmp_path: Path) -> None:
    g = Builder()
    h = g.one_hot(g.input(classes=3))
    no_head = g.build(g.conv1d(h, 3, kernel=2, strict=True))
    open_ = with_surplus(g, g.conv1d(h, 3, kernel=2), ops.Categorical())
    x = np.zeros((1, 4), int)
    for name, graph, said in (("h", no_head, "a graph with a head"), ("o", open_, "complete needs a strict graph")):
        with refuses(GraphError, said):
            load(export(graph, refar.init(graph), tmp_path / name)).complete(x, 2)
    with refuses(InputError, "expected axes bct with 1 channels, or without b, got an array of shape (2, 4)"):
        autoregressive(tmp_path).complete(np.zeros((2, 4), int), 2)
    painter, _ = opened(models.pixelcnn(4, kernel=3, hidden=3), tmp_path / "p")
    images = np.zeros((1, 1, 4, 5), int)
    with refuses(InputError, "n: expected none, since an image is completed whole; got 3"):
        painter.complete(images, 4, 3)
    with refuses(InputError, "observed: expected at most 20 pixels, as many as there are, got 21"):
        painter.complete(images, 21)
    with refuses(InputError, "observed: everything is observed"):
        painter.complete(images, 20)
    with refuses(InputError, "samples: expected an integer from 1 to 2147483647, got 0"):
        painter.complete(images, 4, samples=0)


def test_a_canvas_goes_on_in_rows_that_were_taken(painted: Pair) -> None:
    session, _ = painted
    graph = session.graph
    x, conditions = examples(graph, *SHAPE)
    pixels = x.reshape(*x.shape[:2], -1)
    for place in (0, 3, 5, 12):
        canvas = session.canvas(SHAPE, condition=conditions, batch=EXAMPLES)
        canvas.block(pixels[:, :, :place])
        taken, rows = canvas.take([2, 0, 0]), [2, 0, 0]
        assert (taken.place, taken.rows, taken.shape) == (place, 3, SHAPE)
        whole = canvas.block(pixels[:, :, place:])
        for at in range(place, pixels.shape[2] - 1):
            y = taken.push(pixels[rows, :, at])
            assert np.abs(y - whole[rows, :, at - place]).max() <= tolerance(graph, whole, np.float32)
        assert taken.place == pixels.shape[2] - 1
    with refuses(InputError, "take: expected rows 0..2, got [3]"):
        canvas.take([3])
