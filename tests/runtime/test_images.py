"""Bundles of networks over images: the oracle's outputs, densities and classes; and what such a bundle cannot do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import refuses

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.errors import FileError, GraphError, InputError
from refar.runtime import load
from refar.runtime.session import Session
from refar.testing import check_bundle
from refar.testing.contract.cases import generic_inputs
from refar_export import export
from refar_export.verify import verify

Pair = tuple[Session, dict[str, np.ndarray]]


def mixed() -> Graph:
    """Three colours in order, a map and a class, a mixture of logistics; kernels that are even, dilated and in groups."""
    g = Builder()
    h = g.conv2d(g.standardize(g.image(classes=16, channels=3), 7.5, 4.0), 6, kernel=3, mask="A", colours=3)
    chart = g.conv2d(g.condition("chart", channels=2, local=True, axes="hw"), 6, kernel=3)
    h = g.tanh(g.add(h, chart, g.embedding(g.condition("label", classes=4), 6)))
    h = g.gate(g.conv2d(h, 12, kernel=2, anchor=(1, 1), dilation=(1, 2), mask="B", colours=3, groups=2))
    return g.build(g.conv2d(h, 18, mask="B", colours=3), ops.MixtureLogistics(2, 16))


def signal() -> Graph:
    g = Builder()
    h = g.relu(g.conv2d(g.image(channels=2), 5, kernel=3, mask="A"))
    return g.build(g.conv2d(g.concat(h, g.position(h, 3)), 2, kernel=(2, 1), anchor=(1, 0)), ops.Gaussian(0.7))


NETWORKS = {
    "two stacks": models.pixelcnn(4, kernel=3, hidden=4, position=3),
    "masks": models.masked_pixelcnn(3, channels=3, hidden=6, layers=2),
    "gated": models.gated_pixelcnn(4, channels=2, layers=2, hidden=4, first_kernel=3),
    "mixture": mixed(),
    "signal": signal(),
}


def pair(graph: Graph, folder: Path) -> Pair:
    params = {name: 2 * value for name, value in refar.init(graph, seed=4).items()}
    return load(export(graph, params, folder / "b", verify=True)), params


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 5)])
def test_outputs_and_densities_are_the_oracles(network: str, shape: tuple[int, int], tmp_path: Path) -> None:
    graph = NETWORKS[network]
    session, params = pair(graph, tmp_path)
    inputs = generic_inputs(graph, np.random.default_rng(0), 3, *shape)
    y = refar.forward(graph, params, inputs)
    found = session.forward(inputs)
    assert found.dtype == np.float32
    assert found.shape == y.shape == (3, facts(graph).types[graph.output].size, *shape)
    np.testing.assert_allclose(found, y, rtol=0, atol=2e-5 * max(1, np.abs(y).max()))
    score = session.score(inputs)
    assert (score.shape, score.dtype) == ((3,), np.dtype(np.float64))
    np.testing.assert_allclose(score, refar.log_prob(graph, params, inputs), rtol=1e-4, atol=1e-4)
    assert session.forward({name: array[:0] for name, array in inputs.items()}).shape == (0, *y.shape[1:])
    assert session.score({name: array[:0] for name, array in inputs.items()}).shape == (0,)


def test_the_bundle_keeps_the_contract(tmp_path: Path) -> None:
    session, params = pair(mixed(), tmp_path)
    check_bundle(session.path)
    assert [comparison.what for comparison in verify(session.path)] == ["full", "pixels"]
    assert sorted(file.name for file in session.path.iterdir()) == [
        "bundle.json",
        "check.safetensors",
        "condition.onnx",
        "full.onnx",
        "pixel.onnx",
        "pixels.onnx",
        "row.onnx",
        "weights.safetensors",
    ]
    assert session.manifest.strict
    assert session.manifest.state == ()
    with refuses(FileError, "exists already"):
        export(mixed(), params, session.path)


def test_scores_do_not_depend_on_how_many_are_scored_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = pair(NETWORKS["gated"], tmp_path)
    x = np.random.default_rng(1).integers(0, 4, (7, 2, 4, 3))
    together = session.score(x)
    monkeypatch.setattr("refar.runtime.session._VALUES_PER_CALL", 2 * 12 * 8)
    np.testing.assert_allclose(session.score(x), together, rtol=1e-6)


@pytest.mark.row("002-16")
@pytest.mark.parametrize("network", ["pixelcnn", "masked_pixelcnn", "gated_pixelcnn"])
def test_marginals_and_classes_are_the_oracles(network: str, tmp_path: Path) -> None:
    """Also of the first values of an image, by rows, columns and colours."""
    options = {} if network == "pixelcnn" else {"layers": 1, "channels": 2}
    graph = getattr(models, network)(3, hidden=4, condition="class:5", **options)
    session, params = pair(graph, tmp_path)
    x = np.random.default_rng(2).integers(0, 3, (4, options.get("channels", 1), 3, 5))
    prior = np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    np.testing.assert_allclose(session.log_marginal(x, prior), refar.log_marginal(graph, params, x, prior), rtol=1e-4)
    values = x[0].size
    observed = [0, 1, values // 2, values]
    found = session.classify(x, prior, observed=observed)
    assert found.shape == (4, 4, 5)
    np.testing.assert_allclose(found, refar.posterior(graph, params, x, prior, observed=observed), rtol=0, atol=1e-4)
    np.testing.assert_allclose(found[:, 0], [prior] * 4, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found[:, 3], session.classify(x, prior))
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=0, atol=1e-12)
    other = x.copy()
    other.reshape(4, x.shape[1], -1)[:, :, -1] = (other.reshape(4, x.shape[1], -1)[:, :, -1] + 1) % 3  # the last pixel
    np.testing.assert_allclose(session.classify(other, prior, observed=observed)[:, :3], found[:, :3], rtol=0, atol=1e-6)
    with refuses(InputError, "observed", f"integers from 0 to the length {values}", str(values + 1)):
        session.classify(x, observed=values + 1)


def test_images_are_no_sequences(tmp_path: Path) -> None:
    session, _ = pair(NETWORKS["two stacks"], tmp_path)
    for purpose, call in {
        "prefill": lambda: session.prefill(np.zeros((1, 1, 2, 2), int)),
        "step": lambda: session.step(np.zeros((1, 1), int)),
        "block": lambda: session.block(np.zeros((1, 1, 2, 2), int)),
    }.items():
        with refuses(
            GraphError, f"{purpose} needs a network over time; images are computed pixel by pixel, see generate and canvas"
        ):
            call()
    for options, name in (({"seed": [1]}, "seed"), ({"stop": 3}, "stop"), ({"log_prob": True}, "log_prob")):
        with refuses(InputError, f"{name}: of images there is one seed"):
            session.generate((2, 2), **options)
    with refuses(InputError, "shape: expected a pair (rows, columns), got 4"):
        session.generate(4)
    over_time = models.linear_ar(2)
    with refuses(GraphError, "canvas needs a network over images"):
        load(export(over_time, refar.init(over_time), tmp_path / "time")).canvas((2, 2))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_session_paints_the_oracles_images(network: str, tmp_path: Path) -> None:
    session, params = pair(NETWORKS[network], tmp_path)
    shape, graph = (5, 4), NETWORKS[network]
    inputs = generic_inputs(graph, np.random.default_rng(6), 2, *shape)
    condition = {name: inputs[name] for name in facts(graph).conditions} or None
    found = session.generate(shape, batch=2, seed=3, condition=condition)
    expected = refar.generate(graph, params, shape, batch=2, seed=3, condition=condition)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    begun = session.generate(shape, batch=2, seed=3, condition=condition, prompt=expected[:, :, :2])
    np.testing.assert_allclose(begun, expected, rtol=0, atol=1e-4)
    canvas = session.canvas(shape, 2, condition)
    y = refar.forward(graph, params, {facts(graph).sequence: inputs["x"], **(condition or {})})
    pushed = [canvas.push(inputs["x"][:, :, r, c]) for r in range(5) for c in range(4)]
    got = np.stack(pushed, axis=2).reshape(y.shape)
    np.testing.assert_allclose(got, y, rtol=0, atol=2e-5 * max(1, np.abs(y).max()))


def test_images_that_do_not_fit(tmp_path: Path) -> None:
    session, _ = pair(mixed(), tmp_path)
    x, given = np.zeros((2, 3, 4, 5), int), {"chart": np.zeros((2, 2, 4, 5)), "label": [0, 3]}
    assert session.forward(x, given).shape == (2, 18, 4, 5)
    for wrong, more, fragments in [
        (x[:, :2], {}, ["'x'", "bchw with 3 channels"]),
        (x + 16, {}, ["'x'", "expected classes 0..15, got 16"]),
        (x.astype(float), {}, ["'x'", "expected integers"]),
        (x[:, :, :0], {}, ["'x'", "at least 1 x 1 pixels"]),
        (x, {"chart": np.zeros((2, 2, 5, 4))}, ["differ in length", "'x' has 4 x 5 pixels", "'chart' has 5 x 4 pixels"]),
        (x, {"label": [4, 0]}, ["'label'", "expected classes 0..3, got 4"]),
    ]:
        for call in (session.forward, session.score):
            with refuses(InputError, *fragments):
                call(wrong, given | more)


def test_what_looks_ahead_or_sees_its_pixel_is_evaluated_but_not_scored(tmp_path: Path) -> None:
    for op, fragments in (
        (ops.Conv2d(1, (3, 3)), ["needs a causal graph", "node 'op' (conv2d) at pixel (r, c) reads pixel (r + 1, c + 1)"]),
        (ops.Conv2d(1, (3, 3), "B"), ["needs a strict graph", "here channel 0 of 'op' sees it"]),
    ):
        g = Builder()
        graph = g.build(g.add_op(op, g.image(channels=1), name="op"), ops.Gaussian())
        session, params = pair(graph, tmp_path / op.mask)
        x = np.random.default_rng(3).normal(size=(2, 1, 4, 3)).astype(np.float32)
        np.testing.assert_allclose(session.forward(x), refar.forward(graph, params, x), rtol=0, atol=1e-6)
        with refuses(GraphError, f"score {fragments[0]}", *fragments[1:]):
            session.score(x)
        with refuses(GraphError, f"generate {fragments[0]}", *fragments[1:]):
            session.generate(3)
