"""The files of golden/: written from the catalogue, read without trust."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from refar.arguments.arrays import Arrays
from refar.errors import FileError
from refar.files import as_path, check_writable, sha256, write_bytes
from refar.golden.case import SPEC_VERSION, Case
from refar.golden.catalogue import OPERATORS, catalogue
from refar.golden.manifest import MANIFEST, SCHEMA, Definition, Entry, Manifest, Tensor, decode, digest, encode, entry, schema
from refar.golden.operator import UNITS

_ADVICE = "choose another folder, or remove it yourself"
_DTYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64}


def render(cases: Iterable[Case]) -> dict[str, bytes]:
    """Every file by its name, the manifest last. The same cases give the same bytes."""
    files: dict[str, bytes] = {SCHEMA: schema()}
    entries: list[Entry] = []
    for operator, group in groupby(cases, key=lambda case: case.operator):
        tensors: Arrays = {}
        for case in group:
            if case.kind == "invalid":
                name = f"{case.id}.json"
                files[name] = case.text.encode()
            else:
                name = f"{operator}.safetensors"
                tensors |= _tensors(case)
            entries.append(entry(case, name))
        if tensors:
            files[f"{operator}.safetensors"] = safetensors.numpy.save(tensors)
    manifest = Manifest(
        format="refar-golden",
        version=SPEC_VERSION,
        sha256="0" * 64,
        units=UNITS,
        files={name: digest(data) for name, data in files.items()},
        operators={o.name: Definition(str(o.signature), o.source) for o in OPERATORS.values()},
        cases=tuple(entries),
    )
    return files | {MANIFEST: encode(manifest)}


def write(path: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write the catalogue into a folder, and return the names of the files that are new or changed.

    Raises FileError where other vectors of the same version stand already, unless `overwrite`: bytes change only together
    with the version. Nothing but vectors as they were written is ever replaced or removed: FileError names any other file.
    """
    folder = as_path(path)
    files = render(catalogue())
    changed = [name for name, data in files.items() if _content(folder / name) != data]
    known = _manifest_there(folder)
    if changed and not overwrite and known is not None and known.version == SPEC_VERSION:
        raise FileError(
            f"golden vectors {str(folder)!r} of version {SPEC_VERSION} differ in {changed[0]!r}: "
            "raise SPEC_VERSION in refar/golden/case.py, or allow overwriting them"
        )
    written = known.files if known is not None else {}
    left = [name for name in written if name not in files and _is_inside(name)]
    for name in (*changed, *left):
        if name != MANIFEST:  # which has been read, and holds its own digest
            _require_own(folder, name, written.get(name))
    for name in changed:
        check_writable(folder / name)
    for name in changed:
        write_bytes(folder / name, files[name])
    for name in left:
        (folder / name).unlink(missing_ok=True)
    return changed


def read(path: str | Path) -> list[Case]:
    """Every case of a folder. Raises FileError naming the file, case or field that is missing, altered or unknown."""
    folder = as_path(path)
    manifest = read_manifest(folder)
    contents = {name: _checked(folder, name, expected) for name, expected in manifest.files.items()}
    tensors = {name: _load(folder / name, data) for name, data in contents.items() if name.endswith(".safetensors")}
    cases = []
    for each in manifest.cases:
        if each.file not in contents:
            raise FileError(f"golden vectors {str(folder)!r}: case {each.id!r}: its file {each.file!r} is not among the files")
        text = contents[each.file].decode() if each.kind == "invalid" else ""
        cases.append(_case(folder, each, text, tensors.get(each.file, {})))
    for file, left in tensors.items():
        if left:
            raise FileError(f"{str(folder / file)!r}: its tensor {next(iter(left))!r} belongs to no case")
    return cases


def _manifest_there(folder: Path) -> Manifest | None:
    """What stands in a folder already. Raises FileError for a manifest that cannot be read: it may be another's."""
    if not (folder / MANIFEST).exists():
        return None
    try:
        return read_manifest(folder)
    except FileError as error:
        raise FileError(f"{error}; {_ADVICE}") from None


def _require_own(folder: Path, name: str, expected: str | None) -> None:
    """Raise FileError for a file that is there, unless it has the digest that the manifest gives it, if any."""
    path = folder / name
    if not path.exists():
        return
    if expected is None or not path.is_file():
        raise FileError(f"{str(folder)!r} holds {name!r}, which no {MANIFEST} there lists as one of the vectors; {_ADVICE}")
    if (came := sha256(path)) != expected:
        raise FileError(
            f"{str(folder)!r} holds {name!r}, not as it was written: "
            f"expected SHA-256 {expected[:12]}…, got {came[:12]}…; {_ADVICE}"
        )


def read_manifest(folder: Path) -> Manifest:
    """manifest.json. Raises FileError."""
    try:
        text = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise FileError(f"golden vectors {str(folder)!r}: {MANIFEST} cannot be read: {error.strerror}") from None
    manifest = decode(text, repr(str(folder / MANIFEST)))
    if manifest.units != UNITS:
        raise FileError(f"{str(folder / MANIFEST)!r}: units: expected {UNITS}, got {manifest.units}")
    return manifest


def changes(path: str | Path) -> list[str]:
    """What writing would change in a folder: a line for each case or file."""
    old, new = {case.id: case for case in read(path)}, {case.id: case for case in catalogue()}
    lines = [f"removed {id}" for id in old if id not in new]
    for id, case in new.items():
        lines += [f"added   {id}"] if id not in old else [f"changed {id}: {what}" for what in _changed(old[id], case)]
    if not lines:
        folder = as_path(path)
        lines = [f"changed {name}" for name, data in render(catalogue()).items() if _content(folder / name) != data]
    return lines


def _changed(old: Case, new: Case) -> list[str]:
    plain = ("kind", "operator", "seed", "source", "attributes", "catches", "graph", "text", "error")
    found = [name for name in plain if getattr(old, name) != getattr(new, name)]
    for group in ("arrays", "expected", "bound"):
        before: Mapping[str, np.ndarray] = getattr(old, group)
        after: Mapping[str, np.ndarray] = getattr(new, group)
        for name in dict.fromkeys((*before, *after)):
            label = f"bound of {name}" if group == "bound" else name
            if name not in before or name not in after:
                found.append(f"{label} {'is new' if name in after else 'is gone'}")
            elif before[name].shape != after[name].shape or before[name].dtype != after[name].dtype:
                found.append(f"{label} was {before[name].dtype} {before[name].shape}, is {after[name].dtype} {after[name].shape}")
            elif before[name].tobytes() != after[name].tobytes():
                off = np.abs(after[name].astype(float) - before[name])
                found.append(f"{int((off > 0).sum())} of {off.size} numbers of {label}, by up to {off.max():.3g}")
    return found


def _tensors(case: Case) -> Arrays:
    groups = (("", case.arrays), ("", case.expected), ("bound.", case.bound))
    return {f"{case.id}/{prefix}{name}": np.ascontiguousarray(a) for prefix, group in groups for name, a in group.items()}


def _case(folder: Path, each: Entry, text: str, tensors: Arrays) -> Case:
    def take(group: dict[str, Tensor], prefix: str = "") -> Arrays:
        return {name: _taken(folder, each, f"{each.id}/{prefix}{name}", tensor, tensors) for name, tensor in group.items()}

    case = Case(
        id=each.id,
        kind=each.kind,
        operator=each.operator,
        seed=each.seed,
        source=each.source,
        attributes=each.attributes,
        arrays=take(each.arrays),
        expected=take(each.expected),
        bound=take(each.bound, "bound."),
        catches=each.catches,
        graph=each.graph,
        text=text,
        error=each.error,
    )
    if case.exact != each.exact or not case.bound.keys() <= case.expected.keys():
        raise FileError(f"{str(folder / MANIFEST)!r}: case {each.id!r}: exact and bound do not fit each other")
    return case


def _taken(folder: Path, each: Entry, name: str, tensor: Tensor, tensors: Arrays) -> np.ndarray:
    array = tensors.pop(name, None)
    if array is None:
        raise FileError(f"{str(folder / each.file)!r}: tensor {name!r} is missing")
    if array.dtype != _DTYPES[tensor.dtype] or array.shape != tensor.shape:
        came = f"{array.dtype} {array.shape}"
        raise FileError(f"{str(folder / each.file)!r}: tensor {name!r}: expected {tensor.dtype} {tensor.shape}, got {came}")
    return array


def _checked(folder: Path, name: str, expected: str) -> bytes:
    if not _is_inside(name):
        raise FileError(f"{str(folder / MANIFEST)!r}: files: {name!r} lies outside of the folder")
    data = _content(folder / name)
    if data is None:
        raise FileError(f"golden vectors {str(folder)!r}: the file {name!r} is missing")
    if digest(data) != expected:
        raise FileError(f"{str(folder / name)!r} was altered: expected SHA-256 {expected[:12]}…, got {digest(data)[:12]}…")
    return data


def _is_inside(name: str) -> bool:
    return ".." not in Path(name).parts and not Path(name).is_absolute()


def _load(path: Path, data: bytes) -> Arrays:
    try:
        return dict(safetensors.numpy.load(data))
    except safetensors.SafetensorError as error:
        raise FileError(f"{str(path)!r} is damaged: {error}") from None


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
