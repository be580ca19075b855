"""What a demo wrote: demo.json lists it, so that the next demo replaces that and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from refar.analysis.image_slots import CONDITION
from refar.errors import FileError
from refar.files import check_writable, sha256, stray, write_bytes
from refar.runtime.bundle import BLOCK, FULL, MANIFEST, PREFILL, STEP, VECTORS, WEIGHTS, WINDOW
from refar.training.runs import FILES

LIST = "demo.json"
FOLDERS = ("run", "bundle")
BUNDLE = (FULL, PREFILL, CONDITION, STEP, BLOCK, WINDOW, WEIGHTS, VECTORS, MANIFEST)
NAMES = {
    "data": ("heldout.npz",),
    "train": tuple(f"run/{name}" for name in FILES),
    "export": tuple(f"bundle/{name}" for name in BUNDLE),
    "deploy": ("deployed.npz", "deployed.json"),
    "report": ("report.html", "results.json"),
}
"""The files of each stage that writes any."""

ADVICE = "choose another folder with --out, or remove it yourself if an older demo, or one that was killed, left it"


class Written(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """demo.json. `files` holds the SHA-256 of every file that the demo wrote beside it, by its name in the folder."""

    format: Literal["refar-demo"]
    version: Literal[1]
    files: dict[str, str]


class Folder:
    """A folder that only a demo has written into, and the list of what it wrote."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, str] = {}

    def clear(self) -> bool:
        """Remove an earlier demo and begin a new list; whether there was one. Raises FileError if anything else is there."""
        written = _require_own(self._path) if self._path.exists() else {}
        check_writable(self._path / LIST)
        for name in written:
            (self._path / name).unlink(missing_ok=True)
        for name in FOLDERS:
            if (self._path / name).is_dir():
                (self._path / name).rmdir()
        self._save()
        return bool(written)

    @contextmanager
    def writing(self, names: Sequence[str]) -> Iterator[None]:
        """List those of the files that the block has written, even if it fails. Raises FileError if one is there before."""
        for name in names:
            if (self._path / name).exists():
                raise FileError(f"{str(self._path)!r} holds {name!r}, which somebody else wrote while the demo ran")
        try:
            yield
        finally:
            self._files |= {name: sha256(self._path / name) for name in names if (self._path / name).is_file()}
            self._save()

    def _save(self) -> None:
        written = Written(format="refar-demo", version=1, files=self._files)
        write_bytes(self._path / LIST, msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n")


def _require_own(path: Path) -> dict[str, str]:
    """The files of an earlier demo, without its list. Raises FileError naming whatever else the folder holds."""
    if not path.is_dir():
        raise FileError(f"{str(path)!r} is a file; expected the name of a folder to write")
    listed = (path / LIST).is_file()
    written = _read(path / LIST) if listed else {}
    own = {LIST: sha256(path / LIST)} if listed else {}
    if found := stray(path, written | own, "demo"):
        unlisted = "" if listed else f" (it has no {LIST})"
        raise FileError(f"{str(path)!r}{unlisted} holds {found}; {ADVICE}")
    return written


def _read(path: Path) -> dict[str, str]:
    """The list. Raises FileError if it is none, or lists what no demo writes."""
    try:
        files = msgspec.json.decode(path.read_bytes(), type=Written).files
    except msgspec.DecodeError as error:
        raise FileError(f"{str(path)!r}: expected a demo's list of its files: {error}; {ADVICE}") from None
    known = {name for names in NAMES.values() for name in names}
    if foreign := sorted(files.keys() - known):
        raise FileError(f"{str(path)!r} lists {foreign[0]!r}, which no demo writes; {ADVICE}")
    return files
