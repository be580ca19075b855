"""Data sets by name, or from a user's own files and folders."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from refar.data import cache
from refar.data.crops import Series, left_over, length_of, short_pieces, side_by_side
from refar.data.dataset import Dataset, Split
from refar.data.described import NOUNS, DataConfig, check_options
from refar.data.digits import digits
from refar.data.divided import cut, encoded, stack
from refar.data.found import Recordings, Stacked, check_scaled
from refar.data.fourier import fourier
from refar.data.kinds import kind_of
from refar.data.meaning import Meaning
from refar.data.mnist import read_folder
from refar.data.npy import read_npy
from refar.data.npz import read_dataset
from refar.data.pictures import read_pictures
from refar.data.record import Record
from refar.data.sound import read_sounds
from refar.data.tables import read_tables
from refar.errors import InputError, near

_BUILT_IN: dict[str, Callable[[], Dataset]] = {"digits": digits, "fourier": fourier}
NAMES = (*_BUILT_IN, *cache.FETCHABLE)
_HELD = 5000  # of the 60 000 pictures of MNIST's training part


def load(source: str | Path | DataConfig, known: Record | None = None) -> Dataset:
    """A built-in data set by name, or a user's own file or folder, or what a table [data] describes.

    Files are .npz (`refar.data.npz`), .npy, .csv, .wav, .flac, .png, .jpg; folders hold files of one kind, or four IDX files.
    With `known`, the record of a training, the data are divided and scaled as they were then. Raises InputError for an unknown
    name and for options that do not fit, FileError for a file that is missing, damaged, or holds something else.
    """
    config = source if isinstance(source, DataConfig) else _config(source)
    if config.name is not None:
        return _by_name(config)
    path = Path(config.path or "")
    kind = kind_of(config, path)
    check_options(config, kind)
    if kind == ".npz":
        return replace(read_dataset(config, path), source=str(path))
    if kind == "idx":
        return replace(read_folder(config, path), source=str(path))
    if known is not None:
        config = _as_trained(config, kind, known.meaning)
    only = known.division.files if known is not None and known.division is not None else []
    found = _named(config, _read(kind, config, path, only), None if known is None else known.meaning)
    data = stack(config, found, known) if isinstance(found, Stacked) else cut(config, found, known)
    return replace(data, licence=config.licence or "unknown", source=str(path))


def whole(source: DataConfig, meaning: Meaning) -> tuple[Split, str]:
    """All that a file or folder holds, undivided, in the numbers of a network that was trained on data of this meaning.

    With a note of the pieces or values that are left out, since they fill no window; empty if there are none.
    """
    path = Path(source.path or "")
    kind = kind_of(source, path)
    check_options(source, kind)
    if kind not in ("table", "sound", "pictures"):
        raise InputError(f"data {source.title!r}: say which part, as in {source.source}:test")
    source = _as_trained(source, kind, meaning)
    found = _named(source, _read(kind, source, path), meaning)
    if isinstance(found, Stacked):
        return Split(found.x, {} if found.condition is None else {"condition": found.condition}), ""
    check_scaled(found, meaning)
    pieces = [encoded(piece, meaning) for piece in found.pieces]
    series = Series(pieces, found.names, found.condition)
    longest = max(piece.shape[-1] for piece in pieces)
    what, window = f"data {source.title!r}", longest if len(pieces) == 1 else source.window or longest
    return side_by_side(what, series, window), _note(what, series, window)


def _note(what: str, series: Series, window: int) -> str:
    """A note of what is left out of the whole; empty if nothing is."""
    length = length_of(series, window)
    return short_pieces(what, series, length, "the whole") or left_over(what, series, length)


def _as_trained(config: DataConfig, kind: str, meaning: Meaning) -> DataConfig:
    """The table with the rate, quantiser, size, colours and levels that the network was trained on.

    Raises InputError for data of another kind than those of the training.
    """
    match kind, meaning.kind:
        case "table", "series":
            return config
        case "sound", "sound":
            levels = meaning.levels if meaning.quantizer else None
            rate = meaning.rate or config.rate
            return msgspec.structs.replace(config, rate=rate, quantize=meaning.quantizer or "none", levels=levels)
        case "pictures", "picture":
            size = config.size if meaning.size is None else f"{meaning.size[0]}x{meaning.size[1]}"
            return msgspec.structs.replace(config, size=size, colours=meaning.colours, levels=meaning.levels)
        case "table" | "sound" | "pictures", known if known != "numbers":
            was = {"series": "series", "sound": "sound", "picture": "pictures"}[known]
            raise InputError(f"data {config.title!r}: expected {was}, which the network was trained on, got {NOUNS[kind]}")
    return config


def _named(config: DataConfig, found: Stacked | Recordings, meaning: Meaning | None) -> Stacked | Recordings:
    """Number the classes of conditions as the network does. Raises InputError for a class that it does not know."""
    names = found.meaning.names
    if meaning is None or found.condition is None or names == meaning.names:
        return found
    for name in names:
        if name not in meaning.names:
            raise InputError(
                f"data {config.title!r}: the network knows no class {name!r}{near(name, meaning.names)}; "
                f"it knows {', '.join(meaning.names)}"
            )
    numbers = np.array([meaning.names.index(name) for name in names])
    return replace(found, condition=numbers[found.condition], meaning=msgspec.structs.replace(found.meaning, names=meaning.names))


def _config(source: str | Path) -> DataConfig:
    name = str(source)
    if name in NAMES:
        return DataConfig(name=name)
    path = Path(source)
    if not path.exists() and not path.suffix:
        files = "the path of an .npz, .npy, .csv, sound or picture file or of a folder"
        raise InputError(f"data {name!r}: expected a built-in data set ({', '.join(NAMES)}) or {files}{near(name, NAMES)}")
    return DataConfig(path=name)


def _by_name(config: DataConfig) -> Dataset:
    name = config.name or ""
    if name not in NAMES:
        raise InputError(f"data {name!r} is not known{near(name, NAMES)}; the data sets are {', '.join(NAMES)}")
    if name in _BUILT_IN:
        check_options(config, "built-in")
        return _BUILT_IN[name]()
    check_options(config, "mnist")
    known = cache.FETCHABLE[name]
    found = read_folder(config, cache.require(name), _HELD)
    return replace(found, name=name, licence=known.licence, source=known.source)


def _read(kind: str, config: DataConfig, path: Path, only: Collection[str] = ()) -> Stacked | Recordings:
    match kind:
        case "table":
            return read_tables(config, path, only)
        case "sound":
            return read_sounds(config, path, only)
        case "pictures":
            return read_pictures(config, path, only)
        case ".npy":
            return read_npy(config, path)
        case _:
            raise AssertionError(kind)
