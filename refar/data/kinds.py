"""Which kind of data a path holds."""

from __future__ import annotations

from pathlib import Path

from refar.data import pictures, sound
from refar.data.described import DataConfig
from refar.data.found import files_below
from refar.data.idx import is_folder_of_idx
from refar.errors import FileError

_SUFFIXES = {".npz": (".npz",), ".npy": (".npy",), "table": (".csv",), "sound": sound.SUFFIXES, "pictures": pictures.SUFFIXES}
_IN_FOLDERS = ("table", "sound", "pictures")


def kind_of(config: DataConfig, path: Path) -> str:
    """A key of `described.KINDS`. Raises FileError for a path that is missing, empty, or holds other things, or several kinds."""
    what = f"data {str(path)!r}"
    if path.is_dir() and path.suffix.lower() not in (".npz", ".npy"):
        return _of_folder(what, path)
    for kind, suffixes in _SUFFIXES.items():
        if path.suffix.lower() in suffixes:
            if not path.is_file():
                raise FileError(f"{what}: there is no such file")
            return kind
    endings = ", ".join(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
    if not path.exists():
        raise FileError(f"{what}: there is no such file or folder")
    raise FileError(f"{what}: expected a file that ends in {endings}, or a folder of such, got {path.suffix or 'no ending'}")


def _of_folder(what: str, path: Path) -> str:
    if is_folder_of_idx(path):
        return "idx"
    held = {kind: files_below(path, _SUFFIXES[kind]) for kind in _IN_FOLDERS}
    found = [kind for kind, files in held.items() if files]
    if len(found) > 1:
        mixed = " and ".join(f"{len(held[kind])} of {kind} ({held[kind][0].name!r})" for kind in found)
        raise FileError(f"{what}: expected files of one kind, got {mixed}")
    if not found:
        endings = ", ".join(suffix for kind in _IN_FOLDERS for suffix in _SUFFIXES[kind])
        raise FileError(f"{what}: expected a folder with files that end in {endings}, or four IDX files; it holds none")
    return found[0]
