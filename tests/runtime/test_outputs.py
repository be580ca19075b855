"""Mixture heads, top-k, marginals and progressive posteriors from a bundle: the oracle's numbers and tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import generate_with_outputs, refuses

import refar
from refar import Builder, Graph, models, noise, ops
from refar.analysis.facts import facts
from refar.errors import GraphError, InputError
from refar.oracle import losses
from refar.runtime import density, load
from refar.runtime.session import Session
from refar_export import export

Pair = tuple[Session, dict[str, np.ndarray]]
PRIOR = [0.2, 0.7, 0.1]


def mixed() -> Graph:
    g = Builder()
    h = g.conv1d(g.standardize(g.input(classes=256), 127.5, 75.0), 5, kernel=3, dilation=2, strict=True)
    h = g.tanh(g.add(h, g.embedding(g.condition(classes=3), 5)))
    return g.build(g.conv1d(h, 12), ops.MixtureLogistics(4, 256))


@pytest.fixture(scope="module", params=["categorical", "mixture"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    graph = mixed() if request.param == "mixture" else models.wavenet(5, [1, 2], residual=6, gate=4, skip=7, condition="class:3")
    params = {name: 2 * value for name, value in refar.init(graph, seed=4).items()}
    return load(export(graph, params, tmp_path_factory.mktemp("b") / "b")), params


def tokens(session: Session, rows: int, length: int) -> np.ndarray:
    classes = facts(session.graph).types["x"].size
    return np.random.default_rng(0).integers(0, classes, (rows, length))


@pytest.mark.parametrize(
    "head",
    [
        ops.Categorical(), ops.Gaussian(0.6), ops.MixtureLogistics(2, 6), ops.MixtureLogistics(2, 65536),
        ops.LearntGaussian(0.0), ops.MixtureGaussians(1, 0.0), ops.MixtureGaussians(2, -0.5),
    ],
)  # fmt: skip
def test_log_probabilities_are_the_oracles(head: ops.AnyHead) -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=(2, 6, 40)) * np.array([1, 1, 1, 1, 5, 5])[:, None]
    x: np.ndarray = rng.integers(0, getattr(head, "classes", 6), (2, 40))
    if isinstance(head, ops.SignalHead):
        channels = {ops.Gaussian: 6, ops.LearntGaussian: 3}.get(type(head), 6 // (3 * getattr(head, "components", 1)))
        x = 3 * rng.normal(size=(2, channels, 40))
    if isinstance(head, ops.MixtureLogistics):
        x[:, :2] = 0, head.classes - 1
    np.testing.assert_allclose(density.log_prob(head, y, x), -losses.nats(head, y, x), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("classes", [2, 256])
@pytest.mark.parametrize("log_scale", [-300.0, -8.0, 0.0, 50.0, 300.0])
def test_mixture_probabilities_sum_to_one(classes: int, log_scale: float) -> None:
    y = np.tile(np.array([0.5, 0.3, log_scale])[None, :, None], (1, 1, classes))
    log_p = density.log_prob(ops.MixtureLogistics(1, classes), y, np.arange(classes)[None])
    assert np.isfinite(log_p).all()
    assert abs(np.exp(log_p).sum() - 1) <= 1e-13


def test_score_marginal_and_posterior_are_the_oracles(pair: Pair) -> None:
    """20 positions of float32 outputs, which differ from float64 by less than 1e-5 each."""
    session, params = pair
    graph, x = session.graph, tokens(session, 4, 20)
    classes = np.array([0, 1, 2, 0])
    assert np.abs(session.score(x, classes) - refar.log_prob(graph, params, x, classes)).max() < 2e-3
    for prior in (None, PRIOR):
        assert np.abs(session.log_marginal(x, prior) - refar.log_marginal(graph, params, x, prior)).max() < 2e-3
        for observed in (None, 3, [0, 1, 7, 20]):
            found = session.classify(x, prior, observed=observed)
            expected = refar.posterior(graph, params, x, prior, observed=observed)
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() < 2e-3
    progressive = session.classify(x, PRIOR, observed=[0, 20])
    np.testing.assert_allclose(progressive[:, 0], [PRIOR] * 4, rtol=1e-14)
    np.testing.assert_array_equal(progressive[:, 1], session.classify(x, PRIOR))


@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
def test_the_same_tokens_as_both_numpy_algorithms(pair: Pair, temperature: float) -> None:
    session, params = pair
    options = {"batch": 3, "seed": 5, "temperature": temperature, "condition": [0, 1, 2], "prompt": tokens(session, 3, 2)}
    fast, y = generate_with_outputs(session.graph, params, 25, **options)
    slow, _ = generate_with_outputs(session.graph, params, 25, algorithm="slow", **options)
    sequence = np.concatenate([options["prompt"], fast], axis=1)
    forced = session.forward(sequence, options["condition"])[:, :, 2:]
    draws = noise.draw(session.graph.head, 5, range(3), 2, 25, y.shape[1])
    replayed = [noise.sample(session.graph.head, forced[:, :, t], draws[t], temperature) for t in range(25)]
    np.testing.assert_array_equal(np.stack(replayed, axis=1), fast, "float32 decides none of these tokens otherwise")
    np.testing.assert_array_equal(slow, fast)
    np.testing.assert_array_equal(session.generate(25, **options), fast)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_draws_the_same_tokens(wavenet_bundle: Path, k: int) -> None:
    session = load(wavenet_bundle)
    params = refar.init(session.graph, seed=1)
    options = {"batch": 4, "seed": 2, "temperature": 0.8, "condition": 1, "top_k": k}
    expected = refar.generate(session.graph, params, 30, **options)
    np.testing.assert_array_equal(session.generate(30, **options), expected)
    np.testing.assert_array_equal(refar.generate(session.graph, params, 30, algorithm="slow", **options), expected)
    assert np.array_equal(expected, session.generate(30, **{**options, "top_k": None})) == (k == 5)


def test_bad_options_are_named(wavenet_bundle: Path, tmp_path: Path) -> None:
    session = load(wavenet_bundle)
    for k in (0, 6):
        with refuses(InputError, "top_k: expected an integer from 1 to 5", str(k)):
            session.generate(3, condition=0, top_k=k)
    for observed in (-1, [3], 1.5):
        with refuses(InputError, "observed: expected integers from 0 to the length 2"):
            session.classify([[0, 1]], observed=observed)
    with refuses(InputError, "prior: expected 3 probabilities that sum to 1, got [0.5, 0.4, 0.3]"):
        session.log_marginal([[0, 1]], [0.5, 0.4, 0.3])
    graph = models.linear_ar(2)
    session = load(export(graph, refar.init(graph), tmp_path / "b"))
    with refuses(InputError, "top_k: expected a categorical head", "Gaussian"):
        session.generate(3, top_k=2)
    with refuses(GraphError, "log_marginal needs a graph whose only condition is a class; this one has none"):
        session.log_marginal(np.zeros((1, 1, 3)))


def test_a_bundle_keeps_the_head(pair: Pair) -> None:
    session, _ = pair
    assert load(session.path).graph.head == session.graph.head
    assert refar.from_json(refar.to_json(session.graph)) == session.graph
