"""The gaps and bounds of a certificate, one by one from their definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_models import IMAGE_MODELS, MODELS

import refar
from refar import Builder, Graph, noise, ops
from refar.analysis.facts import facts
from refar.arguments.arrays import in_order
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import network as rounding
from refar.rounding.certify import certify
from refar.testing.contract.cases import generic_parameters

GRAPHS = {"wavenet": (MODELS["wavenet"], 12), "masked_rgb": (IMAGE_MODELS["masked_rgb"], (2, 3))}
SEED, UNIT = 9, 2.0**-24 + 2.0**-53
COMPOSED = rounding.composed


def case(graph: Graph, n: Any, temperature: float, top_k: int | None = None) -> tuple[Any, Any, Any, Any, Any]:
    """Parameters, tokens, all values, and of every value in order: the logits (B, Q, N) and the noise (B, N, Q)."""
    params = generic_parameters(graph, np.random.default_rng(4))
    tokens = refar.generate(graph, params, n, batch=2, seed=SEED, temperature=temperature, top_k=top_k)
    kind = facts(graph).types["x"]
    values = forward_nodes(unchecked(graph, params, np.float64), {"x": tokens})
    y, _ = in_order(kind, values[graph.output], tokens)
    draws = noise.draw(ops.Categorical(), SEED, range(2), 0, y.shape[2], kind.size).transpose(1, 0, 2)
    return params, tokens, values, y, draws if temperature else 0 * draws


def loose(graph: Graph, *rest: Any) -> Any:
    """Bounds of all orders that settle nothing at the output."""
    found = COMPOSED(graph, *rest)
    return found | {graph.output: 1e9 + found[graph.output]}


def allowed_drawing(y: Any, n: Any, token: int, q: int, scale: float) -> float:
    """Of a division and a sum in float32."""
    return 8 * UNIT * ((abs(y[token]) + abs(y[q])) / scale + abs(n[token]) + abs(n[q]))


@pytest.mark.parametrize("temperature", [0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("name", GRAPHS)
def test_the_gap_to_the_nearest_rival(name: str, temperature: float) -> None:
    """Within the rounding of float64, in which the logits here are; its own bound is far smaller."""
    graph, length = GRAPHS[name]
    params, tokens, values, y, draws = case(graph, length, temperature)
    found, scale = certify(graph, params, tokens, seed=SEED, temperature=temperature), temperature or 1.0
    _, x = in_order(facts(graph).types["x"], values[graph.output], tokens)
    for b, step in np.ndindex(x.shape):
        token, logits, n = int(x[b, step]), y[b, :, step], draws[b, step]
        gap = min((logits[token] - logits[q]) / scale + n[token] - n[q] for q in range(len(logits)) if q != token)
        assert found.gaps[b, step] == pytest.approx(gap, rel=1e-9, abs=1e-12)
    assert (found.bounds < 1e-12).all()
    assert (found.first_order, found.doubts) == (0, ())


@pytest.mark.parametrize("temperature", [0, 0.5, 3.0])
@pytest.mark.parametrize("name", GRAPHS)
def test_the_bound_of_all_orders(name: str, temperature: float) -> None:
    """Of draws in float32: what both logits may be off by, over T, and the rounding of the draw."""
    graph, length = GRAPHS[name]
    params, tokens, _, y, draws = case(graph, length, temperature)
    found, scale = certify(graph, params, tokens, seed=SEED, temperature=temperature, dtype="float32"), temperature or 1.0
    off, x = in_order(facts(graph).types["x"], COMPOSED(graph, params, {"x": tokens}, UNIT)[graph.output], tokens)
    for b, step in np.ndindex(x.shape):
        token, logits, n = int(x[b, step]), y[b, :, step], draws[b, step]
        rivals = []
        for q in set(range(len(logits))) - {token}:
            gap = (logits[token] - logits[q]) / scale + n[token] - n[q]
            allowed = (off[b, token, step] + off[b, q, step]) / scale + allowed_drawing(logits, n, token, q, scale)
            rivals.append((gap - allowed, gap, allowed))
        _, gap, allowed = min(rivals)
        assert found.gaps[b, step] == pytest.approx(gap, rel=1e-9, abs=0)
        assert found.bounds[b, step] == pytest.approx(allowed, rel=1e-5, abs=0)
    assert (found.first_order, found.doubts) == (0, ())


@pytest.mark.parametrize("temperature", [0.5, 3.0])
@pytest.mark.parametrize("name", GRAPHS)
def test_the_bound_of_first_order(name: str, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """E₁ of the difference of the two logits, where no bound of all orders settles anything."""
    graph, length = GRAPHS[name]
    params, tokens, values, y, draws = case(graph, length, temperature)
    monkeypatch.setattr(rounding, "composed", loose)
    found = certify(graph, params, tokens, seed=SEED, temperature=temperature, dtype="float32")
    local, kind = rounding.local_bounds(graph, params, values, UNIT), facts(graph).types["x"]
    colours = kind.channels if kind.image else 1
    _, x = in_order(kind, values[graph.output], tokens)
    assert found.first_order == x.size
    for b, step in np.ndindex(x.shape):
        token, logits, n = int(x[b, step]), y[b, :, step], draws[b, step]
        rivals = []
        for q in set(range(len(logits))) - {token}:
            dy = np.zeros(values[graph.output].shape)
            flat = dy.reshape(2, len(logits), colours, -1)  # channel q·C + c is logit q of colour c
            flat[b, token, step % colours, step // colours] = 1
            flat[b, q, step % colours, step // colours] = -1
            first, _ = rounding.first_order(graph, params, values, local, dy)
            gap = (logits[token] - logits[q]) / temperature + n[token] - n[q]
            allowed = first[b] / temperature + allowed_drawing(logits, n, token, q, temperature)
            rivals.append((gap - allowed, gap, allowed))
        _, gap, allowed = min(rivals)
        assert found.gaps[b, step] == pytest.approx(gap, rel=1e-9, abs=0)
        assert found.bounds[b, step] == pytest.approx(allowed, rel=1e-6, abs=0)


def test_a_prompt_takes_its_steps_off_the_noise() -> None:
    graph = MODELS["wavenet"]
    params = generic_parameters(graph, np.random.default_rng(4))
    tokens = refar.generate(graph, params, 12, batch=2, seed=SEED)
    whole = certify(graph, params, tokens, seed=SEED)
    rest = certify(graph, params, tokens[:, 5:], seed=SEED, prompt=tokens[:, :5])
    np.testing.assert_allclose(rest.gaps, whole.gaps[:, 5:], rtol=1e-9)
    np.testing.assert_array_less(rest.bounds, 1e-12)


def test_sweeps_are_counted_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 5 classes each open step takes four; what is left of 11 settles two steps of each row, not half a third."""
    graph = MODELS["wavenet"]
    params, tokens, *_ = case(graph, 6, 1.0)
    monkeypatch.setattr(rounding, "composed", loose)
    found = certify(graph, params, tokens, seed=SEED, sweeps=11, dtype="float32")
    assert found.first_order == 4
    assert [(doubt.row, doubt.step) for doubt in found.doubts] == [(b, t) for b in range(2) for t in range(2, 6)]
    assert len(certify(graph, params, tokens, seed=SEED, sweeps=8, dtype="float32").doubts) == 8
    assert len(certify(graph, params, tokens, seed=SEED, sweeps=7, dtype="float32").doubts) == 10


def equal_logits(bias: list[float]) -> tuple[Graph, Any]:
    """Logits that do not depend on anything."""
    g = Builder()
    graph = g.build(g.conv1d(g.one_hot(g.input(classes=3)), 3, strict=True, name="front"), ops.Categorical())
    return graph, {"front.weight": np.zeros((3, 3, 1)), "front.bias": np.array(bias)}


def test_without_a_rival_the_gap_is_infinite() -> None:
    graph, params = equal_logits([1.0, 5.0, 2.0])
    found = certify(graph, params, [[1, 1]], seed=SEED, top_k=1)
    assert found.certain
    assert (found.gaps == np.inf).all()
    assert (found.bounds == 0).all()
    assert (certify(graph, params, [[1, 1]], seed=SEED, top_k=1, prompt=[[1, 1, 1]]).gaps == np.inf).all()


def test_a_token_that_top_k_leaves_out_is_contradicted_by_the_one_drawn() -> None:
    """With temperature 4 the noise decides among the two largest, and not the logit."""
    graph, params = equal_logits([2.0, -3.0, 1.5])
    drawn = refar.generate(graph, params, 20, seed=SEED, temperature=4.0, top_k=2)
    assert set(drawn[0].tolist()) == {0, 2}
    found = certify(graph, params, np.full((1, 20), 1), seed=SEED, temperature=4.0, top_k=2)
    assert [doubt.rival for doubt in found.doubts] == drawn[0].tolist()
    assert all(doubt.contradicted for doubt in found.doubts)
    assert {(doubt.token, doubt.gap, doubt.bound) for doubt in found.doubts} == {(1, -np.inf, 0.0)}
    assert (found.gaps == -np.inf).all()
    after = certify(graph, params, np.full((1, 17), 1), seed=SEED, temperature=4.0, top_k=2, prompt=[[1, 1, 1]])
    assert [doubt.rival for doubt in after.doubts] == drawn[0, 3:].tolist()
    assert (after.gaps == -np.inf).all()


def test_a_token_that_top_k_may_leave_out_is_in_doubt_whatever_its_score() -> None:
    graph, params = equal_logits([2.0, 1.0, 1.0])
    tokens = refar.generate(graph, params, 40, seed=1, top_k=2)
    found = certify(graph, params, tokens, seed=1, top_k=2, dtype="float32")
    named = [doubt for doubt in found.doubts if doubt.token == 1]
    assert named
    assert {(doubt.gap, doubt.bound, doubt.contradicted) for doubt in named} == {(-np.inf, np.inf, False)}


def test_the_border_of_top_k_is_what_both_logits_may_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each off by 1/2, two logits are apart for certain if they differ by more than 1."""
    half = np.full((1, 3, 1), 0.5)
    monkeypatch.setattr(rounding, "composed", lambda graph, params, inputs, unit: {n.name: half for n in graph.nodes})
    for apart in (0.99, 1.01):
        graph, params = equal_logits([apart, 0.0, -9.0])
        largest, second = (certify(graph, params, [[token]], seed=SEED, top_k=1, dtype="float32") for token in (0, 1))
        if apart > 1:
            assert largest.gaps.item() == np.inf
            assert [(d.rival, d.gap, d.bound) for d in second.doubts] == [(0, -np.inf, 0.0)]
        else:
            assert [(d.rival, d.gap, d.bound) for d in largest.doubts] == [(1, -np.inf, np.inf)]
            assert [(d.rival, d.gap, d.bound) for d in second.doubts] == [(0, -np.inf, np.inf)]


def test_sweeps_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 rivals are settled one by one, 257 are not."""
    monkeypatch.setattr(rounding, "composed", loose)
    for classes in (257, 258):
        g = Builder()
        graph = g.build(g.conv1d(g.one_hot(g.input(classes=classes)), classes, strict=True, name="front"), ops.Categorical())
        params = {"front.weight": np.zeros((classes, classes, 1)), "front.bias": np.arange(classes)}
        found = certify(graph, params, [[classes - 1]], temperature=0, dtype="float32")
        assert found.first_order == (classes == 257)
        assert found.certain == (classes == 257)


def test_no_rows() -> None:
    graph, params = equal_logits([0.0, 1.0, 2.0])
    found = certify(graph, params, np.zeros((0, 4), int))
    assert found.gaps.shape == found.bounds.shape == (0, 0)
    assert found.certain


def test_ten_doubts_are_named_and_the_others_counted() -> None:
    graph, params = equal_logits([1.0, 1.0, 0.0])
    ten, twelve = (str(certify(graph, params, np.zeros((1, n), int), temperature=0)) for n in (10, 12))
    assert ten.count("row 0, step") == twelve.count("row 0, step") == 10
    assert "more" not in ten
    assert twelve.endswith("and 2 more")


def test_local_conditions() -> None:
    g = Builder()
    c = g.condition("c", channels=2, local=True)
    h = g.add(g.conv1d(g.one_hot(g.input(classes=3)), 3, strict=True), g.conv1d(c, 3, bias=False))
    graph = g.build(h, ops.Categorical())
    params, rng = generic_parameters(graph, np.random.default_rng(4)), np.random.default_rng(5)
    condition = rng.normal(size=(2, 2, 9))
    tokens = refar.generate(graph, params, 9, seed=SEED, condition=condition)
    whole = certify(graph, params, tokens, seed=SEED, condition=condition)
    assert whole.certain
    rest = certify(graph, params, tokens[:, 4:], seed=SEED, condition=condition, prompt=tokens[:, :4])
    np.testing.assert_allclose(rest.gaps, whole.gaps[:, 4:], rtol=1e-9)


def test_progress_counts_rows() -> None:
    graph = MODELS["wavenet"]
    params, tokens, *_ = case(graph, 3, 1.0)
    seen: list[int] = []
    certify(graph, params, tokens, seed=SEED, progress=seen.append)
    assert seen == [1, 2]
