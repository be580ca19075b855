"""The cost of generation and training: slow and fast algorithm by depth, one pass against windows, and masked inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import refar
import refar_export
from refar.bench.clock import Way, in_turn, repeated
from refar.models import wavenet
from refar.runtime import load
from refar.runtime.session import Session

Array = NDArray[Any]
CHANNELS, LEVELS, BATCH = 64, 8, 32
LAYERS = range(1, 11)
LENGTH = 1024
SECONDS = 4.0
NEAR = 1e-4
"""The largest difference that is allowed between two ways to compute the same in float32."""


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """Time them in turn on one core, after their outputs were compared; quartiles in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        sessions = {layers: _session(Path(folder), layers) for layers in LAYERS}
        return {
            "losses": {},
            "depth": {layers: _depth(session) for layers, session in sessions.items()},
            "fields": {layers: refar.receptive_field(session.graph) for layers, session in sessions.items()},
            "windows": {layers: _windows(sessions[layers]) for layers in (3, 5, 7, 9)},
            "masked": {length: _masked(sessions[5], length) for length in (16, 64, 256, 1024)},
        }


def _session(folder: Path, layers: int) -> Session:
    graph = wavenet(LEVELS, [2**layer for layer in range(layers)], residual=CHANNELS, gate=CHANNELS, skip=CHANNELS)
    return load(refar_export.export(graph, refar.init(graph), folder / str(layers), verify=False))


def _quartiles(ways: Mapping[str, Way]) -> dict[str, list[float]]:
    return {name: np.quantile(times, [0.25, 0.5, 0.75]).round(3).tolist() for name, times in in_turn(ways, SECONDS).items()}


def _draw(rows: int, length: int) -> Array:
    return np.random.default_rng(0).integers(0, LEVELS, (rows, length))


def _depth(session: Session) -> dict[str, list[float]]:
    """A token of 32 sequences: the output after R inputs from all of them anew, and one step of the queues."""
    field = refar.receptive_field(session.graph)
    x = _draw(BATCH, field + 2)
    stream = session.stream(BATCH, prompt=x[:, :-2])
    _require_equal(stream.step(x[:, -2]), session.forward(x)[..., -1])
    return _quartiles({
        "slow": Way(partial(session.forward, x[:, 1:])), "fast": repeated(lambda: stream.step(x[:, -2]), 100),
    })  # fmt: skip


def _windows(session: Session) -> dict[str, list[float]]:
    """All outputs of a sequence that see R inputs: in one pass, and each from its window, 64 windows at a time."""
    field = refar.receptive_field(session.graph)
    x = _draw(1, LENGTH)
    cut = np.lib.stride_tricks.sliding_window_view(x[0], field + 1)  # the output after R inputs is that of position R

    def by_windows() -> Array:
        return np.concatenate([session.forward(cut[first : first + 64])[..., -1] for first in range(0, len(cut), 64)])

    _require_equal(by_windows().T, session.forward(x)[0][:, field:])
    return _quartiles({"windows": Way(by_windows), "pass": Way(partial(session.forward, x))})


def _masked(session: Session, length: int) -> dict[str, list[float]]:
    """Outputs 0 to T-1: in one pass, and each by a pass over the sequence with what comes from its position on masked."""
    x = _draw(1, length)

    def masked() -> Array:
        known = np.arange(length) < np.arange(length)[:, None]
        return np.stack([session.forward(np.where(mask, x, 0))[0, :, t] for t, mask in enumerate(known)], axis=1)

    _require_equal(masked(), session.forward(x)[0])
    return _quartiles({"masked": Way(masked, warm=True), "pass": Way(partial(session.forward, x))})


def _require_equal(one: Array, other: Array) -> None:
    if not np.allclose(one, other, rtol=0, atol=NEAR):
        raise SystemExit(f"two ways to compute the same differ by {abs(one - other).max()}")


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw all three against what they grow with."""
    from refar.plots.style import save
    from refar.plots.times import TimePanel, times

    def ways(part: str, names: Mapping[str, str], x: Callable[[str], float], unit: float) -> dict[str, Any]:
        return {
            told: [(x(key), *(value / unit for value in _order(found[name]))) for key, found in figures[part].items()]
            for name, told in names.items()
        }

    fields = figures["fields"]
    panels = [
        TimePanel("a token of 32 sequences", "receptive field R", "µs",
                  ways("depth", {"slow": "all R inputs anew", "fast": "a step of the queues"}, lambda key: fields[key], 1)),
        TimePanel(f"{LENGTH} positions", "receptive field R", "ms",
                  ways("windows", {"windows": "window by window", "pass": "one pass"}, lambda key: fields[key], 1e3)),
        TimePanel("T outputs", "length T", "ms",
                  ways("masked", {"masked": "masked input, T passes", "pass": "one pass"}, float, 1e3)),
    ]  # fmt: skip
    save(times(panels), here / "cost.svg")


def _order(quartiles: list[float]) -> tuple[float, float, float]:
    low, median, high = quartiles
    return median, low, high


def table(figures: dict[str, Any]) -> str:
    """Tell the medians and their ratios."""
    fields = figures["fields"]
    lines = ["| layers | R | slow, µs a token | fast, µs a token | ratio |", "|---|---|---|---|---|"]
    for layers, found in figures["depth"].items():
        slow, fast = found["slow"][1], found["fast"][1]
        lines.append(f"| {layers} | {fields[layers]} | {slow:,.0f} | {fast:,.0f} | {slow / fast:.1f} |".replace(",", " "))
    lines += ["", f"| layers | R | {LENGTH} positions window by window, ms | in one pass, ms | ratio |", "|---|---|---|---|---|"]
    for layers, found in figures["windows"].items():
        slow, fast = found["windows"][1] / 1e3, found["pass"][1] / 1e3
        lines.append(f"| {layers} | {fields[layers]} | {slow:.1f} | {fast:.2f} | {slow / fast:.0f} |")
    lines += ["", "| T | masked input, T passes, ms | one pass, ms | ratio |", "|---|---|---|---|"]
    for length, found in figures["masked"].items():
        slow, fast = found["masked"][1] / 1e3, found["pass"][1] / 1e3
        lines.append(f"| {length} | {slow:.1f} | {fast:.2f} | {slow / fast:.0f} |")
    return "\n".join([*lines, "\n![cost](cost.svg)"])


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Slow grows with R, fast with layers only; one pass saves a factor of 5 or 10 and more."""
    depth, fields = figures["depth"], figures["fields"]
    first, last = min(depth, key=int), max(depth, key=int)
    slow, fast = (depth[last][way][1] / depth[first][way][1] for way in ("slow", "fast"))
    layers = int(last) / int(first)
    saved = [found["windows"][1] / found["pass"][1] for found in figures["windows"].values()]
    return [
        (f"fast: {layers:.0f} times the layers cost at most {layers:.0f} times as much", f"{fast:.1f} times", fast <= layers),
        (f"slow: grows with R, here {fields[last] / fields[first]:.0f} times, and faster than layers do", f"{slow:.0f} times",
         slow > layers),
        ("one pass in place of windows: at least 5 to 10 times as fast", f"{min(saved):.0f} to {max(saved):.0f} times",
         min(saved) >= 5),
    ]  # fmt: skip


DESCRIPTION = {
    "title": "what the slow and the fast algorithm, windows and masked inputs cost",
    "minutes": 3,
    "data": "random numbers: nothing is trained",
    "configs": (),
    "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
