"""An effect: a network learns a synthesised amplifier from pairs, and runs in blocks as in real time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import refar
from refar import Builder
from refar.analysis.facts import facts
from refar.oracle.pairs import error_to_signal
from refar.runtime import load
from refar.runtime.session import Session

Array = NDArray[Any]
RATE, WINDOW, SECONDS = 48_000, 8192, 60
PRE_EMPHASIS = 0.85
BLOCKS = (64, 256)
TAPS, DEGREE = 128, 9
"""Of the two baselines: a linear filter by least squares, and a polynomial of each sample."""


def prepare(work: Path) -> None:
    """Write guitar.npz, a minute of plucked strings dry and amplified, and amplifier.json, the network."""
    if (work / "guitar.npz").is_file():
        return
    dry = _strings(np.random.default_rng(0))
    count = len(dry) // WINDOW
    wet = _amplified(dry)
    pairs = {"x": dry, "target": wet}
    arrays = {name: sound[: count * WINDOW].reshape(count, 1, WINDOW).astype(np.float32) for name, sound in pairs.items()}
    np.savez(work / "guitar.npz", **arrays)
    g = Builder()
    h = g.conv1d(g.input(channels=1), 8, name="in")
    skips = []
    for dilation in (1, 2, 4, 8, 16, 32, 64, 128):
        if skips:
            h = g.add(h, g.conv1d(skips[-1], 8))
        skips.append(g.gate(g.conv1d(h, 16, kernel=3, dilation=dilation)))
    refar.save(g.build(g.conv1d(g.concat(*skips), 1)), work / "amplifier.json")


def _strings(rng: np.random.Generator) -> Array:
    """Karplus and Strong's plucked strings, one or two at once: noise in a loop of a delay and a mean of two neighbours."""
    from scipy.signal import lfilter

    sound, at = np.zeros(SECONDS * RATE + 2 * RATE), 0
    while at < SECONDS * RATE:
        for _ in range(rng.integers(1, 3)):
            delay = int(RATE / (82.4 * 2 ** (rng.integers(0, 30) / 12)))
            loop = np.zeros(delay + 2)
            loop[0], loop[delay:] = 1.0, -0.4985
            pluck = np.zeros(2 * RATE)
            pluck[:delay] = rng.uniform(-1, 1, delay) * rng.uniform(0.1, 0.6)
            sound[at : at + 2 * RATE] += lfilter([1.0], loop, pluck)
        at += int(rng.uniform(0.15, 0.8) * RATE)
    return sound[: SECONDS * RATE] / abs(sound).max()


def _amplified(dry: Array) -> Array:
    """Less bass, a stage that clips one side earlier, less treble, and a second stage behind it."""
    from scipy.signal import butter, lfilter

    low, high = butter(1, 150, "high", fs=RATE), butter(1, 4500, "low", fs=RATE)
    first = lfilter(*high, np.tanh(12 * lfilter(*low, dry) + 0.3) - np.tanh(0.3))
    wet = lfilter(*low, np.tanh(2.5 * first))
    return 0.8 * wet / abs(wet).max()


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """ESR over the test windows in one pass and in blocks, beside that of the baselines; how long a block takes."""
    session, (train, test) = load(bundles["amplifier"]), _parts(work)
    field = refar.receptive_field(session.graph)
    made = session.forward(test[0])
    np.savez(work / "shown.npz", dry=test[0][5], wet=test[1][5], made=made[5])
    return {
        "losses": {"amplifier": _esr(made, test[1], field)},
        "plain": _esr(made, test[1], field, emphasis=0.0),
        "linear": _esr(_linear(train, test[0]), test[1], field, emphasis=0.0),
        "static": _esr(_static(train, test[0]), test[1], field, emphasis=0.0),
        "blocks": {block: _streamed(session, test[0][:2], made[:2], block) for block in BLOCKS},
        "field": field,
        "parameters": sum(int(np.prod(shape)) for shape in facts(session.graph).parameters.values()),
    }


def _parts(work: Path) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The pairs of the training and of the test part, as the run divided them."""
    from refar import data
    from refar.data.described import DataConfig

    whole = data.load(DataConfig(path=str(work / "guitar.npz")))
    train, test = whole.train[:], whole.test[:]
    return (train.x, train.target), (test.x, test.target)


def _esr(made: Array, wet: Array, field: int, emphasis: float = PRE_EMPHASIS) -> float:
    """The mean over the windows, without the positions whose inputs begin before the window."""
    counted = np.broadcast_to(np.arange(WINDOW) >= field - 1, (len(wet), WINDOW))
    return float(error_to_signal(made.astype(float), wet.astype(float), counted, emphasis).mean())


def _linear(train: tuple[Array, Array], dry: Array) -> Array:
    """Fit a causal filter by least squares to the first windows of the training part."""
    rows = _lags(train[0][:20, 0])[:, TAPS:].reshape(-1, TAPS)
    weights, *_ = np.linalg.lstsq(rows, train[1][:20, 0, TAPS:].reshape(-1), rcond=None)
    return (_lags(dry[:, 0]) @ weights)[:, None]


def _lags(sound: Array) -> Array:
    """The present and TAPS-1 past samples at each position, zeros before the first."""
    padded = np.pad(sound.astype(np.float64), ((0, 0), (TAPS - 1, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, TAPS, axis=1)


def _static(train: tuple[Array, Array], dry: Array) -> Array:
    """Fit a polynomial of each sample alone."""
    fitted = np.polynomial.Polynomial.fit(train[0].ravel(), train[1].ravel(), DEGREE)
    return fitted(dry)


def _streamed(session: Session, dry: Array, whole: Array, block: int) -> dict[str, float]:
    """Push two windows in blocks: the largest difference from one pass, and the time it takes over that of playing."""
    stream, pieces, seconds = session.stream(len(dry)), [], []
    for first in range(0, WINDOW, block):
        begin = time.perf_counter()
        pieces.append(stream.push(dry[..., first : first + block]))
        seconds.append(time.perf_counter() - begin)
    difference = abs(np.concatenate(pieces, axis=-1) - whole).max()
    return {"difference": float(difference), "deadline": float(np.median(seconds)) * RATE / block}


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw a few milliseconds: dry, amplified, and what the network makes."""
    from matplotlib.figure import Figure

    from refar.plots.style import BLUE, GREY, INK, ORANGE, font, save

    with np.load(work / "shown.npz") as held:
        sounds = {name: held[name][0, 4000:4720] for name in ("dry", "wet", "made")}
    with font():
        figure = Figure(figsize=(8.4, 3.0), dpi=150, facecolor="white", layout="constrained")
        axes = figure.add_subplot()
        milliseconds = np.arange(720) / RATE * 1e3
        axes.plot(milliseconds, sounds["dry"], color=GREY, lw=0.9, label="dry")
        axes.plot(milliseconds, sounds["wet"], color=ORANGE, lw=2.4, label="amplifier")
        axes.plot(milliseconds, sounds["made"], color=BLUE, lw=0.9, label="network")
        axes.set_xlabel("ms", color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=8)
    save(figure, here / "waves.svg")


def table(figures: dict[str, Any]) -> str:
    """Tell ratios and blocks."""
    lines = [
        f"{figures['parameters']} parameters, R = {figures['field']}. Test windows, without pre-emphasis:\n",
        "| | ESR |", "|---|---|",
        f"| network | {figures['plain']:.6f} |",
        f"| polynomial of degree {DEGREE} of each sample | {figures['static']:.4f} |",
        f"| linear filter of {TAPS} taps, least squares | {figures['linear']:.4f} |",
        "",
        "| samples in a block | largest difference from one pass | of the time that a block of two sequences lasts at 48 kHz |",
        "|---|---|---|",
    ]  # fmt: skip
    for block, found in figures["blocks"].items():
        lines.append(f"| {block} | {found['difference']:.1e} | {found['deadline']:.1%} |")
    return "\n".join([*lines, "\n![fifteen milliseconds](waves.svg)"])


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """The network beats both baselines, in blocks too, in time."""
    blocks = figures["blocks"].values()
    difference, share = max(b["difference"] for b in blocks), max(b["deadline"] for b in blocks)
    return [
        ("ESR below 0.01", f"{figures['plain']:.6f}", figures["plain"] < 0.01),
        ("at most a tenth of the ESR of a polynomial", f"1/{figures['static'] / figures['plain']:.0f}",
         figures["plain"] * 10 <= figures["static"]),
        ("blocks give what one pass gives, within 10⁻⁵", f"{difference:.1e}", difference < 1e-5),
        ("blocks are ready in time", f"{share:.0%} of it", share < 1),
    ]  # fmt: skip


DESCRIPTION = {
    "title": "an amplifier learnt from pairs, streamed in blocks",
    "minutes": 20,
    "data": "synthesised: a minute of plucked strings, and an amplifier of two stages",
    "configs": ("amplifier",),
    "packages": ("scipy",),
    "prepare": prepare, "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
