"""The slow and the fast algorithm: the same tokens, wherever rounding cannot decide between two."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from helpers import generate_with_outputs, refuses, tiny
from hypothesis import example, given, settings
from hypothesis import strategies as st

import refar
from refar import Builder, Graph, Node, models, noise, ops
from refar.analysis.facts import facts
from refar.errors import InputError
from refar.oracle import generation
from refar.rounding.tolerance import tolerance
from refar.testing import strategies
from refar.testing.contract.cases import generic_inputs, generic_parameters

N = 12


def wavenet() -> Graph:
    return models.wavenet(5, [1, 2], residual=4, gate=3, skip=6, condition="class:3")


def options(graph: Graph, rows: int, prompt: int) -> dict[str, object]:
    rng = np.random.default_rng([rows, prompt])
    condition = rng.integers(0, 3, rows) if facts(graph).conditions else None
    return {"prompt": rng.integers(0, 5, (rows, prompt)), "condition": condition, "batch": rows, "seed": 7}


def gaps(graph: Graph, y: np.ndarray, start: int, temperature: float) -> np.ndarray:
    """Between the best and the second best score, at every step: [t, b]."""
    draws = noise.draw(graph.head, 7, range(y.shape[0]), start, y.shape[2], y.shape[1])
    scores = y.transpose(2, 0, 1) / (temperature or 1) + (draws if temperature else 0)
    top = np.sort(scores, axis=2)
    return top[:, :, -1] - top[:, :, -2]


@pytest.mark.row("002-8")
@pytest.mark.parametrize("prompt", ["0", "1", "R-1", "R", "R+1"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("rows", [1, 5])
def test_slow_and_fast_agree(rows: int, temperature: float, prompt: str) -> None:
    graph = wavenet()
    params = generic_parameters(graph, np.random.default_rng(5))
    length = eval(prompt, {"R": refar.receptive_field(graph)})
    given = options(graph, rows, length)
    fast, y = generate_with_outputs(graph, params, N, temperature=temperature, **given)
    slow, y_slow = generate_with_outputs(graph, params, N, temperature=temperature, algorithm="slow", **given)
    difference = np.abs(y - y_slow).max()
    assert difference <= 1e-13
    assert gaps(graph, y, length, temperature).min() > 2 * difference / (temperature or 1), "rounding could decide a token"
    np.testing.assert_array_equal(fast, slow)
    assert fast.shape == (rows, N)


def with_head(graph: Graph) -> Graph:
    """The graph itself if it has a head, or with one more layer, to what the distribution of its sequence needs."""
    if graph.head is not None:
        return graph
    kind = facts(graph).types[facts(graph).sequence]
    last = Node("to_head", ops.Conv1d(kind.size), (graph.output,))
    head = ops.Categorical() if kind.indexed else ops.Gaussian(0.5)
    return msgspec.structs.replace(graph, nodes=(*graph.nodes, last), output=last.name, head=head)


def late_condition() -> Graph:
    """Offset 1 alone, but y_t tells the first positions from the others up to t = 6: the condition is delayed by five."""
    g = Builder()
    x, c = g.delay(g.input(channels=1)), g.condition(channels=1)
    return g.build(g.add(x, g.delay(g.slice(g.concat(x, c), 1, 2), 5)))


@settings(max_examples=60)
@given(graph=strategies.graphs(strict=True, paddings=("layer", "input")), prompt=st.integers(0, 30), seed=st.integers(0, 99))
@example(graph=late_condition(), prompt=4, seed=0)
@example(graph=late_condition(), prompt=7, seed=0)
def test_slow_and_fast_agree_on_random_graphs(graph: Graph, prompt: int, seed: int) -> None:
    graph, rng, n = with_head(graph), np.random.default_rng(seed), 4
    params = generic_parameters(graph, rng)
    inputs = generic_inputs(graph, rng, 2, prompt + n)
    x = inputs.pop(facts(graph).sequence)[..., :prompt]
    given = {"prompt": x, "condition": inputs, "batch": 2, "temperature": 0.0}
    fast, y = generate_with_outputs(graph, params, n, **given)
    slow, y_slow = generate_with_outputs(graph, params, n, algorithm="slow", **given)
    allowed = tolerance(graph, y, np.float64)
    np.testing.assert_allclose(y_slow, y, rtol=0, atol=allowed)
    np.testing.assert_allclose(slow, fast, rtol=0, atol=allowed)


@pytest.mark.parametrize("rows", [1, 5])
def test_signals_too(rows: int) -> None:
    graph = models.linear_ar(3, std=0.5)
    params = {"ar.weight": np.array([[[0.2, -0.4, 0.5]]]), "ar.bias": np.array([0.1])}
    fast = refar.generate(graph, params, N, batch=rows, seed=1)
    slow = refar.generate(graph, params, N, batch=rows, seed=1, algorithm="slow")
    assert fast.shape == (rows, 1, N)
    np.testing.assert_allclose(fast, slow, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(refar.generate(graph, params, N, batch=rows, seed=1)[0], fast[0])


def test_signals_follow_the_condition_of_their_own_position() -> None:
    """x_t = c_t + noise, and longer than what any output sees."""
    g = Builder()
    c = g.condition("c", channels=2, local=True)
    graph = g.build(g.add(g.conv1d(g.input(channels=2), 2, strict=True, bias=False, name="none"), c), ops.Gaussian(1e-6))
    condition = np.random.default_rng(3).normal(size=(1, 2, N))
    for algorithm in ("fast", "slow"):
        x = refar.generate(graph, {"none.weight": np.zeros((2, 2, 1))}, N, condition=condition, algorithm=algorithm)
        np.testing.assert_allclose(x, condition, rtol=0, atol=1e-4)


def test_slow_evaluates_what_the_next_output_sees_and_fast_evaluates_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    right, lengths = generation.forward_nodes, []

    def recorded(net: Any, inputs: Any) -> Any:
        lengths.append(inputs["x"].shape[1])
        return right(net, inputs)

    monkeypatch.setattr(generation, "forward_nodes", recorded)
    graph = tiny()  # R = 4
    for algorithm, wanted in (("fast", []), ("slow", [1, 2, 3, 4, 5, 5, 5, 5])):
        lengths.clear()
        refar.generate(graph, generic_parameters(graph, np.random.default_rng(0)), 8, algorithm=algorithm)
        assert lengths == wanted


def test_the_tokens_are_those_of_their_own_teacher_forced_scores() -> None:
    graph = wavenet()
    params = generic_parameters(graph, np.random.default_rng(6))
    given = options(graph, 5, 4)
    tokens, y = generate_with_outputs(graph, params, N, **given)
    whole = refar.forward(graph, params, np.concatenate([given["prompt"], tokens], axis=1), given["condition"])
    np.testing.assert_allclose(y, whole[:, :, 4:], rtol=0, atol=1e-13)
    draws = noise.draw(graph.head, 7, range(5), 4, N, 5)
    assert gaps(graph, y, 4, 1.0).min() > 1e-12
    np.testing.assert_array_equal(tokens, (whole[:, :, 4:] + draws.transpose(1, 2, 0)).argmax(axis=1))


def test_a_row_draws_the_same_alone_and_in_a_batch() -> None:
    graph = tiny()
    params = generic_parameters(graph, np.random.default_rng(7))
    together, y = generate_with_outputs(graph, params, N, batch=4, seed=3)
    alone, y_alone = generate_with_outputs(graph, params, N, batch=1, seed=3)
    np.testing.assert_array_equal(alone[0], together[0])
    np.testing.assert_allclose(y_alone[0], y[0], rtol=0, atol=1e-14)
    assert len({tuple(row) for row in together}) == 4, "every row has a stream of its own"
    np.testing.assert_array_equal(refar.generate(graph, params, N, batch=2, seed=3), together[:2])


@pytest.mark.parametrize("row", [0, 1, 3])
def test_each_row_follows_its_own_stream(row: int) -> None:
    """Row b alone, teacher-forced, with the noise of stream b alone."""
    graph = tiny()
    params = generic_parameters(graph, np.random.default_rng(7))
    together, y = generate_with_outputs(graph, params, N, batch=4, seed=3)
    alone = refar.forward(graph, params, together[row : row + 1])[0]
    np.testing.assert_allclose(alone, y[row], rtol=0, atol=1e-14)
    draws = noise.draw(graph.head, 3, [row], 0, N, 3)[:, 0]
    np.testing.assert_array_equal((alone.T + draws).argmax(axis=1), together[row])


@pytest.mark.row("003-4")
def test_tokens_continue_where_a_prompt_ends() -> None:
    """Generating in two goes is generating in one: the noise of a position does not depend on where generation began."""
    graph = tiny()
    params = generic_parameters(graph, np.random.default_rng(8))
    once = refar.generate(graph, params, N, batch=3, seed=9)
    rest = refar.generate(graph, params, N - 5, prompt=once[:, :5], seed=9)
    np.testing.assert_array_equal(rest, once[:, 5:])


@pytest.mark.parametrize("algorithm", ["fast", "slow"])
def test_sampling_follows_the_distribution(algorithm: str) -> None:
    """Frequencies of all sequences of two tokens against their probabilities; chi-square with 8 degrees of freedom."""
    graph = tiny(classes=3)
    params = generic_parameters(graph, np.random.default_rng(10))
    rows = 4000
    tokens = refar.generate(graph, params, 2, batch=rows, seed=11, algorithm=algorithm)
    pairs = np.array([[a, b] for a in range(3) for b in range(3)])
    expected = rows * np.exp(refar.log_prob(graph, params, pairs))
    observed = np.bincount(tokens[:, 0] * 3 + tokens[:, 1], minlength=9)
    assert ((observed - expected) ** 2 / expected).sum() < 26.1, "the 0.1 % quantile"


def test_a_prompt_and_a_condition_for_one_row_serve_all() -> None:
    graph = wavenet()
    params = generic_parameters(graph, np.random.default_rng(12))
    shared = refar.generate(graph, params, N, batch=3, prompt=np.array([1, 2, 3]), condition=np.array(2))
    each = refar.generate(graph, params, N, prompt=np.tile([1, 2, 3], (3, 1)), condition=np.array([2, 2, 2]))
    np.testing.assert_array_equal(shared, each)


def test_no_tokens_is_an_empty_array() -> None:
    graph = tiny()
    params = refar.init(graph)
    assert refar.generate(graph, params, 0, batch=3).shape == (3, 0)
    assert refar.generate(models.linear_ar(2), refar.init(models.linear_ar(2)), 0, batch=3).shape == (3, 1, 0)


def test_an_unknown_algorithm_is_refused() -> None:
    with refuses(InputError, "algorithm", "'fast' or 'slow'", "'quick'"):
        refar.generate(tiny(), refar.init(tiny()), 3, algorithm="quick")


def test_a_biased_layer_before_the_strict_one_sees_nothing_before_the_first_token() -> None:
    """A zero token fed in its place would pass that layer's bias on."""
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=3)), 4, name="biased")
    graph = g.build(g.conv1d(h, 3, kernel=2, strict=True), ops.Categorical())
    params = generic_parameters(graph, np.random.default_rng(13))
    y_0, state = refar.start(graph, params, 2)
    np.testing.assert_array_equal(y_0, np.tile(params["conv1d.bias"], (2, 1)))
    x = np.array([[0, 1, 2, 2], [2, 1, 0, 1]])
    y = refar.forward(graph, params, x)
    np.testing.assert_array_equal(y[:, :, 0], y_0)
    for t in range(3):
        y_t, state = refar.next(graph, params, state, x[:, t])
        np.testing.assert_allclose(y_t, y[:, :, t + 1], rtol=1e-14)


def test_a_signal_goes_on_drawing_at_the_position_after_its_prompt() -> None:
    """With prompts of another length than there are channels."""
    graph = models.linear_ar(2)
    params = {name: 0.3 * np.ones_like(value) for name, value in refar.init(graph).items()}
    whole = refar.generate(graph, params, 9, seed=5)
    for length in (2, 5):
        rest = refar.generate(graph, params, 9 - length, seed=5, prompt=whole[..., :length])
        np.testing.assert_allclose(rest, whole[..., length:], rtol=0, atol=1e-12)


def test_images_of_too_many_values_are_refused_before_any_is_made() -> None:
    graph = models.pixelcnn(2, kernel=3, hidden=2)
    with refuses(InputError, "n: expected an integer from 0 to 2147483647"):
        refar.generate(graph, refar.init(graph), (2**11, 2**20), batch=2)
    with refuses(InputError, "at most 2147483647 tokens in all rows together"):
        refar.generate(graph, refar.init(graph), (4, 2**20), batch=2**10)


def test_the_first_state_checks_conditions_that_it_does_not_need() -> None:
    graph = models.wavenet(4, [1], residual=2, gate=2, skip=2, condition="class:3")
    params = refar.init(graph)
    with refuses(InputError, "'condition': expected classes 0..2, got 3"):
        refar.initial_state(graph, params, 1, [3])
    assert refar.initial_state(graph, params, 1).keys() == refar.initial_state(graph, params, 1, [2]).keys()
