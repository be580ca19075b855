"""NetToy1d and its dilated form: which of them keeps what is far apart in agreement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import refar
from lab.scoring import test_nats
from refar.runtime import load

Array = NDArray[Any]
LENGTH, HEIGHTS, GAPS, LATEST = 56, range(3, 10), range(4, 9), 8
COUNT, DRAWN, SHOWN = 6000, 2000, 12
CONFIGS, SEEDS = ("nettoy1d", "dilated"), 3


def prepare(work: Path) -> None:
    """Write bumps.npz: sequences of two bumps of the same height, at random places."""
    rng = np.random.default_rng(0)
    x = np.stack([_two(*(rng.choice(what) for what in (range(LATEST), HEIGHTS, GAPS))) for _ in range(COUNT)])
    np.savez(work / "bumps.npz", x=x.astype(np.uint8))


def _two(start: int, height: int, gap: int) -> Array:
    """Zeros, a bump that rises by 1 to its height and falls again, so many zeros more, the same bump, zeros."""
    bump = np.minimum(np.arange(1, 2 * height), np.arange(2 * height - 1, 0, -1))
    x = np.zeros(LENGTH, np.int64)
    x[start : start + len(bump)] = bump
    second = start + len(bump) + gap
    x[second : second + len(bump)] = bump[: LENGTH - second]
    return x


def _bumps(x: Array) -> tuple[list[int], bool]:
    """The heights of the bumps of one sequence, and whether each rises and falls by 1; the last may be cut off."""
    inside = np.flatnonzero(np.diff(np.concatenate([[0], x > 0, [0]])))
    heights, straight = [], True
    for first, end in inside.reshape(-1, 2):
        piece = x[first:end]
        height = int(piece.max())
        whole = np.minimum(np.arange(1, 2 * height), np.arange(2 * height - 1, 0, -1))
        cut = end == len(x) and len(piece) < len(whole)
        straight &= np.array_equal(piece, whole[: len(piece)]) if cut else np.array_equal(piece, whole)
        heights.append(height)
    return heights, straight


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """Draw sequences: how many consist of straight bumps, and how many of two that are equally high."""
    found, shown = {}, {}
    for name, bundle in bundles.items():
        session = load(bundle)
        drawn = session.generate(LENGTH, batch=DRAWN, seed=1)
        bumps = [_bumps(x) for x in drawn]
        straight = [ok for _, ok in bumps]
        twins = [ok and len(heights) == 2 and heights[0] == heights[1] for heights, ok in bumps]
        found[name] = {"straight": float(np.mean(straight)), "twins": float(np.mean(twins))}
        shown[name], offsets = drawn[:SHOWN], sorted(refar.offsets(session.graph))
        found[name]["offsets"] = [offsets[0], offsets[-1], len(offsets)]
    with np.load(work / "bumps.npz") as held:
        shown["data"] = held["x"][:SHOWN]
    np.savez(work / "shown.npz", **shown)
    return {"losses": {name: test_nats(bundle, work) for name, bundle in bundles.items()}, "runs": found}


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw sequences of the data, and those that both networks make, side by side."""
    from matplotlib.figure import Figure

    from refar.plots.style import BLUE, FAINT, INK, font, save

    titles = {"data": "data", "nettoy1d-0": "NetToy1d", "dilated-0": "NetToy1dWithDilation"}
    with np.load(work / "shown.npz") as held, font():
        figure = Figure(figsize=(8.4, 5.2), dpi=150, facecolor="white", layout="constrained")
        columns = figure.subplots(SHOWN // 2, 3, sharex=True, sharey=True)
        for column, (name, title) in zip(columns.T, titles.items(), strict=True):
            for axes, x in zip(column, held[name], strict=False):
                axes.fill_between(np.arange(LENGTH), x, step="mid", color=BLUE, lw=0)
                axes.spines[["top", "right", "left"]].set_visible(False)
                axes.spines["bottom"].set_color(FAINT)
                axes.tick_params(length=0, labelcolor=INK, labelleft=False)
            column[0].set_title(title, loc="left", fontsize=9.5, color=INK)
    save(figure, here / "bumps.svg")


def table(figures: dict[str, Any]) -> str:
    """Tell means over seeds."""
    lines = [
        f"Means over three seeds, in brackets the standard deviation; {DRAWN} sequences drawn from each network.\n",
        "| | sees the offsets | nats a value | straight bumps only | two bumps of one height |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for config in CONFIGS:
        runs = [figures["runs"][f"{config}-{seed}"] for seed in range(SEEDS)]
        first, last, count = runs[0]["offsets"]
        nats = [figures["losses"][f"{config}-{seed}"] for seed in range(SEEDS)]
        cells = [f"{first} to {last}, {count} of them", f"{np.mean(nats):.4f} ({np.std(nats, ddof=1):.4f})"]
        for what in ("straight", "twins"):
            shares = [run[what] for run in runs]
            cells.append(f"{np.mean(shares):.1%} ({np.std(shares, ddof=1):.1%})")
        lines.append(f"| {config} | {' | '.join(cells)} |")
    return "\n".join([*lines, "\n![sequences](bumps.svg)"])


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Whether dilations keep the global structure, and whether it is lost without."""
    shares = {config: [figures["runs"][f"{config}-{seed}"]["twins"] for seed in range(SEEDS)] for config in CONFIGS}
    return [
        ("two bumps of one height with dilations, each seed: at least 90 %", f"{min(shares['dilated']):.1%} at least",
         min(shares["dilated"]) >= 0.9),
        ("without dilations, each seed: below half of that", f"{max(shares['nettoy1d']):.1%} at most",
         max(shares["nettoy1d"]) < 0.5 * min(shares["dilated"])),
    ]  # fmt: skip


DESCRIPTION = {
    "title": "NetToy1d and its dilated form on sequences whose parts agree",
    "minutes": 10,
    "data": "synthesised: two bumps of one height",
    "configs": CONFIGS, "seeds": SEEDS,
    "prepare": prepare, "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
