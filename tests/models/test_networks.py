"""WaveNet's conditions and dense connections, the TCN: sizes, reach, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import refuses

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.errors import GraphError
from refar.testing import check_contract
from refar.testing.contract.cases import generic_parameters


def count(graph: Graph) -> int:
    return sum(int(np.prod(shape)) for shape in facts(graph).parameters.values())


def shape(graph: Graph, name: str) -> tuple[int, ...]:
    return facts(graph).parameters[name]


@pytest.mark.parametrize(("condition", "c"), [(None, 0), ("class:3", 3), ("vector:4", 4)])
@pytest.mark.parametrize(("local", "l"), [(None, 0), ("class:5", 5), ("vector:2", 2)])
def test_parameters_of_wavenet(condition: str | None, c: int, local: str | None, l: int) -> None:  # noqa: E741
    graph = models.wavenet(7, [1, 2, 4], residual=3, gate=4, skip=5, kernel=2, front=2, condition=condition, local=local)
    blocks = 3 * (8 * (3 * 2 + 1 + c + l) + 5 * 4 + 5)
    assert count(graph) == 7 * 3 * 2 + 3 + blocks + 2 * (3 * 4 + 3) + 5 * 5 + 5 + 7 * 5 + 7
    assert sorted(refar.offsets(graph)) == list(range(1, 10))
    assert facts(graph).conditions == tuple(n for n, k in (("condition", condition), ("local", local)) if k)


@pytest.mark.row("000-12")
def test_dense_connections_join_different_channels() -> None:
    graph = models.wavenet(6, [1, 2, 4], residual=3, gate=4, skip=5, merge="concat", condition="class:3", local="vector:2")
    assert [shape(graph, f"block{i}.conv.weight") for i in range(3)] == [(8, 3, 2), (8, 3 + 4, 2), (8, 3 + 4 + 4, 2)]
    assert not [name for name in facts(graph).parameters if ".residual." in name]
    assert refar.offsets(graph) == refar.offsets(models.wavenet(6, [1, 2, 4]))
    check_contract(graph)


@pytest.mark.row("000-12")
def test_a_dense_connection_is_the_added_one_where_the_weights_say_so() -> None:
    """h + W·u read by V is V·h + (V·W)·u: the same function with other parameters, in exact integers."""
    rng = np.random.default_rng(0)
    v, w, x = (rng.integers(-3, 4, size).astype(float) for size in ((2, 3, 2), (3, 4, 1), (2, 7, 9)))

    def run(dense: bool, params: dict[str, np.ndarray]) -> np.ndarray:
        g = Builder()
        both = g.input(channels=7)
        h, u = g.slice(both, 0, 3), g.slice(both, 3, 7)
        joined = g.concat(h, u) if dense else g.add(h, g.conv1d(u, 3, bias=False, name="w"))
        return refar.forward(g.build(g.conv1d(joined, 2, kernel=2, bias=False, name="v")), params, x)

    wide = np.concatenate([v, np.einsum("ohk,hu->ouk", v, w[:, :, 0])], axis=1)
    np.testing.assert_array_equal(run(True, {"v.weight": wide}), run(False, {"v.weight": v, "w.weight": w}))


@pytest.mark.row("000-11")
def test_a_residual_reaches_the_most_recent_step_of_each_field() -> None:
    """With the convolutions at zero nothing but the residual path is left: y_t is x_t, and its gradient goes to x_t alone."""
    g = Builder()
    h = x = g.input(channels=2)
    for dilation in (1, 2, 4):
        h = g.add(h, g.conv1d(h, 2, kernel=2, dilation=dilation))
    graph = g.build(h)
    params = {name: np.zeros(size) for name, size in facts(graph).parameters.items()}
    signal, dy = np.random.default_rng(1).normal(size=(2, 1, 2, 12))
    np.testing.assert_array_equal(refar.forward(graph, params, signal), signal)
    np.testing.assert_array_equal(refar.backward(graph, params, signal, dy)["inputs"][x], dy)


@pytest.mark.row("000-11")
def test_a_residual_needs_equal_channels_or_a_pointwise_convolution() -> None:
    g = Builder()
    x = g.input(channels=2)
    h = g.conv1d(x, 3, kernel=2, name="wider")
    with refuses(GraphError, "'sum' (add)", "equal channels", "'wider' with 3, 'x' with 2"):
        refar.offsets(g.build(g.add(h, x, name="sum")))
    graph = models.tcn(4, [4, 4, 6], kernel=2)
    assert shape(graph, "block2.residual.weight") == (6, 4, 1)
    assert not {"block0.residual.weight", "block1.residual.weight"} & facts(graph).parameters.keys()


@pytest.mark.parametrize(("channels", "kernel"), [([5], 2), ([5, 5, 5], 3), ([3, 4, 4, 6], 2), ([2, 2], 7)])
def test_size_and_reach_of_a_tcn(channels: list[int], kernel: int) -> None:
    graph, widths = models.tcn(5, channels, kernel=kernel), [5, *channels]
    reach = 1 + 2 * (kernel - 1) * (2 ** len(channels) - 1)
    assert refar.offsets(graph) == frozenset(range(1, reach + 1))
    expected = 5 * (channels[-1] + 1)
    for a, b in zip(widths, channels, strict=False):
        expected += kernel * b * (a + b) + 2 * b + (b * (a + 1) if a != b else 0)
    assert count(graph) == expected


def test_tcn_keeps_the_contract_and_generates() -> None:
    graph = models.tcn(5, [4, 4, 6], kernel=2)
    check_contract(graph)
    params = generic_parameters(graph, np.random.default_rng(0))
    fast = refar.generate(graph, params, 30, batch=2)
    np.testing.assert_array_equal(fast, refar.generate(graph, params, 30, batch=2, algorithm="slow"))
    assert refar.log_prob(graph, params, fast).shape == (2,)
    assert len(np.unique(fast)) > 1


def test_by_name_with_conditions_as_text() -> None:
    options = {"classes": "8", "dilations": "1,2", "condition": "class:3", "local": "vector:4", "merge": "concat"}
    expected = models.wavenet(8, [1, 2], condition="class:3", local="vector:4", merge="concat")
    assert models.by_name("wavenet", options) == expected
    assert models.by_name("tcn", {"channels": "4,5", "kernel": "2"}) == models.tcn(channels=[4, 5], kernel=2)
    assert isinstance(expected.head, ops.Categorical)


@pytest.mark.parametrize(
    ("name", "options", "fragments"),
    [
        ("wavenet", {"condition": "class"}, ["wavenet: condition: expected 'class:N' with N ≥ 2", "got 'class'"]),
        ("wavenet", {"local": "speaker:3"}, ["wavenet: local: expected 'class:N'", "'vector:N' with N ≥ 1", "got 'speaker:3'"]),
        ("wavenet", {"local": "class:1"}, ["wavenet: local:", "N ≥ 2", "got 'class:1'"]),
        ("wavenet", {"local": "vector:0"}, ["wavenet: local:", "N ≥ 1", "got 'vector:0'"]),
        ("wavenet", {"local": "vector:-2"}, ["wavenet: local:", "got 'vector:-2'"]),
        ("wavenet", {"merge": "multiply"}, ["'merge'", "multiply"]),
        ("tcn", {"channels": []}, ["tcn: expected channels for at least one block, got none"]),
        ("tcn", {"kernel": "0"}, ["kernel", ">= 1"]),
    ],
)
def test_options_without_a_meaning(name: str, options: dict[str, Any], fragments: list[str]) -> None:
    with refuses(GraphError, *fragments):
        models.by_name(name, options)


def test_an_unknown_merge_in_python() -> None:
    with refuses(GraphError, "wavenet: merge: expected 'add' or 'concat', got 'cat'"):
        models.wavenet(merge="cat")  # type: ignore[arg-type]


HEADS: dict[str | None, tuple[ops.SignalHead, int]] = {
    None: (ops.LearntGaussian(), 2),
    "learnt_gaussian:-9": (ops.LearntGaussian(-9.0), 2),
    "mixture_gaussians:5": (ops.MixtureGaussians(5), 15),
    "mixture_gaussians:2:-3.5": (ops.MixtureGaussians(2, -3.5), 6),
    "gaussian": (ops.Gaussian(), 1),
    "gaussian:0.25": (ops.Gaussian(0.25), 1),
}


@pytest.mark.parametrize("head", HEADS)
def test_a_signal_and_its_head(head: str | None) -> None:
    expected, each = HEADS[head]
    wave = models.wavenet(dilations=[1, 2], residual=3, gate=4, skip=5, signal=2, head=head)
    graphs = {"head.parameters.weight": wave, "parameters.weight": models.tcn(None, [3, 4], kernel=2, signal=2, head=head)}
    for name, graph in graphs.items():
        assert graph.head == expected
        assert shape(graph, name)[0] == 2 * each
        assert facts(graph).types["x"].size == 2
        assert facts(graph).strict
    assert refar.offsets(wave) == refar.offsets(models.wavenet(4, [1, 2]))
    assert models.by_name("wavenet", {"signal": "2", "dilations": "1,2", **({"head": head} if head else {})}).head == expected


def test_signals_hold_together_in_all_backends() -> None:
    check_contract(models.wavenet(dilations=[1, 2], residual=3, gate=4, skip=5, signal=2, head="mixture_gaussians:2"))
    check_contract(models.tcn(None, [3, 4], kernel=2, signal=1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 4, "signal": 1}, ["expected either `classes` or `signal`, got 4 classes and 1 channels"]),
        ({"head": "learnt_gaussian"}, ["head: expected none without `signal`", "'learnt_gaussian'"]),
        ({"signal": 1, "head": "gauss"}, ["head: expected one of gaussian:std, learnt_gaussian:floor", "got 'gauss'"]),
        ({"signal": 1, "head": "mixture_gaussians"}, ["head:", "components", "got 'mixture_gaussians'"]),
        ({"signal": 1, "head": "mixture_gaussians:0"}, ["head:", ">= 1", "components", "got 'mixture_gaussians:0'"]),
        ({"signal": 1, "head": "learnt_gaussian:-99"}, ["head:", ">= -30.0, floor, got 'learnt_gaussian:-99'"]),
        ({"signal": 1, "head": "learnt_gaussian:x"}, ["head:", "float", "floor, got 'learnt_gaussian:x'"]),
        ({"signal": 1, "head": "gaussian:nan"}, ["head:", "gaussian:nan"]),
        ({"signal": 1, "head": "gaussian:1:2"}, ["expected one of gaussian:std", "got 'gaussian:1:2'"]),
    ],
)
@pytest.mark.parametrize("model", [models.wavenet, models.tcn])
def test_what_is_no_head_of_a_signal(model: Any, options: dict[str, Any], words: list[str]) -> None:
    with refuses(GraphError, model.__name__, *words):
        model(**options)
