"""Read golden vectors from a folder, without trust: nothing counts whose digest is not that of the manifest."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from refar.arguments.arrays import Arrays
from refar.errors import FileError
from refar.files import as_path
from refar.golden.case import Case, Kind
from refar.golden.manifest import MANIFEST, Entry, Tensor, digest, entry_of, read_manifest

_DTYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64}


class Vectors:
    """The vectors of a folder. A file is read, and its digest compared, when a case in it is first asked for."""

    def __init__(self, folder: Path) -> None:
        """Read the manifest. Raises FileError if it is missing, altered, or not of this format."""
        self.folder = folder
        self.manifest, self._raw = read_manifest(folder)
        self._where = repr(str(folder / MANIFEST))
        self._tensors: dict[str, Arrays] = {}
        self._used: dict[str, set[str]] = {}

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each operator that has cases, in their order."""
        return {raw["operator"]: raw["kind"] for raw in self._raw}

    def cases(self, operator: str) -> tuple[Case, ...]:
        """Return the cases of one operator. Raises FileError naming the file, case or field that is missing or altered."""
        return tuple(self._case(entry_of(raw, self._where)) for raw in self._raw if raw.get("operator") == operator)

    def every_case(self) -> list[Case]:
        """Return all cases, after a look at every file: those of no case too."""
        entries = [entry_of(raw, self._where) for raw in self._raw]
        for name in self.manifest.files:
            self._content(name)
        cases = [self._case(each) for each in entries]
        for name in self.manifest.files:
            left = self._load(name).keys() - self._used.get(name, set()) if name.endswith(".safetensors") else ()
            if left:
                raise FileError(f"{str(self.folder / name)!r}: its tensor {min(left)!r} belongs to no case")
        return cases

    def _case(self, entry: Entry) -> Case:
        if entry.file not in self.manifest.files:
            where = f"golden vectors {str(self.folder)!r}: case {entry.id!r}"
            raise FileError(f"{where}: its file {entry.file!r} is not among the files")
        case = Case(
            id=entry.id,
            kind=entry.kind,
            operator=entry.operator,
            seed=entry.seed,
            source=entry.source,
            attributes=entry.attributes,
            arrays=self._take(entry, entry.arrays),
            expected=self._take(entry, entry.expected),
            bound=self._take(entry, entry.bound, "bound."),
            catches=entry.catches,
            one_of=entry.one_of,
            graph=entry.graph,
            text=self._content(entry.file).decode() if entry.kind == "invalid" else "",
            error=entry.error,
        )
        if case.exact != entry.exact or not case.bound.keys() <= case.expected.keys():
            raise FileError(f"{self._where}: case {entry.id!r}: exact and bound do not fit each other")
        return case

    def _take(self, entry: Entry, group: dict[str, Tensor], prefix: str = "") -> Arrays:
        return {name: self._tensor(entry, f"{entry.id}/{prefix}{name}", tensor) for name, tensor in group.items()}

    def _tensor(self, entry: Entry, name: str, tensor: Tensor) -> np.ndarray:
        path, array = repr(str(self.folder / entry.file)), self._load(entry.file).get(name)
        if array is None:
            raise FileError(f"{path}: tensor {name!r} is missing")
        if array.dtype != _DTYPES[tensor.dtype] or array.shape != tensor.shape:
            came = f"{array.dtype} {array.shape}"
            raise FileError(f"{path}: tensor {name!r}: expected {tensor.dtype} {tensor.shape}, got {came}")
        self._used.setdefault(entry.file, set()).add(name)
        return array

    def _load(self, name: str) -> Arrays:
        if name not in self._tensors:
            try:
                self._tensors[name] = dict(safetensors.numpy.load(self._content(name)))
            except safetensors.SafetensorError as error:
                raise FileError(f"{str(self.folder / name)!r} is damaged: {error}") from None
        return self._tensors[name]

    def _content(self, name: str) -> bytes:
        """The bytes of a file, once they are those of the manifest."""
        if not is_inside(name):
            raise FileError(f"{self._where}: files: {name!r} lies outside of the folder")
        path, expected = self.folder / name, self.manifest.files[name]
        if not path.is_file():
            raise FileError(f"golden vectors {str(self.folder)!r}: the file {name!r} is missing")
        data = path.read_bytes()
        if digest(data) != expected:
            raise FileError(f"{str(path)!r} was altered: expected SHA-256 {expected[:12]}…, got {digest(data)[:12]}…")
        return data


def read(path: str | Path) -> list[Case]:
    """Return every case of a folder. Raises FileError naming the file, case or field that is missing, altered or unknown."""
    return Vectors(as_path(path)).every_case()


@cache
def own() -> Vectors:
    """Return the vectors that come with refar: in a wheel those inside it, in a checkout those of the repository."""
    return Vectors(checkout() or Path(__file__).parent / "vectors")


def checkout() -> Path | None:
    """Return the repository's folder golden/, or None where refar is installed without it."""
    folder = Path(__file__).parents[2] / "golden"
    return folder if (folder / "workshop").is_dir() else None


def is_inside(name: str) -> bool:
    """Return whether a file of this name lies in the folder."""
    return ".." not in Path(name).parts and not Path(name).is_absolute()
