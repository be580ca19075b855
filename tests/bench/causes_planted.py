"""Wrong code for the checks beside that of the tests: rewrites of networks, wrong states of streams, mistakes here and there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from by_hand import graph, pixel_graph
from kit_functions import reference
from torch import Tensor, nn

import refar
from refar import Builder, Graph, models, testing
from refar.analysis.facts import facts
from refar.golden import OPERATORS
from refar.mistakes.of_graphs import one_by_one, output
from refar.mistakes.of_operators import MISTAKES
from refar.mistakes.stream_mistakes import MISTAKES as STREAM_MISTAKES
from refar.testing.contract.cases import generic_parameters

Array = np.ndarray
SHARE = 4
"""Of so many mistakes in operators, and of so many rewrites of a network, one is tried."""
ARRAYS, LENGTH = 2, 14
"""How many arrays of a state are changed alone, and how long the streams are."""


def mixed() -> Graph:
    """Operators that the other networks have not."""
    g = Builder()
    h = g.conv1d(g.embedding(g.input(classes=5), 3), 4, kernel=3, dilation=2, strict=True, name="front")
    h = g.leaky_relu(g.pool1d(g.delay(h, 2), "avg", 3, dilation=2, pad="zero"), 0.2)
    return g.build(g.conv1d(h, 4, kernel=2, groups=2, name="out"))


GRAPHS: dict[str, Callable[[], Graph]] = {
    "by hand": graph,
    "padded once": lambda: graph("input"),
    "without padding": lambda: graph("valid"),
    "images": pixel_graph,
    "colours": lambda: pixel_graph(3),
    "wavenet": lambda: models.wavenet(4, [1, 2, 4], residual=3, gate=4, skip=5),
    "tcn": lambda: models.tcn(5, [4, 4], kernel=2),
    "mixed": mixed,
}
STREAMS: dict[str, Callable[[], Graph]] = {
    "wavenet": lambda: models.wavenet(4, [1, 2, 4], residual=3, gate=4, skip=5),
    "tcn": lambda: models.tcn(5, [4, 4], kernel=3),
    "linear": lambda: models.linear_ar(4),
    "mixed": mixed,
}


class Rewritten(nn.Module):
    """A module with the parameters of a graph that computes what one of its rewrites gives."""

    def __init__(self, net: Graph, words: str) -> None:
        super().__init__()
        self.net, self.words = net, words
        self.names = {name: name.replace(".", "_") for name in facts(net).parameters}
        for name, array in generic_parameters(net, np.random.default_rng(0)).items():
            self.register_parameter(self.names[name], nn.Parameter(torch.from_numpy(array)))

    def forward(self, *inputs: Tensor) -> Tensor:
        own = dict(self.named_parameters())
        params = {name: own[other].detach().numpy() for name, other in self.names.items()}
        wrong = next(each for each in one_by_one(self.net, params) if each.words == self.words)
        found = facts(self.net)
        arrays = dict(zip((found.sequence, *found.conditions), (x.detach().numpy() for x in inputs), strict=True))
        return torch.from_numpy(np.ascontiguousarray(output(wrong, arrays)))


def give_modules() -> None:
    """Give each rewrite of each graph to check_module."""
    for make in GRAPHS.values():
        net = make()
        for wrong in list(one_by_one(net, generic_parameters(net, np.random.default_rng(0))))[::SHARE]:
            module = Rewritten(net, wrong.words)
            with suppress(AssertionError):
                testing.check_module(module, net, module.names)


def of_one_array(change: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The change in one array of the state alone."""
    return lambda states, t: {**states[t], name: change(states, t)[name]}


def stream_changes(state: Mapping[str, Array]) -> Iterator[Callable[..., Any]]:
    """Yield what is fed to the next step instead of the last state: of all arrays, and of one alone."""
    for change in STREAM_MISTAKES.values():
        yield change
        yield from (of_one_array(change, name) for name in list(state)[:ARRAYS])


def give_streams() -> None:
    """Give right steps from wrong states to check_streaming."""
    for make in STREAMS.values():
        net = make()
        params, found = generic_parameters(net, np.random.default_rng(0)), facts(net).types[facts(net).sequence]
        shape, classes = ((3, LENGTH), found.size) if found.indexed else ((3, found.channels, LENGTH), 0)

        def full(x: Array, net: Graph = net, params: Any = params) -> Array:
            return refar.forward(net, params, x)

        def first(rows: int, net: Graph = net, params: Any = params) -> list[Any]:
            return [refar.initial_state(net, params, rows)]

        for change in stream_changes(first(3)[0]):

            def step(state: list[Any], x: Array, net: Graph = net, params: Any = params, change: Any = change) -> Any:
                y, after = refar.step(net, params, change(state, len(state) - 1), x)
                return y, [*state, after]

            with suppress(AssertionError):
                testing.check_streaming(full, step, shape=shape, classes=classes, initial_state=first, dtype="float64")


def only_where(operator: str, mistake: str, where: Callable[[Array], bool]) -> Callable[..., Any]:
    """The right function, but with a mistake where the first array says so."""
    right, _ = reference(OPERATORS[operator])
    signature = OPERATORS[operator].signature

    def f(*arrays: Any, **attributes: Any) -> Any:
        y = right(*arrays, **attributes)
        if not arrays or not where(arrays[0]):
            return y
        given = {name: array for name, array in zip(signature.arguments, arrays, strict=False) if array is not None}
        with np.errstate(all="ignore"):
            found = MISTAKES[operator][mistake](given, signature.complete(attributes))
        return found.get(signature.result, y).astype(y.dtype)

    return f


PLACES: dict[str, Callable[[Array], bool]] = {
    "of even size": lambda x: x.size % 2 == 0,
    "longer than 8": lambda x: x.shape[-1] > 8,
    "of two rows and more": lambda x: len(x) > 1,
}


def give_functions() -> None:
    """Give functions that are wrong on some arrays only to check_function: no known mistake gives the same on every input."""
    table = [(operator, mistake) for operator in OPERATORS for mistake in MISTAKES[operator]]
    for n, (operator, mistake) in enumerate(table[::SHARE]):
        where = list(PLACES.values())[n % len(PLACES)]
        with suppress(AssertionError):
            testing.check_function(only_where(operator, mistake, where), operator)


def give_all() -> None:
    """Give all of them."""
    give_modules()
    give_streams()
    give_functions()
