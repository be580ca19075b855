"""Files written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from refar.errors import FileError


def as_path(path: object) -> Path:
    """A path from text or a path. Raises FileError for anything else."""
    if not isinstance(path, str | os.PathLike):
        raise FileError(f"expected the path of a file or folder, got {type(path).__name__}")
    return Path(path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` with the same suffix; moved into place if all goes well, removed otherwise.

    Folders that are missing are made. Whoever reads `path`, even after a crash, finds the old content or the new. Raises
    FileError where no file can be.
    """
    check_writable(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _sync(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            if os.name == "posix":
                _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise FileError where no file can be, before any work is done for it."""
    with writing(path):
        if path.is_dir():
            raise FileError(f"{str(path)!r} is a folder; expected the name of a file to write")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the system speak of `path`, not of a temporary name."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{str(path)!r} cannot be written: {error.strerror or error}") from None


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file at once."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def is_leftover(name: str, names: Iterable[str]) -> bool:
    """Say whether a file of this name is one that `replacing` was about to move to one of `names`."""
    patterns = (re.escape(f".{path.stem}.") + r"\w{8}" + re.escape(path.suffix) for path in map(Path, names))
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def sweep(folder: Path, names: Iterable[str]) -> None:
    """Remove what `replacing` left of files of these names when its process was killed.

    Only whoever holds the folder's lock may. Raises FileError for what cannot be removed.
    """
    known = tuple(names)
    for path in sorted(folder.iterdir()):
        if is_leftover(path.name, known) and path.is_file():
            with writing(path):
                path.unlink()


def stray(folder: Path, written: Mapping[str, str], writer: str) -> str | None:
    """Say what in a folder, at any depth, is not as `writer` left it: the name of the first such thing, and why; else None.

    `written` holds the SHA-256 of each file by its name below the folder. One that is missing is nothing to lose.
    """
    parents = {str(parent) for name in written for parent in PurePosixPath(name).parents}
    for path in _entries(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            if name not in parents and not any(path.iterdir()):
                return f"{name!r}, a folder which no {writer} wrote"
        elif name not in written:
            return f"{name!r}, which no {writer} wrote"
        elif path.is_symlink() or not path.is_file():
            return f"{name!r}, a link or the like: expected the file that the {writer} wrote"
        elif (came := sha256(path)) != written[name]:
            return f"{name!r}, not as the {writer} wrote it: expected SHA-256 {written[name][:12]}…, got {came[:12]}…"
    return None


def sha256(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entries(folder: Path) -> Iterator[Path]:
    """All that stands in a folder, at any depth; a folder before what it holds, and nothing behind a link."""
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _entries(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
