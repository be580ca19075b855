"""Networks of classes, with parameters that let tokens depend on the tokens before, for sampling ahead."""

from __future__ import annotations

import numpy as np
from small_models import MODELS
from stream_graphs import GRAPHS

import refar
from refar import Builder, Graph, ops
from refar.analysis.facts import facts


def mixture() -> Graph:
    """A mixture of logistics over a sequence of classes."""
    g = Builder()
    h = g.relu(g.conv1d(g.standardize(g.input(classes=6), 2.5, 1.7), 5, kernel=3, strict=True))
    return g.build(g.conv1d(h, 6), ops.MixtureLogistics(2, 6))


NETWORKS: dict[str, Graph] = {
    **{name: MODELS[name] for name in ("nettoy1d_dilated", "wavenet_class", "wavenet_dense", "tcn")},
    **{name: GRAPHS[name] for name in ("delays", "delays, input padding", "conditions", "wavenet, local")},
    "mixture": mixture(),
}


def parameters(graph: Graph, scale: float = 3.0) -> dict[str, np.ndarray]:
    """Parameters wider than those that training begins with: logits then hang on the tokens before."""
    return {name: (scale * value).astype(np.float32) for name, value in refar.init(graph, seed=4).items()}


def conditions(graph: Graph, rows: int, positions: int) -> dict[str, np.ndarray]:
    """Conditions of so many rows, and positions of the local ones."""
    rng, found = np.random.default_rng(5), {}
    for name in facts(graph).conditions:
        kind = facts(graph).types[name]
        shape = (rows, *([] if kind.indexed else [kind.size]), *([positions] if kind.timed else []))
        found[name] = rng.integers(0, kind.size, shape) if kind.indexed else rng.normal(size=shape)
    return found
