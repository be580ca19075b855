"""Random Fourier series: what a network draws and predicts, and what training on its own tokens changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.scoring import test_nats
from refar import data
from refar.data.dataset import Split
from refar.quantize import linear
from refar.runtime import load
from refar.runtime.session import Session

Array = NDArray[Any]
CONFIGS, SEEDS = ("plain", "unrolled"), 3
MARKS = (50, 100, 200, 300, 400, 500, 600)
STEPS, EPOCH = 8, 8192 / 16
"""Tokens that are predicted from each origin, and training steps for which all sequences are seen once."""
ORIGINS, FEW, MANY = range(250, 492, 30), 128, 512
LONG, TRAJECTORIES, OBSERVED = 250, 200, 250
NOISES = (0.0, 1.0, 2.0, 4.0)
"""Standard deviations of the noise of observations, in classes of 127."""


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """Accuracy of 8 tokens fed back, over training and at the end; bands and their coverage; noisy observations."""
    found = data.load("fourier")
    few, test = found.valid[:FEW], found.test[:MANY]
    courses = {name: [_mark(work / "marks" / f"{name}-{step}", few) for step in MARKS] for name in bundles}
    sessions = {name: load(bundle) for name, bundle in bundles.items()}
    _keep_shown(sessions, found.test, work)
    return {
        "losses": {name: test_nats(bundle, work) for name, bundle in bundles.items()},
        "courses": courses,
        "accuracy": {name: accuracy(session, test) for name, session in sessions.items()},
        "chosen": {name: _chosen(name, courses[name], work, test) for name in bundles},
        "far": {name: _far(session, test[:64]) for name, session in sessions.items()},
        "noisy": {name: [accuracy(session, test[:FEW], noise) for noise in NOISES] for name, session in sessions.items()},
    }


def accuracy(session: Session, split: Split, noise: float = 0.0) -> float:
    """Return how many of the 8 tokens after each origin are the true ones, where the most probable ones are fed back."""
    right = total = 0
    for origin in ORIGINS:
        made = session.complete(split.x, origin, STEPS, temperature=0.0, condition=_period(split), noise=noise, seed=origin)
        right += int((made.trajectories[:, 0] == split.x[:, origin : origin + STEPS]).sum())
        total += len(split.x) * STEPS
    return right / total


def _period(split: Split) -> Array:
    return split.conditions["condition"]


def _mark(bundle: Path, few: Split) -> dict[str, float]:
    session = load(bundle)
    nats = -float(session.score(few.x, _period(few)).sum()) / few.x.size
    return {"accuracy": accuracy(session, few), "nats": nats}


def _chosen(name: str, course: list[dict[str, float]], work: Path, test: Split) -> dict[str, float]:
    """The accuracy on the test part of the mark with the best nats of validation, and of that with the best accuracy there."""
    by_nats = min(range(len(MARKS)), key=lambda i: course[i]["nats"])
    by_accuracy = max(range(len(MARKS)), key=lambda i: course[i]["accuracy"])
    return {
        what: accuracy(load(work / "marks" / f"{name}-{MARKS[i]}"), test)
        for what, i in (("nats", by_nats), ("accuracy", by_accuracy))
    }


def _far(session: Session, split: Split) -> dict[str, float]:
    """The distance of the mean of many trajectories from the truth, in classes, and the part of it that the 90 % band holds."""
    made = session.complete(split.x, OBSERVED, LONG, samples=50, condition=_period(split))
    low, high = (0.05, 0.95)
    inside, total = made.coverage(low, high)
    error = made.trajectories.mean(axis=1) - made.truth
    halves = {f"rmse_{i}": float(np.sqrt(np.mean(part**2))) for i, part in enumerate(np.split(error, [50, 150], axis=1))}
    return {**halves, "covered": inside / total}


def _keep_shown(sessions: Mapping[str, Session], test: Split, work: Path) -> None:
    """Samples of a short and a long period, and what two test sequences go on with, clean and noisy, for the pictures."""
    session = sessions["plain-0"]
    periods = np.repeat([[5.0], [7.5], [10.0]], 4, axis=0)
    arrays: dict[str, Array] = {"periods": periods, "samples": session.generate(500, condition=periods, seed=1)}
    two = test[:2]
    for name in ("plain-0", "unrolled-0"):
        for noise in (0.0, 2.0):
            made = sessions[name].complete(
                two.x, OBSERVED, LONG, samples=TRAJECTORIES, condition=_period(two), noise=noise, seed=3
            )
            key = f"{name}, {noise}"
            arrays |= {f"observed of {key}": made.observed, f"made of {key}": made.trajectories}
    np.savez(work / "shown.npz", truth=two.x, condition=_period(two), **arrays)


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw samples by period, forecasts with their bands, and accuracy over training."""
    from refar.plots.style import save

    with np.load(work / "shown.npz") as held:
        shown = dict(held)
    decode = linear(127).decode
    save(_samples(decode(shown["samples"]), shown["periods"][:, 0]), here / "samples.svg")
    for noise, name in ((0.0, "forecast"), (2.0, "noisy")):
        save(_forecasts(shown, noise, decode), here / f"{name}.svg")
    save(_curves(figures["courses"]), here / "accuracy.svg")


def _samples(values: Array, periods: Array) -> Any:
    from matplotlib.figure import Figure

    from refar.plots.style import BLUE, GREY, INK, ORANGE, font

    with font():
        figure = Figure(figsize=(8.4, 5.0), dpi=150, facecolor="white", layout="constrained")
        rows = figure.subplots(3, 1, sharex=True, sharey=True)
        for axes, period in zip(rows, dict.fromkeys(periods), strict=True):
            for course, colour in zip(values[periods == period], (BLUE, ORANGE, INK, GREY), strict=True):
                axes.plot(np.arange(500) / 50, course, color=colour, lw=1.0)
            axes.set_title(f"period {period:g} s, four samples", loc="left", fontsize=9.5)
            axes.spines[["top", "right"]].set_visible(False)
        rows[-1].set_xlabel("seconds")
    return figure


def _forecasts(shown: dict[str, Array], noise: float, decode: Any) -> Any:
    from refar.plots import Course, forecast

    levels, courses = [0.05, 0.25, 0.5, 0.75, 0.95], []
    titles = {"plain-0": "trained one step ahead", "unrolled-0": "trained on 8 of its own tokens, too"}
    for row, period in enumerate(shown["condition"][:, 0]):
        for name, title in titles.items():
            made = decode(shown[f"made of {name}, {noise}"][row])
            bands = np.quantile(made, levels, axis=0, method="weibull")
            told = f"period {period:.1f} s, {title}"
            courses.append(
                Course(told, decode(shown[f"observed of {name}, {noise}"][row]), made[:5], bands, decode(shown["truth"][row]))
            )
    return forecast(courses, levels, "sample, 50 a second", "x")


def _curves(courses: dict[str, list[dict[str, float]]]) -> Any:
    from matplotlib.figure import Figure

    from refar.plots.style import BLUE, INK, ORANGE, font

    with font():
        figure = Figure(figsize=(7.2, 3.4), dpi=150, facecolor="white", layout="constrained")
        axes = figure.add_subplot()
        for config, colour in zip(CONFIGS, (BLUE, ORANGE), strict=True):
            lines = np.array([[mark["accuracy"] for mark in courses[f"{config}-{seed}"]] for seed in range(SEEDS)])
            epochs = np.array(MARKS) / EPOCH
            axes.plot(epochs, lines.T, color=colour, lw=0.7, alpha=0.6)
            axes.plot(epochs, lines.mean(axis=0), ".-", color=colour, lw=1.6, label=f"{config}, mean of {SEEDS} seeds")
        axes.set_xlabel("epochs", color=INK)
        axes.set_ylabel("8-step accuracy, validation", color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#eef0f2")
        axes.legend(frameon=False)
    return figure


def table(figures: dict[str, Any]) -> str:
    """Tell the figures in tables."""
    lines = [
        "Means over three seeds, and in brackets their standard deviations. Accuracy: how many of the 8 tokens after an origin",
        "are the true ones of 127, the most probable ones being fed back; nats are those of one step.\n",
        "| | nats | 8-step accuracy | chosen by nats | chosen by accuracy | "
        + " | ".join(f"noise {noise:g}" for noise in NOISES[1:])
        + " |",
        "|---|---|---|---|---|" + "---|" * (len(NOISES) - 1),
    ]
    for config in CONFIGS:
        cells = [f"{_told(_of(figures['losses'], config), '.4f')}", _told(_of(figures["accuracy"], config), ".1%")]
        cells += [_told([run[how] for run in _of(figures["chosen"], config)], ".1%") for how in ("nats", "accuracy")]
        cells += [_told([run[i] for run in _of(figures["noisy"], config)], ".1%") for i in range(1, len(NOISES))]
        lines.append(f"| {config} | {' | '.join(cells)} |")
    lines += [
        f"\n{LONG} tokens after {OBSERVED} observed ones, 50 trajectories of each of 64 test sequences: distance of their mean",
        "from the truth, in classes, and how much of the truth the band from 5 to 95 % holds:\n",
        "| | tokens 1 to 50 | 51 to 150 | 151 to 250 | inside the band |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for config in CONFIGS:
        runs = _of(figures["far"], config)
        cells = [_told([run[f"rmse_{i}"] for run in runs], ".2f") for i in range(3)]
        lines.append(f"| {config} | {' | '.join(cells)} | {_told([run['covered'] for run in runs], '.1%')} |")
    lines += [
        "\n![accuracy over training](accuracy.svg)\n", "![samples](samples.svg)\n", "![forecasts](forecast.svg)\n",
        "The same where noise with a standard deviation of 2 classes was observed:\n", "![noisy forecasts](noisy.svg)",
    ]  # fmt: skip
    return "\n".join(lines)


def _of(runs: Mapping[str, Any], config: str) -> list[Any]:
    return [runs[f"{config}-{seed}"] for seed in range(SEEDS)]


def _told(numbers: list[float], style: str) -> str:
    return f"{format(float(np.mean(numbers)), style)} ({format(float(np.std(numbers, ddof=1)), style)})"


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Whether unrolling gives more than its noise over seeds, at the end and on the way."""
    plain, unrolled = (np.array(_of(figures["accuracy"], config)) for config in CONFIGS)
    gap = float(unrolled.mean() - plain.mean())
    noise = math.sqrt((plain.var(ddof=1) + unrolled.var(ddof=1)) / SEEDS)
    courses = [np.array([[mark["accuracy"] for mark in run] for run in _of(figures["courses"], config)]) for config in CONFIGS]
    gaps = courses[1].mean(axis=0) - courses[0].mean(axis=0)
    spread = np.sqrt((courses[0].var(axis=0, ddof=1) + courses[1].var(axis=0, ddof=1)) / SEEDS)
    ahead = [step for step, above in zip(MARKS, gaps > 2 * spread, strict=True) if above]
    return [
        ("8-step accuracy with unrolling over without, at the end: more than 2 standard errors",
         f"{gap:+.1%} ± {noise:.1%}", gap > 2 * noise),
        ("the same on the way, in validation", f"at {len(ahead)} of {len(MARKS)} marks", len(ahead) > len(MARKS) // 2),
    ]  # fmt: skip


DESCRIPTION = {
    "title": "random Fourier series, with and without unrolling",
    "minutes": 50,
    "data": "built in: refar draws them",
    "configs": CONFIGS, "seeds": SEEDS, "marks": MARKS,
    "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
