"""Files of refar complete: trajectories, a table, curves with their bands, sound, or a sheet of pictures."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.cli import files, sheet
from refar.cli.console import count, number
from refar.cli.values import Shape
from refar.errors import FileError, InputError
from refar.files import replacing, write_bytes
from refar.graph.graph import Graph

if TYPE_CHECKING:
    from refar.data.meaning import Meaning
    from refar.plots import Course
    from refar.runtime.completion import Completion

SUFFIXES = (".npy", ".npz", ".csv", ".png", ".svg", ".wav")
_PANELS = 12
"""Curves that one picture holds at most."""
_LINES = 5
"""Trajectories that are drawn beside the bands."""


@dataclass(frozen=True)
class Kind:
    """The content of a file by its ending: something to look at (`drawn`), as `pictures` or else as curves, or `sound`."""

    drawn: bool
    pictures: sheet.Look | None
    sound: bool

    @property
    def examples(self) -> int | None:
        """The number of examples that it holds if `--rows` is left out; None for all of them."""
        return 8 if self.pictures else 4 if self.drawn or self.sound else None

    @property
    def samples(self) -> int:
        """The number of trajectories of each example if `--samples` is left out."""
        return 8 if self.pictures else 1 if self.sound else 100


@dataclass(frozen=True)
class Completed:
    """Completed examples, number `rows` of the data: the network's own numbers x_bt, x_bct or x_bchw in `tokens` and `x`.

    `values` and `truth` are the same in the units of the data, v_bct, where these are known. `levels` are the quantiles that are
    wanted, `conditions` those of the examples.
    """

    tokens: Completion
    x: Array
    values: Completion
    truth: Array
    rows: list[int]
    levels: list[float]
    conditions: Arrays
    meaning: Meaning


def check_kind(out: Path, graph: Graph, meaning: Meaning, size: Shape | None, length: int) -> Kind:
    """Say what a file will hold. Raises FileError or InputError for what has no such file.

    `size` is that of images, or of pictures that are sequences; `length` of these counts what is observed and what is to come.
    """
    kind, suffix = facts(graph).types[facts(graph).sequence], out.suffix.lower()
    if suffix == ".wav" and (kind.image or meaning.kind != "sound"):
        raise InputError(f"{str(out)!r}: the network was not trained on sound, so its rate is not known; write .npy or .csv")
    if not kind.image:
        whole = size is not None and size[0] * size[1] * meaning.channels == length
        pictures = None
        if size and whole and kind.indexed:
            pictures = sheet.Look(size, kind.size, meaning.channels, False, on_paper=meaning.kind != "picture")
        return Kind(suffix in (".png", ".svg"), pictures if suffix == ".png" else None, suffix == ".wav")
    if suffix in (".csv", ".svg"):
        raise FileError(f"{str(out)!r}: images are neither a table nor curves; expected .npy, .npz or .png")
    if suffix == ".png" and (not kind.indexed or kind.channels not in (1, 3)):
        raise InputError(f"{str(out)!r}: pictures need classes of 1 or 3 colours; this network is of {kind}; write .npy or .npz")
    assert size is not None
    return Kind(suffix == ".png", sheet.Look(size, kind.size, kind.channels, True), False)


def check_few(out: Path, kind: Kind, rows: list[int], samples: int, x: Array) -> None:
    """Raise InputError for more curves than a picture holds, FileError for sound that cannot be written."""
    channels = x.shape[1] if x.ndim == 3 else 1
    if kind.drawn and kind.pictures is None and len(rows) * channels > _PANELS:
        each = f"{len(rows)} examples" + (f" of {channels} channels" if channels > 1 else "")
        raise InputError(f"{str(out)!r}: a picture holds at most {_PANELS} curves, got {each}; take fewer, as in --rows 0,1")
    if kind.sound:
        for path in sound_files(out, rows, samples):
            files.check_output(path)


def sound_files(out: Path, rows: list[int], samples: int) -> list[Path]:
    """The names of the files of sound: `out` for one trajectory, else out-3-0.wav for trajectory 0 of example 3."""
    if len(rows) * samples == 1:
        return [out]
    return [out.with_stem(f"{out.stem}-{row}-{s}") for row in rows for s in range(samples)]


def write(out: Path, done: Completed, kind: Kind) -> list[Path]:
    """Write what the name of the file asks for; returns the names of the files."""
    match out.suffix.lower():
        case ".npy":
            files.write_array(out, done.tokens.trajectories)
        case ".npz":
            with replacing(out) as temporary:
                np.savez(temporary, **_arrays(done))  # type: ignore[arg-type]  # no array is named allow_pickle
        case ".csv":
            with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(_table(done))
        case ".wav":
            return _write_sound(out, done)
        case _ if kind.pictures is not None:
            write_bytes(out, sheet.sheet(kind.pictures, done.x, done.tokens.observed, done.tokens.trajectories))
        case _:
            _draw(out, done)
    return [out]


def report(done: Completed, title: str, there: int | None) -> Iterator[str]:
    """Say what was completed, of how many examples that are `there` if not of all, and how much of the truth each band holds."""
    found, samples = done.values, done.values.trajectories.shape[1]
    what, unit = ("image", "pixels") if found.is_image else ("sequence", "positions")
    some = count(len(done.rows), what) + (f" of {number(there)}" if there else "")
    yield f"{title}: {some}, {number(found.known)} {unit} observed, {count(samples, 'trajectory', 'trajectories')} each"
    needed = max((math.ceil(1 / min(p, 1 - p) - 1e-9) - 1 for p in done.levels if 0 < p < 1), default=1)
    if samples < needed:
        yield f"{count(samples, 'trajectory', 'trajectories')} cannot tell these quantiles; --samples {needed} can"
        return
    for low, high in zip(done.levels[: len(done.levels) // 2], reversed(done.levels), strict=False):
        held, all_ = found.coverage(low, high)
        if all_:
            share = f"{held / all_:.1%} of the values to come ({number(held)} of {number(all_)})"
            yield f"the band from {low:g} to {high:g} holds {share}"


def _arrays(done: Completed) -> Arrays:
    """Everything by name."""
    found = done.values
    return {
        "rows": np.array(done.rows), "observed": found.observed, "trajectories": found.trajectories, "truth": found.truth,
        "levels": np.array(done.levels), "quantiles": found.quantiles(done.levels),
    }  # fmt: skip


def _channels(x: Array) -> Array:
    """x_bt or x_bct with axis c."""
    return x[:, None] if x.ndim == 2 else x


def _names(done: Completed, channels: int) -> list[str]:
    """The channels by their names in the data, or by number."""
    known = done.meaning.columns
    return known if len(known) == channels else [str(channel) for channel in range(channels)]


def _table(done: Completed) -> Iterator[list[object]]:
    """A header, and a line for each example, channel and position: what was observed, the truth, the quantiles."""
    found = done.values
    observed, truth = _channels(found.observed), _channels(done.truth)
    quantiles = np.stack([_channels(each) for each in found.quantiles(done.levels)])
    names = _names(done, observed.shape[1])
    several = len(names) > 1
    yield ["example", *(["channel"] if several else []), "position", "observed", "truth", *map("{:g}".format, done.levels)]
    for b, row in enumerate(done.rows):
        for channel, name in enumerate(names):
            for t in range(found.known + quantiles.shape[-1]):
                seen = f"{observed[b, channel, t]:.9g}" if t < found.known else ""
                true = f"{truth[b, channel, t]:.9g}" if t < truth.shape[-1] else ""
                ahead = [f"{q:.9g}" for q in quantiles[:, b, channel, t - found.known]] if t >= found.known else []
                yield [row, *([name] if several else []), t, seen, true, *(ahead or [""] * len(quantiles))]


def _write_sound(out: Path, done: Completed) -> list[Path]:
    """A file for each trajectory, which begins with what was observed."""
    from refar.data.sound import write_sound

    found, samples = done.values, done.values.trajectories.shape[1]
    paths = sound_files(out, done.rows, samples)
    for i, path in enumerate(paths):
        b, s = divmod(i, samples)
        with replacing(path) as temporary:
            whole = np.concatenate([_channels(found.observed)[b, 0], _channels(found.trajectories[:, s])[b, 0]])
            write_sound(temporary, whole, done.meaning.rate)
    return paths


def _draw(out: Path, done: Completed) -> None:
    """Draw a panel for each example and channel."""
    from refar import plots

    known = done.meaning.columns
    up = known[0] if len(known) == 1 else "class" if done.values.truth.ndim == 2 else "value"
    with replacing(out) as temporary:
        plots.save(plots.forecast(list(_courses(done)), done.levels, up=up), temporary)


def _courses(done: Completed) -> Iterator[Course]:
    """The panels."""
    from refar.plots import Course

    found = done.values
    observed, truth = _channels(found.observed), _channels(done.truth)
    lines = np.stack([_channels(found.trajectories[:, s]) for s in range(min(_LINES, found.trajectories.shape[1]))], axis=1)
    quantiles = np.stack([_channels(each) for each in found.quantiles(done.levels)], axis=1)
    names = _names(done, observed.shape[1])
    for b, row in enumerate(done.rows):
        for channel, name in enumerate(names):
            title = [f"example {row}"] + ([f"channel {name}"] if len(names) > 1 else []) + _labels(done, b)
            drawn = (observed[b, channel], lines[b, :, channel], quantiles[b, :, channel], truth[b, channel])
            yield Course(", ".join(title), *drawn)


def _labels(done: Completed, b: int) -> list[str]:
    """The conditions of an example that are one class, by its name if it has one."""
    one = {name: int(array[min(b, len(array) - 1)]) for name, array in done.conditions.items() if array.ndim == 1}
    known = done.meaning.names
    return [f"{name} {known[value] if value < len(known) else value}" for name, value in one.items()]
