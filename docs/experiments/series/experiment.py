"""The sea surface off Peru, month by month: a WaveNet against a linear autoregression and against the year before."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab import baselines
from lab.scoring import test_nats
from refar.cli import examples
from refar.runtime import load

Array = NDArray[np.float64]
HORIZON, SAMPLES, PERIOD, ORDERS = 12, 1000, 12, 36
BAND = (0.05, 0.95)
SHOWN = ("2005-01", "2007-01", "2009-01")
"""The months from which the picture shows what may come."""


def prepare(work: Path) -> None:
    """Write elnino.csv, MONTH and SST, of the table that statsmodels has."""
    from statsmodels.datasets import elnino

    with (work / "elnino.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["MONTH", "SST"])
        for year, *months in elnino.load_pandas().data.itertuples(index=False):
            writer.writerows([f"{int(year)}-{month:02d}", value] for month, value in enumerate(months, 1))


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """One-step nats and RMSE, RMSE and coverage of forecasts, of the last tenth of the months, given all before."""
    months, x = _series(work)
    start, middle = _cuts(len(x))
    order = baselines.best_order(x[:start], middle, ORDERS)
    linear, less = baselines.fit(x[:start], order), baselines.fit(x[:middle], order)
    naive = np.std([x[t] - x[t - PERIOD] for t in range(PERIOD, start)])
    ways = {
        "network": _of_network(bundles["wavenet"], x, start),
        "less": _of(x, start, lambda past: less.forecast(past, HORIZON)),
        "linear": _of(x, start, lambda past: linear.forecast(past, HORIZON)),
        "seasonal": _of(x, start, lambda past: (baselines.seasonal(past, PERIOD, HORIZON), np.full(HORIZON, naive))),
    }
    session, shown = load(bundles["wavenet"]), [months.index(month) for month in SHOWN]
    made = np.stack([_trajectories(session, x, t) for t in shown])
    np.savez(work / "shown.npz", x=x, shown=shown, made=made)
    return {
        "losses": {name: test_nats(bundle, work) for name, bundle in bundles.items()},
        "months": [months[start], months[-1]],
        "order": order,
        "ways": ways,
    }


def _series(work: Path) -> tuple[list[str], Array]:
    with (work / "elnino.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return [month for month, _ in rows], np.array([float(value) for _, value in rows])


def _cuts(length: int) -> tuple[int, int]:
    """The first month of the test part, and the first for validation, as [data] divides them."""
    start = length - length // 10
    return start, start - length // 10


def _of_network(bundle: Path, x: Array, start: int) -> dict[str, Any]:
    session = load(bundle)
    mean, std = _scale(session)
    z = ((x - mean) / std)[None, None]
    nats = -float((session.score(z) - session.score(z[..., :start]))[0]) / (len(x) - start) + math.log(std)
    found = _errors(x, start, lambda t: _forecast(_trajectories(session, x, t)))
    return {"nats": nats, **found}


def _of(x: Array, start: int, forecast: Any) -> dict[str, Any]:
    """The same of a Gaussian forecast (mean, standard deviation) of each of the next values."""

    def band(t: int) -> tuple[Array, Array, Array]:
        mean, std = forecast(x[:t])
        return mean, mean - 1.6449 * std, mean + 1.6449 * std

    def nats(t: int) -> float:
        mean, std = (float(part[0]) for part in forecast(x[:t]))
        return 0.5 * math.log(2 * math.pi) + math.log(std) + 0.5 * ((x[t] - mean) / std) ** 2

    return {"nats": float(np.mean([nats(t) for t in range(start, len(x))])), **_errors(x, start, band)}


def _errors(x: Array, start: int, forecast: Any) -> dict[str, Any]:
    """RMSE at one step and over all steps, and how many values of all forecasts lie in the 90 % band."""
    ones, squares, inside = [], [], []
    for t in range(start, len(x)):
        n = min(HORIZON, len(x) - t)
        mean, low, high = (part[:n] for part in forecast(t))
        truth = x[t : t + n]
        ones.append((mean[0] - truth[0]) ** 2)
        squares.extend((mean - truth) ** 2)
        inside.extend((truth >= low) & (truth <= high))
    return {
        "rmse_1": float(np.sqrt(np.mean(ones))), "rmse": float(np.sqrt(np.mean(squares))),
        "covered": float(np.mean(inside)), "values": len(inside),
    }  # fmt: skip


def _forecast(trajectories: Array) -> tuple[Array, Array, Array]:
    low, high = np.quantile(trajectories, BAND, axis=0, method="weibull")
    return trajectories.mean(axis=0), low, high


def _trajectories(session: Any, x: Array, t: int) -> Array:
    """SAMPLES ways (S, n) in which the series may go on from its first t months."""
    mean, std = _scale(session)
    z = ((x[:t] - mean) / std)[None, None]
    found: Array = session.complete(z, observed=t, n=HORIZON, samples=SAMPLES, seed=t).trajectories[0, :, 0]
    return found * std + mean


def _scale(session: Any) -> tuple[float, float]:
    meaning = examples.meaning_of(examples.record_of(session.manifest.metadata))
    return meaning.mean[0], meaning.std[0]


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw what may come from one year on, and what came."""
    from refar.plots import Course, forecast
    from refar.plots.style import save

    with np.load(work / "shown.npz") as held:
        x, shown, made = held["x"], held["shown"], held["made"]
    levels, courses = [BAND[0], 0.25, 0.5, 0.75, BAND[1]], []
    for month, t, trajectories in zip(SHOWN, shown, made, strict=True):
        bands = np.quantile(trajectories, levels, axis=0, method="weibull")
        courses.append(Course(f"from {month} on", x[:t], trajectories[:5], bands, x[: t + HORIZON]))
    save(forecast(courses, levels, "months since January 1950", "°C"), here / "forecast.svg")


def table(figures: dict[str, Any]) -> str:
    """Tell the figures in a table."""
    linear = f"linear AR({figures['order']}) of"
    names = {
        "network": "WaveNet", "less": f"{linear} the same months", "linear": f"{linear} these and those for validation",
        "seasonal": "the year before",
    }  # fmt: skip
    first, last = figures["months"]
    lines = [
        f"{first} to {last}, each forecast from all months before it:\n",
        "| | nats, one step | RMSE, one step | RMSE, 1 to 12 steps | inside the 90 % band |",
        "|---|---|---|---|---|",
    ]
    for way, found in figures["ways"].items():
        inside = f"{found['covered']:.0%} of {found['values']}"
        lines.append(f"| {names[way]} | {found['nats']:.3f} | {found['rmse_1']:.3f} | {found['rmse']:.3f} | {inside} |")
    return "\n".join([*lines, "\n![what may come](forecast.svg)"])


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Compare with the baselines."""
    network, linear, seasonal = (figures["ways"][way] for way in ("network", "less", "seasonal"))
    both = [f"{network[kind]:.3f} and {linear[kind]:.3f}" for kind in ("rmse_1", "nats")]
    return [
        ("one step: RMSE below that of linear AR of the same months", both[0], network["rmse_1"] < linear["rmse_1"]),
        ("one step: nats below those of linear AR of the same months", both[1], network["nats"] < linear["nats"]),
        ("1 to 12 steps: RMSE below that of the year before", f"{network['rmse']:.3f} and {seasonal['rmse']:.3f}",
         network["rmse"] < seasonal["rmse"]),
        ("the 90 % band holds 80 to 97 %", f"{network['covered']:.0%}", 0.8 <= network["covered"] <= 0.97),
    ]  # fmt: skip


DESCRIPTION = {
    "title": "the sea surface off Peru, month by month, against a linear autoregression",
    "minutes": 3,
    "data": "732 months, 1950 to 2010, which come with statsmodels",
    "configs": ("wavenet",),
    "packages": ("statsmodels",),
    "prepare": prepare, "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
