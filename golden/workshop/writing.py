"""The files of golden/: written from the cases, and what writing them would change."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import safetensors.numpy

from refar.arguments.arrays import Arrays
from refar.errors import FileError
from refar.files import as_path, check_writable, sha256, write_bytes
from refar.golden.case import SPEC_VERSION, UNITS, Case
from refar.golden.manifest import BLANK, MANIFEST, SCHEMA, VERSION, Definition, Entry, Manifest, Tensor, digest, read_manifest
from refar.golden.vectors import is_inside, read
from workshop.every_case import OPERATORS, every_case

_ADVICE = "choose another folder, or remove it yourself"


def render(cases: Iterable[Case]) -> dict[str, bytes]:
    """Make every file, {name: bytes}, the manifest last. The same cases give the same bytes."""
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
            entries.append(_entry(case, name))
        if tensors:
            files[f"{operator}.safetensors"] = safetensors.numpy.save(tensors)
    manifest = Manifest(
        format="refar-golden",
        version=VERSION,
        spec_version=SPEC_VERSION,
        sha256=BLANK,
        units=UNITS,
        files={name: digest(data) for name, data in files.items()},
        operators={o.name: Definition(str(o.signature), o.source) for o in OPERATORS},
        cases=tuple(entries),
    )
    return files | {MANIFEST: encode(manifest)}


def schema() -> bytes:
    """Make the JSON Schema of the manifest. A graph is a format with a version of its own: here its operators are open."""
    found = msgspec.json.schema(Manifest)
    title = f"refar golden vectors, version {VERSION}"
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title} | found
    definitions = found["$defs"]
    operator = {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}
    definitions["Node"]["properties"]["op"] = operator
    definitions["Graph"]["properties"] |= {"head": operator, "padding": {"type": "string"}}
    definitions["Graph"]["description"] = "A network in the JSON of refar-graph, version 1; refar.from_json reads it strictly."
    for each in definitions.values():
        each["description"] = inspect.cleandoc(each["description"])
    found["$defs"] = {name: definitions[name] for name in ("Manifest", "Entry", "Tensor", "Definition", "Graph", "Node")}
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def encode(manifest: Manifest) -> bytes:
    """Write the manifest with a case to a line, and put its own digest in."""
    head = msgspec.to_builtins(msgspec.structs.replace(manifest, sha256=BLANK, cases=()))
    del head["cases"]
    fields = msgspec.json.format(msgspec.json.encode(head), indent=2)[:-2]  # without the last brace
    lines = b",\n".join(b"    " + msgspec.json.encode(entry) for entry in manifest.cases)
    text = fields + b',\n  "cases": [\n' + lines + b"\n  ]\n}\n"
    return text.replace(BLANK.encode(), digest(text).encode(), 1)


def write(path: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write the cases into a folder, and return the names of the files that are new or changed.

    Raises FileError where other vectors of the same version stand already, unless `overwrite`: arrays change only together
    with SPEC_VERSION, all else only together with VERSION. Nothing but vectors as they were written is ever replaced or
    removed: FileError names any other file.
    """
    folder = as_path(path)
    files = render(every_case())
    changed = [name for name, data in files.items() if _content(folder / name) != data]
    known = _manifest_there(folder)
    if known is not None and not overwrite:
        _require_new_version(folder, changed, known)
    written = known.files if known is not None else {}
    left = [name for name in written if name not in files and is_inside(name)]
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


def changes(path: str | Path) -> list[str]:
    """Say what writing would change in a folder: a line for each case or file."""
    computed = list(every_case())
    old, new = {case.id: case for case in read(path)}, {case.id: case for case in computed}
    lines = [f"removed {id}" for id in old if id not in new]
    for id, case in new.items():
        lines += [f"added   {id}"] if id not in old else [f"changed {id}: {what}" for what in _changed(old[id], case)]
    if not lines:
        folder = as_path(path)
        lines = [f"changed {name}" for name, data in render(computed).items() if _content(folder / name) != data]
    return lines


def _require_new_version(folder: Path, changed: list[str], known: Manifest) -> None:
    arrays = [name for name in changed if name.endswith(".safetensors")]
    for names, was, now, constant in (
        (arrays, known.spec_version, SPEC_VERSION, "SPEC_VERSION in refar/golden/case.py"),
        (changed, known.version, VERSION, "VERSION in refar/golden/manifest.py"),
    ):
        if names and was == now:
            raise FileError(
                f"golden vectors {str(folder)!r} of version {now} differ in {names[0]!r}: "
                f"raise {constant}, or allow overwriting them"
            )


def _manifest_there(folder: Path) -> Manifest | None:
    """Read the golden files in a folder. Raises FileError for a manifest that cannot be read, perhaps of another program."""
    if not (folder / MANIFEST).exists():
        return None
    try:
        return read_manifest(folder)[0]
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


def _changed(old: Case, new: Case) -> list[str]:
    plain = ("kind", "operator", "seed", "source", "attributes", "catches", "one_of", "graph", "text", "error")
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


def _entry(case: Case, file: str) -> Entry:
    """A case as it stands in the manifest."""
    return Entry(
        id=case.id,
        kind=case.kind,
        operator=case.operator,
        seed=case.seed,
        source=case.source,
        file=file,
        exact=case.exact,
        attributes=dict(case.attributes),
        arrays=_described(case.arrays),
        expected=_described(case.expected),
        bound=_described(case.bound),
        catches=case.catches,
        one_of=case.one_of,
        graph=case.graph,
        error=case.error,
    )


def _described(arrays: dict[str, Any]) -> dict[str, Tensor]:
    names: dict[str, Literal["F32", "F64", "I64"]] = {"float32": "F32", "float64": "F64", "int64": "I64"}
    return {name: Tensor(names[array.dtype.name], array.shape) for name, array in arrays.items()}


def _tensors(case: Case) -> Arrays:
    groups = (("", case.arrays), ("", case.expected), ("bound.", case.bound))
    return {f"{case.id}/{prefix}{name}": np.ascontiguousarray(a) for prefix, group in groups for name, a in group.items()}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
