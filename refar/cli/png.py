"""Grey and coloured pictures as PNG, so that a machine that generates needs no picture library."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from refar.arguments.arrays import Array


def encode(picture: Array) -> bytes:
    """An 8-bit PNG of a grey picture (H, W), or of one in red, green and blue (H, W, 3).

    Source: PNG specification, 3rd edition, sections 5.2, 7.2 and 11.2.
    """
    height, width = picture.shape[:2]
    lines = picture.reshape(height, -1)
    scanlines = np.zeros((height, lines.shape[1] + 1), np.uint8)  # the first byte of each line is filter type 0
    scanlines[:, 1:] = lines
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if picture.ndim == 2 else 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(scanlines.tobytes(), 9)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def tiles(grey_bhw: Array, *, gap: int = 1, background: int = 232, wide: int = 512) -> Array:
    """Pictures side by side with `gap` pixels of background around each, enlarged until the sheet is `wide`."""
    count, height, width = grey_bhw.shape
    columns = max(1, int(np.ceil(np.sqrt(count))))
    rows = max(1, -(-count // columns))
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap), background, np.uint8)
    for i, picture in enumerate(grey_bhw):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    scale = -(-wide // sheet.shape[1])
    return sheet.repeat(scale, axis=0).repeat(scale, axis=1)


def ink(classes_b: Array, classes: int) -> Array:
    """Class 0 as paper, white; the last class as ink, nearly black."""
    return np.asarray(np.rint(255 - classes_b * (224 / (classes - 1))), np.uint8)
