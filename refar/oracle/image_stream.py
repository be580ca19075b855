"""Images pixel by pixel, as the caller sees it: t runs through the pixels by rows and columns.

All conditions are given at the start, and one kind of state, `ImageState`, serves `step` and `next`; it needs the `shape`
(H, W). Where colours are ordered (`Facts.ordered`), `start` and `next` give the outputs of the first colour, and nan for the
others: those come from `step` with the colours that are known, and anything in place of those that are not; only the state
after the whole pixel is one to go on from:

    y, state = start(graph, params, batch, shape=(H, W))            # colour c of y: y[:, c::C]
    for c in range(C):                                               # for each pixel
        if c:
            y, _ = step(graph, params, state, pixel)                 # pixel_bc holds colours 0..c-1
        pixel[:, c] = drawn(y[:, c::C])
    y, state = next(graph, params, state, pixel)
"""

from __future__ import annotations

from functools import cached_property
from typing import NoReturn

import numpy as np

from refar.analysis.causality import require_strict
from refar.arguments.arrays import Array, Data, as_sequence, bind_plane, check_rows
from refar.errors import GraphError, InputError
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.raster import ImageState, Raster


class ImageStream:
    """A bound graph of images, run pixel by pixel."""

    def __init__(self, net: BoundGraph) -> None:
        self._net = net

    @cached_property
    def _raster(self) -> Raster:
        self._net.facts.require_causal("a stream")
        return Raster(self._net)

    def initial_state(self, batch: int | None, condition: Data | None, shape: tuple[int, int] | None) -> ImageState:
        """Return the state before the first pixel of images of `shape`, under all conditions, local ones whole."""
        raster = self._raster
        conditions, rows, extent = bind_plane(self._net.graph, condition, batch, shape)
        return raster.begin(self._net.cast(conditions), rows, extent)

    def start(self, batch: int | None, condition: Data | None, shape: tuple[int, int] | None) -> tuple[Array, ImageState]:
        """Return the output of the first pixel, and the state before it."""
        require_strict(self._net.facts, "start")
        state = self.initial_state(batch, condition, shape)
        return self._of_first_colour(self._raster.look(state)), state

    def step(self, state: object, x_t: Data, condition: Data | None) -> tuple[Array, ImageState]:
        """Return y of the pixel as in the whole pass, and the state after it."""
        found, pixel = self._checked(state, x_t, condition)
        return self._raster.push(found, pixel)

    def next(self, state: object, x_t: Data, condition: Data | None) -> tuple[Array | None, ImageState]:
        """Return the output of the pixel after x_t, None after the last, and the state after x_t."""
        require_strict(self._net.facts, "next")
        found, pixel = self._checked(state, x_t, condition)
        _, after = self._raster.push(found, pixel)
        return (None if self._raster.is_complete(after) else self._of_first_colour(self._raster.look(after))), after

    def block(self, state: object, x: Data, condition: Data | None) -> NoReturn:
        """Refuse: images are run pixel by pixel."""
        raise GraphError("block expects a graph over time; images are run pixel by pixel, see `refar.step`")

    def next_block(self, state: object, x: Data, condition: Data | None) -> NoReturn:
        """Refuse: images are run pixel by pixel."""
        raise GraphError("next_block expects a graph over time; images are run pixel by pixel, see `refar.next`")

    def _of_first_colour(self, y: Array) -> Array:
        """The outputs of a pixel of which nothing is known: where colours are ordered, those of all but the first are nan."""
        found = self._net.facts
        if not found.ordered:
            return y
        first = np.arange(y.shape[1]) % found.types[found.sequence].channels == 0
        return np.where(first, y, np.nan).astype(y.dtype)

    def _checked(self, state: object, x: Data, condition: Data | None) -> tuple[ImageState, Array]:
        """The state, and the pixel x_bc as (B, C, 1, 1) in the dtype of the computation."""
        if not isinstance(state, ImageState):
            after = "; step and next return the output and the state" if isinstance(state, tuple) else ""
            raise InputError(f"state: expected one that initial_state or start return, got {type(state).__name__}{after}")
        if condition is not None:
            raise InputError("condition: expected none, since the state of an image holds the conditions it was begun with")
        self._raster.check(state)
        name = self._net.facts.sequence
        pixel = check_rows(name, as_sequence(self._net.graph, x), self._net.facts.types[name].at_once)
        if len(pixel) != state.batch:
            raise InputError(f"input {name!r}: expected {state.batch} rows, as the state has, got {len(pixel)}")
        return state, self._net.cast({name: pixel[:, :, None, None]})[name]
