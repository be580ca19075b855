"""Sound from .wav and .flac files, by soundfile."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.data.described import DataConfig
from refar.data.found import Recordings, check_finite, classes_by_folder, files_of, relative
from refar.data.meaning import Meaning
from refar.errors import BackendError, FileError, InputError

SUFFIXES = (".wav", ".flac")


def read_sounds(config: DataConfig, root: Path, only: Collection[str] = ()) -> Recordings:
    """Classes x_t, `levels` of them, 256 by default; or without `quantize` v_ct, C = 1, in float32.

    They come from one file, or all in a folder, or `only` those of such names. All files have one rate. Raises FileError for a
    file of another rate, with several channels unless `mono` averages them, without samples, damaged, or with samples beyond
    ±1; BackendError without soundfile.
    """
    quantizer = None if config.quantize == "none" else (config.quantize or (None if config.scale == "standard" else "mu-law"))
    if quantizer is None and config.levels is not None:
        raise InputError(f'data {config.title!r}: `levels` makes classes; write quantize = "mu-law" or "linear", too')
    if quantizer is not None and config.scale == "standard":
        raise InputError(f'data {config.title!r}: scale = "standard" is for sound that is not quantized; write quantize = "none"')
    meaning = Meaning(kind="sound", quantizer=quantizer, levels=(config.levels or 256) if quantizer else 0, rate=config.rate or 0)
    paths = files_of(root, SUFFIXES, only)
    pieces, rate = [], config.rate
    for path in paths:
        samples, came = read_sound(path, f"data {relative(path, root)!r}", mono=config.mono)
        if came != (rate or came):
            expected = "" if config.rate else " (as the files before it)"
            raise FileError(
                f"data {relative(path, root)!r}: expected {rate} Hz{expected}, got {came} Hz; refar does not resample"
            )
        rate = came
        pieces.append(meaning.encode(samples))
    condition, names = classes_by_folder(root, paths) if config.condition else (None, [])
    meaning = Meaning(kind="sound", quantizer=quantizer, levels=meaning.levels, rate=rate or 0, names=names)
    return Recordings(pieces, meaning, [relative(path, root) for path in paths], condition)


def read_sound(path: Path, what: str, *, mono: bool = False) -> tuple[Array, int]:
    """The samples v_ct of a file, C = 1, in float32 from -1 to 1, and the rate in Hz. Raises as `read_sounds` does."""
    soundfile = _soundfile()
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (RuntimeError, OSError, TypeError) as error:  # soundfile's own error is a RuntimeError
        raise FileError(f"{what} cannot be read as sound: {str(error).rpartition(': ')[2]}") from None
    if len(samples) == 0:
        raise FileError(f"{what}: expected sound, got a file without samples")
    check_finite(what, samples)
    if samples.shape[1] > 1 and not mono:
        raise FileError(f"{what}: expected one channel, got {samples.shape[1]}; write mono = true in [data] to average them")
    one = samples.mean(axis=1, dtype=np.float64).astype(np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if abs(one).max() > 1:
        raise FileError(f"{what}: expected samples from -1 to 1, got {one[abs(one).argmax()]:g} at index {abs(one).argmax()}")
    return one[None], int(rate)


def write_sound(path: Path, samples_t: Array, rate: int) -> None:
    """A file of 16 bits; samples beyond ±1 become ±1."""
    _soundfile().write(str(path), np.clip(samples_t, -1, 1), rate, subtype="PCM_16")


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: its library is missing
        raise BackendError("sound needs soundfile, which is not installed: pip install 'refar[data]'") from None
    return soundfile
