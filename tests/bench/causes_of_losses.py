"""What `check_loss` says of a cause, written out anew and applied to outputs and sequences that no check has seen."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from refar import ops
from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.errors import RefarError
from refar.graph.graph import Graph
from refar.oracle.losses import nats
from refar.testing.under_test import as_array

Array = np.ndarray
SEEDS = (201, 202, 203)
NEAR = 2e-4


class Drawn:
    """Outputs y_bqt beside x_bt; output n is for value n + `late`. `counts` says which values of x count."""

    def __init__(self, head: ops.AnyHead, y: Array, x: Array, counts: Array, mask: Array, prefix: int, late: int) -> None:
        self.head, self.y, self.x, self.counts, self.mask, self.prefix, self.late = head, y, x, counts, mask, prefix, late
        self.values = int(np.prod(x.shape[1:-1]))

    def each(self, late: int | None = None, y: Array | None = None) -> Array:
        """-log p of each value of x, NaN where no output is for it."""
        late, y = self.late if late is None else late, self.y if y is None else y
        found = np.full((len(self.x), self.x.shape[-1]), np.nan)
        for t in range(self.x.shape[-1]):
            if 0 <= t - late < self.x.shape[-1]:
                found[:, t] = nats(self.head, y[..., t - late : t - late + 1], self.x[..., t : t + 1])[:, 0]
        return found

    def mean(self, each: Array | None = None, counts: Array | None = None) -> tuple[Array, Array, Array]:
        """The mean, the sum and the sums of rows, of those that count."""
        each = self.each() if each is None else each
        counted = (self.counts if counts is None else counts) & ~np.isnan(each)
        kept = np.where(counted, each, 0.0)
        return np.asarray(kept.sum() / (self.values * counted.sum())), np.asarray(kept.sum()), kept.sum(1)


Losses = Iterator[Any]
"""What a changed loss may give: numbers, or triples of mean, sum and sums of rows."""


def _aligned(by: int) -> Callable[[Drawn], Losses]:
    def change(d: Drawn) -> Losses:
        yield d.mean(d.each(late=by))

    return change


def _left_out(which: Callable[[Drawn], Array]) -> Callable[[Drawn], Losses]:
    def change(d: Drawn) -> Losses:
        yield d.mean(counts=which(d))

    return change


def _without_first(d: Drawn) -> Array:
    there = d.counts & ~np.isnan(d.each())
    return d.counts & (np.arange(d.x.shape[-1]) > np.flatnonzero(there.any(0))[0])


def _without_last(d: Drawn) -> Array:
    return d.counts & (np.arange(d.x.shape[-1]) < d.x.shape[-1] - 1)


def _divided(d: Drawn) -> Losses:
    _, total, _ = d.mean()
    for count in (d.each().size, (~np.isnan(d.each())).sum(), d.mask.sum()):
        yield total / (d.values * count)


def _of_rows(d: Drawn) -> Losses:
    counted = d.counts & ~np.isnan(d.each())
    yield (d.mean()[2] / (d.values * counted.sum(1))).mean()


def _over_rows(d: Drawn) -> Losses:
    yield d.mean()[1] / len(d.x)


def _scaled(factor: float) -> Callable[[Drawn], Losses]:
    def change(d: Drawn) -> Losses:
        yield tuple(factor * value for value in d.mean())

    return change


def _log_softmax(y: Array) -> Array:
    shifted = y - y.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _twice(d: Drawn) -> Losses:
    yield d.mean(d.each(y=np.exp(_log_softmax(d.y))))


def _epsilon(d: Drawn) -> Losses:
    for n in range(-12, -2):
        yield d.mean(-np.log(np.exp(-d.each()) + 10.0**n))


def _reshaped(d: Drawn) -> Losses:
    rows, classes, length = d.y.shape
    yield d.mean(d.each(y=d.y.reshape(rows, length, classes).transpose(0, 2, 1)))


def _without_constant(d: Drawn) -> Losses:
    std = d.head.std if isinstance(d.head, ops.Gaussian) else math.nan
    rest = d.each() - d.values * math.log(std * math.sqrt(2 * math.pi))
    yield d.mean(rest)
    yield d.mean(rest * 2 * std**2)


CHANGES: list[tuple[str, Callable[[Drawn], Losses]]] = [
    (r"where y_t is for x_\{t\+1\}", _aligned(1)),
    (r"where y_t is for x_t$", _aligned(0)),
    (r"where y_t is for x_\{t-1\}", _aligned(-1)),
    (r"where y_t is for x_\{t\+2\}", _aligned(2)),
    (r"the first value that counts is left out", _left_out(_without_first)),
    (r"the last position is left out", _left_out(_without_last)),
    (r"with the prefix", _left_out(lambda d: d.mask)),
    (r"with the last position of the prefix", _left_out(lambda d: d.mask & (np.arange(d.x.shape[-1]) >= d.prefix - 1))),
    (r"without regard to the mask", _left_out(lambda d: np.arange(d.x.shape[-1]) >= d.prefix + 0 * d.mask)),
    (r"where the mask is reversed", _left_out(lambda d: ~d.mask & (np.arange(d.x.shape[-1]) >= d.prefix))),
    (r"divided by more than the number of values", _divided),
    (r"the mean of the means of the rows", _of_rows),
    (r"divided by the number of rows", _over_rows),
    (r"in bits, not nats", _scaled(1 / math.log(2))),
    (r"with the wrong sign", _scaled(-1)),
    (r"where the softmax is taken twice", _twice),
    (r"a small number added inside the logarithm", _epsilon),
    (r"without moving the axis of classes", _reshaped),
    (r"without the constant or the scale of the density", _without_constant),
]


def judge(given: Mapping[str, Any], message: str) -> dict[str, bool]:
    """Say of each cause in the message whether it gives the numbers of the loss."""
    claims: dict[str, bool] = {}
    for line in message.splitlines():
        for pattern, change in CHANGES if line.startswith("law 'value'") else ():
            if found := re.search(pattern, line):
                claims[found[0]] = all(_gives(given, change, seed) for seed in SEEDS)
    return claims


def _gives(given: Mapping[str, Any], change: Callable[[Drawn], Losses], seed: int) -> bool:
    drawn = _drawn(given, np.random.default_rng(seed))
    arrays = [drawn.y, drawn.x, *([] if given["mask"] is None else [drawn.mask])]
    try:
        came = as_array("the loss", _called(given, arrays))
    except (AssertionError, RefarError):
        return False
    options = [value for each in change(drawn) for value in (each if isinstance(each, tuple) else (np.asarray(each),))]
    return any(value.shape == came.shape and np.allclose(value, came, rtol=NEAR, atol=0) for value in options)


def _called(given: Mapping[str, Any], arrays: list[Array]) -> Any:
    import torch

    if given["convert"] is not None:
        return given["loss"](*map(given["convert"], arrays))
    try:
        return given["loss"](*(torch.from_numpy(array.copy()) for array in arrays))
    except (TypeError, AttributeError):
        return given["loss"](*arrays)


def _drawn(given: Mapping[str, Any], rng: np.random.Generator) -> Drawn:
    """Other outputs and sequences, of other lengths where no mask says how long they are."""
    graph: Graph = given["graph"]
    found = facts(graph)
    kind, size = found.types[found.sequence], found.types[graph.output].size
    mask = None if given["mask"] is None else np.asarray(given["mask"], bool)
    rows, length = (4, 17 + given["prefix"]) if mask is None else mask.shape
    y = rng.normal(size=(rows, size, length))
    x = rng.integers(0, kind.size, (rows, length)) if kind.indexed else rng.normal(size=(rows, kind.channels, length))
    mask = np.ones((rows, length), bool) if mask is None else mask
    counts = mask & (np.arange(length) >= given["prefix"])
    assert graph.head is not None
    return Drawn(graph.head, y, x, counts, mask, given["prefix"], 0 if is_strict(graph) else 1)
