"""The two-stack PixelCNN, with and without the bits of row and column beside its input."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab import sheets
from lab.scoring import test_nats
from refar import data
from refar.runtime import load

Array = NDArray[Any]
SIDE, PIXELS = 28, 784
CONFIGS = ("plain", "positions")
ROWS, COLUMNS = 6, 8
EDGE = 4
"""The width of a picture's edge, in pixels."""
CLEAR = 1.0
"""Nats per picture that a gain has to exceed: the two networks are trained from one seed each."""


def prepare(work: Path) -> None:
    """Read MNIST, so that it is known to be there."""
    data.load("mnist")


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """Nats of the test part, samples from the same noise, and how much of their ink is at the edge."""
    shown, losses = {}, {}
    edge = {"test part": at_the_edge(data.load("mnist").test.x.reshape(-1, SIDE, SIDE))}
    for name, bundle in bundles.items():
        drawn = load(bundle).generate((SIDE, SIDE), batch=ROWS * COLUMNS, seed=1)
        shown[name] = drawn.reshape(ROWS, COLUMNS, SIDE, SIDE)
        losses[name], edge[name] = test_nats(bundle, work), at_the_edge(drawn[:, 0])
    np.savez(work / "shown.npz", **shown)
    return {"losses": losses, "edge": edge}


def at_the_edge(pictures: Array) -> float:
    """Return the share of the ink of pictures (N, H, W) that is no more than EDGE pixels from a side."""
    inner = pictures[:, EDGE:-EDGE, EDGE:-EDGE].sum(dtype=float)
    return float(1 - inner / pictures.sum(dtype=float))


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw samples of both side by side."""
    with np.load(work / "shown.npz") as held:
        sheets.draw({"without positions": held["plain"], "with positions": held["positions"]}, here / "samples.svg", 255)


def table(figures: dict[str, Any]) -> str:
    """Tell nats."""
    edge = figures["edge"]
    lines = ["| | nats per pixel of the test part | per picture | ink of samples at the edge |", "|---|---|---|---|"]
    for name, nats in figures["losses"].items():
        lines.append(f"| {name} | {nats:.4f} | {nats * PIXELS:.1f} | {edge[name]:.1%} |")
    lines.append(f"\nOf the test part {edge['test part']:.1%} of the ink is within {EDGE} pixels of a side.")
    return "\n".join([*lines, "\n![samples of both](samples.svg)"])


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """A network that knows where it is does better, and puts ink where the data have it."""
    plain, placed = (figures["losses"][name] * PIXELS for name in CONFIGS)
    without, ink, right = (figures["edge"][name] for name in (*CONFIGS, "test part"))
    return [
        (f"nats per picture: fewer by {CLEAR:g} with positions", f"{placed:.1f} against {plain:.1f}", placed + CLEAR < plain),
        ("ink at the edge of samples: nearer to the data with positions", f"{ink:.1%} against {without:.1%}",
         abs(ink - right) < abs(without - right)),
    ]  # fmt: skip


DESCRIPTION = {
    "title": "the two-stack PixelCNN on MNIST, with and without positions",
    "minutes": 15,
    "data": "MNIST: refar data fetch mnist",
    "configs": CONFIGS,
    "prepare": prepare, "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
