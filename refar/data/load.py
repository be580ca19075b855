"""Data sets by name, and a user's own file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refar.arguments.arrays import Array
from refar.data.dataset import Dataset, Split, permutation
from refar.data.digits import digits
from refar.errors import FileError, InputError

_DATASETS = {"digits": digits}
NAMES = tuple(_DATASETS)


def load(name_or_path: str | Path) -> Dataset:
    """A built-in data set, or an .npz file.

    The file holds `x`: integers (N, T), the class indices, or floats (N, C, T), a signal; of images (N, C, H, W) in either
    case. It may hold `condition`: integers (N,) or floats (N, C). It may hold `valid_x`, `test_x` (with `valid_condition`,
    `test_condition`): then `x` is all for training. A split that is not given is taken from `x`, a tenth each, by a fixed
    permutation. The number of classes is the largest index of all splits plus 1.
    Raises InputError for an unknown name, FileError for a file that is missing, unreadable, or holds other arrays.
    """
    if str(name_or_path) in _DATASETS:
        return _DATASETS[str(name_or_path)]()
    path = Path(name_or_path)
    if path.suffix != ".npz":
        raise InputError(f"data {str(path)!r}: expected a built-in data set ({', '.join(NAMES)}) or the path of an .npz file")
    known = [f"{prefix}{array}" for prefix in ("", "valid_", "test_") for array in ("x", "condition")]
    arrays = read_npz(path, known)
    checked = {name: _check(f"data {path.name!r}: {name!r}", array, name.endswith("x")) for name, array in arrays.items()}
    return _assemble(path.name, checked)


def read_npz(path: Path, known: Sequence[str]) -> dict[str, Array]:
    """The arrays of an .npz file, of which one is `x`. Raises FileError if it cannot be read, lacks x, or holds unknown ones."""
    what = f"data {str(path)!r}"
    if not path.is_file():
        raise FileError(f"{what}: there is no such file")
    if not zipfile.is_zipfile(path):
        raise FileError(f"{what} cannot be read as .npz: it is no whole ZIP archive")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file}
    except Exception as error:  # the readers of NumPy and zipfile raise whatever a damaged file makes them stumble over
        if "Object arrays" in str(error):
            raise FileError(f"{what}: expected rows of one length, got an array of objects") from None
        raise FileError(f"{what} cannot be read as .npz: {error}") from None
    if "x" not in arrays:
        raise FileError(f"{what}: the array 'x' is missing; it holds {', '.join(arrays) or 'nothing'}")
    for name, array in arrays.items():
        if name not in known:
            raise FileError(f"{what}: array {name!r} is not known; expected {', '.join(known)}")
        if not isinstance(array, np.ndarray):
            raise FileError(f"{what}: {name!r} is no array")
    return arrays


def _check(what: str, array: Array, sequence: bool) -> Array:
    indices, signal = ("(N, T)", "(N, C, T)") if sequence else ("(N,)", "(N, C)")
    expected = f"integers {indices}, the class indices, or floats {signal}{', or images (N, C, H, W)' if sequence else ''}"
    axes = {"i": 1, "u": 1, "f": 2}.get(array.dtype.kind, 0) + sequence
    if array.dtype.kind not in "iuf" or array.ndim not in (axes, 4 if sequence else axes):
        raise FileError(f"{what}: expected {expected}, got {array.dtype} {array.shape}")
    if array.size == 0:
        raise FileError(f"{what}: expected at least one value, got shape {array.shape}")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise FileError(f"{what}: expected finite numbers, got {array[~np.isfinite(array)][0]}")
        return array
    if array.min() < 0:
        raise FileError(f"{what}: expected class indices ≥ 0, got {array.min()}")
    return array.astype(np.int64)


def _assemble(name: str, arrays: dict[str, Array]) -> Dataset:
    splits = {}
    for prefix in ("", "valid_", "test_"):
        x, condition = arrays.get(f"{prefix}x"), arrays.get(f"{prefix}condition")
        if x is None:
            if condition is not None:
                raise FileError(f"data {name!r}: '{prefix}condition' has no '{prefix}x' beside it")
            continue
        if (condition is None) != ("condition" not in arrays):
            raise FileError(f"data {name!r}: either every split has a condition or none; '{prefix}x' differs from 'x'")
        if condition is not None and len(condition) != len(x):
            raise FileError(f"data {name!r}: '{prefix}condition' has {len(condition)} rows, '{prefix}x' has {len(x)}")
        for kind, array in (("x", x), ("condition", condition)):
            if array is not None and (array.dtype.kind, array.shape[1:]) != (arrays[kind].dtype.kind, arrays[kind].shape[1:]):
                came = f"{array.dtype} {array.shape} and {arrays[kind].dtype} {arrays[kind].shape}"
                raise FileError(f"data {name!r}: '{prefix}{kind}' and '{kind}' differ in more than rows: {came}")
        splits[prefix] = Split(x, condition)
    train, valid, test = _split(name, splits)
    indexed = [split.x for split in (train, valid, test) if split.x.dtype.kind == "i"]
    conditions = [s.condition for s in (train, valid, test) if s.condition is not None and s.condition.dtype.kind == "i"]
    shape = train.x.shape[2:] if train.x.ndim == 4 else None
    return Dataset(name, train, valid, test, _classes(indexed), _classes(conditions), shape)


def _split(name: str, splits: dict[str, Split]) -> tuple[Split, Split, Split]:
    whole = splits[""]
    wanted = [prefix for prefix in ("test_", "valid_") if prefix not in splits]
    tenth = max(1, len(whole) // 10)
    if len(whole) <= len(wanted) * tenth:
        raise FileError(f"data {name!r}: expected at least {len(wanted) + 1} sequences to split, got {len(whole)}")
    order = permutation(0, 0, 0, len(whole)) if wanted else np.arange(len(whole))
    for prefix in wanted:
        order, splits[prefix] = order[:-tenth], whole[order[-tenth:]]
    return whole[order], splits["valid_"], splits["test_"]


def _classes(arrays: list[Array]) -> int:
    return max((2, *(int(array.max()) + 1 for array in arrays))) if arrays else 0
