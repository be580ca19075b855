"""What refar complete writes: trajectories, a table, curves with their bands, or a sheet of pictures."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.cli import files, png
from refar.cli.console import count, number
from refar.cli.values import Shape
from refar.errors import FileError, InputError
from refar.files import replacing, write_bytes
from refar.graph.graph import Graph

if TYPE_CHECKING:
    from refar.plots import Course
    from refar.runtime.completion import Completion

SUFFIXES = (".npy", ".npz", ".csv", ".png", ".svg")
_PANELS = 12
"""Curves that one picture holds at most."""
_LINES = 5
"""Trajectories that are drawn beside the bands."""
_GAP, _APART, _WIDE = 1, 3, 800
_BACKGROUND, _HIDDEN_INK, _HIDDEN = 232, 190, 128
"""Grey between pictures; and of what was not observed, on paper and in images."""


@dataclass(frozen=True)
class Kind:
    """What is written: a `picture`, which is a `sheet` of pictures of `size`, or curves. `classes` has a value, 0 of a signal.

    Pictures that are sequences are shown `on_paper`, with class 0 white; images with class 0 black.
    """

    picture: bool
    sheet: bool
    size: Shape | None
    classes: int
    on_paper: bool


@dataclass(frozen=True)
class Completed:
    """A completion of the examples `rows` of the data, which hold `x`, and the quantiles and conditions that were asked for."""

    completion: Completion
    x: Array
    rows: list[int]
    levels: list[float]
    conditions: Arrays


def check_kind(out: Path, graph: Graph, size: Shape | None, length: int | None, x: Array) -> Kind:
    """Say what a file will hold. Raises FileError or InputError for what has no such file. `length`: of x and what is to come."""
    kind, suffix = facts(graph).types[facts(graph).sequence], out.suffix.lower()
    classes = kind.size if kind.indexed else 0
    if not kind.image:
        whole = x.shape[-1] if length is None else length
        sheet = suffix == ".png" and kind.indexed and size is not None and size[0] * size[1] == whole
        return Kind(suffix in (".png", ".svg"), sheet, size, classes, True)
    if suffix in (".csv", ".svg"):
        raise FileError(f"{str(out)!r}: images are neither a table nor curves; expected .npy, .npz or .png")
    if suffix == ".png" and (not kind.indexed or kind.channels not in (1, 3)):
        raise InputError(f"{str(out)!r}: pictures need classes of 1 or 3 colours; this network is of {kind}; write .npy or .npz")
    return Kind(suffix == ".png", True, size, classes, False)


def check_panels(out: Path, kind: Kind, rows: int, x: Array) -> None:
    """Raise InputError for more curves than a picture holds."""
    channels = x.shape[1] if x.ndim == 3 else 1
    if kind.picture and not kind.sheet and rows * channels > _PANELS:
        each = f"{rows} examples" + (f" of {channels} channels" if channels > 1 else "")
        raise InputError(f"{str(out)!r}: a picture holds at most {_PANELS} curves, got {each}; take fewer, as in --rows 0,1")


def write(out: Path, done: Completed, kind: Kind) -> None:
    """Write what the name of the file asks for."""
    match out.suffix.lower():
        case ".npy":
            files.write_array(out, done.completion.trajectories)
        case ".npz":
            with replacing(out) as temporary:
                np.savez(temporary, **_arrays(done))  # type: ignore[arg-type]  # no array is named allow_pickle
        case ".csv":
            with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(_table(done))
        case _ if kind.sheet:
            write_bytes(out, sheet(done, kind))
        case _:
            draw(out, done)


def coverage(found: Completion, levels: Sequence[float]) -> list[str]:
    """Say of each band, the outermost first, how much of the truth it holds; nothing where no truth is known."""
    said, samples = [], found.trajectories.shape[1]
    for low, high in zip(levels[: len(levels) // 2], reversed(levels), strict=False):
        held, there = found.coverage(low, high)
        if there:
            share = f"{held / there:.1%} of the values to come ({number(held)} of {number(there)})"
            said.append(f"the band from {low:g} to {high:g} holds {share}")
    needed = max((math.ceil(1 / min(p, 1 - p) - 1e-9) - 1 for p in levels if 0 < p < 1), default=1)
    if samples < needed:
        said.append(f"{count(samples, 'trajectory', 'trajectories')} cannot tell these quantiles; --samples {needed} can")
    return said


def _arrays(done: Completed) -> Arrays:
    """Everything by name."""
    found = done.completion
    return {
        "rows": np.array(done.rows), "observed": found.observed, "trajectories": found.trajectories, "truth": found.truth,
        "levels": np.array(done.levels), "quantiles": found.quantiles(done.levels),
    }  # fmt: skip


def _channels(x: Array) -> Array:
    """x_bt or x_bct with axis c."""
    return x[:, None] if x.ndim == 2 else x


def _table(done: Completed) -> Iterator[list[object]]:
    """A header, and a line for each example, channel and position: what was observed, the truth, the quantiles."""
    found = done.completion
    observed, truth = _channels(found.observed), _channels(done.x)
    quantiles = np.stack([_channels(each) for each in found.quantiles(done.levels)])
    several = observed.shape[1] > 1
    yield ["example", *(["channel"] if several else []), "position", "observed", "truth", *map("{:g}".format, done.levels)]
    for b, row in enumerate(done.rows):
        for channel in range(observed.shape[1]):
            for t in range(found.known + quantiles.shape[-1]):
                seen = f"{observed[b, channel, t]:.9g}" if t < found.known else ""
                true = f"{truth[b, channel, t]:.9g}" if t < truth.shape[-1] else ""
                ahead = [f"{q:.9g}" for q in quantiles[:, b, channel, t - found.known]] if t >= found.known else []
                place = [row, *([channel] if several else []), t]
                yield [*place, seen, true, *(ahead or [""] * len(quantiles))]


def draw(out: Path, done: Completed) -> None:
    """Draw a panel for each example and channel."""
    from refar import plots

    courses = [course for b in range(len(done.rows)) for course in _courses(done, b)]
    up = "class" if done.x.ndim == 2 else "value"
    with replacing(out) as temporary:
        plots.save(plots.forecast(courses, done.levels, up=up), temporary)


def _courses(done: Completed, b: int) -> Iterator[Course]:
    """The panels of one example."""
    from refar.plots import Course

    found = done.completion
    observed, x = _channels(found.observed[b : b + 1])[0], _channels(done.x[b : b + 1])[0]
    lines = np.stack([_channels(found.trajectories[b : b + 1, s])[0] for s in range(min(_LINES, found.trajectories.shape[1]))])
    quantiles = np.stack([_channels(each[b : b + 1])[0] for each in found.quantiles(done.levels)])
    for channel in range(len(x)):
        title = [f"example {done.rows[b]}"] + ([f"channel {channel}"] if len(x) > 1 else []) + _labels(done, b)
        yield Course(", ".join(title), observed[channel], lines[:, channel], quantiles[:, channel], x[channel])


def _labels(done: Completed, b: int) -> list[str]:
    """The conditions of an example that are one class."""
    one = {name: array for name, array in done.conditions.items() if array.ndim == 1}
    return [f"{name} {array[min(b, len(array) - 1)]}" for name, array in one.items()]


def sheet(done: Completed, kind: Kind) -> bytes:
    """A PNG with a line for each example: as it is; what was observed, the rest grey; and its completions."""
    found, (rows, samples) = done.completion, done.completion.trajectories.shape[:2]
    ways = found.trajectories
    if not found.is_image:
        ways = np.concatenate([np.repeat(found.observed[:, None], samples, axis=1), ways], axis=2)
    each = [_pictures(x, kind)[:, None] for x in (done.x, found.observed)]
    ways = _pictures(ways.reshape(rows * samples, *ways.shape[2:]), kind)
    return _lines(np.concatenate([*each, ways.reshape(rows, samples, *ways.shape[1:])], axis=1))


def _pictures(x: Array, kind: Kind) -> Array:
    """Classes x_bt, pixels x_bcn or images x_bchw as light (B, C, H, W), on paper if they are sequences; grey where none are."""
    assert kind.size is not None
    height, width = kind.size
    pixels = x.reshape(len(x), 1 if x.ndim == 2 else x.shape[1], -1)[:, :, : height * width]
    light = png.ink(pixels, kind.classes) if kind.on_paper else np.rint(pixels * (255 / (kind.classes - 1)))
    found = np.full((*pixels.shape[:2], height * width), _HIDDEN_INK if kind.on_paper else _HIDDEN, np.uint8)
    found[:, :, : pixels.shape[2]] = light
    return found.reshape(*found.shape[:2], height, width)


def _lines(light: Array) -> bytes:
    """Lines of pictures (lines, places, C, H, W) on one sheet; the first two places stand apart."""
    lines, places, colours, height, width = light.shape
    lefts = [_GAP + i * (width + _GAP) + min(i, 2) * (_APART - _GAP) for i in range(places + 1)]
    found = np.full((lines * (height + _GAP) + _GAP, lefts[-1], colours), _BACKGROUND, np.uint8)
    for line, pictures in enumerate(light):
        top = _GAP + line * (height + _GAP)
        for left, picture in zip(lefts, pictures, strict=False):
            found[top : top + height, left : left + width] = picture.transpose(1, 2, 0)
    scale = max(1, -(-_WIDE // found.shape[1]))
    large = found.repeat(scale, axis=0).repeat(scale, axis=1)
    return png.encode(large if colours == 3 else large[:, :, 0])
