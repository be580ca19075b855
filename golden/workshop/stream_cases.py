"""Golden cases of streams: outputs position by position, with the state before the first step and after every one.

The state of a node is its last values, oldest first: golden/README.md says how many. What these values are comes
from the literal definitions over the whole sequence. Before the start they are 0 under layer padding, under input padding the
response to zeros, for which the sequence is evaluated behind zeros enough to settle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec
import numpy as np

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Arrays
from refar.building.builder import Builder
from refar.golden.case import Case
from refar.golden.compare import differs
from refar.golden.graph_families import network_arrays, stepwise
from refar.graph.graph import Graph
from refar.mistakes import stream_mistakes as mistakes
from workshop import exact_graph, network_bounds
from workshop.draw import Draw
from workshop.making import FamilyMaker, rounded_up
from workshop.network_cases import draw_inputs, draw_parameters, wavenet


def _residual() -> Graph:
    """Two dilations, a bias before the shift (a zero token is not an empty past), a branch, a delay at the end."""
    g = Builder()
    h = g.relu(g.conv1d(g.input(channels=2), 3, name="below"))
    h = g.conv1d(h, 3, kernel=2, dilation=3, strict=True, name="strict")
    h = g.add(h, g.relu(g.conv1d(h, 3, kernel=3, dilation=2, name="conv")), name="sum")
    return g.build(g.add(g.conv1d(h, 2, name="out"), g.delay(g.slice(h, 1, 3), 4)))


def _classes() -> Graph:
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=5)), 3, kernel=2, strict=True, name="front")
    h = g.relu(g.conv1d(h, 4, kernel=3, dilation=2, name="conv"))
    return g.build(g.conv1d(h, 5, name="logits"), ops.Categorical())


def _unshifted() -> Graph:
    g = Builder()
    h = g.leaky_relu(g.conv1d(g.input(channels=2), 3, kernel=3, dilation=3, name="first"), 2.0)
    return g.build(g.conv1d(h, 2, kernel=2, dilation=4, name="second"))


def _input_padding() -> Graph:
    g = Builder()
    h = g.relu(g.conv1d(g.delay(g.input(channels=2)), 3, kernel=2, name="first"))
    h = g.relu(g.conv1d(h, 3, kernel=3, dilation=2, name="second"))
    return g.build(g.conv1d(h, 2, kernel=2, name="third"), padding="input")


def _pools() -> Graph:
    g = Builder()
    x = g.input(channels=2)
    largest = g.pool1d(x, "max", 3, pad="exclude", dilation=2, name="largest")
    average = g.pool1d(x, "avg", 2, pad="zero", dilation=3, name="average")
    return g.build(g.conv1d(g.concat(largest, average), 3, kernel=2, strict=True, name="out"))


_ROWS: tuple[tuple[str, Callable[[], Graph], int, int, bool], ...] = (
    ("residual", _residual, 2, 14, True),
    ("classes", _classes, 3, 11, True),
    ("unshifted", _unshifted, 2, 13, True),
    ("input-padding", _input_padding, 3, 9, True),
    ("pools", _pools, 2, 11, True),
    ("wavenet", wavenet, 2, 12, False),
)


def _cases(operator: str) -> Iterator[Case]:
    ahead = operator == "next"
    for id, make, batch, length, exact in _ROWS:
        graph = make()
        if ahead and id == "unshifted":
            continue
        draw = Draw(f"{operator}/{id}")
        params = _integers(graph, draw) if exact else draw_parameters(graph, draw)
        given = draw_inputs(graph, draw, batch, (length + ahead,))
        if exact:
            given = {n: a if a.dtype == np.int64 else draw.integers(*a.shape, most=3) for n, a in given.items()}
        expected = {name: exact_graph.rounded(array) for name, array in _expected(graph, params, given, ahead).items()}
        bound = {} if exact else _bounds(graph, params, given, ahead, expected)
        case = Case(
            id=f"{operator}/{id}",
            kind="step",
            operator=operator,
            seed=draw.seed,
            source="the literal definitions over the whole sequence; golden/README.md says what is kept",
            arrays=network_arrays(params, _given(graph, given, ahead)),
            expected=expected,
            bound=bound,
            graph=graph,
        )
        yield _with_catches(case)


def _given(graph: Graph, inputs: Arrays, ahead: bool) -> Arrays:
    """The last output of `next` comes after the last token: the sequence is one shorter than the local conditions."""
    name = facts(graph).sequence
    return inputs | ({name: np.ascontiguousarray(inputs[name][..., :-1])} if ahead else {})


def _integers(graph: Graph, draw: Draw) -> Arrays:
    shapes = facts(graph).parameters
    return {name: draw.integers(*shape, most=2, zero=len(shape) > 1) for name, shape in shapes.items()}


def _expected(graph: Graph, params: Arrays, given: Arrays, ahead: bool) -> Arrays:
    """ "y", every output of the stream, and "state.<node>", (T+1, B, C, L): before the first step, and after each."""
    known, before = _behind_zeros(graph, params, given)
    run, steps = facts(graph).schedule(leading=ahead), given[facts(graph).sequence].shape[-1] + 1 - ahead
    found = {"y": known[graph.output][..., before:]}
    for name, length in run.cache.items():
        ends = [before + t + (run.lead[name] if ahead else 0) for t in range(steps)]
        found[f"state.{name}"] = np.stack([known[name][..., end - length : end] for end in ends])
    return found


def _behind_zeros(graph: Graph, params: Arrays, given: Arrays) -> tuple[Arrays, int]:
    """The values of all nodes over time with what stands before the start, and how many positions that is."""
    types, history = facts(graph).types, facts(graph).aligned.cache
    before = 2 + sum(history.values())
    if graph.padding == "input":
        behind = {n: np.pad(a, [(0, 0)] * (a.ndim - 1) + [(before, 0)]) if types[n].timed else a for n, a in given.items()}
        return exact_graph.values(graph, params, behind), before
    known = exact_graph.values(graph, params, given)
    zeros = {n: [(0, 0)] * (a.ndim - 1) + [(before, 0)] for n, a in known.items() if types[n].timed}
    return {n: np.pad(a, zeros[n]) if n in zeros else a for n, a in known.items()}, before


def _bounds(graph: Graph, params: Arrays, given: Arrays, ahead: bool, expected: Arrays) -> Arrays:
    """E₁ of every node that is kept, cut as its values are."""
    run, bound = facts(graph).schedule(leading=ahead), {"y": network_bounds.outputs(graph, params, given)}
    for name, length in run.cache.items():
        each = np.zeros(expected[f"state.{name}"].shape)
        if not isinstance(graph[name].op, ops.Input | ops.OneHot):
            headless = msgspec.structs.replace(graph, output=name, head=None)
            slack = np.pad(network_bounds.outputs(headless, params, given), ((0, 0), (0, 0), (length, 0)))
            for t in range(len(each)):
                end = length + t + (run.lead[name] if ahead else 0)
                each[t] = slack[..., end - length : end]
        bound[f"state.{name}"] = each
    return {name: rounded_up(array, expected[name]) for name, array in bound.items() if array.any()}


def _with_catches(case: Case) -> Case:
    """Seen in the outputs alone."""
    wrong = {name: {"y": stepwise(case, np.dtype(np.float64), change)["y"]} for name, change in mistakes.MISTAKES.items()}
    return replace(case, catches=tuple(name for name, found in wrong.items() if differs(case, found)))


STEPS = (
    FamilyMaker("step", "step", lambda: _cases("step")),
    FamilyMaker("next", "step", lambda: _cases("next")),
)
