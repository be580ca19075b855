"""Folders of IDX files as data sets: MNIST, Fashion-MNIST, and a user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from refar.arguments.arrays import Array
from refar.data.dataset import Chosen, Dataset, Split, permutation
from refar.data.described import DataConfig
from refar.data.division import Division, share
from refar.data.idx import FILES, find, read_idx
from refar.data.meaning import Meaning, darken
from refar.errors import FileError, InputError


def read_folder(config: DataConfig, folder: Path, held: int | None = None) -> Dataset:
    """Four IDX files: pictures (N, H, W) in bytes as sequences of pixels, row by row, the condition being the label.

    The test part is the one of its own; of the other `held` pictures, or the part `valid`, are for validation, by a fixed
    permutation. Pictures stay on disk, unless `levels` other than 256 changes them. Raises FileError for files that are missing
    or do not fit each other.
    """
    levels = config.levels or 256
    if levels > 256:
        raise InputError(f"data {config.title!r}: levels: expected 2 to 256 for pictures, got {levels}")
    train_x, train_y, test_x, test_y = (_read(config, folder, name) for name in FILES.values())
    for x, y, names in ((train_x, train_y, ("train_x", "train_y")), (test_x, test_y, ("test_x", "test_y"))):
        if x.ndim != 3 or x.dtype != np.uint8 or y.dtype != np.uint8 or y.shape != x.shape[:1] or not x.size:
            shapes = f"{x.dtype} {x.shape} and {y.dtype} {y.shape}"
            files = " and ".join(FILES[name] for name in names)
            raise FileError(f"data {config.title!r}: {files}: expected bytes (N, H, W) and a byte for each of N, got {shapes}")
    if train_x.shape[1:] != test_x.shape[1:]:
        raise FileError(f"data {config.title!r}: the pictures to train are {train_x.shape[1:]}, those to test {test_x.shape[1:]}")
    count = held or max(1, share(len(train_x), config.valid))
    if len(train_x) <= count:
        raise FileError(f"data {config.title!r}: expected more than {count} pictures to train with, got {len(train_x)}")
    order = permutation(0, 0, 0, len(train_x))
    labels, test_labels = train_y.astype(np.int64), test_y.astype(np.int64)
    shape = (int(train_x.shape[1]), int(train_x.shape[2]))
    x, test = (darken(array, levels).reshape(len(array), -1) for array in (train_x, test_x))
    train = Chosen(x, np.sort(order[:-count]), {"condition": labels})
    valid = Split(np.asarray(x[order[-count:]]), {"condition": labels[order[-count:]]})
    classes = max(2, int(max(labels.max(), test_labels.max())) + 1)
    return Dataset(
        config.title, train, valid, Split(test, {"condition": test_labels}), levels, {"condition": classes}, shape,
        licence=config.licence or "unknown", meaning=Meaning(kind="picture", levels=levels, size=shape),
        division=Division("given"),
    )  # fmt: skip


def _read(config: DataConfig, folder: Path, name: str) -> Array:
    path = find(folder, name)
    if path is None:
        raise FileError(f"data {config.title!r}: {name} is missing, with or without .gz behind it")
    return read_idx(path)
