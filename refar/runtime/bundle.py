"""What a bundle is: its files and its manifest; read without trust. NumPy, msgspec and safetensors only."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import safetensors.numpy
from msgspec import Meta, Struct

from refar.analysis.facts import Facts, facts
from refar.analysis.image_slots import CONDITION, PIXEL, PIXELS, ROW, ImageSlots, image_slots
from refar.analysis.slots import StateLayout, state_layout
from refar.arguments.arrays import Arrays, check_parameters
from refar.errors import FileError, GraphError, ParameterError, is_newer, newer, printable
from refar.files import as_path, sha256, stray
from refar.graph.graph import Graph

PAST, PRESENT, CLOCK, FIXED, LENGTH, OUTPUT = "past", "present", "clock", "fixed", "length", "output"
"""The ports beside the graph's own inputs: past.<tensor> → present.<tensor>, past.clock → present.clock, fixed.<node>, and
the lengths of the prompts that a prefill takes; the result."""

VERSION = 2
FORMAT = f"refar-bundle {VERSION}"
"""What a bundle says of itself: `refar` in bundle.json, `producer_version` and `refar.format` in each model. No release."""

FULL, PREFILL, STEP, BLOCK = "full.onnx", "prefill.onnx", "step.onnx", "block.onnx"
WEIGHTS, VECTORS, MANIFEST = "weights.safetensors", "check.safetensors", "bundle.json"
_KNOWN = {FULL, PREFILL, CONDITION, STEP, BLOCK, ROW, PIXEL, PIXELS, WEIGHTS, VECTORS}

MOST_STATE = 2**28
"""Numbers that a stream may keep for each sequence: 1 GiB."""

MOST_SPARE = 2**16
"""Steps that a stream may take back, at most."""

_MOST_JSON = 64 << 20
"""Bytes of bundle.json: a graph of some ten thousand nodes."""

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class StatePort(Struct, frozen=True, forbid_unknown_fields=True):
    """Where one node keeps past values: `slots` of past.<tensor> (slots, batch_size, channels), from `base` on.

    `kept`: how many of the last visits' values a later visit reads. `lead` is 1 if the node is computed one position ahead of the
    newest token.
    """

    node: str
    tensor: str
    base: int
    slots: int
    kept: int
    lead: int
    channels: int


class ImageTable(Struct, frozen=True, forbid_unknown_fields=True):
    """What whoever drives the row and pixel graphs must know.

    `past`: P; `first_visit`: -1 or 0; `output_lead`: 0 or 1, visit s gives the output at column s + `output_lead`. `looks`: how
    often each pixel of a strict network is looked at before it is complete, once for each colour where these are ordered.
    `stored_channels` are those of past.pixels, `line_channels` those of line; `rings` {node: entries of past.rows.<node>}.
    """

    past: int
    first_visit: int
    output_lead: int
    looks: int
    stored_channels: int
    line_channels: int
    rings: dict[str, int]


class BundleManifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """bundle.json. `files` holds the SHA-256 of every other file; `metadata` is the exporter's to fill.

    `refar` is FORMAT, so that a release changes no byte. `spare`: how many of the last visits may be made once more. Outputs
    before position `first_output` mean nothing.
    """

    format: Literal["refar-bundle"]
    version: Literal[2]  # VERSION
    refar: str
    strict: bool
    dtype: Literal["float32"]
    opset: int
    ir: int
    spare: Annotated[int, Meta(ge=0, le=MOST_SPARE)]
    first_output: int
    state: tuple[StatePort, ...]
    fixed: tuple[str, ...]
    image: ImageTable | None
    files: dict[str, Digest]
    metadata: dict[str, str]
    graph: Graph

    @property
    def layout(self) -> StateLayout | None:
        """The state of its step graphs; None if it has none."""
        return layout_of(self.graph, self.spare)


class OldManifest(Struct, frozen=True, kw_only=True):
    """bundle.json of version 1, as far as it is needed to make the bundle anew."""

    files: dict[str, Digest]
    metadata: dict[str, str]
    graph: Graph


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest, and where its files are read from: a folder, or the memory in which they were made anew."""

    path: Path
    manifest: BundleManifest
    made: dict[str, bytes] | None = None

    def read(self, name: str) -> bytes:
        """The bytes of one file, which are those that were written. Raises FileError."""
        return self.made[name] if self.made is not None else read_file(self.path, name, self.manifest)

    @property
    def digest(self) -> str:
        """What tells one network from another: the SHA-256 of the parameters and of the graph."""
        together = f"{self.manifest.files[WEIGHTS]} {hashlib.sha256(msgspec.json.encode(self.manifest.graph)).hexdigest()}"
        return digest(together.encode())


def has_steps(found: Facts) -> bool:
    """Whether a network can be run one token at a time: over time, looking ahead nowhere."""
    return found.grid is None and found.looks_ahead is None


def layout_of(graph: Graph, spare: int = 0) -> StateLayout | None:
    """Lay out the state of a graph; None if it has no step graphs. Raises GraphError for one without a meaning."""
    found = facts(graph)
    return state_layout(found, spare) if has_steps(found) else None


def slots_of(graph: Graph) -> ImageSlots | None:
    """Lay out images computed pixel by pixel; None of a graph over time, and of one that looks ahead."""
    found = facts(graph)
    return image_slots(graph) if found.grid is not None and found.looks_ahead is None else None


def image_state(graph: Graph) -> ImageTable | None:
    """The image table of the manifest."""
    slots, found = slots_of(graph), facts(graph)
    if slots is None:
        return None
    looks = found.types[found.sequence].channels if found.strict and found.ordered else 1
    return ImageTable(
        slots.past,
        slots.first_visit,
        slots.output_lead,
        looks,
        slots.stored_channels,
        slots.line_channels,
        dict(slots.rings),
    )


def check_size(layout: StateLayout | None) -> None:
    """Raise GraphError for a state that no memory would hold, before any is asked for."""
    numbers = sum(slots * channels for slots, channels in layout.sizes.values()) if layout else 0
    if numbers > MOST_STATE:
        raise GraphError(f"a stream would keep {numbers} numbers for each sequence; expected at most {MOST_STATE}")


def models_of(graph: Graph) -> tuple[str, ...]:
    """The names of the ONNX files that the bundle of a graph holds."""
    layout, slots = layout_of(graph), slots_of(graph)
    if slots is not None:
        return (FULL, *slots.ports)
    if layout is None:
        return (FULL,)
    return (FULL, PREFILL, *([CONDITION] if layout.fixed else []), STEP, BLOCK)


def fixed_of(graph: Graph) -> tuple[str, ...]:
    """The nodes that the graph of conditions gives."""
    layout, slots = layout_of(graph), slots_of(graph)
    return layout.fixed if layout is not None else slots.fixed if slots is not None else ()


def state_ports(layout: StateLayout | None) -> tuple[StatePort, ...]:
    """The state table of the manifest."""
    each = layout.slots.values() if layout else ()
    return tuple(StatePort(s.node, s.tensor, s.base, s.count, s.kept, s.lead, s.channels) for s in each)


def digest(data: bytes) -> str:
    """SHA-256, as the manifest holds it."""
    return hashlib.sha256(data).hexdigest()


def read_manifest(path: str | Path) -> BundleManifest:
    """bundle.json, decoded strictly. Raises FileError naming what is wrong and where."""
    folder = as_path(path)
    data, raw = raw_manifest(folder)
    try:
        manifest = msgspec.json.decode(data, type=BundleManifest)
    except msgspec.DecodeError as error:
        raise FileError(f"bundle {str(path)!r}: {MANIFEST}{refused(str(error), raw)}") from None
    if later := sorted(manifest.files.keys() - _KNOWN):
        raise FileError(f"bundle {str(path)!r}: {MANIFEST}: " + newer(f"file {later[0]!r}", f"version {VERSION} without it"))
    _check_belongs(folder, manifest)
    expected = {*models_of(manifest.graph), WEIGHTS, VECTORS}
    if manifest.files.keys() != expected:
        raise FileError(
            f"bundle {str(path)!r}: {MANIFEST}: expected digests of {', '.join(sorted(expected))}, "
            f"got {', '.join(sorted(manifest.files)) or 'none'}"
        )
    return manifest


def read_graph(path: str | Path) -> Graph:
    """The graph of a bundle of any version. Raises FileError as `read_manifest` does."""
    data, raw = raw_manifest(as_path(path))
    if is_version_1(raw):
        return decode_version_1(as_path(path), data, raw).graph
    return read_manifest(path).graph


def is_version_1(raw: object) -> bool:
    """Whether bundle.json is one of version 1, of which only graph and parameters are read."""
    return isinstance(raw, dict) and raw.get("version") == 1 and raw.get("format") == "refar-bundle"


def decode_version_1(folder: Path, data: bytes, raw: object) -> OldManifest:
    """Decode bundle.json of version 1. Raises FileError."""
    try:
        manifest = msgspec.json.decode(data, type=OldManifest)
        facts(manifest.graph)
    except (msgspec.DecodeError, GraphError) as error:
        raise FileError(f"bundle {str(folder)!r}: {MANIFEST}{refused(str(error), raw)}") from None
    return manifest


def _check_belongs(folder: Path, manifest: BundleManifest) -> None:
    """Raise FileError unless all that the manifest says of its graph is so."""
    try:
        found, layout = facts(manifest.graph), manifest.layout
        check_size(layout)
    except GraphError as error:
        raise FileError(f"bundle {str(folder)!r}: {MANIFEST}: {printable(str(error))}") from None
    expected = state_ports(layout), fixed_of(manifest.graph), found.strict, found.first_position, image_state(manifest.graph)
    if (manifest.state, manifest.fixed, manifest.strict, manifest.first_output, manifest.image) != expected:
        raise FileError(f"bundle {str(folder)!r}: {MANIFEST}: its state table does not belong to its graph")


def raw_manifest(folder: Path) -> tuple[bytes, Any]:
    """bundle.json as it stands, and what it holds: text in UTF-8, without a key twice."""
    data = read_regular(folder / MANIFEST, _MOST_JSON, f"bundle {str(folder)!r}: {MANIFEST}")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
            raise FileError(f"bundle {str(folder)!r}: {MANIFEST} is damaged: it holds the key {twice!r} twice in one object")
        return found

    try:
        return data, json.loads(data.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise FileError(f"bundle {str(folder)!r}: {MANIFEST} is damaged: {printable(str(error))}") from None


def refused(problem: str, raw: Any) -> str:
    """Say why bundle.json is not read. Nobody writes it by hand: an unknown field, operator or word comes from a later refar."""
    if is_newer(raw, "refar-bundle", VERSION):
        return ": " + newer(f"version {raw['version']}", f"version {VERSION}")
    problem = printable(problem)
    if not isinstance(raw, dict) or raw.get("format") != "refar-bundle":
        return f" is damaged: {problem}"
    graph: Any = raw.get("graph")
    if is_newer(graph, "refar-graph"):
        return ": " + newer(f"graph: version {graph['version']}", "version 1")
    unknown = "unknown field" in problem or problem.startswith(("Invalid value '", "Invalid enum value '"))
    return ": " + newer(problem, f"version {VERSION} without it") if unknown else f" is damaged: {problem}"


def check_replaceable(path: str | Path) -> None:
    """Raise FileError, naming the file, unless a folder holds a bundle as it was exported, or part of one, and nothing else."""
    folder = as_path(path)
    kept = f"so {str(path)!r} is not replaced; choose another folder, or remove this one yourself"
    if not (folder / MANIFEST).is_file():
        raise FileError(f"{str(path)!r} exists and is no bundle: expected the file {MANIFEST} in it, got none; {kept}")
    try:
        data, raw = raw_manifest(folder)
        files = decode_version_1(folder, data, raw).files if is_version_1(raw) else read_manifest(folder).files
    except FileError as error:
        raise FileError(f"{error}; {kept}") from None
    if found := stray(folder, {MANIFEST: sha256(folder / MANIFEST), **files}, "export"):
        raise FileError(f"bundle {str(path)!r} holds {found}; {kept}")


def read_file(path: str | Path, name: str, manifest: BundleManifest) -> bytes:
    """The bytes of one file, which must be those that were written. Raises FileError."""
    sizes = facts(manifest.graph).parameters.values()
    most = 16 * sum(math.prod(shape) for shape in sizes) + _MOST_JSON  # a model holds its parameters, and may fold some anew
    return read_checked(as_path(path), name, manifest.files[name], most)


def read_checked(folder: Path, name: str, expected: str, most: int) -> bytes:
    """The bytes of a file of at most so many, of which the SHA-256 must be the expected one. Raises FileError."""
    data = read_regular(folder / name, most, f"bundle {str(folder)!r}: {name}")
    if digest(data) != expected:
        raise FileError(
            f"bundle {str(folder)!r}: {name} is not what was exported: "
            f"expected SHA-256 {expected[:12]}…, got {digest(data)[:12]}… ({len(data)} bytes)"
        )
    return data


def read_regular(path: Path, most: int, what: str) -> bytes:
    """Read a regular file of at most so many bytes; a pipe or a device is not read. Raises FileError, which says `what` it is."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise FileError(f"{what} is no regular file")
            if found.st_size > most:
                raise FileError(f"{what}: expected at most {most} bytes, got {found.st_size}")
            return file.read(most + 1)
    except OSError as error:
        raise FileError(f"{what} cannot be read: {error.strerror}") from None


def read_weights(bundle: Bundle) -> Arrays:
    """The parameters, {name: float32 array}: what the models were made from. Raises FileError."""
    tensors = _tensors(bundle.path, WEIGHTS, bundle.read(WEIGHTS))
    try:
        return check_parameters(facts(bundle.manifest.graph), tensors)
    except ParameterError as error:
        raise FileError(f"bundle {str(bundle.path)!r}: {WEIGHTS}: {printable(str(error))}") from None


def read_vectors(bundle: Bundle) -> Arrays:
    """The oracle's check vectors: "x", "condition.<name>" and "y", the outputs in float64."""
    return _tensors(bundle.path, VECTORS, bundle.read(VECTORS))


def _tensors(path: str | Path, name: str, data: bytes) -> Arrays:
    try:
        return safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise FileError(f"bundle {str(path)!r}: {name} is damaged: {printable(str(error))}") from None
