"""The two generation algorithms for images: value by value, by rows, columns and colours, from the same noise.

Slow: one whole pass over the image, in which what is to come is 0, for every value. Fast: every pixel is pushed once and
looked at once, or once for each colour where colours are ordered.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from refar import noise
from refar.arguments.arrays import Array, Arrays, Data, bind_plane, check_sampling, check_shape, first_rows, one_or
from refar.arguments.sampling import Sampling
from refar.errors import InputError
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.raster import Raster
from refar.oracle.whole import forward_nodes

Look = Callable[[Array, int, int], Array]
"""Takes the images so far, of which later values are 0, a row and a column, and returns the output there, y_bc."""


def generate_images(
    net: BoundGraph, n: object, prompt: ArrayLike | None, condition: Data | None, sampling: Sampling, *, fast: bool
) -> tuple[Array, Array]:
    """Return images x_bchw of shape `n`, and the outputs y_bchw that their values were drawn from, 0 where the prompt is.

    Row b of value v draws step v of stream b. Raises InputError for arguments that do not fit the graph.
    """
    found = net.facts
    kind, shape = found.types[found.sequence], check_shape(n)
    first = first_rows(kind, prompt, shape)
    wanted = sampling.batch if sampling.batch is not None or len(first) == 1 else len(first)
    conditions, rows, _ = bind_plane(net.graph, condition, wanted, shape)
    if len(first) not in (1, rows):
        raise InputError(f"prompt: expected {one_or(rows, 'image')}, got {len(first)}")
    check_sampling(shape[0] * shape[1] * kind.channels, sampling.temperature, sampling.seed, batch=rows)
    noise.check_top_k(sampling.head, sampling.top_k, kind.size)
    images = np.zeros((rows, kind.channels, *shape), np.int64 if kind.indexed else net.dtype)
    images[:, :, : first.shape[2]] = first
    look = (_fast if fast else _slow)(net, net.cast(conditions), images)
    return images, _drawn(net, images, first.shape[2], look, sampling)


def _drawn(net: BoundGraph, images: Array, done: int, look: Look, sampling: Sampling) -> Array:
    """Fill in the images from row `done` on, in place, and return the outputs."""
    (rows, colours, height, width), channels = images.shape, net.facts.types[net.graph.output].size
    outputs = np.zeros((rows, channels, height, width), net.dtype)
    for row in range(done, height):
        draws = noise.draw(sampling.head, sampling.seed, range(rows), row * width * colours, width * colours, channels // colours)
        for column in range(width):
            for colour in range(colours):
                if net.facts.ordered or colour == 0:
                    y = look(images, row, column)
                own = y[:, colour::colours]
                outputs[:, colour::colours, row, column] = own
                value = noise.sample(sampling.head, own, draws[column * colours + colour], sampling.temperature, sampling.top_k)
                images[:, colour, row, column] = value.reshape(rows)
    return outputs


def _slow(net: BoundGraph, conditions: Arrays, _: Array) -> Look:
    def look(images: Array, row: int, column: int) -> Array:
        values = forward_nodes(net, net.cast({net.facts.sequence: images, **conditions}))
        return values[net.graph.output][:, :, row, column]

    return look


def _fast(net: BoundGraph, conditions: Arrays, images: Array) -> Look:
    raster = Raster(net)
    rows, _, height, width = images.shape
    state = raster.begin(conditions, rows, (height, width))

    def look(images: Array, row: int, column: int) -> Array:
        nonlocal state
        while state.place < row * width + column:
            r, c = divmod(state.place, width)
            _, state = raster.push(state, images[:, :, r, c, None, None])
        return raster.look(state, images[:, :, row, column, None, None])

    return look
