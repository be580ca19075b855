"""What is said of a graph without running it."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest
from helpers import refuses, single, tiny

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.causality import is_strict, offsets, receptive_field, require_strict
from refar.analysis.facts import facts
from refar.errors import GraphError
from refar.testing import check_contract


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (models.nettoy1d(4), range(1, 6)),
        (models.nettoy1d_dilated(4), range(1, 32, 2)),
        (models.linear_ar(7), range(1, 8)),
        (models.wavenet(4, [1, 2, 4, 8]), range(1, 18)),
        (models.wavenet(4, [1, 2, 4], kernel=3, front=1), range(1, 16)),
        (models.wavenet(4, [3], front=2), [1, 2, 4, 5]),
        (single(ops.Conv1d(1, 3, 4), channels=1), [0, 4, 8]),
        (single(ops.Conv1d(1, 3, 4, strict=True), channels=1), [1, 5, 9]),
        (single(ops.Shift(3), channels=1), [3]),
    ],
)
def test_offsets(graph: Graph, expected: range | list[int]) -> None:
    assert sorted(offsets(graph)) == list(expected)
    assert receptive_field(graph) == max(expected) - min(expected) + 1


def stack(levels: int) -> Graph:
    g = Builder()
    h = g.input(channels=1)
    for level in range(levels):
        h = g.conv1d(h, 1, kernel=2, dilation=2**level, bias=False)
    return g.build(h)


@pytest.mark.row("002-4")
def test_nine_layers_of_two_weights_see_512_samples() -> None:
    graph = stack(9)
    assert offsets(graph) == frozenset(range(512))
    assert receptive_field(graph) == 512
    assert sum(int(np.prod(shape)) for shape in facts(graph).parameters.values()) == 18
    one = single(ops.Conv1d(1, 512, bias=False), channels=1)
    assert (offsets(one), sum(int(np.prod(s)) for s in facts(one).parameters.values())) == (offsets(graph), 512)
    check_contract(graph, backends=("numpy",))


@pytest.mark.parametrize(
    ("build", "fragments"),
    [
        (lambda g, x: g.conv1d(x, 2**20 + 1), ["channels", "<= 1048576, got 1048577"]),
        (lambda g, x: g.conv1d(x, 1, kernel=10**30), ["kernel", "<= 1048576, got 1000000000"]),
        (lambda g, x: g.delay(x, -(10**9)), ["steps", ">= -65536, got -1000000000"]),
        (lambda g, x: g.conv1d(x, 1, kernel=2, dilation=2**16 + 1), ["node 'conv1d'", "at most 65536 positions", "got 65537"]),
        (lambda g, x: g.delay(g.delay(x, 2**16)), ["node 'shift_2'", "at most 65536 positions", "got 65537"]),
        (lambda g, x: g.conv1d(x, 2**18, kernel=2**12), ["at most 268435456 parameters", "got 2147745792"]),
        (lambda g, x: g.pad_channels(x, 2**20), ["node 'pad_channels'", "at most 1048576 channels", "got 1048578"]),
        (lambda g, x: reduce(lambda h, _: g.concat(h, h), range(40), x), ["at most 1048576 channels", "got 2097152"]),
    ],
)
def test_absurd_sizes_end_with_a_sentence(build: Callable[[Builder, str], str], fragments: list[str]) -> None:
    g = Builder()
    with refuses(GraphError, *fragments):
        g.build(build(g, g.input(channels=2)))


def test_the_largest_reach_is_counted_out() -> None:
    """Two long sets of taps, whose sums would be a thousand million."""
    g = Builder()
    graph = g.build(g.conv1d(g.conv1d(g.input(channels=1), 1, kernel=2**15), 1, kernel=2**15 + 1, strict=True))
    assert offsets(graph) == frozenset(range(1, 2**16 + 1))


def test_offsets_are_tracked_by_channel() -> None:
    g = Builder()
    x = g.input(channels=2)
    both = g.concat(g.delay(x, 1), g.delay(x, 5))
    first, last = g.slice(both, 0, 2), g.slice(both, 2, 4)
    mixed = g.slice(both, 1, 3)
    gated = g.gate(both)
    graph = g.build(g.concat(first, g.conv1d(last, 1, kernel=2), mixed, gated, g.softmax(mixed)))
    one, five, either = frozenset({1}), frozenset({5}), frozenset({1, 5})
    assert facts(graph).offsets[graph.output] == (one, one, frozenset({5, 6}), one, five, either, either, either, either)
    check_contract(graph, backends=("numpy",))


def test_constants_depend_on_nothing() -> None:
    g = Builder()
    c = g.conv1d(g.condition(channels=3), 2)
    graph = g.build(g.add(g.delay(g.input(channels=2)), c))
    assert facts(graph).offsets[c] == (frozenset(), frozenset())
    assert offsets(graph) == {1}
    assert (facts(graph).sequence, facts(graph).conditions) == ("x", ("condition",))


def test_parameter_names_and_shapes_of_a_wavenet() -> None:
    graph = models.wavenet(5, [1], residual=3, gate=4, skip=6, condition="class:7")
    assert facts(graph).parameters == {
        "front.weight": (3, 5, 2),
        "front.bias": (3,),
        "block0.conv.weight": (8, 3, 2),
        "block0.conv.bias": (8,),
        "block0.condition.weight": (8, 7, 1),
        "block0.skip.weight": (6, 4, 1),
        "block0.skip.bias": (6,),
        "head.hidden.weight": (6, 6, 1),
        "head.hidden.bias": (6,),
        "head.logits.weight": (5, 6, 1),
        "head.logits.bias": (5,),
    }


def emits_then_pushes() -> Graph:
    """A strict layer, whose node runs ahead, feeds a plain one and one that delays again."""
    g = Builder()
    ahead = g.conv1d(g.input(channels=1), 2, kernel=2, dilation=3, strict=True, name="ahead")
    return g.build(g.add(g.conv1d(ahead, 2, kernel=3, name="plain"), g.delay(ahead, 2, name="late")))


def strict_and_plain_branches() -> Graph:
    """A node that is ahead meets one that is not: their sum sees the present."""
    g = Builder()
    x = g.input(channels=2)
    return g.build(g.add(g.conv1d(x, 2, kernel=2, strict=True, name="ahead"), g.conv1d(x, 2, kernel=3, name="now")))


def pushed_below_and_emitted_above() -> Graph:
    """Biased layers below the strict one push, and one of them also feeds a later strict node."""
    g = Builder()
    below = g.relu(g.conv1d(g.input(channels=1), 3, kernel=2, name="below"))
    ahead = g.conv1d(below, 3, kernel=2, strict=True, name="ahead")
    return g.build(g.add(ahead, g.conv1d(below, 3, kernel=2, dilation=2, strict=True, name="other")))


def test_leads_and_histories() -> None:
    run = facts(emits_then_pushes()).leading
    assert run.lead == {"x": 0, "ahead": 1, "plain": 1, "late": 1, "add": 1}
    assert run.cache == {"x": 3, "ahead": 2}
    run = facts(emits_then_pushes()).aligned
    assert run.lead == dict.fromkeys(("x", "ahead", "plain", "late", "add"), 0)
    assert run.cache == {"x": 4, "ahead": 2}
    run = facts(strict_and_plain_branches()).leading
    assert run.lead == {"x": 0, "ahead": 1, "now": 0, "add": 0}
    assert run.cache == {"x": 2, "ahead": 1}
    run = facts(pushed_below_and_emitted_above()).leading
    assert run.lead == {"x": 0, "below": 0, "activation": 0, "ahead": 1, "other": 1, "add": 1}
    assert run.cache == {"x": 1, "activation": 2}


@pytest.mark.parametrize("build", [emits_then_pushes, strict_and_plain_branches, pushed_below_and_emitted_above])
def test_leads_keep_the_contract(build: object) -> None:
    check_contract(build())


def test_the_history_is_that_of_the_greediest_reader() -> None:
    g = Builder()
    x = g.input(channels=1)
    graph = g.build(g.add(g.conv1d(x, 1, kernel=2, dilation=5), g.conv1d(x, 1, kernel=4)))
    assert facts(graph).aligned.cache == {"x": 5}


@pytest.mark.parametrize(
    ("graph", "strict"),
    [(tiny(), True), (stack(2), False), (emits_then_pushes(), True), (strict_and_plain_branches(), False)],
)
def test_strictness(graph: Graph, strict: bool) -> None:
    assert is_strict(graph) is refar.is_strict(graph) is strict
    assert (min(offsets(graph)) >= 1) is strict


def test_the_path_of_the_present_is_named() -> None:
    with refuses(GraphError, "score needs a strict graph", "x → now → add", "Delay the input"):
        require_strict(facts(strict_and_plain_branches()), "score")


def test_two_delays_are_strict_and_one_position_ahead_at_most() -> None:
    g = Builder()
    graph = g.build(g.delay(g.delay(g.input(channels=1)), 2))
    assert offsets(graph) == {3}
    assert set(facts(graph).leading.lead.values()) == {0, 1}
    check_contract(graph)


@pytest.mark.parametrize(("name", "joins"), [("scale_shift", False), ("prelu", False), ("layer_norm", True), ("rms_norm", True)])
def test_a_norm_joins_the_colours_and_what_is_learnt_of_each_channel_does_not(name: str, joins: bool) -> None:
    """Behind a mask that hides each colour from itself, a norm over the channels of all colours shows it again."""
    g = Builder()
    h = g.conv2d(g.image(channels=2), 4, kernel=3, mask="A", colours=2)
    graph = g.build(g.conv2d(getattr(g, name)(h), 2, mask="B", colours=2))
    assert facts(graph).strict is not joins
    one = Builder()
    alone = one.build(one.add(one.layer_norm(one.input(channels=1)), one.delay("x", 2)))
    assert offsets(alone) == {2}  # a single channel less its mean is 0


def test_scales_and_shifts_start_by_changing_nothing_and_slopes_at_a_quarter() -> None:
    g = Builder()
    h = g.prelu(g.scale_shift(g.layer_norm(g.input(channels=3))))
    params = refar.init(g.build(h))
    assert {name: set(array.tolist()) for name, array in params.items()} == {
        "norm.weight": {1.0},
        "norm.bias": {0.0},
        "scale_shift.weight": {1.0},
        "scale_shift.bias": {0.0},
        "prelu.weight": {0.25},
    }
