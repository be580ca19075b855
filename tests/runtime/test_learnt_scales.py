"""Bundles whose head has a learnt scale, over time and over images: the oracle's numbers, tokens and images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import refar
from refar import Builder, Graph, ops
from refar.runtime import load
from refar.testing import check_bundle
from refar.testing.contract.cases import generic_parameters
from refar_export import export

HEADS: dict[str, tuple[ops.AnyHead, int]] = {
    "learnt": (ops.LearntGaussian(-0.5), 2),
    "mixture": (ops.MixtureGaussians(3, -0.5), 9),
}


def over_time(name: str) -> Graph:
    """Of two channels and a class; what goes in and comes out is bounded, so that rounding does not grow."""
    head, size = HEADS[name]
    g = Builder()
    h = g.tanh(g.conv1d(g.tanh(g.input(channels=2)), 5, kernel=2, dilation=2, strict=True))
    h = g.tanh(g.add(h, g.embedding(g.condition(classes=3), 5)))
    return g.build(g.tanh(g.conv1d(h, 2 * size, kernel=2)), head)


def over_an_image(name: str) -> Graph:
    head, size = HEADS[name]
    g = Builder()
    h = g.tanh(g.conv2d(g.tanh(g.image(channels=3)), 6, kernel=3, mask="A", colours=3))
    return g.build(g.tanh(g.conv2d(h, 3 * size, mask="B", colours=3)), head)


@pytest.mark.parametrize("name", HEADS)
def test_numbers_and_tokens_over_time(name: str, tmp_path: Path) -> None:
    graph = over_time(name)
    params = generic_parameters(graph, np.random.default_rng(0))
    session = load(export(graph, params, tmp_path / "b", sampler=True, spare=2))
    x, classes = np.random.default_rng(1).normal(size=(3, 2, 20)), [0, 1, 2]
    assert np.abs(session.score(x, classes) - refar.log_prob(graph, params, x, classes)).max() < 1e-3
    assert np.abs(session.log_marginal(x) - refar.log_marginal(graph, params, x)).max() < 1e-3
    assert np.abs(session.classify(x) - refar.posterior(graph, params, x)).max() < 1e-3
    for temperature in (1.0, 0.4, 0.0):
        given = {"batch": 3, "seed": 4, "temperature": temperature, "condition": classes, "prompt": x[:, :, :3]}
        expected = refar.generate(graph, params, 30, **given)
        for sampler in (False, True):
            found, log_p = session.generate(30, log_prob=True, sampler=sampler, **given)
            np.testing.assert_allclose(found, expected, atol=1e-3)
            whole = np.concatenate([x[:, :, :3], found], axis=2)
            given_first = session.score(whole, classes) - session.score(x[:, :, :3], classes)
            np.testing.assert_allclose(log_p.sum(axis=1), given_first, atol=1e-3)
    each = session.generate(30, seed=[7, 8], temperature=[0.0, 1.0], batch=2, condition=[0, 1])
    np.testing.assert_allclose(each[1], session.generate(30, seed=8, condition=1)[0], atol=1e-3)


@pytest.mark.parametrize("name", HEADS)
def test_every_law_of_a_bundle(name: str, tmp_path: Path) -> None:
    graph = over_time(name)
    report = check_bundle(export(graph, generic_parameters(graph, np.random.default_rng(0)), tmp_path / "b", sampler=True))
    assert report.lines[-1].law == "sampler"
    assert report.lines[-1].applies


@pytest.mark.parametrize("name", HEADS)
def test_images(name: str, tmp_path: Path) -> None:
    graph = over_an_image(name)
    params = generic_parameters(graph, np.random.default_rng(0))
    session = load(export(graph, params, tmp_path / "b"))
    for temperature in (1.0, 0.0):
        expected = refar.generate(graph, params, (4, 5), batch=2, seed=3, temperature=temperature)
        found = session.generate((4, 5), batch=2, seed=3, temperature=temperature)
        np.testing.assert_allclose(found, expected, atol=1e-3)
    images = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    assert np.abs(session.score(images) - refar.log_prob(graph, params, images)).max() < 1e-3


@pytest.mark.parametrize("name", HEADS)
def test_a_bundle_keeps_the_head(name: str, tmp_path: Path) -> None:
    graph = over_time(name)
    session = load(export(graph, refar.init(graph), tmp_path / "b"))
    assert session.graph.head == graph.head == refar.from_json(refar.to_json(graph)).head
