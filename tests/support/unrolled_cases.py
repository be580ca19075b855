"""Networks that are unrolled: every lookup, every head, conditions, taps that are not side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from refar import Builder, Graph, Unrolling, ops
from refar.analysis.facts import facts
from refar.arguments.unrolling import draw_noise
from refar.testing.contract.cases import generic_parameters

T, ORIGINS = 9, np.array([[0, 3], [5, 6]])


def lookups(head: ops.AnyHead | None = None, channels: int = 4) -> Graph:
    """Every lookup of the sequence, a local class and a global vector; the first convolution is not strict, a later one is."""
    g = Builder()
    x, pitch, speaker = g.input(classes=4), g.condition("pitch", classes=3, local=True), g.condition("speaker", channels=2)
    h = g.concat(g.one_hot(x), g.embedding(x, 3, name="table"), g.standardize(x, 1.5, 0.7), g.one_hot(pitch))
    h = g.tanh(g.conv1d(h, 5, kernel=2, name="first"))
    h = g.add(g.conv1d(h, 5, kernel=2, dilation=2, strict=True, name="strict"), g.conv1d(speaker, 5, name="dense"))
    return g.build(g.conv1d(g.gate(g.conv1d(h, 6, kernel=2, name="mix")), channels, name="out"), head or ops.Categorical())


def signal(head: ops.AnyHead | None = None, channels: int = 2) -> Graph:
    g = Builder()
    h = g.tanh(g.conv1d(g.input(channels=2), 4, kernel=2, dilation=2, strict=True, name="front"))
    h = g.add(h, g.conv1d(h, 4, kernel=3, name="more"))
    return g.build(g.conv1d(h, channels, name="out"), head or ops.Gaussian(0.6))


def pools() -> Graph:
    """Pools of both kinds and paddings, a delay, ones, and a node that sees the present beside one that does not."""
    g = Builder()
    h = g.concat(g.embedding(g.input(classes=3), 4), g.pad_channels(g.condition("pitch", channels=1, local=True), after=1))
    h = g.add(g.pool1d(h, "max", 3, pad="exclude", dilation=2), g.pool1d(h, "avg", 2, pad="exclude"))
    h = g.concat(g.delay(h, 2), g.conv1d(h, 4, kernel=2, strict=True, groups=2), g.pool1d(g.delay(h), "max", 2, pad="zero"))
    return g.build(g.conv1d(g.leaky_relu(h), 3), ops.Categorical())


NETWORKS: dict[str, tuple[Graph, Unrolling]] = {
    "gumbel-softmax": (lookups(), Unrolling(3, "gumbel-softmax", 0.7)),
    "straight-through": (lookups(), Unrolling(3, "straight-through", 0.7)),
    "mixture, soft": (lookups(ops.MixtureLogistics(2, 4), 6), Unrolling(3, "gumbel-softmax", 1.3)),
    "mixture, hard": (lookups(ops.MixtureLogistics(2, 4), 6), Unrolling(3, "straight-through", 1.3)),
    "pools": (pools(), Unrolling(3, "gumbel-softmax", 1.1)),
    "mean": (signal(), Unrolling(3, "mean")),
    "sample": (signal(), Unrolling(3, "sample", 0.8)),
    "learnt, mean": (signal(ops.LearntGaussian(-0.2), 4), Unrolling(3, "mean")),
    "learnt, sample": (signal(ops.LearntGaussian(-0.2), 4), Unrolling(3, "sample", 0.8)),
    "mixture of Gaussians": (signal(ops.MixtureGaussians(2), 12), Unrolling(3, "mean")),
}


def case(name: str, seed: int = 0) -> tuple[Graph, Unrolling, dict[str, Any]]:
    """A network, how it is unrolled, and all other arguments of `refar.unroll`."""
    graph, unrolling = NETWORKS[name]
    rng, found = np.random.default_rng(seed), facts(graph)
    options: dict[str, Any] = {"params": generic_parameters(graph, rng), "origins": ORIGINS, "unrolling": unrolling}
    options["noise"] = draw_noise(graph, 5, 7, range(2), 2, unrolling)
    drawn = {}
    for each in found.inputs:
        kind = found.types[each]
        shape = (2, *([] if kind.indexed else [kind.size]), *([T] if kind.timed else []))
        drawn[each] = rng.integers(0, kind.size, shape) if kind.indexed else rng.normal(size=shape)
    options["x"] = drawn.pop(found.sequence)
    return graph, unrolling, options | {"condition": drawn}
