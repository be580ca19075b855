"""Conceptual networks as files: a strict JSON form beside that of graphs.

{"format": "refar-conceptual", "version": 1, "channels": 1, "layers": [
  {"type": "conv", "channels": 8, "kernel": 2, "stride": 2, "activation": "relu"}, {"type": "flatten", "steps": 2},
  {"type": "dense", "units": 1}]}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_type_hints

import msgspec
from msgspec import Struct

from refar.conceptual.strided import AnyLayer, Network, Positive, refuse_same
from refar.errors import FileError, GraphError, is_newer, maybe_newer, near, newer
from refar.files import as_path, write_bytes

FORMAT: Final = "refar-conceptual"


class _Document(Struct, forbid_unknown_fields=True):
    format: Literal["refar-conceptual"]
    version: Literal[1]
    channels: Positive
    layers: tuple[AnyLayer, ...]


def to_json(net: Network) -> bytes:
    """Canonical JSON as that of a graph: fields in declared order, defaults left out, two spaces of indent, one final newline."""
    return msgspec.json.format(msgspec.json.encode(_Document(FORMAT, 1, net.channels, net.layers)), indent=2) + b"\n"


def from_json(text: bytes | str) -> Network:
    """Decode strictly. Raises GraphError for text that is no JSON, what has no meaning, and whatever `Network` refuses."""
    if not isinstance(text, bytes | str):
        raise GraphError(f"conceptual network: expected text or bytes, got {type(text).__name__}")
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise GraphError(f"conceptual network: not JSON: {error}") from None
    try:
        document = msgspec.convert(raw, _Document)
    except msgspec.ValidationError as error:
        if is_newer(raw, FORMAT):
            came = newer(f"Invalid enum value {raw['version']}", "version 1")
            raise GraphError(f"conceptual network, version: {came}") from None
        problem, _, path = str(error).partition(" - at `$")
        keys = re.findall(r"\w+", path)
        if keys[-1:] == ["padding"] and _at(raw, keys) == "same":
            raise refuse_same(f"{_at(raw, [*keys[:2], 'type'])}{keys[1]}") from None
        place = f", {path.removesuffix('`')[1:]}" if keys else ""
        said = f"conceptual network{place}: {problem}{_instead(problem, raw, keys)}"
        unknown = "unknown field" in problem or problem.startswith("Invalid value")
        raise GraphError(maybe_newer(said) if unknown else said) from None
    return Network(document.channels, document.layers)


def _instead(problem: str, raw: Any, keys: Sequence[str]) -> str:
    """What msgspec does not say: what there is, or the value that came."""
    kinds = {str(kind.__struct_config__.tag): kind for kind in AnyLayer.__args__}
    value = _at(raw, keys)
    if keys == ["version"]:
        return "; this refar reads version 1"
    if problem.startswith("Invalid value"):
        return f"; the layers are {', '.join(kinds)}"
    if "unknown field" in problem:
        fields = (kinds[value["type"]] if keys else _Document).__struct_encode_fields__
        return f"; the fields are {', '.join(fields)}{near(problem.split('`')[1], fields)}"
    if problem.startswith("Invalid enum value"):
        kind = kinds[_at(raw, [*keys[:-1], "type"])] if len(keys) > 1 else _Document
        return f"; expected {' or '.join(map(repr, _choices(get_type_hints(kind)[keys[-1]])))}"
    came = f", got {value!r}" if isinstance(value, int | float | str) else ""
    return came if problem.startswith("Expected") and ", got" not in problem else ""


def _choices(kind: Any) -> list[str]:
    """The words that a type lets through."""
    return [kind] if isinstance(kind, str) else [word for part in get_args(kind) for word in _choices(part)]


def _at(raw: Any, keys: Sequence[str]) -> Any:
    """What stands at a path that is there."""
    for key in keys:
        raw = raw[int(key)] if isinstance(raw, list) else raw[key]
    return raw


def save(net: Network, path: str | Path) -> None:
    """Write canonical JSON to a file, whole or not at all. Raises FileError where no file can be."""
    write_bytes(as_path(path), to_json(net))


def load(path: str | Path) -> Network:
    """Read a network from a file of JSON. Raises FileError if it cannot be read, GraphError if it is no network."""
    try:
        text = as_path(path).read_bytes()
    except OSError as error:
        raise FileError(f"conceptual network {str(path)!r} cannot be read: {error.strerror}") from None
    try:
        return from_json(text)
    except GraphError as error:
        raise GraphError(f"{str(path)!r}: {error}") from None


def find(path: Path) -> Network | None:
    """The network in a file, or None if it is not meant to hold one: JSON of this format, or with layers and no nodes."""
    try:
        raw = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    meant = isinstance(raw, dict) and (raw.get("format") == FORMAT or ("layers" in raw and "nodes" not in raw))
    return load(path) if meant else None
