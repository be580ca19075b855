"""Generated sequences and images as files in the units of the data: tables, sound, sheets of pictures, or the bare numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refar.analysis.types import Type
from refar.arguments.arrays import Array
from refar.cli import files, png, values
from refar.cli.examples import meaning_of
from refar.errors import InputError
from refar.files import replacing, write_bytes
from refar.graph.graph import Graph

if TYPE_CHECKING:
    from refar.data.meaning import Meaning
    from refar.data.record import Record

SUFFIXES = (".npy", ".csv", ".png", ".wav")


def check(out: Path, meaning: Meaning, batch: int) -> None:
    """Raise InputError for a kind of file that the data have no way back to, and FileError for one that cannot be written."""
    files.check_output(out, SUFFIXES)
    if out.suffix.lower() == ".wav":
        if meaning.kind != "sound":
            raise InputError(f"{str(out)!r}: the network was not trained on sound, so its rate is not known; write .npy or .csv")
        for path in sound_files(out, batch):
            files.check_output(path)


def sound_files(out: Path, batch: int) -> list[Path]:
    """The names of the files of sound: `out` for one sequence, else out-0.wav, out-1.wav, …"""
    return [out] if batch == 1 else [out.with_stem(f"{out.stem}-{i}") for i in range(batch)]


def write(out: Path, x: Array, meaning: Meaning) -> list[Path]:
    """Write a batch, x_bt or x_bct, by the ending of `out`; returns the names of the files.

    Sound is in 16 bits. A table of a series has a line for each time and a column for each sequence and channel, in the units
    of the data. Other tables have a line for each sequence, and .npy the network's own numbers.
    """
    suffix = out.suffix.lower()
    if suffix == ".wav":
        paths = sound_files(out, len(x))
        for path, samples in zip(paths, meaning.decode(x), strict=True):
            _write_sound(path, samples[0], meaning.rate)
        return paths
    if suffix == ".csv" and meaning.kind == "series":
        _write_table(out, meaning.decode(x), meaning.columns)
    else:
        files.write_array(out, x)
    return [out]


def read_prompt(path: Path, record: Record | None, kind: Type) -> Array:
    """Read a prompt as a network's numbers: series and sound through the meaning in the `record`, other files as they are.

    A table has the columns and the separator of the training; sound is of the network's rate. Raises InputError for other
    sound, and for integers where the network, by the `kind` of its sequence, models a signal.
    """
    from refar.data.npy import network_numbers

    meaning = meaning_of(record)
    if record is not None and meaning.kind == "series" and path.suffix.lower() == ".csv":
        from refar.data.described import DataConfig
        from refar.data.found import check_scaled
        from refar.data.tables import read_tables

        table = DataConfig(path=str(path), column=meaning.columns or None, separator=record.table.separator)
        found = read_tables(table, path)
        check_scaled(found, meaning)
        return meaning.encode(found.pieces[0])
    if meaning.kind == "sound" and path.suffix.lower() in (".wav", ".flac"):
        from refar.data.sound import read_sound

        samples, rate = read_sound(path, f"prompt {str(path)!r}", mono=True)
        if rate != meaning.rate:
            raise InputError(f"prompt {str(path)!r}: expected {meaning.rate} Hz, got {rate} Hz; refar does not resample")
        return meaning.encode(samples)
    array = files.read_array(path, "prompt")
    if not kind.indexed and array.dtype.kind in "iu":
        raise InputError(f"prompt {str(path)!r}: expected real numbers, since the network models a signal; got {array.dtype}")
    return network_numbers(f"prompt {str(path)!r}", array, meaning) if path.suffix.lower() == ".npy" else array


def write_sheet(out: Path, x_bt: Array, meaning: Meaning, graph: Graph, size: tuple[int, int]) -> list[Path]:
    """Sequences of pixels as a sheet: pictures as they are, grey or coloured; of other data class 0 is paper, the last ink."""
    if meaning.kind != "picture":
        write_bytes(out, values.picture(graph, x_bt, size))
        return [out]
    light = meaning.light(x_bt).reshape(len(x_bt), *size, meaning.channels)
    tiles = [png.tiles(light[..., colour]) for colour in range(meaning.channels)]
    write_bytes(out, png.encode(tiles[0] if len(tiles) == 1 else np.stack(tiles, axis=2)))
    return [out]


def _write_sound(path: Path, samples: Array, rate: int) -> None:
    from refar.data.sound import write_sound

    with replacing(path) as temporary:
        write_sound(temporary, samples, rate)


def _write_table(out: Path, values_bct: Array, columns: list[str]) -> None:
    batch, channels, length = values_bct.shape
    names = columns or [f"channel{c}" for c in range(channels)]
    heads = [name if batch == 1 else f"{name}.{i}" for i in range(batch) for name in names]
    quoted = ['"' + head.replace('"', '""') + '"' if any(c in head for c in ',"\n') else head for head in heads]
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(quoted) + "\n")
        np.savetxt(file, values_bct.reshape(batch * channels, length).T, fmt="%.9g", delimiter=",")
