"""The checker of a bundle against the module that its network was taken from: in onnxruntime, within what float32 may be off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from refar.analysis.causality import is_strict
from refar.analysis.facts import Facts, facts
from refar.arguments.arrays import Array, Arrays
from refar.errors import BackendError
from refar.importing.probes import Extent, drawn
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding.network import first_order, local_bounds
from refar.rounding.stored import moved_bounds
from refar.runtime import load
from refar.runtime.session import Session
from refar_export.verify import Comparison

WIDEST = 1e-3
"""A bound that is wider than this part of the largest value of a channel proves nothing."""
_EXACT = 1e-9
"""Up to this part of the largest value of a channel a module agrees with a graph that has its own parameters in float64."""
_ROWS = 4
_DRAWS = 4
"""So many outputs of each row have a computed bound; the others may be off by `WIDEST`."""


class Original(Protocol):
    """A module in float64, called with the inputs of a graph."""

    name: str
    largest_difference: float

    def outputs(self, inputs: Arrays) -> tuple[int, Array]:
        """Return the module's output, y_bqt or y_bqhw, where the graph has one too, and the position of its first."""
        ...


@dataclass(frozen=True)
class _Expected:
    """The module's outputs from position `begin` on, how far float32 may be off at each, and each channel's largest value."""

    begin: int
    y: Array
    allowed: Array
    scale: Array


def compare(path: str | Path, module: Original, params: Arrays) -> list[Comparison]:
    """Full, prefill, step, block and window of a bundle against the module, for drawn inputs longer than the receptive field.

    Some outputs of each row are held to the bound of first order of float32, parameters rounded to what the bundle stores
    included; `params` are those from before. All others may be off by 1e-3 of the largest value of their channel.
    Raises BackendError where the bound is wider than that, so that it would prove nothing.
    """
    session = load(path)
    found = facts(session.graph)
    inputs = drawn(found, _extent(found), _ROWS)
    expected = _expected(session, module, params, inputs)
    results = [_furthest("full", expected, found.first_position, session.forward(inputs))]
    if session.manifest.image is not None:
        canvas = session.canvas(inputs[found.sequence].shape[2:], _ROWS, _conditions(found, inputs))
        pixels = inputs[found.sequence].reshape(*inputs[found.sequence].shape[:2], -1)
        y = np.stack([canvas.push(pixels[:, :, n]) for n in range(pixels.shape[2])], axis=2)
        results.append(_furthest("pixels", expected, 0, y.reshape(expected.y.shape)))
    if session.manifest.layout is not None:
        each = [_furthest(what, expected, first, y) for what, first, y in _streamed(session, inputs)]
        worst = {one.what: one for one in sorted(each, key=lambda one: one.difference / one.allowed)}
        results += [worst[what] for what in ("prefill", "step", "block", "window") if what in worst]
    return results


def require_module(path: str | Path, module: Original, params: Arrays) -> None:
    """Raise BackendError, with a line for each graph, if a bundle does not compute what the module computes."""
    results = compare(path, module, params)
    if any(not result.difference <= result.allowed for result in results):
        raise BackendError(f"the exported graphs disagree with {module.name}:\n" + "\n".join(map(str, results)))


def _extent(found: Facts) -> Extent:
    if found.grid is not None:
        side = min(found.left_context + 3, 12)
        return side, side + 1
    return (found.left_context + 24,)


def _conditions(found: Facts, inputs: Arrays) -> Arrays | None:
    return {name: inputs[name] for name in found.conditions} or None


def _expected(session: Session, module: Original, params: Arrays, inputs: Arrays) -> _Expected:
    """The module's outputs, and the bounds of some of them."""
    graph, stored = session.graph, {name: array.astype(np.float64) for name, array in session.weights.items()}
    begin, y = module.outputs(inputs)
    values = forward_nodes(unchecked(graph, stored, np.float64), inputs)
    arithmetic = local_bounds(graph, stored, values, bound.FLOAT32)
    rounded = moved_bounds(graph, stored, {name: _off(params[name], stored[name], module) for name in stored}, values)
    axes = tuple(axis for axis in range(y.ndim) if axis != 1)
    scale = np.abs(y).max(axis=axes)
    flat, shape = y.reshape(*y.shape[:2], -1), values[graph.output].shape
    offset = begin if y.ndim == 3 else 0
    allowed = np.broadcast_to(WIDEST * scale[:, None], flat.shape).copy()
    rng, rows = np.random.default_rng(len(stored)), np.arange(len(y))
    live = np.flatnonzero(scale)
    for draw in range(_DRAWS):
        earliest = 0 if draw % 2 else max(0, flat.shape[2] - 16)
        places = rng.integers(earliest, min(earliest + 16, flat.shape[2]), len(y))
        places[0] = earliest  # where a prompt ends
        channels = rng.choice(live, len(y))
        dy = np.zeros((*shape[:2], int(np.prod(shape[2:]))))
        dy[rows, channels, places + offset] = 1
        dy = dy.reshape(shape)
        own, _ = first_order(graph, stored, values, arithmetic, dy)
        more, _ = first_order(graph, stored, values, rounded, dy)
        wide = own if session.manifest.dtype == "float16" else own + more
        _require_narrow(wide / scale[channels], module)
        allowed[rows, channels, places] = own + more + min(module.largest_difference, _EXACT) * scale[channels]
    if session.manifest.dtype == "float16":
        allowed = np.maximum(allowed, 4 * allowed.max(axis=(0, 2), keepdims=True))
    return _Expected(begin, y, allowed.reshape(y.shape), scale)


def _off(given: Array, stored: Array, module: Original) -> Array:
    """Return the largest error of a stored parameter: its rounding to float32, and the rounding of the given array."""
    off = np.abs(given.astype(np.float64) - stored)
    if module.largest_difference > _EXACT and given.dtype.kind == "f":
        off += float(np.finfo(given.dtype).eps) / 2 * np.abs(stored)
    return off


def _require_narrow(relative: Array, module: Original) -> None:
    if not relative.max() <= WIDEST:
        raise BackendError(
            f"in float32 the network may differ from {module.name} by {relative.max():.1e} of the largest value of a channel, by "
            f"rounding alone; a bound wider than {WIDEST:g} proves nothing, so nothing is written"
        )


def _streamed(session: Session, inputs: Arrays) -> Iterator[tuple[str, int, Array]]:
    """Yield outputs of a stream, of the first and the last 16 positions, as (how they were made, position of the first, outputs).

    After a prompt, single steps; then the same in blocks of 3 and 5 positions, and in blocks of 2, of which all but the first
    run window.onnx.
    """
    found, ahead = facts(session.graph), int(is_strict(session.graph))
    x, given = inputs[found.sequence], _conditions(found, inputs)
    local = [name for name in found.conditions if found.types[name].timed]
    first, last = found.first_position, x.shape[-1]
    for prompt, end in ((first + 1 - ahead, min(first + 17, last)), (max(last - 16, first) + 1 - ahead, last)):
        count = end - ahead - prompt
        for what, lengths in (("step", [1] * count), ("block", [3, 5] * count), ("window", [2] * count)):
            yield "prefill", prompt - 1 + ahead, session.prefill(x[..., :prompt], given, len(x))[:, :, None]
            done, outputs = prompt, list[Array]()
            for length in lengths:
                length = min(length, prompt + count - done)
                now = {name: inputs[name][..., done + ahead : done + length + ahead] for name in local}
                piece = x[..., done : done + length]
                if what == "step" and length:
                    now = {name: array[..., 0] for name, array in now.items()}
                    outputs.append(session.step(piece[..., 0], now)[:, :, None])
                elif length:
                    outputs.append(session.block(piece, now))
                done += length
            if outputs:
                yield what, prompt + ahead, np.concatenate(outputs, axis=2)


def _furthest(what: str, expected: _Expected, first: int, y: Array) -> Comparison:
    """The output, of those from position `first` on, whose difference is the largest part of what it may be."""
    theirs, allowed = expected.y, expected.allowed
    if y.ndim == 3:
        begin, end = max(first, expected.begin), min(first + y.shape[2], expected.begin + theirs.shape[2])
        if end <= begin:
            return Comparison(what, 0.0, WIDEST)
        y = y[:, :, begin - first : end - first]
        theirs, allowed = (a[:, :, begin - expected.begin : end - expected.begin] for a in (theirs, allowed))
    off = np.abs(y - theirs)
    off[np.isnan(off)] = np.inf
    tiny = np.finfo(float).tiny
    at = np.unravel_index(int((off / (allowed + tiny)).argmax()), off.shape)
    return Comparison(what, float(off[at]), float(allowed[at]))
