"""Arrays in .npy files, which stay on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from refar.arguments.arrays import Array
from refar.data.described import DataConfig
from refar.data.found import Recordings, Stacked, check_finite, check_piece
from refar.data.meaning import Meaning
from refar.data.npz import check_rows
from refar.errors import FileError, InputError


def read_npy(config: DataConfig, path: Path) -> Stacked | Recordings:
    """An array: with `window` one long series, else examples of one shape as `x` of an .npz file.

    A series is integers (T,), the class indices, or floats (T,) or (C, T). Raises FileError for another array, and for numbers
    that are not finite.
    """
    what = f"data {path.name!r}"
    array = _open(path, what)
    if config.window is None:
        if array.ndim == 1:
            raise InputError(
                f"{what}: one series of {len(array)} values: say how many a sequence has, as in window = 256 in [data]"
            )
        for option in ("hop", "scale", "levels"):
            if option in config.given():
                raise InputError(f"{what}: `{option}` is for one long series, with `window`; got an array of shape {array.shape}")
        x = check_rows(what, array, "x")
        size = (x.shape[2], x.shape[3]) if x.ndim == 4 else None
        return Stacked(x, Meaning(size=size), np.arange(len(x)), [])
    if array.dtype.kind in "iu" and array.ndim == 1 and array.size:
        if array.min() < 0:
            raise FileError(f"{what}: expected class indices ≥ 0, got {array.min()} at index {array.argmin()}")
        if config.levels is not None or config.scale is not None:
            raise InputError(f"{what}: `levels` and `scale` are for floats; these are integers, the class indices")
        return Recordings([array], Meaning(), [path.name])
    if array.dtype.kind != "f" or array.ndim not in (1, 2) or not array.size:
        raise FileError(
            f"{what}: with `window` expected one series: integers (T,), the class indices, or floats (T,) or (C, T); "
            f"got {array.dtype} {array.shape}"
        )
    check_finite(what, array)
    return Recordings([np.atleast_2d(array)], Meaning(kind="series" if config.scale or config.levels else "numbers"), [path.name])


def network_numbers(what: str, array: Array, meaning: Meaning) -> Array:
    """Make an array of a file a network's: x_ct or classes x_t for a series in the units of the data, others as they are.

    Only where the network's numbers are scaled or quantised are floats (T,) or (C, T) such a series. With an axis more they are
    the network's own numbers, and so are integers for a network of classes. Raises InputError for floats with other channels,
    for sound beyond ±1, and for integers where the network models a scaled signal.
    """
    if not (meaning.std or meaning.quantizer) or array.ndim > 2:
        return array
    if array.dtype.kind != "f":
        if meaning.quantizer is None:
            raise InputError(f"{what}: expected real numbers, since the network models a signal; got {array.dtype}")
        return array
    series, channels = np.atleast_2d(array), len(meaning.std) or 1
    if len(series) != channels or not array.size:
        expected = "(T,)" if channels == 1 else f"({channels}, T)"
        raise InputError(f"{what}: expected one series {expected} in the units of the training's data, got shape {array.shape}")
    if meaning.kind == "sound" and not meaning.std and abs(series).max() > 1:
        raise InputError(f"{what}: expected samples from -1 to 1, got {series.flat[abs(series).argmax()]:g}")
    check_piece(what, series, meaning)
    return meaning.encode(series)


def _open(path: Path, what: str) -> Array:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the reader raises whatever a damaged file makes it stumble over
        reason = "it is no .npy file, or holds Python objects" if "pickle" in str(error) else error
        raise FileError(f"{what} cannot be read as .npy: {reason}") from None
    if not isinstance(array, np.ndarray):
        raise FileError(f"{what} cannot be read as .npy: it holds several arrays")
    return array
