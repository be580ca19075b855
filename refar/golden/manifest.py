"""manifest.json: what the files hold. Decoded strictly; schema.json is made from these types."""

from __future__ import annotations

import hashlib
import inspect
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from refar.errors import FileError, GraphError
from refar.golden.case import SPEC_VERSION, Case, Kind
from refar.graph.graph import Graph

MANIFEST, SCHEMA = "manifest.json", "schema.json"

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 in hexadecimal")]
Length = Annotated[int, Meta(ge=0)]

_BLANK = "0" * 64


class Tensor(Struct, frozen=True, forbid_unknown_fields=True):
    """One array, as safetensors names its type."""

    dtype: Literal["F32", "F64", "I64"]
    shape: tuple[Length, ...]


class Entry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One case. The tensor of an array "x" is called "<id>/x" in `file`; that of a bound "<id>/bound.x".

    Of an invalid graph `file` is the graph itself, and `error` what its refusal must contain.
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
    graph: Graph | None = None
    error: str = ""


class Definition(Struct, frozen=True, forbid_unknown_fields=True):
    """How an operator is called, and what it is."""

    signature: str
    definition: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`sha256`: of this file, with these 64 digits as zeros. `files`: of every other file. `units`: u by dtype."""

    format: Literal["refar-golden"]
    version: Annotated[int, Meta(ge=1)]
    sha256: Digest
    units: dict[str, float]
    files: dict[str, Digest]
    operators: dict[str, Definition]
    cases: tuple[Entry, ...]


def schema() -> bytes:
    """JSON Schema of the manifest. A graph is a format of its own, with a version of its own: here its operators are open."""
    found = msgspec.json.schema(Manifest)
    title = f"refar golden vectors, version {SPEC_VERSION}"
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
    """A case to a line, and its own digest put in."""
    head = msgspec.to_builtins(msgspec.structs.replace(manifest, sha256=_BLANK, cases=()))
    del head["cases"]
    fields = msgspec.json.format(msgspec.json.encode(head), indent=2)[:-2]  # without the last brace
    lines = b",\n".join(b"    " + msgspec.json.encode(entry) for entry in manifest.cases)
    text = fields + b',\n  "cases": [\n' + lines + b"\n  ]\n}\n"
    return text.replace(_BLANK.encode(), digest(text).encode(), 1)


def decode(text: bytes, where: str) -> Manifest:
    """Read strictly. Raises FileError naming what is wrong and where: also for a newer version, and any altered byte."""
    try:
        raw = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise FileError(f"{where}: not JSON: {error}") from None
    version = raw.get("version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > SPEC_VERSION:
        raise FileError(f"{where}: version: expected at most {SPEC_VERSION}, which this refar reads, got {version}")
    try:
        manifest = msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        raise FileError(f"{where}: {_named(error, raw)}") from None
    blank = text.replace(manifest.sha256.encode(), _BLANK.encode(), 1)
    if digest(blank) != manifest.sha256:
        raise FileError(f"{where}: sha256: expected {digest(blank)[:12]}… for what it holds, got {manifest.sha256[:12]}…")
    return manifest


def _named(error: msgspec.ValidationError, raw: Any) -> str:
    """The message with the id of the case that it is about."""
    text = str(error.__cause__) if isinstance(error.__cause__, GraphError) else str(error)
    at = str(error).partition("$.cases[")[2].partition("]")[0]
    case = raw["cases"][int(at)].get("id") if at.isdecimal() else None
    return f"case {case!r}: {text}" if case else text


def entry(case: Case, file: str) -> Entry:
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
        arrays=_tensors(case.arrays),
        expected=_tensors(case.expected),
        bound=_tensors(case.bound),
        catches=case.catches,
        graph=case.graph,
        error=case.error,
    )


def digest(data: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(data).hexdigest()


def _tensors(arrays: dict[str, Any]) -> dict[str, Tensor]:
    names: dict[str, Literal["F32", "F64", "I64"]] = {"float32": "F32", "float64": "F64", "int64": "I64"}
    return {name: Tensor(names[array.dtype.name], array.shape) for name, array in arrays.items()}
