"""Sheets of pictures in grey, for the pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_GAP = 2


def sheet(pictures: Array, *, gap: int = _GAP) -> Array:
    """Put pictures (rows, columns, H, W) beside each other, (rows·(H+gap), columns·(W+gap)), with NaN between them.

    Pictures of colours, (rows, columns, H, W, 3), give such a sheet of colours, with light grey between them.
    """
    rows, columns, height, width, *colours = pictures.shape
    apart = np.full((rows, columns, height + gap, width + gap, *colours), 0.8 if colours else np.nan)
    apart[:, :, :height, :width] = pictures
    whole = apart.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap), *colours)
    return whole[:-gap, :-gap]


def by_class(samples: Array, path: Path, most: float = 1) -> None:
    """Draw samples (classes, samples, H, W), a column for each class; `most` is the value that is drawn black."""
    draw({"": samples.swapaxes(0, 1)}, path, most)


def draw(sheets: Mapping[str, Array], path: Path, most: float = 1, *, width: float = 8.4) -> None:
    """Draw sheets of pictures (rows, columns, H, W) beside each other, each with its name above, `width` inches wide in all.

    Numbers are grey levels, 0 white and `most` black; colours have a last axis of 3 numbers from 0 to 1.
    """
    from matplotlib.figure import Figure

    from refar.plots.style import INK, font, save

    wide = [array.shape[1] * (array.shape[3] + _GAP) for array in sheets.values()]
    high = max(array.shape[0] * (array.shape[2] + _GAP) for array in sheets.values())
    with font():
        figure = Figure(
            figsize=(width, width * high / (sum(wide) * 1.04) + 0.25), dpi=150, facecolor="white", layout="constrained"
        )
        panels = figure.subplots(1, len(sheets), width_ratios=wide, squeeze=False)[0]
        for panel, (name, array) in zip(panels, sheets.items(), strict=True):
            panel.imshow(sheet(array), cmap="gray_r", vmin=0, vmax=most, interpolation="nearest")
            panel.axis("off")
            panel.set_title(name, loc="left", fontsize=9.5, color=INK)
    save(figure, path)
