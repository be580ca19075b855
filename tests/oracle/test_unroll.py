"""Unrolled losses: against passes over prefixes, against central differences, and against themselves row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import refuses
from unrolled_cases import NETWORKS, ORIGINS, T, case, signal

import refar
from refar import Graph, Unrolling, models, noise
from refar.analysis.facts import facts
from refar.arguments.unrolling import draw_noise, draw_origins
from refar.building.rewrite import relaxed, relaxed_parameters
from refar.errors import GraphError, InputError
from refar.exact import literal_heads
from refar.oracle import losses
from refar.oracle.gumbel import gumbel_softmax


def prefix(options: dict[str, Any], b: int, length: int) -> Any:
    """The conditions of one sequence at its first positions."""
    return {name: c[b : b + 1, ..., :length] if name == "pitch" else c[b : b + 1] for name, c in options["condition"].items()}


def test_the_signal_of_unit_vectors_gives_what_the_classes_give() -> None:
    graph, _, options = case("gumbel-softmax")
    wide, params, x = relaxed(graph), options["params"], options["x"]
    y = refar.forward(wide, relaxed_parameters(graph, params), np.moveaxis(np.eye(4)[x], -1, 1), options["condition"])
    np.testing.assert_allclose(y, refar.forward(graph, params, x, options["condition"]), rtol=0, atol=4e-16)
    assert refar.offsets(wide) == refar.offsets(graph)
    assert relaxed(signal()).nodes == signal().nodes


@pytest.mark.row("002-7")
@pytest.mark.parametrize("name", ["straight-through", "mixture, hard", "mean", "sample", "learnt, sample"])
def test_tokens_fed_back_one_by_one(name: str) -> None:
    """By passes of `refar.forward` over prefixes that end with the tokens which `noise.sample` draws."""
    graph, unrolling, options = case(name)
    found = refar.unroll(graph, **options)
    assert found.shape == (2, 2, 3)
    head, x = graph.head, options["x"]
    for b, m in np.ndindex(2, 2):
        seen = x[b : b + 1, ..., : ORIGINS[b, m]]
        for k in range(3):
            place = ORIGINS[b, m] + k
            longer = np.concatenate([seen, np.zeros_like(x[:1, ..., :1])], axis=-1)
            y = refar.forward(graph, options["params"], longer, prefix(options, b, place + 1))[..., place]
            truth = x[b : b + 1, ..., place]
            wanted = losses.nats(head, y[..., None], truth[..., None])[0, 0]
            assert found[b, m, k] == pytest.approx(wanted, rel=1e-12)
            if name == "mean":
                token = y
            elif name.endswith("sample"):
                token = noise.sample(head, y, options["noise"][b : b + 1, m, k], unrolling.temperature)
            elif name == "straight-through":
                token = noise.sample(head, y, options["noise"][b : b + 1, m, k].copy(), 1.0)
            else:
                p = [np.exp(-losses.nats(head, y[..., None], np.array([[q]]))[0, 0]) for q in range(4)]
                token = np.array([np.argmax(np.log(p) + options["noise"][b, m, k])])
            seen = np.concatenate([seen, token[..., None]], axis=-1)


@pytest.mark.row("002-10")
def test_relaxed_tokens_by_hand() -> None:
    """By passes over prefixes of a plain computation that looks classes up as weighed sums."""
    graph, unrolling, options = case("gumbel-softmax")
    found, params, x = refar.unroll(graph, **options), options["params"], options["x"]
    for b, m in np.ndindex(2, 2):
        p = [np.eye(4)[q] for q in x[b, : ORIGINS[b, m]]]
        for k in range(3):
            place = ORIGINS[b, m] + k
            y = lookups_by_hand(params, p, options["condition"]["pitch"][b], options["condition"]["speaker"][b])
            wanted = literal_heads.cross_entropy(y[None, :, None], x[b : b + 1, place : place + 1])[0, 0]
            assert found[b, m, k] == pytest.approx(wanted, rel=1e-12)
            draws = options["noise"][b, m, k]
            p.append(literal_heads.gumbel_softmax(y[None, :, None], draws[None, :, None], unrolling.temperature)[0, :, 0])


def lookups_by_hand(params: dict[str, np.ndarray], p: list[np.ndarray], pitch: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """The output of `lookups` at the position after the tokens p."""

    def first(t: int) -> np.ndarray:
        if t < 0:
            return np.zeros(5)
        total = params["first.bias"].copy()
        for k, s in ((0, t - 1), (1, t)):
            if s >= 0:
                number = sum(p[s][q] * (q - 1.5) / 0.7 for q in range(4))
                h = np.concatenate([p[s], p[s] @ params["table.weight"], [number], np.eye(3)[pitch[s]]])
                total += params["first.weight"][:, :, k] @ h
        return np.tanh(total)

    def strict(t: int) -> np.ndarray:
        if t < 0:
            return np.zeros(5)
        w = params["strict.weight"]
        dense = params["dense.weight"][:, :, 0] @ speaker + params["dense.bias"]
        return w[:, :, 0] @ first(t - 3) + w[:, :, 1] @ first(t - 1) + params["strict.bias"] + dense

    t, w = len(p), params["mix.weight"]
    a, b = np.split(w[:, :, 0] @ strict(t - 1) + w[:, :, 1] @ strict(t) + params["mix.bias"], 2)
    return params["out.weight"][:, :, 0] @ (np.tanh(a) / (1 + np.exp(-b))) + params["out.bias"]


@pytest.mark.row("002-10")
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("straight-through", "mixture, hard")])
def test_gradient_through_three_steps_against_central_differences(name: str) -> None:
    """Along a random direction in all parameters and conditions: the error of the difference is h²·f''' and u·f/h."""
    graph, _, options = case(name)
    rng, h = np.random.default_rng(1), 1e-5
    d = rng.normal(size=(2, 2, 3))
    found = refar.unroll_backward(graph, d=d, **options)
    conditions = {key: value for key, value in options["condition"].items() if value.dtype.kind == "f"}
    towards = {key: rng.normal(size=value.shape) for key, value in options["params"].items()}
    sideways = {key: rng.normal(size=value.shape) for key, value in conditions.items()}

    def value(step: float) -> float:
        changed = dict(options, params={key: v + step * towards[key] for key, v in options["params"].items()})
        changed["condition"] = options["condition"] | {key: v + step * sideways[key] for key, v in conditions.items()}
        return float((d * refar.unroll(graph, **changed)).sum())

    wanted = sum((found["params"][key] * towards[key]).sum() for key in towards)
    wanted += sum((found["inputs"][key] * sideways[key]).sum() for key in conditions)
    assert found["inputs"].keys() == conditions.keys()
    assert (value(h) - value(-h)) / (2 * h) == pytest.approx(wanted, rel=1e-7)
    for key, gradient in found["params"].items():
        assert gradient.shape == options["params"][key].shape
        assert np.abs(gradient).max() > 0, key


@pytest.mark.row("002-10")
def test_straight_through_has_the_gradient_of_the_soft_sample() -> None:
    """z = hard - soft + soft(θ), the first two held still: the derivative of that is what straight-through means."""
    graph, unrolling, options = case("straight-through")
    wide, params, x, rng = relaxed(graph), options["params"], options["x"], np.random.default_rng(2)
    d, towards = rng.normal(size=3), {key: rng.normal(size=value.shape) for key, value in params.items()}
    held: list[np.ndarray] = []

    def value(step: float) -> float:
        moved = relaxed_parameters(graph, {key: v + step * towards[key] for key, v in params.items()})
        p, total = np.moveaxis(np.eye(4)[x[1:, :5]], -1, 1), 0.0
        for k in range(3):
            longer = np.concatenate([p, np.zeros((1, 4, 1))], axis=2)
            y = refar.forward(wide, moved, longer, prefix(options, 1, 6 + k))[:, :, -1:]
            total += d[k] * losses.nats(graph.head, y, x[1:, 5 + k : 6 + k])[0, 0]
            draws = options["noise"][1:, 0, k, :, None]
            soft = gumbel_softmax(y, draws, unrolling.temperature)
            if len(held) == k:
                held.append(gumbel_softmax(y, draws, unrolling.temperature, hard=True) - soft)
            p = np.concatenate([p, held[k] + soft], axis=2)
        return total

    value(0.0)
    d_bmn = np.zeros((2, 2, 3))
    d_bmn[1, 0] = d
    found = refar.unroll_backward(graph, d=d_bmn, **options)["params"]
    wanted = sum((found[key] * towards[key]).sum() for key in towards)
    assert (value(1e-5) - value(-1e-5)) / 2e-5 == pytest.approx(wanted, rel=1e-7)


@pytest.mark.row("002-7")
@pytest.mark.parametrize("name", NETWORKS)
def test_one_step_from_every_origin_is_the_plain_loss(name: str) -> None:
    graph, unrolling, options = case(name)
    options |= {"origins": np.tile(np.arange(T), (2, 1)), "unrolling": Unrolling(1, unrolling.feedback)}
    options["noise"] = np.zeros((2, T, 1, facts(graph).types["x"].size))
    found = refar.unroll(graph, **options)
    np.testing.assert_allclose(
        found.sum(axis=(1, 2)), -refar.log_prob(graph, options["params"], options["x"], options["condition"])
    )
    plain = -losses.nats_backward(graph.head, *outputs(graph, options), np.ones((2, T)))
    wanted = refar.backward(graph, options["params"], options["x"], -plain, options["condition"])["params"]
    gradient = refar.unroll_backward(graph, d=np.ones((2, T, 1)), **options)["params"]
    for key, array in wanted.items():
        np.testing.assert_allclose(gradient[key], array, rtol=1e-10, atol=1e-12)


def outputs(graph: Graph, options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return refar.forward(graph, options["params"], options["x"], options["condition"]), options["x"]


@pytest.mark.parametrize("name", ["straight-through", "learnt, sample"])
def test_input_padding_and_a_row_alone(name: str) -> None:
    graph, _, options = case(name)
    graph = refar.from_json(refar.to_json(graph).replace(b"\n}\n", b',\n  "padding": "input"\n}\n'))
    whole = refar.unroll(graph, **options)
    alone = {key: value[1:] for key, value in options.items() if isinstance(value, np.ndarray)}
    alone["condition"] = {key: value[1:] for key, value in options["condition"].items()}
    np.testing.assert_allclose(refar.unroll(graph, **{**options, **alone}), whole[1:], rtol=1e-12)


def test_noise_and_origins_are_functions_of_seed_step_and_row() -> None:
    graph, unrolling, _ = case("gumbel-softmax")
    whole = draw_noise(graph, 1, 2, range(4), 3, unrolling)
    assert whole.shape == (4, 3, 3, 4)
    np.testing.assert_array_equal(draw_noise(graph, 1, 2, range(2, 4), 3, unrolling), whole[2:])
    assert (draw_noise(graph, 1, 3, range(4), 3, unrolling) != whole).all()
    assert len(np.unique(whole)) == whole.size, "rows, origins, steps and classes all draw numbers of their own"
    assert draw_noise(signal(), 1, 2, range(4), 3, Unrolling(2, "sample")).shape == (4, 3, 2, 2)
    assert draw_noise(signal(), 1, 2, range(4), 3, Unrolling(2, "mean")) is None
    lengths = np.array([12, 5, 4, 3])
    origins = draw_origins(1, 2, range(4), 3, 1, lengths, 3)
    np.testing.assert_array_equal(draw_origins(1, 2, range(1, 4), 3, 1, lengths[1:], 3), origins[1:])
    assert (origins[0] == np.sort(origins[0])).all()
    assert origins.tolist()[2:] == [[1, 1, 1], [-1, -1, -1]], "one possible origin, and none"
    seen = np.stack([draw_origins(1, step, range(4), 3, 1, lengths, 3) for step in range(300)])
    assert [set(seen[:, 0, m].tolist()) for m in range(3)] == [{1, 2, 3}, {4, 5, 6}, {7, 8, 9}]
    assert set(seen[:, 1].ravel().tolist()) == {1, 2}
    np.testing.assert_array_equal(draw_origins(1, 2, range(1), 9, 1, lengths[:1], 3)[0], np.arange(1, 10))


def test_what_cannot_be_unrolled() -> None:
    graph, unrolling, options = case("gumbel-softmax")
    for changed, message in [
        ({"unrolling": Unrolling(0, "gumbel-softmax")}, ("horizon: expected an integer from 1", "got 0")),
        ({"unrolling": Unrolling(10, "gumbel-softmax")}, ("horizon: expected at most the 9 positions of a sequence, got 10",)),
        ({"unrolling": Unrolling(3, "gumbel-softmax", 0.0)}, ("temperature: expected a finite number > 0, got 0.0",)),
        ({"unrolling": Unrolling(3, "mean")}, ("expected 'straight-through' or 'gumbel-softmax'", "got 'mean'")),
        ({"origins": np.array([[0, 7], [1, 2]])}, ("origins: expected 0..6, so that 3 positions follow, got 7",)),
        ({"origins": np.array([[0, -1], [1, 2]])}, ("origins: expected 0..6", "got -1")),
        ({"origins": np.zeros((3, 1), int)}, ("origins: expected integers o_bm for 2 sequences, got int64 (3, 1)",)),
        ({"noise": None}, ("noise: expected numbers of shape (2, 2, 3, 4) for feedback 'gumbel-softmax', got none",)),
        ({"noise": np.zeros((2, 2, 3, 5))}, ("noise: expected the shape (2, 2, 3, 4), got (2, 2, 3, 5)",)),
    ]:  # fmt: skip
        with refuses(InputError, *message):
            refar.unroll(graph, **{**options, **changed})
    with refuses(InputError, "d, the gradient of the loss: expected shape (2, 2, 3), got (2, 3)"):
        refar.unroll_backward(graph, d=np.zeros((2, 3)), **options)
    for other, message in [
        (models.pixelcnn(4, hidden=2), "unrolling expects a graph over time"),
        (refar.from_json(refar.to_json(graph).replace(b'"strict": true', b'"strict": false')), "unrolling needs a strict graph"),
        (relaxed(graph), "unrolling needs a graph with a head"),
    ]:
        with refuses(GraphError, message):
            refar.unroll(other, options["params"], options["x"], ORIGINS, unrolling)
    with refuses(GraphError, "expected a graph over time"):
        relaxed(models.pixelcnn(4, hidden=2))
