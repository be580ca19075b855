"""Pictures from .png and .jpg files, by Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.data.described import DataConfig
from refar.data.found import Stacked, classes_by_folder, files_of, relative
from refar.data.meaning import Meaning, darken
from refar.errors import BackendError, FileError, InputError

SUFFIXES = (".png", ".jpg", ".jpeg")
_GREY, _COLOURED, _SEEN_THROUGH = ("1", "L"), ("P", "RGB"), ("LA", "PA", "RGBA")


def read_pictures(config: DataConfig, root: Path, only: Collection[str] = ()) -> Stacked:
    """Light x_bchw in uint8, C = 1 or 3, in `levels` classes, 256 by default.

    The pictures are one file, or all in a folder, or `only` those of such names.
    `fit` "tiles" cuts each picture into pieces of `size` side by side, from the top left. Raises FileError for a picture of
    another size, with transparent pixels, with more than 8 bits a colour, or damaged; BackendError without Pillow.
    """
    levels = config.levels or 256
    if levels > 256:
        raise InputError(f"data {config.title!r}: levels: expected 2 to 256 for pictures, got {levels}")
    if config.fit != "exact" and config.size is None:
        raise InputError(f'data {config.title!r}: fit = "{config.fit}" needs a size, as in size = "16x16"')
    paths = files_of(root, SUFFIXES, only)
    titles = [f"data {relative(path, root)!r}" for path in paths]
    colours = config.colours or ("grey" if all(map(_is_grey, paths, titles)) else "rgb")
    size = config.height_width or _size(_open(paths[0], titles[0]))
    tiles, units, places = [], [], []
    for unit, (path, what) in enumerate(zip(paths, titles, strict=True)):
        picture = _open(path, what)
        light_chw = _pixels(_fitted(config, picture, size, what), "L" if colours == "grey" else "RGB")
        found, rows = _tiles(light_chw, size, what)
        tiles.append(darken(found, levels))
        units.append(np.full(len(found), unit))
        places.append(rows)
    condition, names = classes_by_folder(root, paths) if config.condition else (None, [])
    owner = np.concatenate(units)
    meaning = Meaning(kind="picture", levels=levels, size=size, colours=colours, names=names)
    return Stacked(
        np.concatenate(tiles), meaning, owner, [relative(path, root) for path in paths],
        None if condition is None else condition[owner], np.concatenate(places) if config.fit == "tiles" else None,
    )  # fmt: skip


@contextmanager
def _reading(path: Path, what: str) -> Iterator[Any]:
    """A picture of which only the header is read so far. Raises FileError where reading goes wrong, then or later."""
    try:
        from PIL import Image
    except ImportError:
        raise BackendError("pictures need Pillow, which is not installed: pip install 'refar[data]'") from None
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore")  # of broken metadata, which nobody reads here
            yield picture
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them stumble over
        reason = "it is no picture that is known" if "cannot identify" in str(error) else error
        raise FileError(f"{what} cannot be read as a picture: {reason}") from None


def _is_grey(path: Path, what: str) -> bool:
    with _reading(path, what) as picture:
        return picture.mode in _GREY


def _size(picture: Any) -> tuple[int, int]:
    return picture.height, picture.width


def _open(path: Path, what: str) -> Any:
    """The picture as its file has it, turned as the camera says. Raises FileError."""
    with _reading(path, what) as picture:
        from PIL import ImageOps

        picture.load()
        turned = ImageOps.exif_transpose(picture)
    if turned.mode in _SEEN_THROUGH or "transparency" in turned.info:
        turned = turned.convert("RGBA")
        if np.asarray(turned.getchannel("A")).min() < 255:
            raise FileError(f"{what}: expected a picture without transparent pixels; put it on a background first")
        return turned.convert("RGB")
    if turned.mode not in (*_GREY, *_COLOURED):
        raise FileError(f"{what}: expected grey or RGB with 8 bits a colour, got Pillow's mode {turned.mode!r}")
    return turned


def _fitted(config: DataConfig, picture: Any, size: tuple[int, int], what: str) -> Any:
    """The picture in the size that is asked for. Raises FileError where it has another, and nothing says what to do."""
    height, width = size
    if config.fit == "resize":
        return (picture.convert("RGB") if picture.mode == "P" else picture).resize((width, height))
    if config.fit == "tiles":
        if picture.height < height or picture.width < width:
            raise FileError(f"{what}: expected at least {height}x{width} pixels for a tile, got {picture.height}x{picture.width}")
        return picture
    if (picture.height, picture.width) != size:
        expected = "" if config.size else " as the pictures before it"
        raise FileError(
            f"{what}: expected {height}x{width} pixels{expected}, got {picture.height}x{picture.width}; "
            f'write size = "{height}x{width}" with fit = "resize" or "tiles"'
        )
    return picture


def _pixels(picture: Any, mode: str) -> Array:
    """Light in uint8, channels first."""
    pixels = np.asarray(picture.convert("RGB").convert(mode) if picture.mode == "P" else picture.convert(mode))
    return np.ascontiguousarray(np.moveaxis(pixels.reshape(*pixels.shape[:2], -1), -1, 0))


def _tiles(light_chw: Array, size: tuple[int, int], what: str) -> tuple[Array, Array]:
    """All whole tiles, row by row; and of each in which row it lies, the lowest being 0, and how many there are."""
    (colours, rows, columns), (height, width) = light_chw.shape, size
    down, along = rows // height, columns // width
    cut = light_chw[:, : down * height, : along * width].reshape(colours, down, height, along, width)
    rows_of = np.stack([np.arange(down)[::-1], np.full(down, down)], axis=1)
    return cut.transpose(1, 3, 0, 2, 4).reshape(-1, colours, height, width), np.repeat(rows_of, along, axis=0)
