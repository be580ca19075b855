"""Two orders of the pixels of an image: row by row, and along Hilbert's curve, by a permutation of the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.scoring import test_nats
from refar import data
from refar.runtime import load

Array = NDArray[Any]
SIDE, SEEDS, CLASSES = 8, 3, 10
CONFIGS = ("scanline", "hilbert")


def order(name: str) -> Array:
    """Return which pixel, row·8 + column, comes at each position of the sequence."""
    if name == "scanline":
        return np.arange(SIDE * SIDE)
    return np.array([row * SIDE + column for row, column in _hilbert(SIDE)])


def _hilbert(side: int) -> list[tuple[int, int]]:
    """The pixels (row, column) of a square along Hilbert's curve: four half-size curves, the first and last of them turned."""
    if side == 1:
        return [(0, 0)]
    half, small = side // 2, _hilbert(side // 2)
    return [
        *[(column, row) for row, column in small],
        *[(row, column + half) for row, column in small],
        *[(row + half, column + half) for row, column in small],
        *[(side - 1 - column, half - 1 - row) for row, column in small],
    ]


def prepare(work: Path) -> None:
    """Write the digits of scikit-learn in both orders, divided as refar divides them."""
    digits = data.load("digits")
    for name in CONFIGS:
        arrays: dict[str, Array] = {}
        for part, split in digits.splits.items():
            prefix = "" if part == "train" else f"{part}_"
            arrays[f"{prefix}x"] = split.x[:][:, order(name)] if part == "train" else split.x[:, order(name)]
            arrays[f"{prefix}condition"] = split.condition
        np.savez(work / f"{name}.npz", **arrays)


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """Nats and Bayes accuracy on the test part; samples of each class, as images."""
    test = data.load("digits").test
    accuracy, shown = {}, {}
    for name, bundle in bundles.items():
        pixels, session = order(name.rpartition("-")[0]), load(bundle)
        found = session.classify(test.x[:, pixels]).argmax(axis=-1)
        accuracy[name] = float((found == test.condition).mean())
        drawn = session.generate(SIDE * SIDE, condition=np.repeat(np.arange(CLASSES), 2), seed=1)
        images = np.empty_like(drawn)
        images[:, pixels] = drawn
        shown[name] = images.reshape(CLASSES, 2, SIDE, SIDE)
    np.savez(work / "shown.npz", **shown)
    return {"losses": {name: test_nats(bundle, work) for name, bundle in bundles.items()}, "accuracy": accuracy}


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw both orders, and samples of each class beside each other."""
    from matplotlib.figure import Figure

    from refar.plots.style import BLUE, INK, font, save

    with np.load(work / "shown.npz") as held, font():
        figure = Figure(figsize=(8.4, 3.6), dpi=150, facecolor="white", layout="constrained")
        rows = figure.subplots(2, 2, width_ratios=[1, 5])
        for (path, sheet), name in zip(rows, CONFIGS, strict=True):
            row, column = np.divmod(order(name), SIDE)
            path.plot(column, -row, color=BLUE, lw=1.4)
            path.set_aspect("equal")
            path.axis("off")
            apart = np.pad(held[f"{name}-0"], ((0, 0), (0, 0), (1, 1), (1, 1)))  # class 0 is white
            images = apart.transpose(1, 2, 0, 3).reshape(2 * (SIDE + 2), CLASSES * (SIDE + 2))
            sheet.imshow(images, cmap="gray_r", vmin=0, vmax=16, interpolation="nearest")
            sheet.axis("off")
            sheet.set_title(name, loc="left", fontsize=9.5, color=INK)
    save(figure, here / "orders.svg")


def table(figures: dict[str, Any]) -> str:
    """Tell means over seeds."""
    lines = [
        "Means over three seeds, in brackets the standard deviation, on the 360 test images:\n",
        "| | nats a pixel | Bayes accuracy |", "|---|---|---|",
    ]  # fmt: skip
    for config in CONFIGS:
        nats, right = (_of(figures[what], config) for what in ("losses", "accuracy"))
        cells = [f"{np.mean(nats):.4f} ({np.std(nats, ddof=1):.4f})", f"{np.mean(right):.1%} ({np.std(right, ddof=1):.1%})"]
        lines.append(f"| {config} | {' | '.join(cells)} |")
    return "\n".join([*lines, "\n![both orders, and samples](orders.svg)"])


def _of(runs: Mapping[str, float], config: str) -> list[float]:
    return [runs[f"{config}-{seed}"] for seed in range(SEEDS)]


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """The document found curves considerably worse."""
    scanline, hilbert = (_of(figures["losses"], config) for config in CONFIGS)
    gap = np.mean(hilbert) - np.mean(scanline)
    return [("nats a pixel: the curve is worse than rows, for all seeds", f"by {gap:.4f}", min(hilbert) > max(scanline))]


DESCRIPTION = {
    "title": "rows of pixels against Hilbert's curve, by a permutation",
    "minutes": 6,
    "data": "the 8 x 8 digits that come with scikit-learn",
    "configs": CONFIGS, "seeds": SEEDS,
    "prepare": prepare, "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
