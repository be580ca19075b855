"""The two generation algorithms over a plane: value by value, by rows, columns and colours, from the same noise.

Slow: one whole pass over the image, in which what is to come is 0, for every value. Fast: every pixel is pushed once and
looked at once, or once for each colour where colours are ordered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar import noise, ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays, Data, bind_plane, check_sampling, check_shape, first_rows, one_or
from refar.errors import InputError
from refar.graph.graph import Graph
from refar.oracle.raster import Raster
from refar.oracle.run import cast, forward_nodes, prepare

Look = Callable[[Array, int, int], Array]
"""Takes the images so far, of which later values are 0, a row and a column, and returns the output there, y_bc."""


@dataclass(frozen=True)
class Canvas:
    """What is to be painted: a graph, its prepared parameters and conditions, and images of which the first rows are there."""

    graph: Graph
    params: Arrays
    conditions: Arrays
    images: Array
    done: int
    dtype: DTypeLike


def prepare_canvas(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    shape: object,
    prompt: ArrayLike | None,
    condition: Data | None,
    batch: int | None,
    dtype: DTypeLike,
) -> Canvas:
    """Checked arguments. Raises InputError, ParameterError for what does not fit the graph."""
    found = facts(graph)
    kind = found.types[found.sequence]
    height, width = check_shape(shape)
    weights = prepare(graph, params, dtype)
    given = first_rows(kind, prompt, (height, width))
    wanted = batch if batch is not None or len(given) == 1 else len(given)
    conditions, rows, _ = bind_plane(graph, condition, wanted, (height, width))
    if len(given) not in (1, rows):
        raise InputError(f"prompt: expected {one_or(rows, 'image')}, got {len(given)}")
    check_sampling(height * width * kind.channels, 1.0, batch=rows)
    images = np.zeros((rows, kind.channels, height, width), np.int64 if kind.indexed else np.dtype(dtype))
    images[:, :, : given.shape[2]] = given
    return Canvas(graph, weights, cast(conditions, dtype), images, given.shape[2], dtype)


def paint(
    canvas: Canvas, head: ops.AnyHead, seed: int, temperature: float, top_k: int | None, algorithm: Literal["fast", "slow"]
) -> tuple[Array, Array]:
    """The images x_bchw, and the outputs y_bchw that their values were drawn from. Row b of value v draws step v of stream b."""
    found = facts(canvas.graph)
    noise.check_temperature(temperature)
    noise.check_top_k(head, top_k, found.types[found.sequence].size)
    images = canvas.images
    rows, colours, height, width = images.shape
    channels = found.types[canvas.graph.output].size
    outputs = np.zeros((rows, channels, height, width), canvas.dtype)
    look = _fast(canvas) if algorithm == "fast" else _slow(canvas)
    ordered = facts(canvas.graph).ordered
    for row in range(canvas.done, height):
        draws = noise.draw(head, seed, range(rows), row * width * colours, width * colours, channels // colours)
        for column in range(width):
            for colour in range(colours):
                if ordered or colour == 0:
                    y = look(images, row, column)
                own = y[:, colour::colours]
                outputs[:, colour::colours, row, column] = own
                value = noise.sample(head, own, draws[column * colours + colour], temperature, top_k)
                images[:, colour, row, column] = value.reshape(rows)
    return images, outputs


def _slow(canvas: Canvas) -> Look:
    found = facts(canvas.graph)

    def look(images: Array, row: int, column: int) -> Array:
        inputs = cast({found.sequence: images, **canvas.conditions}, canvas.dtype)
        values = forward_nodes(canvas.graph, canvas.params, inputs, canvas.dtype)
        return values[canvas.graph.output][:, :, row, column]

    return look


def _fast(canvas: Canvas) -> Look:
    painter = Raster(canvas.graph, canvas.params, canvas.dtype)
    rows, _, height, width = canvas.images.shape
    state = painter.begin(canvas.conditions, rows, (height, width))

    def look(images: Array, row: int, column: int) -> Array:
        nonlocal state
        while state.place < row * width + column:
            r, c = divmod(state.place, width)
            _, state = painter.push(state, images[:, :, r, c, None, None])
        return painter.look(state, images[:, :, row, column, None, None])

    return look
