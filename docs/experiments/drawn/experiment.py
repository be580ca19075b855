"""MNIST where each pixel is drawn, black with the probability of its grey: a Gated PixelCNN in nats per image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.scoring import test_nats
from lab.sheets import by_class
from refar import data
from refar.runtime import load

Array = NDArray[Any]
SIDE, PIXELS = 28, 784
DRAWS = 2
"""The number of times that each picture of the training part is drawn, with other pixels each time."""
VALID = 1000
SAMPLES = 4
OTHERS = {"PixelCNN": 81.45, "Gated PixelCNN": 81.50, "PixelSNAIL": 78.61}
"""Nats per image by the README of pytorch-generative, without classes."""


def prepare(work: Path) -> None:
    """Write drawn.npz: draws of the training part, one of a fifth of the validation part and one of the test part."""
    if (work / "drawn.npz").is_file():
        return
    mnist = data.load("mnist")
    train = mnist.train[:]
    parts = {"": (train, DRAWS), "valid_": (mnist.valid, 1), "test_": (mnist.test, 1)}
    arrays: dict[str, Array] = {}
    for seed, (prefix, (part, draws)) in enumerate(parts.items()):
        x, label = np.tile(part.x, (draws, 1)), np.tile(part.condition, draws)
        if prefix == "valid_":
            x, label = x[:VALID], label[:VALID]
        drawn = np.random.default_rng(seed).random(x.shape, dtype=np.float32) * 255 < x
        arrays |= {f"{prefix}x": drawn.astype(np.uint8).reshape(-1, 1, SIDE, SIDE), f"{prefix}condition": label}
    np.savez_compressed(work / "drawn.npz", **arrays)


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """Nats of the test part, and samples of each class."""
    session = load(bundles["gated"])
    classes = np.repeat(np.arange(10), SAMPLES)
    drawn = session.generate((SIDE, SIDE), condition=classes, seed=1)
    np.savez(work / "shown.npz", samples=drawn.reshape(10, SAMPLES, SIDE, SIDE))
    nats = test_nats(bundles["gated"], work)
    return {"losses": {"gated": nats}, "image": nats * PIXELS}


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw samples, a column for each class."""
    with np.load(work / "shown.npz") as held:
        by_class(held["samples"], here / "samples.svg")


def table(figures: dict[str, Any]) -> str:
    """Tell nats per image beside those of others."""
    rows = [f"| {name}, as pytorch-generative reports | {nats:.2f} |" for name, nats in OTHERS.items()]
    rows.append(f"| Gated PixelCNN of refar, told the class | {figures['image']:.2f} |")
    head = ["| | nats per image of the test part |", "|---|---|"]
    return "\n".join([*head, *rows, "\n![samples of each class](samples.svg)"])


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """The aim on a CPU, and that of a GPU."""
    found = figures["image"]
    return [
        (f"nats per image, {where}: at most {aim}", f"{found:.2f}", found <= aim) for where, aim in (("CPU", 84), ("GPU", 81))
    ]


DESCRIPTION = {
    "title": "MNIST with drawn pixels: a Gated PixelCNN, told the class",
    "minutes": 120,
    "data": "MNIST: refar data fetch mnist",
    "configs": ("gated",),
    "prepare": prepare, "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
