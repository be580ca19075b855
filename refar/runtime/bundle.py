"""What a bundle is: its files, its manifest, its ports; read without trust. NumPy, msgspec and safetensors only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import safetensors.numpy
from msgspec import Meta, Struct

from refar.analysis.facts import facts
from refar.analysis.schedule import Schedule
from refar.arguments.arrays import Arrays
from refar.errors import FileError, GraphError, is_newer, newer
from refar.files import as_path, sha256, stray
from refar.graph.graph import Graph

PAST, PRESENT, START, OUTPUT = "past", "present", "start", "output"
"""The ports beside the graph's own inputs: past.<node> → present.<node>, the flag of a step before any token, the result."""

FORMAT = "refar-bundle 1"
"""What a bundle says of itself: `refar` in bundle.json, `producer_version` and `refar.format` in each model. No release."""

BLOCK = "block.onnx"
VECTORS = "check.safetensors"
MANIFEST = "bundle.json"
_KNOWN = {"full.onnx", "prefill.onnx", "step.onnx", BLOCK, VECTORS}

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class StatePort(Struct, frozen=True, forbid_unknown_fields=True):
    """One carried value: past.<node> in, present.<node> out, float32 (batch_size, channels, length), oldest first.

    Under layer padding it is zero before the first position. `ahead` is 1 if its newest value belongs to the position after
    the newest token.
    """

    node: str
    channels: int
    length: int
    ahead: int


class BundleManifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """bundle.json. `files` holds the SHA-256 of every other file; `metadata` is the exporter's to fill.

    `refar` is FORMAT, so that a release changes no byte. Older bundles have the release there.
    """

    format: Literal["refar-bundle"]
    version: Literal[1]
    refar: str
    strict: bool
    dtype: Literal["float32"]
    opset: int
    ir: int
    state: tuple[StatePort, ...]
    files: dict[str, Digest]
    metadata: dict[str, str]
    graph: Graph


@dataclass(frozen=True)
class Ports:
    """What the graphs of a bundle have beside the network's own inputs.

    `steps`: whether there are step graphs, which needs a graph over time that looks ahead nowhere and has an output from the
    first position on. `start`: whether step.onnx can begin by itself, from a state of zeros and a flag; under input padding
    prefill must begin. `state`: the state of the step graph, that of `refar.next` if the graph is `strict`, else that of
    `refar.step`; `schedule` says how it runs.
    """

    steps: bool
    start: bool
    strict: bool
    state: tuple[StatePort, ...]
    schedule: Schedule

    def files(self, *, block: bool) -> tuple[str, ...]:
        """The names of the ONNX files."""
        if not self.steps:
            return ("full.onnx",)
        return ("full.onnx", "prefill.onnx", "step.onnx", *([BLOCK] if block else []))


@lru_cache(maxsize=64)
def ports(graph: Graph) -> Ports:
    """Find the ports of a graph. Raises GraphError for one without a meaning."""
    found = facts(graph)
    steps = found.grid is None and graph.padding != "valid" and found.looks_ahead is None
    if not steps:
        return Ports(False, False, found.strict, (), Schedule({}, {}))
    schedule = found.schedule(leading=found.strict)
    state = [StatePort(name, found.types[name].size, kept, schedule.lead[name]) for name, kept in schedule.cache.items()]
    return Ports(True, found.strict and graph.padding == "layer", found.strict, tuple(state), schedule)


def digest(data: bytes) -> str:
    """SHA-256, as the manifest holds it."""
    return hashlib.sha256(data).hexdigest()


def read_manifest(path: str | Path) -> BundleManifest:
    """bundle.json, decoded strictly. Raises FileError naming what is wrong and where."""
    file = as_path(path) / MANIFEST
    try:
        text = file.read_bytes()
        manifest = msgspec.json.decode(text, type=BundleManifest)
    except OSError as error:
        raise FileError(f"bundle {str(path)!r}: {MANIFEST} cannot be read: {error.strerror}") from None
    except msgspec.ValidationError as error:
        raise FileError(f"bundle {str(path)!r}: {MANIFEST}{_refused(str(error), msgspec.json.decode(text))}") from None
    except msgspec.DecodeError as error:
        raise FileError(f"bundle {str(path)!r}: {MANIFEST} is damaged: {error}") from None
    if later := sorted(manifest.files.keys() - _KNOWN):
        raise FileError(f"bundle {str(path)!r}: {MANIFEST}: " + newer(f"file {later[0]!r}", "version 1 without it"))
    try:
        belongs = (manifest.state, manifest.strict) == (ports(manifest.graph).state, ports(manifest.graph).strict)
    except GraphError as error:
        raise FileError(f"bundle {str(path)!r}: {MANIFEST}: {error}") from None
    if not belongs:
        raise FileError(f"bundle {str(path)!r}: {MANIFEST}: its state table does not belong to its graph")
    expected = {*ports(manifest.graph).files(block=BLOCK in manifest.files), VECTORS}
    if manifest.files.keys() != expected:
        raise FileError(
            f"bundle {str(path)!r}: {MANIFEST}: expected digests of {', '.join(sorted(expected))}, "
            f"got {', '.join(sorted(manifest.files)) or 'none'}"
        )
    return manifest


def _refused(problem: str, raw: Any) -> str:
    """Say why bundle.json is not read. Nobody writes it by hand: an unknown field, operator or word comes from a later refar."""
    if is_newer(raw, "refar-bundle"):
        return ": " + newer(f"version {raw['version']}", "version 1")
    if not isinstance(raw, dict) or raw.get("format") != "refar-bundle":
        return f" is damaged: {problem}"
    graph: Any = raw.get("graph")
    if is_newer(graph, "refar-graph"):
        return ": " + newer(f"graph: version {graph['version']}", "version 1")
    unknown = "unknown field" in problem or problem.startswith(("Invalid value '", "Invalid enum value '"))
    return ": " + newer(problem, "version 1 without it") if unknown else f" is damaged: {problem}"


def check_replaceable(path: str | Path) -> None:
    """Raise FileError, naming the file, unless a folder holds a bundle as it was exported, or part of one, and nothing else."""
    folder = as_path(path)
    kept = f"so {str(path)!r} is not replaced; choose another folder, or remove this one yourself"
    if not (folder / MANIFEST).is_file():
        raise FileError(f"{str(path)!r} exists and is no bundle: expected the file {MANIFEST} in it, got none; {kept}")
    try:
        manifest = read_manifest(folder)
    except FileError as error:
        raise FileError(f"{error}; {kept}") from None
    if found := stray(folder, {MANIFEST: sha256(folder / MANIFEST), **manifest.files}, "export"):
        raise FileError(f"bundle {str(path)!r} holds {found}; {kept}")


def read_file(path: str | Path, name: str, manifest: BundleManifest) -> bytes:
    """The bytes of one file, which must be those that were written. Raises FileError."""
    try:
        data = (Path(path) / name).read_bytes()
    except OSError as error:
        raise FileError(f"bundle {str(path)!r}: {name} cannot be read: {error.strerror}") from None
    if digest(data) != manifest.files[name]:
        raise FileError(
            f"bundle {str(path)!r}: {name} is not what was exported: "
            f"expected SHA-256 {manifest.files[name][:12]}…, got {digest(data)[:12]}… ({len(data)} bytes)"
        )
    return data


def read_vectors(path: str | Path, manifest: BundleManifest) -> Arrays:
    """The oracle's check vectors: "x", "condition.<name>" and "y", the outputs in float64."""
    data = read_file(path, VECTORS, manifest)
    try:
        return safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise FileError(f"bundle {str(path)!r}: {VECTORS} is damaged: {error}") from None
