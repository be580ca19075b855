"""Graphs read from JSON, and written."""

from __future__ import annotations

from pathlib import Path

import msgspec

from refar.analysis.facts import validated
from refar.errors import FileError, GraphError
from refar.files import as_path, write_bytes
from refar.graph import graph as graphs
from refar.graph.decode import convert
from refar.graph.graph import Graph


def to_json(graph: Graph) -> bytes:
    """Write canonical JSON: fields in declared order, defaults left out, two spaces of indent, one final newline.

    Raises GraphError for a graph without a meaning.
    """
    return graphs.to_json(validated(graph))


def from_json(text: bytes | str) -> Graph:
    """Decode strictly.

    Raises GraphError for text that is no JSON, an unknown operator or field, a value out of range (each with its path),
    and whatever `Graph` refuses.
    """
    if not isinstance(text, bytes | str):
        raise GraphError(f"graph JSON: expected text or bytes, got {type(text).__name__}")
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise GraphError(f"graph JSON: not JSON: {error}") from None
    return validated(convert(raw, Graph, "graph JSON"))


def save(graph: Graph, path: str | Path) -> None:
    """Write canonical JSON to a file, whole or not at all. Raises FileError where no file can be."""
    text = to_json(graph)
    write_bytes(as_path(path), text)


def load(path: str | Path) -> Graph:
    """Read a graph from a file of JSON. Raises FileError if it cannot be read, GraphError if it is no graph."""
    try:
        text = as_path(path).read_bytes()
    except OSError as error:
        raise FileError(f"graph {str(path)!r} cannot be read: {error.strerror}") from None
    try:
        return from_json(text)
    except GraphError as error:
        raise GraphError(f"{str(path)!r}: {error}") from None
