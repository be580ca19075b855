"""MNIST in 256 levels of grey: a WaveNet over the pixels row by row, told the class; samples, and Bayes' rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import refar
from lab import bayes, sheets
from lab.scoring import test_nats
from refar import data, ops
from refar.building.builder import Builder
from refar.data.described import DataConfig
from refar.graph.graph import Graph
from refar.runtime import load

SIDE, PIXELS, CLASSES, LEVELS = 28, 784, 10, 256
DILATIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1, 2, 4)
BEGINNINGS = (85, 281, 589, PIXELS)
SAMPLES = 6
AIM = 0.945


def network(vector: int = 16, channels: int = 32, skip: int = 64, front: int = 29) -> Graph:
    """Return a WaveNet that looks up a vector for each level: strict front, gated residual blocks, relu, 1×1, relu, 1×1."""
    g = Builder()
    x = g.embedding(g.input(classes=LEVELS), vector, name="levels")
    told = g.one_hot(g.condition(classes=CLASSES))
    h = g.conv1d(x, channels, kernel=front, strict=True, name="front")
    skips = []
    for i, dilation in enumerate(DILATIONS):
        with g.scope(f"block{i}"):
            z = g.conv1d(h, 2 * channels, kernel=2, dilation=dilation, name="conv")
            u = g.gate(g.add(z, g.conv1d(told, 2 * channels, bias=False, name="condition")), name="gate")
            skips.append(g.conv1d(u, skip, name="skip"))
            if i < len(DILATIONS) - 1:
                h = g.add(h, g.conv1d(u, channels, name="residual"), name="out")
    hidden = g.relu(g.conv1d(g.relu(g.add(*skips, name="sum")), skip, name="hidden"))
    return g.build(g.conv1d(hidden, LEVELS, name="logits"), ops.Categorical())


def prepare(work: Path) -> None:
    """Write the graph, and read MNIST, so that it is known to be there."""
    refar.save(network(), work / "graph.json")
    data.load("mnist")


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """Nats of the test part, Bayes' rule on all of it, at once and as pixels come in; samples of each class."""
    session = load(bundles["grey"])
    test = data.load(DataConfig(name="mnist", levels=LEVELS)).test
    classes = np.repeat(np.arange(CLASSES), SAMPLES)
    samples = session.generate(PIXELS, condition=classes, seed=1)
    np.savez(work / "shown.npz", samples=samples.reshape(CLASSES, SAMPLES, SIDE, SIDE))
    nats = test_nats(bundles["grey"], work)
    return {
        "losses": {"grey": nats},
        "image": nats * PIXELS,
        "bayes": bayes.beginnings(session, test.x, test.condition, BEGINNINGS),
        "field": refar.receptive_field(session.graph),
    }


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw samples of each class."""
    with np.load(work / "shown.npz") as held:
        sheets.by_class(held["samples"], here / "samples.svg", LEVELS - 1)


def table(figures: dict[str, Any]) -> str:
    """Tell nats, and accuracy as pixels come in."""
    lines = [
        f"{figures['image']:.1f} nats per picture of the test part, in its own class; R = {figures['field']}.\n",
        *bayes.lines(figures["bayes"]),
        "\n![samples, a column for each class](samples.svg)",
    ]
    return "\n".join(lines)


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """The accuracy of the document, and half a percent more."""
    found = figures["bayes"]
    right, error = found["right"][str(PIXELS)], found["error"][str(PIXELS)]
    return [(f"Bayes accuracy: at least {AIM:.1%}, where the document has 94 %", f"{right:.2%} ± {error:.2%}", right >= AIM)]


DESCRIPTION = {
    "title": "MNIST in 256 levels of grey: a WaveNet over the pixels, told the class",
    "minutes": 120,
    "data": "MNIST: refar data fetch mnist",
    "configs": ("grey",),
    "prepare": prepare, "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
