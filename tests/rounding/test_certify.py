"""Certificates: honest tokens are certified in every backend and dtype, wrong ones are contradicted, ties are uncertain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import refuses
from small_models import IMAGE_MODELS, MODELS

import refar
from refar import Builder, Graph, noise, ops
from refar.analysis.facts import facts
from refar.errors import GraphError, InputError
from refar.exact import sampler as exact
from refar.rounding import narrow as in_float32
from refar.rounding import network as rounding
from refar.rounding.certify import Certificate, certify
from refar.runtime import load
from refar.testing.contract.cases import generic_parameters
from refar_export import export


def drawn(graph: Graph, n: Any, dtype: str = "float64", **options: Any) -> tuple[Any, Any, Any]:
    """Parameters that float32 holds, tokens, conditions."""
    rng, found = np.random.default_rng(4), facts(graph)
    params = {name: a.astype(np.float32) for name, a in generic_parameters(graph, rng).items()}
    kinds = {name: found.types[name] for name in found.conditions}
    over = n if isinstance(n, tuple) else ()
    condition = {
        name: rng.integers(0, k.size, 2) if k.indexed else rng.normal(size=(2, k.size, *(over if k.timed else ())))
        for name, k in kinds.items()
    }
    return params, refar.generate(graph, params, n, batch=2, seed=9, condition=condition, dtype=dtype, **options), condition


COMPOSED = rounding.composed


@pytest.fixture(params=[name for name, graph in MODELS.items() if isinstance(graph.head, ops.Categorical)])
def categorical(request: pytest.FixtureRequest) -> Graph:
    return MODELS[request.param]


@pytest.fixture(params=[name for name, graph in IMAGE_MODELS.items() if isinstance(graph.head, ops.Categorical)])
def painter(request: pytest.FixtureRequest) -> Graph:
    return IMAGE_MODELS[request.param]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.7}, {"top_k": 2}, {"temperature": 0}])
def test_honest_tokens_are_certified(categorical: Graph, dtype: str, options: dict[str, Any]) -> None:
    params, tokens, condition = drawn(categorical, 30, dtype, **options)
    certificate = certify(categorical, params, tokens, seed=9, condition=condition, **options)
    assert certificate.certain, str(certificate)
    assert certificate.gaps.shape == certificate.bounds.shape == (2, 30)
    assert (certificate.bounds < 1e-9).all()
    assert "all 60 tokens" in str(certificate)


def test_a_prompt(categorical: Graph) -> None:
    params, tokens, condition = drawn(categorical, 20)
    prompt = tokens[:, :12]
    more = refar.generate(categorical, params, 8, seed=9, condition=condition, prompt=prompt)
    assert certify(categorical, params, more, seed=9, condition=condition, prompt=prompt).certain
    assert certify(categorical, params, more, seed=8, condition=condition, prompt=prompt).doubts


def test_a_wrong_token_is_contradicted(categorical: Graph) -> None:
    params, tokens, condition = drawn(categorical, 30)
    wrong = tokens.copy()
    wrong[1, 20] = (wrong[1, 20] + 1) % facts(categorical).types["x"].size
    certificate = certify(categorical, params, wrong, seed=9, condition=condition)
    first = certificate.doubts[0]
    assert (first.row, first.step, first.token, first.rival) == (1, 20, wrong[1, 20], tokens[1, 20])
    assert first.contradicted
    assert f"exact arithmetic draws {tokens[1, 20]}" in str(certificate)


def test_onnxruntime_is_certified(wavenet_bundle: Path) -> None:
    session = load(wavenet_bundle)
    params = {name: a.astype(np.float32) for name, a in refar.init(session.graph, seed=1).items()}
    tokens = session.generate(200, batch=3, seed=2, condition=[0, 1, 2])
    assert certify(session.graph, params, tokens, seed=2, condition=[0, 1, 2]).certain


def images() -> Graph:
    g = Builder()
    h = g.tanh(g.conv2d(g.one_hot(g.image(classes=3, channels=3)), 9, kernel=3, mask="A", colours=3))
    return g.build(g.conv2d(h, 9, kernel=3, mask="B", colours=3), ops.Categorical())


def test_images_are_certified() -> None:
    graph = images()
    params, tokens, _ = drawn(graph, (4, 5))
    assert certify(graph, params, tokens, seed=9).certain
    assert certify(graph, params, tokens, seed=9).gaps.shape == (2, 60)
    again = certify(graph, params, tokens, seed=9, prompt=tokens[:, :, :2])
    assert again.gaps.shape == (2, 30)
    assert again.certain
    tokens[0, 1, 2, 3] = (tokens[0, 1, 2, 3] + 1) % 3
    assert certify(graph, params, tokens, seed=9).doubts[0].step == (2 * 5 + 3) * 3 + 1


@pytest.mark.parametrize("options", [{}, {"top_k": 2, "temperature": 0.8}])
def test_published_networks_over_images(painter: Graph, options: dict[str, Any]) -> None:
    params, tokens, condition = drawn(painter, (4, 5), "float32", **options)
    certificate = certify(painter, params, tokens, seed=9, condition=condition, **options)
    assert certificate.certain, str(certificate)
    assert certificate.first_order == 0
    wrong = tokens.copy()
    wrong[1, -1, 3, 4] = (wrong[1, -1, 3, 4] + 1) % facts(painter).types["x"].size
    (doubt,) = certify(painter, params, wrong, seed=9, condition=condition, **options).doubts
    assert (doubt.row, doubt.step, doubt.rival) == (1, tokens[0].size - 1, tokens[1, -1, 3, 4])


def loose(graph: Graph, *rest: Any) -> Any:
    """Bounds of all orders that settle nothing at the output."""
    found = COMPOSED(graph, *rest)
    return found | {graph.output: 1e3 + found[graph.output]}


def test_what_only_first_order_settles_is_said(categorical: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of draws in float32: what exact arithmetic draws is settled by it alone."""
    params, tokens, condition = drawn(categorical, 10)
    monkeypatch.setattr(rounding, "composed", loose)
    certificate = certify(categorical, params, tokens, seed=9, condition=condition, dtype="float32")
    exactly = certify(categorical, params, tokens, seed=9, condition=condition)
    assert (exactly.first_order, bool(exactly)) == (0, True)
    assert "first order" not in str(exactly)
    if categorical is MODELS["tcn"]:  # a relu of a sum of relus that are 0: no bound says that they are exact
        assert (len(certificate.doubts), certificate.first_order, bool(certificate)) == (20, 0, False)
        return
    assert certificate
    assert certificate.first_order == 20
    assert "of every draw in float32, 20 of them to first order" in str(certificate)
    assert len(certify(categorical, params, tokens, seed=9, condition=condition, dtype="float32", sweeps=0).doubts) == 20


@pytest.mark.parametrize("kink", ["relu", "leaky_relu", "max"])
def test_where_rounding_decides_a_branch(kink: str) -> None:
    """a = 1 + 2⁻⁵⁴ - 1 is 0 in floats, and times 2⁶⁰ it is 64: the other token. Its slope in floats is that of a < 0."""
    g = Builder()
    front = g.conv1d(g.one_hot(g.input(classes=2)), 1, kernel=2, strict=True, name="front")
    h = g.pool1d(front, "max", 2, pad="zero") if kink == "max" else getattr(g, kink)(front)
    graph = g.build(g.conv1d(h, 2, name="logits"), ops.Categorical())
    params = {
        "front.weight": np.broadcast_to([2.0**-54, 1.0], (1, 2, 2)), "front.bias": -np.ones(1),
        "logits.weight": np.array([[[0.0]], [[2.0**60]]]), "logits.bias": np.array([1.0, 0.0]),
    }  # fmt: skip
    tokens = refar.generate(graph, params, 6, seed=0, temperature=0)
    assert not tokens.any()
    exactly = certify(graph, params, tokens, seed=0, temperature=0)
    assert [doubt.step for doubt in exactly.doubts] == [2, 3, 4, 5]
    assert all(doubt.contradicted and doubt.gap == pytest.approx(-63) for doubt in exactly.doubts)
    certificate = certify(graph, params, tokens, seed=0, temperature=0, dtype="float32")
    assert not certificate
    assert certificate.first_order == 0


def kinked(op: str, x: list[float], e: list[float], **options: Any) -> list[bool]:
    """Whether two rows are near a kink: the numbers, and below them minus one, each off by at most e."""
    g = Builder()
    h = g.input(channels=2, name="x")
    graph = g.build(g.pool1d(h, "max", **options) if op == "max" else getattr(g, op)(h))
    far = np.full((2, 1, len(x)), 50.0)  # the other channel, where nothing is near
    values = {"x": np.concatenate([far * np.arange(1, len(x) + 1), np.stack([[x], [[-n - 1 for n in x]]])], axis=1)}
    values |= {node.name: np.ones((2, 1, len(x))) for node in graph.nodes if isinstance(node.op, ops.Ones)}
    return rounding.near_a_kink(graph, values, {"x": np.broadcast_to(e, (2, 2, len(x)))}).tolist()


def test_what_is_near_a_kink() -> None:
    """Row 1 holds -1 - x."""
    for relu in ("relu", "leaky_relu"):
        assert kinked(relu, [0.3, 0.5], [0.1, 0.1]) == [False, False]
        assert kinked(relu, [0.3, -0.1], [0.1, 0.1]) == [True, False]
        assert kinked(relu, [-1.05, 4.0], [0.1, 0.1]) == [False, True]
        assert kinked(relu, [0.0, 4.0], [0.0, 0.1]) == [False, False]  # exactly 0 is on a side
    assert kinked("tanh", [0.0, 4.0], [0.1, 0.1]) == [False, False]
    pool: dict[str, Any] = {"kernel": 2, "pad": "exclude"}
    assert kinked("max", [1.0, 2.0, 4.0], [0.1, 0.1, 0.1], **pool) == [False, False]
    assert kinked("max", [1.0, 2.0, 2.1], [0.1, 0.1, 0.1], **pool) == [True, True]
    assert kinked("max", [1.0, 2.0, 2.0], [0.1, 0.0, 0.0], **pool) == [False, False]  # equal for certain
    assert kinked("max", [1.0, 1.0, 4.0], [0.1, 0.0, 0.0], **pool) == [True, True]
    assert kinked("max", [0.05, 2.0, 4.0], [0.1, 0.1, 0.1], **pool) == [False, False]  # nothing stands before the start
    assert kinked("max", [0.05, 2.0, 4.0], [0.1, 0.1, 0.1], kernel=2, pad="zero") == [True, False]
    assert kinked("max", [1.0, 3.0, 1.1], [0.1, 0.1, 0.1], kernel=2, dilation=2, pad="exclude") == [True, True]
    assert kinked("max", [-1.0, 3.0, 1.1], [0.1, 0.1, 0.1], kernel=2, dilation=2, pad="exclude") == [False, False]


def test_images_hold_their_prompt() -> None:
    graph = images()
    params, tokens, _ = drawn(graph, (4, 5))
    first = tokens[:, :, :2]
    again = refar.generate(graph, params, (4, 5), seed=9, prompt=first[:1], batch=2)
    assert certify(graph, params, again, seed=9, prompt=first[:1]).gaps.shape == (2, 30)
    assert certify(graph, params, tokens, seed=9, prompt=first[:, :, :0]).gaps.shape == (2, 60)
    for prompt, fragments in (
        ((first + 1) % 3, ["tokens", "first 2 rows are the prompt", "others"]),
        (first[..., :4], ["prompt", "4 rows and 5 columns", "2 rows of 4"]),
        (np.concatenate([tokens, tokens], axis=2), ["prompt", "8 rows of 5"]),
        (first[[0, 1, 1]], ["prompt", "1 or 2 images", "3"]),
        (first[0, 0], ["prompt", "axes bchw with 3 channels", "(2, 5)"]),
        (3, ["prompt", "axes bchw with 3 channels", "()"]),
    ):
        with refuses(InputError, *fragments):
            certify(graph, params, tokens, seed=9, prompt=prompt)


def equal_logits(bias: list[float]) -> tuple[Graph, Any]:
    """Logits that do not depend on anything."""
    g = Builder()
    graph = g.build(g.conv1d(g.one_hot(g.input(classes=3)), 3, strict=True, name="front"), ops.Categorical())
    return graph, {"front.weight": np.zeros((3, 3, 1)), "front.bias": np.array(bias)}


def test_ties_are_uncertain() -> None:
    graph, params = equal_logits([1.0, 1.0, 0.0])
    certificate = certify(graph, params, [[0, 0]], temperature=0)
    assert len(certificate.doubts) == 2
    assert not any(doubt.contradicted for doubt in certificate.doubts)
    assert "2 of 2 steps are uncertain" in str(certificate)
    assert "might as well be 1" in str(certificate)


def test_a_border_of_top_k_that_rounding_could_cross_is_uncertain() -> None:
    graph, params = equal_logits([2.0, 1.0, 1.0])
    tokens = refar.generate(graph, params, 40, seed=1, top_k=2)
    assert certify(graph, params, tokens, seed=1, top_k=2).certain  # of equals the lower class stays
    certificate = certify(graph, params, tokens, seed=1, top_k=2, dtype="float32")
    assert {doubt.step for doubt in certificate.doubts} >= set(np.flatnonzero(tokens[0] == 1).tolist()) != set()
    graph, params = equal_logits([2.0, 1.0, 0.5])
    assert certify(graph, params, refar.generate(graph, params, 40, seed=1, top_k=2), seed=1, top_k=2).certain


def test_equal_logits_without_rounding_are_cut_off_by_top_k_in_their_order() -> None:
    g = Builder()
    graph = g.build(g.delay(g.one_hot(g.input(classes=4))), ops.Categorical())  # nothing rounds: the logits are 0 and 1
    for seed in range(8):
        tokens = refar.generate(graph, {}, 12, seed=seed, top_k=2)
        assert certify(graph, {}, tokens, seed=seed, top_k=2).certain
        for step in range(12):
            for other in set(range(4)) - {int(tokens[0, step])}:
                wrong = np.append(tokens[:, :step], [[other]], axis=1)
                assert not certify(graph, {}, wrong, seed=seed, top_k=2).certain


def test_what_stands_before_the_start_is_computed_exactly_too() -> None:
    g = Builder()
    h = g.add(g.conv1d(g.one_hot(g.input(classes=2)), 2, bias=False), g.conv1d(g.condition(channels=3), 2, name="matrix"))
    graph = g.build(g.delay(h), ops.Categorical(), padding="input")
    weight = np.stack([np.ones((3, 1)), np.zeros((3, 1))])
    params = {"conv1d.weight": np.zeros((2, 2, 1)), "matrix.weight": weight, "matrix.bias": np.array([0, 0.5])}
    vector = [[1e16, 1.0, -1e16]]  # of which the sum, the first logit, is 1, and 0 as soon as it is rounded on the way
    first, second = (certify(graph, params, [[token]], temperature=0, condition=vector) for token in (0, 1))
    assert first.certain
    assert first.gaps == 0.5
    assert second.doubts[0].contradicted
    for token in (0, 1):
        assert not certify(graph, params, [[token]], temperature=0, condition=vector, dtype="float32").certain


def test_no_tokens() -> None:
    graph, params = equal_logits([0, 1, 2])
    assert certify(graph, params, np.zeros((2, 0), int)).certain


def test_what_is_refused() -> None:
    graph, params = equal_logits([0, 1, 2])
    with refuses(InputError, "classes 0..2", "3"):
        certify(graph, params, [[3]])
    with refuses(InputError, "prompt", "1 or 2 rows", "3"):
        certify(graph, params, [[1], [2]], prompt=np.zeros((3, 1), int))
    with refuses(InputError, "temperature", "-0.5"):
        certify(graph, params, [[1], [2]], temperature=-0.5)
    with refuses(InputError, "sweeps", "-1"):
        certify(graph, params, [[1], [2]], sweeps=-1)
    linear = refar.models.linear_ar(2)
    with refuses(GraphError, "categorical head", "Gaussian"):
        certify(linear, refar.init(linear), np.zeros((1, 1, 3)))
    g = Builder()
    present = g.build(g.one_hot(g.input(classes=3)), ops.Categorical())
    with refuses(GraphError, "certify", "strict"):
        certify(present, {}, [[1]])


def test_generate_certifies() -> None:
    graph, params = equal_logits([0.0, 1.0, 2.0])
    tokens, certificate = refar.generate(graph, params, 10, batch=2, seed=3, certify=True)
    assert isinstance(certificate, Certificate)
    assert certificate.certain
    assert (tokens == refar.generate(graph, params, 10, batch=2, seed=3)).all()


def test_generate_certifies_with_all_its_options() -> None:
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=4)), 4, kernel=3, strict=True, name="front")
    graph = g.build(g.add(h, g.conv1d(g.condition("c", channels=4), 4, name="matrix")), ops.Categorical())
    params = generic_parameters(graph, np.random.default_rng(2))
    options: dict[str, Any] = {
        "seed": 3, "temperature": 0.7, "top_k": 3, "prompt": [[2, 3, 0, 1]], "condition": [[1.0, -2.0, 0.5, 2.0]],
    }  # fmt: skip
    tokens, found = refar.generate(graph, params, 12, certify=True, **options)
    whole = certify(graph, params, tokens, **options)
    assert whole.certain
    assert (found.gaps == whole.gaps).all()
    assert (found.bounds == whole.bounds).all()
    others = {"seed": 0, "temperature": 1.0, "top_k": None, "prompt": [[2, 3, 0, 0]], "condition": np.zeros((1, 4))}
    for name, value in others.items():
        assert (certify(graph, params, tokens, **options | {name: value}).gaps != whole.gaps).any(), name


def close_calls(count: int, temperature: float) -> tuple[Graph, Any, Any]:
    """Two constant logits, and noise (steps, 1, 2) after which the scores differ by what float32 can tell apart or not."""
    g = Builder()
    graph = g.build(g.conv1d(g.one_hot(g.input(classes=2)), 2, strict=True, name="front"), ops.Categorical())
    logits, rng = np.array([1.7, -0.4], np.float32), np.random.default_rng(0)
    params = {"front.weight": np.zeros((2, 2, 1), np.float32), "front.bias": logits}
    first = rng.gumbel(size=count)
    apart = rng.choice([-1, 1], count) * 10 ** rng.uniform(-8.5, -4, count)
    second = first + float(logits[0] - logits[1]) / temperature + apart
    return graph, params, np.stack([first, second], axis=1)[:, None]


@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
def test_what_float32_may_decide_is_uncertain_and_never_contradicted(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens that float32 draws otherwise than float64, from the same noise: the bound of float32 says so."""
    graph, params, draws = close_calls(500, temperature)
    y = params["front.bias"]
    narrow = draws[:, 0].astype(np.float32)
    tokens = np.array([[exact.drawn(ops.Categorical(), y, n, np.float32(temperature)) for n in narrow]])
    wide = np.argmax(y.astype(float) / temperature + draws[:, 0], axis=1)
    differ = np.flatnonzero(tokens[0] != wide)
    assert len(differ) > 10
    monkeypatch.setattr(noise, "draw", lambda *_: draws)
    plain = certify(graph, params, tokens, temperature=temperature)
    assert {doubt.step for doubt in plain.doubts if doubt.contradicted} == set(differ.tolist())
    found = certify(graph, params, tokens, temperature=temperature, dtype="float32")
    assert not any(doubt.contradicted for doubt in found.doubts)
    assert {doubt.step for doubt in found.doubts} >= set(differ.tolist())
    assert len(found.doubts) < 400
    monkeypatch.setattr(in_float32, "_SLACK", 0.0)
    assert any(doubt.contradicted for doubt in certify(graph, params, tokens, temperature=temperature, dtype="float32").doubts)


def test_a_temperature_below_the_numbers_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 0 there, and the noise is not felt where it decides in float64."""
    graph, params, _ = close_calls(1, 1.0)
    params["front.bias"] = np.zeros(2, np.float32)
    monkeypatch.setattr(noise, "draw", lambda *_: np.array([[[0.0, 1.0]]]))
    assert exact.drawn(ops.Categorical(), params["front.bias"], np.array([0, 1], np.float32), np.float32(1e-50)) == 0
    (doubt,) = certify(graph, params, [[0]], temperature=1e-50, dtype="float32").doubts
    assert not doubt.contradicted
    (doubt,) = certify(graph, params, [[0]], temperature=1e-50).doubts
    assert doubt.contradicted


def test_tokens_drawn_in_the_graph_are_those_of_every_draw_in_float32(categorical: Graph, tmp_path: Path) -> None:
    params, _, condition = drawn(categorical, 30)
    session = load(export(categorical, params, tmp_path / "b", sampler=True))
    tokens = session.generate(30, batch=2, seed=9, condition=condition or None, sampler=True)
    plain = certify(categorical, params, tokens, seed=9, condition=condition)
    certificate = certify(categorical, params, tokens, seed=9, condition=condition, dtype="float32")
    assert plain.certain, str(plain)
    assert certificate.certain, str(certificate)
    assert (certificate.bounds > 1e3 * plain.bounds).all()
    assert "all 60 tokens are those of exact arithmetic and of every draw in float32" in str(certificate)


def test_the_dtype_of_a_certificate() -> None:
    graph, params, _ = close_calls(1, 1.0)
    for dtype, said in (("float16", "float16"), (int, "int64"), ("number", "'number'")):
        with refuses(InputError, f"dtype: expected float64 or float32, got {said}"):
            certify(graph, params, [[0]], dtype=dtype)
