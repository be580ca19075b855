"""A sheet of completed pictures: a line for each example, as it is, what was observed of it, and its completions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refar.arguments.arrays import Array
from refar.cli import png
from refar.cli.values import Shape
from refar.data.meaning import lighten

_GAP, _APART, _WIDE = 1, 3, 800
"""Pixels between pictures, and between the first, the second and the others; the sheet is enlarged until it is so wide."""
_BACKGROUND, _HIDDEN_ON_PAPER, _HIDDEN = 232, 190, 128
"""Grey between pictures; and of what was not observed, on paper and elsewhere."""


@dataclass(frozen=True)
class Look:
    """The form of pictures: rows and columns, `classes` of light, 1 or 3 colours; be they `images` or sequences of pixels.

    `on_paper` says that class 0 is white, as of sequences that are no pictures by their data; else it is black.
    """

    size: Shape
    classes: int
    colours: int
    images: bool
    on_paper: bool = False


def sheet(look: Look, x: Array, observed: Array, trajectories: Array) -> bytes:
    """A PNG of examples x_bt or x_bchw, of which the first pixels were `observed`, x_bt or x_bcn, and their S `trajectories`."""
    rows, samples = trajectories.shape[:2]
    ways = trajectories.reshape(rows * samples, *trajectories.shape[2:])
    if not look.images:
        ways = np.concatenate([np.repeat(observed, samples, axis=0), ways], axis=1)
    each = [_light(look, array)[:, None] for array in (x, observed)]
    found = _light(look, ways)
    return _lines(np.concatenate([*each, found.reshape(rows, samples, *found.shape[1:])], axis=1))


def _light(look: Look, x: Array) -> Array:
    """Classes of whole images x_bchw, or of first pixels x_bt or x_bcn, as light (B, H, W, C); grey where there are none."""
    (height, width), colours = look.size, look.colours
    pixels = x.reshape(len(x), colours, -1).transpose(0, 2, 1) if look.images else x
    known = pixels.reshape(len(x), -1)[:, : height * width * colours]
    light = png.ink(known, look.classes) if look.on_paper else lighten(known, look.classes)
    found = np.full((len(x), height * width * colours), _HIDDEN_ON_PAPER if look.on_paper else _HIDDEN, np.uint8)
    found[:, : known.shape[1]] = light
    return found.reshape(len(x), height, width, colours)


def _lines(light: Array) -> bytes:
    """A PNG of lines of pictures, (lines, places, H, W, C), of which the first two places stand apart."""
    lines, places, height, width, colours = light.shape
    lefts = [_GAP + i * (width + _GAP) + min(i, 2) * (_APART - _GAP) for i in range(places + 1)]
    found = np.full((lines * (height + _GAP) + _GAP, lefts[-1], colours), _BACKGROUND, np.uint8)
    for line, shown in enumerate(light):
        top = _GAP + line * (height + _GAP)
        for left, picture in zip(lefts, shown, strict=False):
            found[top : top + height, left : left + width] = picture
    scale = max(1, -(-_WIDE // found.shape[1]))
    large = found.repeat(scale, axis=0).repeat(scale, axis=1)
    return png.encode(large if colours == 3 else large[:, :, 0])
