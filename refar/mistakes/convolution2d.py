"""Wrong masked convolutions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.mistakes.mistake import Attributes, Mistake
from refar.mistakes.windows import correlate, gradient_of, result_of, window

Change = Callable[[Attributes, Arrays], dict[str, Any]]


def mask(a: Attributes, shape: tuple[int, ...]) -> Array:
    """Which weights see. `a` may hold a "colour" of its own, colour(channel, channels)."""
    colour = a.get("colour", lambda channel, _: channel % a["colours"])
    top, left = _anchor(a, shape)
    out, size = shape[0] // a["groups"], shape[1]
    o, i, u, v = np.ogrid[tuple(slice(n) for n in shape)]
    given, wanted = colour(o // out * size + i, size * a["groups"]), colour(o, shape[0])
    pixel = (given < wanted) | ((a["mask"] == "B") & (given == wanted))
    seen = (u < top) | ((u == top) & (v < left)) | ((u == top) & (v == left) & pixel)
    return np.broadcast_to(seen | (a["mask"] == "none"), shape)


def _anchor(a: Attributes, shape: tuple[int, ...]) -> tuple[int, int]:
    top, left = a["anchor"] or (shape[2] // 2, shape[3] // 2)
    return top, left


def _windows(x: Array, a: Attributes, shape: tuple[int, ...], sign: int = 1, edge: str = "zero") -> list[Array]:
    (top, left), (dh, dw) = _anchor(a, shape), a["dilation"]
    found = []
    for u, v in np.ndindex(shape[2:]):
        rows = window(x.swapaxes(2, 3), sign * (top - u) * dh, edge).swapaxes(2, 3)
        found.append(window(rows, sign * (left - v) * dw, edge))
    return found


def _flat(w: Array) -> Array:
    return w.reshape(*w.shape[:2], -1)


def _y(arrays: Arrays, a: Attributes, seen: Array | None = None, edge: str = "zero") -> Array:
    w = arrays["w"]
    masked = np.where(mask(a, w.shape) if seen is None else seen, w, 0)
    return correlate(_windows(arrays["x"], a, w.shape, edge=edge), _flat(masked), arrays.get("b"), a["groups"])


def _but(change: Change) -> Mistake:
    """With other attributes; where they are the same, the right result."""
    return result_of(lambda arrays, a: _y(arrays, {**a, **change(a, arrays)}))


def _masked_by(seen: Callable[[Attributes, Array], Array]) -> Mistake:
    """With another mask, where there is one."""
    return lambda arrays, a: {"y": _y(arrays, a, seen(a, mask(a, arrays["w"].shape)))} if a["mask"] != "none" else {}


def _swapped_padding(arrays: Arrays, a: Attributes) -> Array:
    """The zeros above and below put on the left and right, and the other way round."""
    x, w, (dh, dw) = arrays["x"], arrays["w"], a["dilation"]
    (top, left), (height, width) = _anchor(a, w.shape), w.shape[2:]
    rows, columns = (top * dh, (height - 1 - top) * dh), (left * dw, (width - 1 - left) * dw)
    padded = np.pad(x, ((0, 0), (0, 0), columns, rows))
    extent = [max(n - (k - 1) * d, 0) for n, k, d in zip(padded.shape[2:], (height, width), (dh, dw), strict=True)]
    windows = [padded[:, :, u * dh : u * dh + extent[0], v * dw : v * dw + extent[1]] for u, v in np.ndindex((height, width))]
    return correlate(windows, _flat(np.where(mask(a, w.shape), w, 0)), arrays.get("b"), a["groups"])


def _with(change: Callable[[Arrays], Arrays]) -> Mistake:
    return result_of(lambda arrays, a: _y(arrays | change(arrays), a))


def _in_raster_order(a: Attributes, seen: Array, hide_rows: bool, hide_columns: bool) -> Array:
    top, left = _anchor(a, seen.shape)
    u, v = np.indices(seen.shape[2:])
    below, right = u > top, (u == top) & (v > left)
    return seen | (below & (not hide_rows)) | (right & (not hide_columns))


def _blocks(a: Attributes, _: Arrays) -> dict[str, Any]:
    return {"colour": lambda channel, channels: channel * a["colours"] // channels}


def _reversed(a: Attributes, _: Arrays) -> dict[str, Any]:
    return {"colour": lambda channel, _: a["colours"] - 1 - channel % a["colours"]}


def _mirrored(a: Attributes, arrays: Arrays) -> dict[str, Any]:
    """The other of the two middle weights of an even side."""
    sides, anchor = arrays["w"].shape[2:], _anchor(a, arrays["w"].shape)
    return {"anchor": tuple(n - 1 - p if n % 2 == 0 else p for p, n in zip(anchor, sides, strict=True))}


def _later(a: Attributes, arrays: Arrays) -> dict[str, Any]:
    top, left = _anchor(a, arrays["w"].shape)
    return {"anchor": (top + 1, left + 1)}


def _dw(arrays: Arrays, a: Attributes) -> Array:
    """Of every weight, masked or not."""
    x, w, dy, groups = arrays["x"], arrays["w"], arrays["dy"], a["groups"]
    out, size = len(w) // groups, w.shape[1]
    found = np.zeros(_flat(w).shape)
    for k, seen in enumerate(_windows(x, a, w.shape)):
        for g in range(groups):
            rows, columns = slice(g * out, (g + 1) * out), slice(g * size, (g + 1) * size)
            found[rows, :, k] = np.einsum("bohw,bihw->oi", dy[:, rows], seen[:, columns])
    return found.reshape(w.shape)


def _dx(arrays: Arrays, a: Attributes, sign: int = -1) -> Array:
    w, dy, groups = arrays["w"], arrays["dy"], a["groups"]
    masked, out = _flat(np.where(mask(a, w.shape), w, 0)), len(w) // groups
    windows = _windows(dy, a, w.shape, sign)
    parts = [
        correlate([each[:, g * out : (g + 1) * out] for each in windows], masked[g * out : (g + 1) * out].swapaxes(0, 1), None)
        for g in range(groups)
    ]
    return np.concatenate(parts, axis=1)


def _seen_dw(arrays: Arrays, a: Attributes) -> Array:
    return np.where(mask(a, arrays["w"].shape), _dw(arrays, a), 0)


_SWAPPED = {"A": "B", "B": "A", "none": "none"}

MISTAKES: Mapping[str, Mistake] = {
    "mask B zeroes the centre": _but(lambda a, _: {"mask": "A" if a["mask"] == "B" else a["mask"]}),
    "mask A shows the centre": _but(lambda a, _: {"mask": "B" if a["mask"] == "A" else a["mask"]}),
    "masks A and B swapped": _but(lambda a, _: {"mask": _SWAPPED[a["mask"]]}),
    "mask ignored": _but(lambda a, _: {"mask": "none"}),
    "mask reversed: shows what comes after": _masked_by(lambda a, seen: ~seen),
    "mask turned round: hides what comes before": _masked_by(lambda a, seen: seen[:, :, ::-1, ::-1]),
    "mask of the rows below alone": _masked_by(lambda a, seen: _in_raster_order(a, seen, True, False)),
    "mask of the columns to the right alone": _masked_by(lambda a, seen: _in_raster_order(a, seen, False, True)),
    "colours ignored": _but(lambda a, _: {"colours": 1}),
    "colours in blocks of channels instead of channel mod colours": _but(_blocks),
    "colours in reverse order": _but(_reversed),
    "kernel flipped": _with(lambda arrays: {"w": arrays["w"][:, :, ::-1, ::-1]}),
    "kernel transposed": _with(
        lambda arrays: {"w": arrays["w"].swapaxes(2, 3)} if arrays["w"].shape[2] == arrays["w"].shape[3] else {}
    ),
    "dilation ignored": _but(lambda a, _: {"dilation": (1, 1)}),
    "dilation of rows and columns swapped": _but(lambda a, _: {"dilation": tuple(a["dilation"])[::-1]}),
    "anchor ignored, taken for the centre": _but(lambda a, _: {"anchor": None}),
    "anchor of rows and columns swapped": _but(lambda a, arrays: {"anchor": _anchor(a, arrays["w"].shape)[::-1]}),
    "even kernel padded on the wrong side": _but(_mirrored),
    "padding of rows and columns swapped": result_of(_swapped_padding),
    "shifted by one pixel down and right": _but(_later),
    "wraps around": result_of(lambda arrays, a: _y(arrays, a, edge="wrap")),
    "padded with the nearest pixel": result_of(lambda arrays, a: _y(arrays, a, edge="nearest")),
    "bias dropped": _with(lambda arrays: {"b": 0 * arrays["b"]} if "b" in arrays else {}),
    "gradient of w: masked weights receive one": gradient_of("w", _dw),
    "gradient of w: averaged over the batch": gradient_of("w", lambda arrays, a: _seen_dw(arrays, a) / len(arrays["x"])),
    "gradient of x: mask ignored": gradient_of("x", lambda arrays, a: _dx(arrays, {**a, "mask": "none"})),
    "gradient of x: dilation ignored": gradient_of("x", lambda arrays, a: _dx(arrays, {**a, "dilation": (1, 1)})),
    "gradient of x: kernel flipped": gradient_of("x", lambda arrays, a: _dx(arrays, a, 1)),
}
