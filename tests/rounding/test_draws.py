"""What balls say about a draw: of exact outputs what the sampler says, of wide ones nothing that an output inside could deny."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx
from helpers import refuses
from small_models import IMAGE_MODELS

import refar
from refar import Builder, Graph, noise, ops
from refar.analysis.facts import facts
from refar.errors import InputError
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import replay
from refar.rounding.certify import certify
from refar.rounding.draws import Verdict, categorical, mixture, nearest
from refar.testing.contract.cases import generic_parameters

HEAD = ops.MixtureLogistics(3, 7)
Judge = Callable[[Any, Any, int, float], Verdict]


def of_classes(top_k: int | None) -> Judge:
    return lambda y, n, token, temperature: nearest(categorical(y, n, token, temperature, top_k))


KINDS: dict[str, tuple[Any, int | None, int, int, Judge]] = {
    # head, top_k, outputs, classes
    "categorical": (ops.Categorical(), None, 6, 6, of_classes(None)),
    "top_k 1": (ops.Categorical(), 1, 6, 6, of_classes(1)),
    "top_k 3": (ops.Categorical(), 3, 6, 6, of_classes(3)),
    "mixture": (HEAD, None, 9, 7, lambda y, n, token, temperature: mixture(HEAD, y, n, token, temperature)),
}


def cases(kind: str, temperature: float, count: int) -> Any:
    """Random outputs, noise, and the class that the sampler draws."""
    head, top_k, size, *_ = KINDS[kind]
    rng = np.random.default_rng(5)
    y = rng.normal(size=(count, size)) * rng.choice([0.3, 1, 3], (count, 1))
    n = noise.draw(head, 3, range(count), 0, 1, size)[0]
    return y, n, noise.sample(head, y, n, temperature, top_k)


@pytest.mark.parametrize("temperature", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_exact_outputs_are_drawn_as_the_sampler_draws(kind: str, temperature: float) -> None:
    *_, classes, judge = KINDS[kind]
    with ctx.workprec(106):
        for y, n, drawn in zip(*cases(kind, temperature, 150), strict=True):
            balls = [arb(v) for v in y.tolist()]
            for token in range(classes):
                found = judge(balls, n, token, temperature)
                assert found.decided
                assert (found.gap > 0) == (token == drawn)
                assert token == drawn or found.gap == -np.inf or found.rival == drawn or kind == "categorical"


@pytest.mark.parametrize("temperature", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_no_output_within_its_ball_denies_what_is_decided(kind: str, temperature: float) -> None:
    head, top_k, size, classes, judge = KINDS[kind]
    rng, decided, open_ = np.random.default_rng(6), 0, 0
    with ctx.workprec(106):
        for y, n, drawn in zip(*cases(kind, temperature, 60), strict=True):
            radius = 10 ** rng.uniform(-3, 0)
            balls = [arb(v, radius) for v in y.tolist()]
            verdicts = [judge(balls, n, token, temperature) for token in range(classes)]
            decided, open_ = decided + sum(v.decided for v in verdicts), open_ + sum(not v.decided for v in verdicts)
            others = y + radius * rng.choice([-1, -0.7, 0.3, 1], (40, size))
            for other in [drawn, *noise.sample(head, others, np.tile(n, (40, 1)), temperature, top_k)]:
                assert not verdicts[other].gap < -verdicts[other].bound
                assert not any(v.gap > v.bound for token, v in enumerate(verdicts) if token != other)
    assert min(decided, open_) > 10


def test_two_components_that_give_the_same_class_need_not_be_told_apart() -> None:
    """Class 3 of 7 holds the numbers from -1/6 to 1/6."""
    scores, scales, n = [arb(0, 1), arb(0, 1), arb(-9)], [arb(-20)] * 3, np.zeros(4)
    for mean, decided in ((0.05, True), (0.5, False)):
        found = mixture(HEAD, [*scores, arb(0.1), arb(mean), arb(0.9), *scales], n, 3, 1.0)
        assert found.decided == decided
    assert mixture(HEAD, [*scores, arb(1 / 6, 1e-3), arb(0), arb(0), *scales], n, 3, 1.0).rival == 4


def test_a_scale_beyond_all_numbers_reaches_the_ends() -> None:
    y = [arb(v) for v in (5.0, 0, 0, 0, 0, 0, 1e6, 0, 0)]
    for drawn, token in ((0.5, 6), (-0.5, 0)):
        for other in range(7):
            found = mixture(HEAD, y, np.array([0, 0, 0, drawn]), other, 1.0)
            assert found.decided
            assert (found.gap > 0) == (other == token)


def sequences() -> Graph:
    g = Builder()
    h = g.tanh(g.conv1d(g.standardize(g.input(classes=7), 3.0, 2.0), 6, kernel=3, strict=True))
    return g.build(g.conv1d(h, 9), HEAD)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize(("graph", "n"), [(sequences(), 40), (IMAGE_MODELS["pixelcnn_rgb_mixture"], (3, 4))])
def test_tokens_of_mixtures(graph: Graph, n: Any, temperature: float) -> None:
    params = generic_parameters(graph, np.random.default_rng(4))
    tokens = refar.generate(graph, params, n, batch=2, seed=9, temperature=temperature)
    found = certify(graph, params, tokens, seed=9, temperature=temperature)
    assert found.certain, str(found)
    assert "first order" not in str(found)
    wrong = tokens.copy()
    wrong[1, ..., -1] = (wrong[1, ..., -1] + 2) % facts(graph).types["x"].size
    doubts = certify(graph, params, wrong, seed=9, temperature=temperature).doubts
    assert doubts[0].contradicted
    assert (doubts[0].row, doubts[0].token != doubts[0].rival) == (1, True)


def test_mixtures_in_float32_are_refused() -> None:
    graph = sequences()
    with refuses(InputError, "float64 for a mixture of logistics", "float32"):
        certify(graph, generic_parameters(graph, np.random.default_rng(4)), [[0]], dtype="float32")
    with refuses(InputError, "top_k", "MixtureLogistics"):
        certify(graph, generic_parameters(graph, np.random.default_rng(4)), [[0]], top_k=1)


def close(apart: float) -> tuple[Graph, Any]:
    """Two logits, of which a thousandfold detour through tanh makes the difference."""
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=2)), 1, strict=True, name="front")
    for _ in range(12):
        h = g.tanh(g.affine(h, 3.0, 0.0))
    graph = g.build(g.conv1d(h, 2, name="logits"), ops.Categorical())
    params = {"front.weight": np.zeros((1, 2, 1)), "front.bias": np.array([0.3]), "logits.weight": np.ones((2, 1, 1))}
    return graph, params | {"logits.bias": np.array([0, apart])}


@pytest.mark.parametrize("apart", [1e-6, 1e-33, 1e-60, 1e-200])
def test_bits_are_added_until_a_gap_is_decided(apart: float, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, params = close(apart)
    asked: list[int] = []
    output = replay.Enclosure.output
    monkeypatch.setattr(replay.Enclosure, "output", lambda self, at, bits: asked.append(bits) or output(self, at, bits))
    found = certify(graph, params, [[1, 1, 1]], temperature=0)
    assert found.certain
    np.testing.assert_allclose(found.gaps, apart, rtol=1e-5)
    assert asked == [106, 212, 424, 848][: {1e-6: 1, 1e-33: 2, 1e-60: 2, 1e-200: 4}[apart]]
    assert all(doubt.contradicted for doubt in certify(graph, params, [[0, 0, 0]], temperature=0).doubts)


def test_a_tie_of_rounded_numbers_stays_uncertain_and_what_float64_cannot_tell_is_decided() -> None:
    graph, params = close(0.0)
    (doubt,) = certify(graph, params, [[0]], temperature=0).doubts
    assert (doubt.gap, doubt.contradicted) == (0, False)
    assert 0 < doubt.bound < 1e-200
    graph, params = close(1e-40)
    y = forward_nodes(unchecked(graph, params), {"x": np.zeros((1, 1), int)})[graph.output].ravel()
    assert y[0] == y[1]
    assert certify(graph, params, [[1]], temperature=0).certain


def test_only_undecided_steps_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    g = Builder()
    h = g.tanh(g.conv1d(g.one_hot(g.input(classes=2)), 1, strict=True, bias=False, name="front"))
    graph = g.build(g.conv1d(h, 2, name="logits"), ops.Categorical())
    params = {
        "front.weight": np.array([[[1e-40], [0.5]]]),
        "logits.weight": np.array([[[1.0]], [[0.0]]]),
        "logits.bias": np.array([0.7, 0.7]),
    }
    asked: list[list[int]] = []
    output = replay.Enclosure.output
    monkeypatch.setattr(replay.Enclosure, "output", lambda self, at, bits: asked.append(at.tolist()) or output(self, at, bits))
    found = certify(graph, params, [[0, 0, 1, 0]], temperature=0)  # the first is a tie, then 0.7 + 1e-40 wins, then 0.7 + 0.46
    assert asked[0] == [0, 1, 2, 3]
    assert asked[1] == [1, 2]
    assert [doubt.step for doubt in found.doubts] == [0, 2]
