"""MNIST, black and white: a WaveNet over the pixels row by row, told the class; samples, completion, density, Bayes' rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import refar
from lab import bayes, sheets
from lab.scoring import test_nats
from refar import data
from refar.data.described import DataConfig
from refar.runtime import load
from refar.runtime.session import Session

Array = NDArray[Any]
SIDE, PIXELS, CLASSES = 28, 784, 10
BEGINNINGS = (85, 281, 589, PIXELS)
SAMPLES = 6
COMPLETED = 8
"""The number of pictures that are completed; each has another class."""
ROTATED = 40
ANGLES = tuple(range(0, 361, 15))
AIMS = {281: 0.81, 589: 0.985, PIXELS: 0.987}


def prepare(work: Path) -> None:
    """Read MNIST, so that it is known to be there."""
    data.load("mnist")


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """Bayes' rule on all test pictures at once and as they come in; samples, completions, and density under rotation."""
    session = load(bundles["scanline"])
    test = data.load(DataConfig(name="mnist", levels=2)).test
    grey = data.load("mnist").test.x
    classes = np.repeat(np.arange(CLASSES), SAMPLES)
    samples = session.generate(PIXELS, condition=classes, seed=1)
    np.savez(
        work / "shown.npz",
        samples=samples.reshape(CLASSES, SAMPLES, SIDE, SIDE),
        completed=_completed(session, test.x, test.condition),
        angles=_by_angle(session, grey[:ROTATED]),
    )
    nats = test_nats(bundles["scanline"], work)
    return {
        "losses": {"scanline": nats},
        "image": nats * PIXELS,
        "bayes": bayes.beginnings(session, test.x, test.condition, BEGINNINGS),
        "field": refar.receptive_field(session.graph),
    }


def _completed(session: Session, x: Array, labels: Array) -> Array:
    """Pictures (rows, columns, H, W): the picture, its half, three completions in its class, one in each of three others."""
    rows = [int(np.flatnonzero(labels == label)[0]) for label in range(COMPLETED)]
    some, own = x[rows], labels[rows]
    half = np.where(np.arange(PIXELS) < PIXELS // 2, some, 0)
    trials = [(own, seed) for seed in range(3)] + [((own + step) % CLASSES, 0) for step in (1, 4, 7)]
    found = [session.complete(some, PIXELS // 2, condition=label, seed=seed).trajectories[:, 0] for label, seed in trials]
    whole = [np.concatenate([some[:, : PIXELS // 2], rest], axis=1) for rest in found]
    return np.stack([some, half, *whole]).reshape(-1, len(rows), SIDE, SIDE)


def _by_angle(session: Session, grey: Array) -> Array:
    """log Σ_c p(picture | c)/10 of each picture turned by each angle, and made black and white then: (angles, pictures)."""
    from scipy.ndimage import rotate

    found = []
    for angle in ANGLES:
        turned = rotate(grey.reshape(-1, SIDE, SIDE).astype(float), angle, axes=(1, 2), reshape=False, order=1)
        found.append(session.log_marginal((turned >= 128).reshape(-1, PIXELS).astype(np.int64)))
    return np.stack(found)


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw samples, completions, and the density of pictures that are turned."""
    with np.load(work / "shown.npz") as held:
        sheets.by_class(held["samples"], here / "samples.svg")
        _draw_completed(held["completed"], here)
        _draw_angles(held["angles"], here)


def _draw_completed(completed: Array, here: Path) -> None:
    own = completed[2:5].transpose(1, 0, 2, 3)
    others = completed[5:].transpose(1, 0, 2, 3)
    first = completed[:2].transpose(1, 0, 2, 3)
    sheets.draw({"picture, half": first, "its own class": own, "other classes": others}, here / "completed.svg", width=5.6)


def _draw_angles(log_density: Array, here: Path) -> None:
    from matplotlib.figure import Figure

    from refar.plots.style import BLUE, INK, font, save

    low, middle, high = np.quantile(-log_density, [0.1, 0.5, 0.9], axis=1)
    with font():
        figure = Figure(figsize=(8.4, 2.8), dpi=150, facecolor="white", layout="constrained")
        axes = figure.add_subplot()
        axes.fill_between(ANGLES, low, high, color=BLUE, alpha=0.15, lw=0, label="8 of 10 pictures")
        axes.plot(ANGLES, middle, color=BLUE, lw=1.6, label="median")
        axes.set_xlabel("turned by, in degrees", color=INK)
        axes.set_ylabel("nats per picture", color=INK)
        axes.set_xticks(range(0, 361, 45))
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    save(figure, here / "turned.svg")


def table(figures: dict[str, Any]) -> str:
    """Tell nats, and accuracy as pixels come in."""
    lines = [
        f"{figures['image']:.2f} nats per picture of the test part, in its own class; R = {figures['field']}.\n",
        *bayes.lines(figures["bayes"]),
        "\n![samples, a column for each class](samples.svg)",
        "\n![pictures completed from their upper half](completed.svg)",
        f"\nNats of {ROTATED} test pictures, each turned step by step, whatever their class:",
        "\n![nats by angle](turned.svg)",
    ]
    return "\n".join(lines)


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """The accuracy of the document, as pixels come in."""
    found = figures["bayes"]
    return [
        (f"Bayes accuracy after {h} pixels: at least {aim:.1%}",
         f"{found['right'][str(h)]:.2%} ± {found['error'][str(h)]:.2%}", found["right"][str(h)] >= aim)
        for h, aim in AIMS.items()
    ]  # fmt: skip


DESCRIPTION = {
    "title": "MNIST, black and white: a WaveNet over the pixels, told the class",
    "minutes": 60, "gpu": True,
    "trained": "on one H100, by refar 225e3bc",
    "data": "MNIST: refar data fetch mnist",
    "configs": ("scanline",),
    "packages": ("scipy",),
    "prepare": prepare, "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
