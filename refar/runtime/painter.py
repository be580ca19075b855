"""Images painted in onnxruntime, pixel by pixel: the same as `refar.generate` paints, from the same noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from refar import noise
from refar.analysis.causality import require_strict
from refar.analysis.facts import Facts, facts
from refar.analysis.image_slots import PIXEL, image_slots
from refar.analysis.types import Type
from refar.arguments.arrays import (
    Array,
    Arrays,
    Data,
    as_array,
    bind_plane,
    check_array,
    check_sampling,
    check_shape,
    first_rows,
    one_or,
)
from refar.arguments.sampling import Sampling, SamplingOptions
from refar.errors import FileError, InputError
from refar.graph.graph import Graph, require_head
from refar.runtime.canvas import Canvas
from refar.runtime.noise_ahead import Noises, in_batches
from refar.runtime.pace import Pace
from refar.runtime.provider import finite
from refar.runtime.row_ahead import DrawPixels, RowAhead, check_row_ahead
from refar.runtime.signature import check_signature

_FIRST_NUMBERS, _NOISE_NUMBERS = 2**14, 2**16
"""Numbers of noise that are drawn before the first row, and at once later on; whole rows, one at the least."""


class PaintOptions(SamplingOptions, total=False):
    """The options of `paint`."""

    ahead: int
    progress: Callable[[int], None] | None


class Painter:
    """Paint with the graphs of a network over images: `sessions` of onnxruntime, by the names of their files.

    `paces` {(images, guesses): whether guessing pays} is kept by the caller, who paints with several painters.
    Raises GraphError for a graph over time, or one whose output sees what comes after its pixel, FileError for a graph that is
    missing or has other ports.
    """

    def __init__(self, graph: Graph, sessions: Mapping[str, Any], paces: dict[tuple[int, int], Pace] | None = None) -> None:
        self.graph, self._paces = graph, {} if paces is None else paces
        self._found, self._slots = facts(graph), image_slots(graph)
        if missing := [name for name in self._slots.ports if name not in sessions]:
            raise FileError(f"{missing[0]}: expected a session of this graph, got none")
        self._sessions = {name: sessions[name] for name in self._slots.ports}
        for name, session in self._sessions.items():
            check_signature(name, name, session, self._found, None, self._slots)

    def start(self, shape: tuple[int, int], batch: int | None = None, condition: Data | None = None) -> Canvas:
        """Return empty images of `shape` (H, W), into which pixels are pushed; also where the output sees its own pixel."""
        conditions, rows, over = bind_plane(self.graph, condition, batch, check_shape(shape))
        return Canvas(self.graph, self._sessions, conditions, rows, over)

    def paint(self, shape: tuple[int, int], **options: Unpack[PaintOptions]) -> Array:
        """Return images x_bchw of `shape` (H, W), drawn from the same noise as `refar.generate` with the same seed.

        The options are those of `refar.generate`. `prompt` holds what is there already: with four axes the first rows x_bchw;
        with three the first pixels x_bcn in raster order, such as `image.reshape(B, C, -1)[:, :, :n]`. So an array says by itself
        what it is, and no pixel is handed over that is not meant. `progress` is called with the number of rows that are done.
        With `ahead` so many pixels are guessed at once, and the right ones kept: the same images.
        Raises GraphError for a graph that is not strict or has no head, InputError for arguments that do not fit.
        """
        return self._painted(shape, False, **options)[0]

    def paint_with_outputs(self, shape: tuple[int, int], **options: Unpack[PaintOptions]) -> tuple[Array, Array]:
        """Paint, and return the outputs y_bchw too that the values were drawn from, 0 where the prompt is."""
        return self._painted(shape, True, **options)

    def _painted(
        self,
        shape: tuple[int, int],
        keep: bool,
        *,
        batch: int | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        prompt: ArrayLike | None = None,
        condition: Data | None = None,
        ahead: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Array, Array]:
        """Return images x_bchw, and their outputs y_bchw if they are to be kept, else none of them, (B, C, 0, W)."""
        require_strict(self._found, "generate")
        head, kind = require_head(self.graph, "generate"), self._found.types[self._found.sequence]
        height, width = check_shape(shape)
        first = first_pixels(kind, prompt, (height, width))
        wanted = batch if batch is not None or len(first) == 1 else len(first)
        conditions, rows, _ = bind_plane(self.graph, condition, wanted, (height, width))
        if len(first) not in (1, rows):
            raise InputError(f"prompt: expected {one_or(rows, 'image')}, got {len(first)}")
        check_sampling(height * width * kind.channels, temperature, seed, rows)
        noise.check_top_k(head, top_k, kind.size)
        guesses = check_row_ahead(self._found, self._slots, ahead)
        images = np.zeros((rows, kind.channels, height, width), np.int64 if kind.indexed else np.float32)
        images.reshape(rows, kind.channels, height * width)[:, :, : first.shape[2]] = first
        outputs = np.zeros((rows, self._found.types[self.graph.output].channels, height if keep else 0, width), np.float32)
        if rows and first.shape[2] < height * width:
            canvas = Canvas(self.graph, self._sessions, conditions, rows, (height, width))
            sampling = Sampling(head, rows, seed, temperature, top_k)
            known, report = images.reshape(rows, kind.channels, -1)[:, :, : first.shape[2]], progress or _nothing
            _take_known(canvas, known, report)
            self._fill(canvas, images, outputs, known.shape[2], sampling, range(rows), guesses, report)
        return images, outputs

    @property
    def facts(self) -> Facts:
        """What follows from the graph."""
        return self._found

    def numbers(self, shape: tuple[int, int]) -> int:
        """Count the numbers that are held for one image of `shape` (H, W) while it is painted."""
        (height, width), slots, types = shape, self._slots, self._found.types
        rings = sum(entries * types[name].channels for name, entries in slots.rings.items())
        lines = width * (slots.line_channels + rings + 4 * types[self.graph.output].channels)
        fixed = sum(types[name].channels * (height * width if types[name].timed else 1) for name in slots.fixed)
        pixels = height * width * types[self._found.sequence].channels
        return slots.slots(width) * slots.stored_channels + lines + fixed + pixels

    def go_on(
        self,
        first: Array,
        conditions: Arrays,
        which: Array,
        shape: tuple[int, int],
        sampling: Sampling,
        streams: range,
        progress: Callable[[int], None],
    ) -> Array:
        """Return images x_bchw that go on from first pixels: image b from first[which[b]], drawn from stream streams[b].

        `first` (P, C, n) and `conditions`, of P rows, are checked. Each is computed once, however many images go on from it.
        """
        (_, colours, known), (height, width) = first.shape, shape
        indexed = self._found.types[self._found.sequence].indexed
        images = np.zeros((len(which), colours, height, width), np.int64 if indexed else np.float32)
        images.reshape(len(which), colours, -1)[:, :, :known] = first[which]
        if known < height * width:
            canvas = Canvas(self.graph, self._sessions, conditions, len(first), shape)
            _take_known(canvas, first, progress)
            no_outputs = np.zeros((len(which), self._found.types[self.graph.output].channels, 0, width), np.float32)
            self._fill(canvas.take(which), images, no_outputs, known, sampling, streams, 0, progress)
        return images

    def _fill(
        self,
        canvas: Canvas,
        images: Array,
        outputs: Array,
        known: int,
        sampling: Sampling,
        streams: range,
        guesses: int,
        progress: Callable[[int], None],
    ) -> None:
        """Draw all pixels but the `known` ones, which the canvas has taken; in place, with the outputs if `outputs` has rows."""
        rows, _, height, width = images.shape
        begun = known // width
        draw: DrawPixels = partial(self._pixels, canvas, sampling)
        if guesses:
            above = images[:, :, begun - 1] if begun else np.zeros_like(images[:, :, 0])
            pace = self._paces.setdefault((rows, guesses), Pace())
            draw = RowAhead(canvas, sampling, guesses, pace, draw, above).draw
        noises = self._noises(sampling, streams, begun, images.shape)
        y_wbc = np.zeros((width, rows, outputs.shape[1]), np.float32)
        for row in range(begun, height):
            start = max(known - row * width, 0)
            with np.errstate(over="ignore", invalid="ignore"):  # of numbers that are not finite, which are found below
                draw(images[:, :, row], y_wbc, noises.take(), range(start, width))
            finite(y_wbc[start:], PIXEL)
            if outputs.shape[2]:
                outputs[:, :, row, start:] = y_wbc[start:].transpose(1, 2, 0)
            progress(row + 1)

    def _noises(self, sampling: Sampling, streams: range, first: int, shape: tuple[int, ...]) -> Noises:
        """Return the noise of the rows of images of `shape` (B, C, H, W) from row `first` on: of all values of a row at once."""
        rows, colours, height, width = shape
        values, each = width * colours, self._found.types[self.graph.output].channels // colours

        def draw(done: int, count: int) -> Array:
            start = (first + done) * values
            found = noise.draw(sampling.head, sampling.seed, streams, start, count * values, each)
            return found.reshape(count, values, *found.shape[1:])

        begin, most = (max(1, numbers // (rows * values * each)) for numbers in (_FIRST_NUMBERS, _NOISE_NUMBERS))
        return Noises(in_batches(draw, height - first, begin, most))

    def _pixels(self, canvas: Canvas, sampling: Sampling, x_bcw: Array, y_wbc: Array, noises: Array, columns: range) -> None:
        """Draw pixels of a row, one after the other; `noises` are those of all values of the row. Nothing is checked."""
        canvas._enter()
        head, temperature, top_k = sampling.head, sampling.temperature, sampling.top_k
        colours, ordered = x_bcw.shape[1], self._found.ordered
        for column in columns:
            x_bc, y_bc = x_bcw[:, :, column], y_wbc[column]
            for colour in range(colours):  # where colours are ordered each sees those before it
                if colour == 0 or ordered:
                    canvas._see(x_bc, y_bc)
                own, draws = y_bc[:, colour::colours], noises[column * colours + colour]
                x_bc[:, colour] = noise.sample(head, own, draws, temperature, top_k).reshape(-1)
            canvas._take(x_bc)


def first_pixels(kind: Type, prompt: ArrayLike | None, shape: tuple[int, int]) -> Array:
    """Return the prompt of images of `shape` as x_bcn in raster order: of first rows x_bchw, of first pixels x_bcn, or of none.

    Raises InputError for anything else.
    """
    axes = "an array with axes bchw, the first rows, or bcn, the first pixels"
    array = None if prompt is None else as_array("prompt", prompt, axes)
    if array is None or array.ndim != 3:
        rows = first_rows(kind, array, shape)
        return rows.reshape(len(rows), kind.channels, -1) if rows.size else rows[:, :, :, 0]
    if array.shape[2] > shape[0] * shape[1]:
        raise InputError(f"prompt: expected at most {shape[0] * shape[1]} pixels, got {array.shape[2]}")
    if array.shape[1:] == (kind.channels, 0):
        return array
    return check_array("prompt", array[:, :, None], kind)[:, :, 0]


def _take_known(canvas: Canvas, x_bcn: Array, progress: Callable[[int], None]) -> None:
    """Let an empty canvas take its first pixels, row by row."""
    width = canvas.shape[1]
    for row, start in enumerate(range(0, x_bcn.shape[2], width)):
        canvas._take_several(x_bcn[:, :, start : start + width])
        if start + width <= x_bcn.shape[2]:
            progress(row + 1)


def _nothing(_: int) -> None:
    pass
