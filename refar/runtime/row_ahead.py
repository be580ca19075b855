"""Exact sampling ahead within a row of an image: see `refar.runtime.ahead`, which does the same over time.

Every column of the present row may be computed once more until the next row begins, so nothing need be kept to go back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from refar import noise
from refar.analysis.facts import Facts
from refar.analysis.image_slots import ImageSlots
from refar.arguments.arrays import Array
from refar.arguments.sampling import Sampling
from refar.errors import GraphError, check_integer
from refar.runtime.canvas import Canvas
from refar.runtime.pace import Pace


def check_row_ahead(found: Facts, slots: ImageSlots, ahead: object) -> int:
    """Return how many pixels are guessed. Raises GraphError for real values, and where an output sees its own pixel."""
    count = check_integer("ahead", ahead, 0)
    if count and not found.types[found.sequence].indexed:
        raise GraphError(
            "ahead: expected a network of classes, of which a guess can be exactly right; this one is of real values"
        )
    if count and (found.ordered or not slots.output_lead):
        raise GraphError("ahead: expected an output that is known before its pixel; here a colour sees the colours before it")
    return count


DrawPixels = Callable[[Array, Array, Array, range], None]
"""Begins a row if need be, and draws pixels in place: x_bcw, their outputs y_wbc, the noise of all values of the row, columns."""


class RowAhead:
    """Draw the pixels of rows, several in one call: guesses first, of which the right ones are kept.

    The first guesses are the pixels of the row above, `above_bcw` for the first row, the next ones what the call before drew.
    `one_by_one` draws pixels while guessing does not pay, as `pace` tells.
    """

    def __init__(
        self, canvas: Canvas, sampling: Sampling, ahead: int, pace: Pace, one_by_one: DrawPixels, above_bcw: Array
    ) -> None:
        self._canvas, self._sampling, self._ahead, self._pace, self._one_by_one = canvas, sampling, ahead, pace, one_by_one
        self._above = above_bcw.copy()

    def draw(self, x_bcw: Array, y_wbc: Array, noises: Array, columns: range) -> None:
        """Draw these pixels of a row, in place, with their outputs; `noises` are those of all values of the row.

        Of a row that is not begun the visit before its first pixel is made with the first guesses, in one call.
        """
        x_bcw[:, :, columns.start :] = self._above[:, :, columns.start :]
        column, last, known, first = columns.start, columns.stop - 1, False, self._canvas._slots.first_visit
        if column == 0 and self._pace.guesses and first < 0 and self._canvas._begin():
            column, known = first, True
        while column <= last:
            begin, drawn = time.perf_counter(), max(column, 0)
            if column < last and self._pace.guesses:
                count = min(self._ahead, last - column)
                if not known:
                    self._draw_next(x_bcw, y_wbc, noises, column)
                column, known = self._several(x_bcw, y_wbc, noises, column, count), True
                self._pace.guessed(time.perf_counter() - begin, count, column - drawn)
            else:
                column, known = min(column + self._pace.steps, columns.stop), False
                self._one_by_one(x_bcw, y_wbc, noises, range(drawn, column))
                self._pace.stepped(time.perf_counter() - begin, column - drawn)
        self._above = x_bcw.copy()

    def _draw_next(self, x_bcw: Array, y_wbc: Array, noises: Array, column: int) -> None:
        """Draw the pixel at `column` from the output of the last visit."""
        self._canvas._enter()
        self._canvas._y.read(y_wbc[column])
        x_bcw[:, :, column] = self._drawn(y_wbc[column : column + 1], noises, column)[:, :, 0]

    def _several(self, x_bcw: Array, y_wbc: Array, noises: Array, column: int, count: int) -> int:
        """Compute the pixel at `column`, which is right, and `count` guesses after it: the column behind those that are right.

        What is drawn there, and behind it, takes the place of the guesses; the pixel at that column is right again. Column -1
        is before the first pixel, and holds zeros. An output behind a wrong guess means nothing, and may be infinite.
        """
        pixels = x_bcw[:, :, max(column, 0) : column + count + 1].transpose(2, 0, 1)
        if column < 0:
            pixels = np.concatenate([self._canvas._nothing[None], pixels])
        outputs = self._canvas._visit_several(column, pixels)
        stop = min(column + count + 2, x_bcw.shape[2])  # the last output is of no pixel if it lies right of the image
        new = outputs[: stop - column - 1]
        drawn = self._drawn(new, noises, column + 1)
        kept = confirmed_pixels(x_bcw[:, :, column + 1 : column + count + 1], drawn[:, :, :count])
        end = column + kept + 1
        y_wbc[column + 1 : stop] = new
        x_bcw[:, :, end:stop] = drawn[:, :, kept:]
        self._canvas._go_to(end, outputs[kept])
        return end

    def _drawn(self, y_nbc: Array, draws: Array, column: int) -> Array:
        """A value for each row, colour and column from `column` on, (B, C, n)."""
        sampling, (count, rows, _) = self._sampling, y_nbc.shape
        colours = self._canvas._nothing.shape[1]
        found = np.empty((rows, colours, count), np.int64)
        for colour in range(colours):
            y = y_nbc[:, :, colour::colours].reshape(count * rows, -1)
            noises = draws[column * colours + colour :: colours][:count].reshape(count * rows, -1)
            drawn = noise.sample(sampling.head, y, noises, sampling.temperature, sampling.top_k)
            found[:, colour] = drawn.reshape(count, rows).T
        return found


def confirmed_pixels(guesses: Array, drawn: Array) -> int:
    """Count the first guesses (B, C, n) that are what was `drawn`, in every image and colour."""
    wrong = (guesses != drawn).any(axis=(0, 1))
    return int(wrong.argmax()) if wrong.any() else len(wrong)
