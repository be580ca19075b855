"""Terms of sums that follow from global conditions: all of them are made ready once in a call, before the first layer.

The inputs `fixed.<node>` (B, C) stand side by side in one value, to which one vector of offsets is added, and which is repeated
for each visit of a block. One Split gives the pieces. So a layer that adds a condition and a bias has no node for either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refar.runtime.bundle import FIXED
from refar_export.emitter import Emitter


@dataclass
class _Piece:
    """Channels `start` to `stop` - 1 of an input, with an offset (stop - start)."""

    name: str
    start: int
    stop: int
    offset: NDArray[np.float32]


class FixedRows:
    """Collect the pieces while a graph is emitted, and emit what makes them at the place where this was begun.

    `repeats` is empty, or the ONNX value [T, 1]: how often all rows are repeated.
    """

    def __init__(self, e: Emitter, repeats: str = "") -> None:
        self._e, self._repeats, self._place = e, repeats, len(e.nodes)
        self._inputs: dict[str, list[list[_Piece]]] = {}

    def whole(self, node: str) -> str:
        """Return the name of all that follows from conditions in `node`."""
        return self.piece(node, 0, self._e.types[node].channels) if self._repeats else f"{FIXED}.{node}"

    def piece(self, node: str, start: int, stop: int, offset: NDArray[np.float32] | None = None) -> str:
        """Return the name of channels `start` to `stop` - 1 of what follows from conditions in `node`, plus an offset."""
        added = np.zeros(stop - start, np.float32) if offset is None else offset
        new = _Piece(self._e.fresh(), start, stop, added)
        copies = self._inputs.setdefault(node, [])
        for copy in copies:
            for old in copy:
                if (old.start, old.stop) == (start, stop) and np.array_equal(old.offset, added):
                    return old.name
        for copy in copies:
            if all(old.stop <= start or stop <= old.start for old in copy):
                copy.append(new)
                return new.name
        copies.append([new])
        return new.name

    def emit(self) -> None:
        """Put the nodes that make all pieces at their place. Call it when everything else is emitted."""
        e = self._e
        if not self._inputs:
            return
        later, e.nodes = e.nodes[self._place :], e.nodes[: self._place]
        e.own(FIXED)
        inputs, pieces = list[str](), list[_Piece]()
        for node, copies in self._inputs.items():
            for copy in copies:
                inputs.append(f"{FIXED}.{node}")
                pieces += _without_gaps(e, copy, e.types[node].channels)
        rows = inputs[0] if len(inputs) == 1 else e.emit("Concat", *inputs, axis=1)
        offsets = np.concatenate([piece.offset for piece in pieces])
        if offsets.any():
            rows = e.emit("Add", rows, e.constant(offsets, np.float32))
        if self._repeats:
            rows = e.emit("Tile", rows, self._repeats)
        self._split(rows, pieces)
        e.nodes += later

    def _split(self, rows: str, pieces: list[_Piece]) -> None:
        e, names = self._e, [piece.name for piece in pieces]
        if len(names) == 1:
            e.emit("Identity", rows, outputs=names)
            return
        sizes = [piece.stop - piece.start for piece in pieces]
        e.emit("Split", rows, e.constant(sizes), outputs=names, axis=1)


def _without_gaps(e: Emitter, copy: list[_Piece], channels: int) -> list[_Piece]:
    """Order pieces of one input, and put pieces that nobody reads where some channels are left over."""
    found, at = list[_Piece](), 0
    for piece in [*sorted(copy, key=lambda each: each.start), _Piece("", channels, channels, np.zeros(0, np.float32))]:
        if at < piece.start:
            found.append(_Piece(e.fresh(), at, piece.start, np.zeros(piece.start - at, np.float32)))
        if piece.name:
            found.append(piece)
        at = piece.stop
    return found
