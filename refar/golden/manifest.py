"""manifest.json: what the files hold. Decoded strictly; schema.json is made from these types."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from refar.errors import FileError, GraphError, newer
from refar.golden.case import UNITS, Kind
from refar.graph.graph import Graph

MANIFEST, SCHEMA = "manifest.json", "schema.json"

VERSION = 5
"""The version of what the manifest says of the cases: its fields, and its words, such as the names of mistakes."""

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 in hexadecimal")]
Length = Annotated[int, Meta(ge=0)]

BLANK = "0" * 64
"""What stands for the manifest's own digest while that is computed."""


class Tensor(Struct, frozen=True, forbid_unknown_fields=True):
    """One array, as safetensors names its type."""

    dtype: Literal["F32", "F64", "I64"]
    shape: tuple[Length, ...]


class Entry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One case. The tensor of an array "x" is called "<id>/x" in `file`; that of a bound "<id>/bound.x".

    `one_of` names those of `expected` that are one of several right ones. Of an invalid graph `file` is the graph itself, and
    `error` what its refusal must contain.
    """

    id: str
    kind: Kind
    operator: str
    seed: int
    source: str
    file: str
    exact: bool
    attributes: dict[str, Any]
    arrays: dict[str, Tensor]
    expected: dict[str, Tensor]
    bound: dict[str, Tensor]
    catches: tuple[str, ...]
    one_of: tuple[str, ...] = ()
    graph: Graph | None = None
    error: str = ""


class Definition(Struct, frozen=True, forbid_unknown_fields=True):
    """How an operator is called, and what it is."""

    signature: str
    definition: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`sha256`: of this file, with these 64 digits as zeros. `files`: of every other file. `units`: u by dtype.

    `version` is that of the manifest itself, `spec_version` that of the arrays: it stays while not a byte of them changes.
    """

    format: Literal["refar-golden"]
    version: Annotated[int, Meta(ge=1)]
    spec_version: Annotated[int, Meta(ge=1)] = 1
    sha256: Digest
    units: dict[str, float]
    files: dict[str, Digest]
    operators: dict[str, Definition]
    cases: tuple[Entry, ...]


def read_manifest(folder: Path) -> tuple[Manifest, list[dict[str, Any]]]:
    """Read manifest.json: everything but its cases, and these as they stand, for `entry_of`. Raises FileError."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FileError(f"golden vectors {str(folder)!r}: {MANIFEST} cannot be read: {error.strerror}") from None
    return decode(text, repr(str(path)))


def decode(text: bytes, where: str) -> tuple[Manifest, list[dict[str, Any]]]:
    """Decode strictly. Raises FileError naming what is wrong and where: also for a newer version, and any altered byte.

    The cases are left as they stand: `entry_of` decodes each where it is needed.
    """
    try:
        raw = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise FileError(f"{where}: not JSON: {error}") from None
    version = raw.get("version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise FileError(f"{where}: {newer(f'version {version}', f'versions 1 to {VERSION}')}")
    try:
        cases = msgspec.convert(raw.get("cases") if isinstance(raw, dict) else None, list[dict[str, Any]])
        manifest = msgspec.convert(raw | {"cases": ()}, Manifest)
    except msgspec.ValidationError as error:
        raise FileError(f"{where}: {error}") from None
    blank = text.replace(manifest.sha256.encode(), BLANK.encode(), 1)
    if digest(blank) != manifest.sha256:
        raise FileError(f"{where}: sha256: expected {digest(blank)[:12]}… for what it holds, got {manifest.sha256[:12]}…")
    if manifest.units != UNITS:
        raise FileError(f"{where}: units: expected {UNITS}, got {manifest.units}")
    return manifest, cases


def entry_of(raw: dict[str, Any], where: str) -> Entry:
    """Decode one case strictly. Raises FileError naming it."""
    try:
        return msgspec.convert(raw, Entry)
    except msgspec.ValidationError as error:
        said = str(error.__cause__) if isinstance(error.__cause__, GraphError) else str(error)
        raise FileError(f"{where}: case {raw.get('id')!r}: {said}") from None


def digest(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
