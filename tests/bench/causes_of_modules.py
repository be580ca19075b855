"""What `check_module` says of a cause, applied to other weights, sequences and lengths than those of the check."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.naming import match
from refar.errors import RefarError
from refar.mistakes.of_graphs import Mistaken, one_by_one, output
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import backward_nodes
from refar.testing.contract.cases import generic_parameters, masks
from refar.testing.contract.subject import Subject
from refar.testing.known.module_under_test import ModuleUnderTest

Array = np.ndarray
SEEDS = (301, 302)
NEAR = {"float64": 1e-8, "float32": 1e-3, "float16": 3e-2, "bfloat16": 0.2}


class Drawn:
    """The module with other weights, beside the graph with the same ones, on one batch."""

    def __init__(self, given: Mapping[str, Any], seed: int, length: int) -> None:
        module, graph = given["module"], given["graph"]
        known = {id(p): name for name, p in module.named_parameters()}
        aliases = {name: known[id(p)] for name, p in module.named_parameters(remove_duplicate=False)}
        shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
        names = match(graph, shapes, given["names"] or {}, given["ignore"], aliases)
        weights, first = generic_parameters(graph, np.random.default_rng(seed)), dict[str, str]()
        for name, other in names.items():  # those that share one of the module's are the same
            weights[name] = weights[first.setdefault(other, name)].reshape(weights[name].shape)
        inputs = given["inputs"] or (lambda *tensors: tensors)
        self.tested = ModuleUnderTest(module, graph, weights, names, inputs, given["dtype"], given["output"])
        self.graph, self.weights = graph, weights
        self.subject = Subject(graph, weights, [self.tested], (), seed)
        grid = facts(graph).grid is not None
        self.inputs = self.subject.inputs((length % 5 + 6, length % 4 + 7) if grid else (length + self.subject.sizes.long[-1],))
        self.values = self.subject.values(self.inputs)
        self.right = self._defined(self.values[graph.output])
        self.tested.settle(self.inputs, self.right, self.subject.tolerance)
        self.near = NEAR[self.tested.dtype]

    def _defined(self, y: Array) -> Array:
        """Zeros where padding "valid" has no output."""
        first = facts(self.graph).first_position
        return np.where(np.arange(y.shape[2]) < first, 0, y) if first else y

    @property
    def came(self) -> Array:
        return self.tested.forward(self.inputs)

    def of(self, wrong: Mistaken) -> Array:
        """The output of another graph."""
        return self._defined(output(wrong, self.inputs))

    def mistaken(self, words: str) -> Mistaken:
        return next(wrong for wrong in one_by_one(self.graph, self.weights) if wrong.words == words)

    def upstream(self) -> Array:
        return self._defined(np.random.default_rng(7).normal(size=self.right.shape))

    def gradients(self, name: str, wrong: Mistaken | None = None, ones: bool = False) -> tuple[Array, Array]:
        """The gradient of a parameter of the module, or of an input: as it comes, and as a graph gives it."""
        dy = self.upstream()
        came = self.tested.gradient(self.inputs, dy)
        graph, params = (self.graph, self.weights) if wrong is None else (wrong.graph, wrong.params)
        dvalues, dparams = backward_nodes(unchecked(graph, params, np.float64), self.values, np.ones_like(dy) if ones else dy)
        if name in dvalues:
            return came[name], dvalues[name]
        each = [dparams[own] for own, other in self.tested.names.items() if other == name]
        total = np.sum([array.reshape(each[0].shape) for array in each], axis=0)
        return came[f"module {name}"].reshape(total.shape), total


Pair = Callable[[Drawn], tuple[Array, Array]]
"""What came, and what a cause gives."""


def softmax(y: Array) -> Array:
    e = np.exp(y - y.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def in_eval(d: Drawn) -> tuple[Array, Array]:
    d.tested.module.eval()
    return d.came, d.right


def _moved(by: int) -> Pair:
    return lambda d: (d.came[..., by:], d.right[..., :-by]) if by > 0 else (d.came[..., :by], d.right[..., -by:])


def _stale(where: str) -> Pair:
    def pair(d: Drawn) -> tuple[Array, Array]:
        before = d.tested.before
        named = re.fullmatch(r"in '(.*)'", where)
        kept = {n for n in before if where == "everywhere" or (named and n == named[1]) or (not named and n.endswith(".weight"))}
        return d.came, d.of(Mistaken("", d.graph, d.weights | {n: before[n] for n in kept}))

    return pair


OUTPUTS: list[tuple[str, Callable[..., Pair]]] = [
    (r"training mode, it agrees in eval mode", lambda: in_eval),
    (r"a softmax at the end", lambda: lambda d: (d.came, softmax(d.right))),
    (r"a log-softmax at the end", lambda: lambda d: (d.came, np.log(softmax(d.right)))),
    (r"the logarithm of a softmax and (\S+) at the end", lambda size: lambda d: (d.came, np.log(softmax(d.right) + float(size)))),
    (r"the same outputs (one|\d+) positions? late", lambda n: _moved(1 if n == "one" else int(n))),
    (r"the same outputs (one|\d+) positions? early", lambda n: _moved(-1 if n == "one" else -int(n))),
    (r"weights from before, which the module came with, (everywhere|in every weight|in '[^']*')", _stale),
    (r"(.*)", lambda words: lambda d: (d.came, d.of(d.mistaken(words)))),
]


def _masked(name: str) -> Pair:
    def pair(d: Drawn) -> tuple[Array, Array]:
        came, right = d.gradients(name)
        mask = next(masks(d.graph)[own] for own, other in d.tested.names.items() if other == name)
        return np.where(mask, came, 0), right

    return pair


def _unseen(name: str) -> Pair:
    def pair(d: Drawn) -> tuple[Array, Array]:
        d.gradients(name)
        return np.array([name in d.tested.detached or f"module {name}" in d.tested.detached]), np.ones(1)

    return pair


def _scaled(name: str, factor: str) -> Pair:
    return lambda d: (d.gradients(name)[0], float(factor) * d.gradients(name)[1])


def _turned(name: str, turn: Callable[[Array], Array]) -> Pair:
    return lambda d: (turn(d.gradients(name)[0]), d.gradients(name)[1])


GRADIENTS: list[tuple[str, Callable[..., Pair]]] = [
    (r"no gradient arrives", _unseen),
    (r"masked weights receive gradient", _masked),
    (r"it is (\S+) times what it has to be", _scaled),
    (r"the upstream gradient is taken for ones", lambda name: lambda d: d.gradients(name, ones=True)),
    (r"it is transposed", lambda name: _turned(name, lambda g: g.swapaxes(0, 1))),
    (r"it is reversed along the kernel", lambda name: _turned(name, lambda g: np.flip(g, tuple(range(2, g.ndim))))),
    (r"likely cause: (.*), in the gradient", lambda name, words: lambda d: d.gradients(name, d.mistaken(words))),
]


def judge(given: Mapping[str, Any], message: str) -> dict[str, bool]:
    """Say of each cause in the message whether it gives what the module gives."""
    claims: dict[str, bool] = {}
    for line in message.splitlines():
        for words, pair in _claims(line):
            try:
                claims[words] = all(_near(pair, Drawn(given, seed, length)) for seed, length in zip(SEEDS, (11, 30), strict=True))
            except (AssertionError, RefarError, StopIteration) as error:
                claims[f"{words} ({type(error).__name__}: {error})"] = False
    return claims


def _claims(line: str) -> Iterator[tuple[str, Pair]]:
    gradient = re.match(r"law 'gradients': .*: gradient of '([^']*)'", line)
    if gradient:
        for pattern, pair in GRADIENTS:
            if found := re.search(pattern, line):
                yield found[0], pair(gradient[1], *found.groups())
                return
    if line.startswith("law 'output'") and (words := line.partition("; likely cause: ")[2]):
        for pattern, pair in OUTPUTS:
            if found := re.match(pattern, words):
                yield found[0], pair(*found.groups())
                return


def _near(pair: Pair, drawn: Drawn) -> bool:
    with np.errstate(all="ignore"):
        came, expected = pair(drawn)
    return came.shape == expected.shape and bool((np.abs(came - expected) <= drawn.near * np.abs(expected).max()).all())
