"""Data sets of one's own in an .npz file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refar.arguments.arrays import Array
from refar.data.dataset import Dataset, Split, permutation
from refar.data.described import DataConfig
from refar.data.division import Division, share
from refar.data.found import check_finite
from refar.data.meaning import Meaning
from refar.errors import FileError

_PREFIXES = ("", "valid_", "test_")


def read_dataset(config: DataConfig, path: Path) -> Dataset:
    """An .npz file as a data set.

    The file holds `x`: integers (N, T), the class indices, or floats (N, C, T), a signal; of images (N, C, H, W) in either
    case. It may hold `condition`, or several as `condition_NAME` each: integers (N,) or floats (N, C), or with an axis more,
    over time, (N, T) or (N, C, T), or over an image (N, C, H, W); `target`, floats (N, C, T), what the network should answer
    with; and `lengths`, integers (N,), how many positions of each sequence are real. It may hold `valid_x`, `test_x` (with
    `valid_condition`, `test_condition` and so on): then `x` is all for training. A split that is not given is taken from `x`,
    a tenth each or as `config` says, by a fixed permutation. The number of classes is the largest index of all splits plus 1.
    Integers are kept as they are; what is behind `lengths` is replaced by 0. Raises FileError for a file that is missing,
    unreadable, or holds other arrays.
    """
    known = [f"{prefix}{array}" for prefix in _PREFIXES for array in ("x", "condition", "condition_NAME", "target", "lengths")]
    arrays = without_padding(path.name, read_npz(path, known))
    checked = {name: check_rows(f"data {path.name!r}: {name!r}", array, _kind(name)) for name, array in arrays.items()}
    return _assemble(config, path.name, checked)


def read_npz(path: Path, known: Sequence[str]) -> dict[str, Array]:
    """Return the arrays of an .npz file, of which one is `x`.

    In `known`, an entry that ends with `_NAME` stands for all names that begin with the rest of it. Raises FileError for a file
    that cannot be read, lacks x, or holds an array that is not known.
    """
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
    open_ended = tuple(name.removesuffix("NAME") for name in known if name.endswith("_NAME"))
    for name, array in arrays.items():
        if name not in known and not (open_ended and name.startswith(open_ended)):
            raise FileError(f"{what}: array {name!r} is not known; expected {', '.join(known)}")
        if not isinstance(array, np.ndarray):
            raise FileError(f"{what}: {name!r} is no array")
    return arrays


def without_padding(name: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """The arrays with 0 in place of what is behind the `lengths` of their split: padding counts nowhere, not as a class either.

    Raises FileError for lengths that are no integers, are below 1, or do not fit x.
    """
    clean = dict(arrays)
    for prefix in _PREFIXES:
        lengths, x = arrays.get(f"{prefix}lengths"), arrays.get(f"{prefix}x")
        if lengths is None or x is None:
            continue
        check_rows(f"data {name!r}: '{prefix}lengths'", lengths, "lengths")
        _check_lengths(name, prefix, lengths, x)
        padding_bt = np.arange(x.shape[-1]) >= lengths[:, None]
        for given, array in arrays.items():
            own = given.removeprefix(prefix)
            if not own.startswith(_PREFIXES[1:]) and given.startswith(prefix) and _over_time(array, x):
                padding = padding_bt[:, None] if array.ndim == 3 else padding_bt
                clean[given] = np.where(padding, array.dtype.type(0), array)
    return clean


def _over_time(array: Array, x: Array) -> bool:
    """Say whether an array holds something for each position of the sequences x: integers (N, T), or (N, C, T)."""
    timed = array.ndim == 3 or (array.ndim == 2 and array.dtype.kind in "iu")
    return timed and (len(array), array.shape[-1]) == (len(x), x.shape[-1])


def _check_lengths(name: str, prefix: str, lengths: Array, x: Array) -> None:
    if x.ndim not in (2, 3):
        came = "images" if x.ndim == 4 else f"'{prefix}x' of shape {x.shape}"
        raise FileError(f"data {name!r}: '{prefix}lengths': expected sequences, got {came}")
    if len(lengths) != len(x):
        raise FileError(f"data {name!r}: '{prefix}lengths' has {len(lengths)} rows, '{prefix}x' has {len(x)}")
    if lengths.max() > x.shape[-1]:
        most = f"expected at most the {x.shape[-1]} positions of x"
        raise FileError(f"data {name!r}: '{prefix}lengths': {most}, got {lengths.max()}")


def _kind(name: str) -> str:
    """Say what an array is: "x", "condition", "target" or "lengths"."""
    for prefix in _PREFIXES[1:]:
        name = name.removeprefix(prefix)
    return name.partition("_")[0]


_SHAPES = {
    "x": "integers (N, T), the class indices, or floats (N, C, T), a signal, or images (N, C, H, W)",
    "condition": "integers (N,) or (N, T), class indices, or floats (N, C) or (N, C, T), or maps (N, C, H, W)",
    "target": "floats (N, C, T), a signal",
    "lengths": "integers (N,), the number of positions of each sequence",
}
_AXES: dict[str, dict[str, tuple[int, ...]]] = {
    "x": {"i": (2, 4), "f": (3, 4)},
    "condition": {"i": (1, 2, 4), "f": (2, 3, 4)},
    "target": {"i": (), "f": (3,)},
    "lengths": {"i": (1,), "f": ()},
}


def check_rows(what: str, array: Array, kind: str) -> Array:
    """An array of this kind, "x", "condition", "target" or "lengths". Raises FileError for other axes or values."""
    dtype = array.dtype.kind.replace("u", "i")
    if array.ndim not in _AXES[kind].get(dtype, ()):
        raise FileError(f"{what}: expected {_SHAPES[kind]}, got {array.dtype} {array.shape}")
    if array.size == 0:
        raise FileError(f"{what}: expected at least one value, got shape {array.shape}")
    if dtype == "f":
        check_finite(what, array, single=True)
        return array
    least = 1 if kind == "lengths" else 0
    if array.min() < least:
        raise FileError(f"{what}: expected {'lengths' if least else 'class indices'} ≥ {least}, got {array.min()}")
    return array


def _assemble(config: DataConfig, name: str, arrays: dict[str, Array]) -> Dataset:
    parts: dict[str, dict[str, Array]] = {prefix: {} for prefix in _PREFIXES}
    for full, array in arrays.items():
        prefix = next((p for p in _PREFIXES[1:] if full.startswith(p)), "")
        parts[prefix][full.removeprefix(prefix)] = array
    splits = {prefix: _split_of(name, prefix, part, parts[""]) for prefix, part in parts.items() if part}
    count = len(splits[""])
    drawn = len(splits) < len(_PREFIXES)
    train, valid, test = _split(config, name, splits)
    three = (train, valid, test)
    classes = _classes([split.x for split in three])
    classes_of = {given: _classes([split.conditions[given] for split in three]) for given in train.conditions}
    shape = (train.x.shape[2], train.x.shape[3]) if train.x.ndim == 4 else None
    division = Division("random", count) if drawn else Division("given")
    return Dataset(
        name,
        *three,
        classes,
        classes_of,
        shape,
        licence=config.licence or "unknown",
        meaning=Meaning(size=shape),
        division=division,
    )


def _split_of(name: str, prefix: str, part: dict[str, Array], train: dict[str, Array]) -> Split:
    """Make one split, which holds arrays of the same names and kinds as those to train with."""
    if "x" not in part:
        raise FileError(f"data {name!r}: {prefix + next(iter(part))!r} has no '{prefix}x' beside it")
    if missing := sorted(part.keys() ^ train.keys()):
        raise FileError(
            f"data {name!r}: every split has the same arrays, a condition or none; '{prefix}x' differs from 'x' in {missing[0]!r}"
        )
    for given, array in part.items():
        if len(array) != len(part["x"]):
            raise FileError(f"data {name!r}: {prefix + given!r} has {len(array)} rows, '{prefix}x' has {len(part['x'])}")
        if (array.dtype.kind == "f", array.shape[1:]) != (train[given].dtype.kind == "f", train[given].shape[1:]):
            came = f"{array.dtype} {array.shape} and {train[given].dtype} {train[given].shape}"
            raise FileError(f"data {name!r}: '{prefix}{given}' and {given!r} differ in more than rows: {came}")
    x, target, lengths = part["x"], part.get("target"), part.get("lengths")
    if target is not None and target.shape[-1] != x.shape[-1]:
        raise FileError(f"data {name!r}: '{prefix}target' has {target.shape[-1]} positions, '{prefix}x' has {x.shape[-1]}")
    conditions = {given.removeprefix("condition_"): array for given, array in part.items() if given.startswith("condition")}
    return Split(x, conditions, target, lengths)


def _split(config: DataConfig, name: str, splits: dict[str, Split]) -> tuple[Split, Split, Split]:
    whole = splits[""]
    parts = {"test_": config.test, "valid_": config.valid}
    counts = {prefix: max(1, share(len(whole), part)) for prefix, part in parts.items() if prefix not in splits}
    if len(whole) <= sum(counts.values()):
        raise FileError(f"data {name!r}: expected at least {sum(counts.values()) + 1} sequences to split, got {len(whole)}")
    order = permutation(0, 0, 0, len(whole)) if counts else np.arange(len(whole))
    for prefix, count in counts.items():
        order, splits[prefix] = order[:-count], whole.take(order[-count:])
    return whole.take(order), splits["valid_"], splits["test_"]


def _classes(arrays: list[Array]) -> int:
    """Count the classes of index arrays: the largest index plus 1, and at least 2; 0 for real numbers."""
    return max((2, *(int(array.max()) + 1 for array in arrays))) if arrays[0].dtype.kind in "iu" else 0
