"""Read the files of a bundle and its manifest without trusting them. Imports NumPy, msgspec and safetensors alone."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors.numpy
from msgspec import Struct

from refar.analysis.facts import Facts, facts
from refar.analysis.image_slots import CONDITION, PIXEL, PIXELS, ROW
from refar.analysis.int8_products import int8_products
from refar.analysis.sampler import require_sampler
from refar.arguments.arrays import Arrays, check_parameters
from refar.arguments.encoder import Encoder
from refar.errors import FileError, GraphError, InputError, ParameterError, is_newer, newer, printable
from refar.files import as_path, sha256, stray
from refar.graph.graph import Graph, require_head
from refar.noise import check_top_k
from refar.runtime.bundle import (
    BLOCK,
    ENCODER,
    FORMAT,
    FULL,
    IR,
    MANIFEST,
    OPSET,
    PREFILL,
    SAMPLER,
    STEP,
    VECTORS,
    VERSION,
    WEIGHTS,
    WINDOW,
    BundleManifest,
    OldManifest,
    Sampler,
    check_channels,
    check_nodes,
    check_size,
    digest,
    fixed_of,
    image_table,
    state_ports,
)

_KNOWN = {FULL, PREFILL, CONDITION, STEP, BLOCK, WINDOW, SAMPLER, ENCODER, ROW, PIXEL, PIXELS, WEIGHTS, VECTORS}

_MOST_JSON = 16 << 20
"""Bytes of bundle.json: MOST_NODES nodes of a thousand bytes each."""

_MOST_BYTES = 64 << 20
"""Bytes of a file besides its parameters."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest, and where its files are read from: a folder, or the memory in which they were made anew."""

    path: Path
    manifest: BundleManifest
    made: dict[str, bytes] | None = None
    of_version_1: bool = False

    def read(self, name: str) -> bytes:
        """The bytes of one file, which are those that were written. Raises FileError."""
        return self.made[name] if self.made is not None else read_file(self.path, name, self.manifest)

    def shipped(self) -> dict[str, str]:
        """The SHA-256 of each model as it lies in the folder; none of a bundle of version 1, whose models are of another form."""
        if self.of_version_1:
            return {}
        return {name: sha256(self.path / name) for name in self.manifest.models}

    @property
    def digest(self) -> str:
        """What tells one network from another: the SHA-256 of the parameters, of the graph, and of the scales of int8 if any."""
        together = f"{self.manifest.files[WEIGHTS]} {hashlib.sha256(msgspec.json.encode(self.manifest.graph)).hexdigest()}"
        scales = msgspec.json.encode(self.manifest.int8) if self.manifest.int8 else b""
        return digest(together.encode() + scales)


def read_manifest(path: str | Path) -> BundleManifest:
    """bundle.json, decoded strictly. Raises FileError naming what is wrong and where."""
    folder = as_path(path)
    data, raw = raw_manifest(folder)
    try:
        manifest = msgspec.json.decode(data, type=BundleManifest)
    except msgspec.DecodeError as error:
        raise FileError(f"bundle {str(path)!r}: {MANIFEST}{refused(str(error), raw)}") from None
    if later := sorted(manifest.files.keys() - _KNOWN):
        said = newer(f"it lists the file {later[0]!r}", f"version {VERSION} without it")
        raise FileError(f"bundle {str(path)!r}: {MANIFEST}: {said}")
    _check_belongs(folder, manifest)
    expected = {*manifest.models, *([] if manifest.encoder is None else [ENCODER]), WEIGHTS, VECTORS}
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
    version = raw.get("version") if isinstance(raw, dict) else None
    return isinstance(raw, dict) and type(version) is int and version == 1 and raw.get("format") == "refar-bundle"


def decode_version_1(folder: Path, data: bytes, raw: object) -> OldManifest:
    """Decode bundle.json of version 1. Raises FileError."""
    try:
        manifest = msgspec.json.decode(data, type=OldManifest)
        check_nodes(manifest.graph)
        facts(manifest.graph)
    except (msgspec.DecodeError, GraphError) as error:
        raise FileError(f"bundle {str(folder)!r}: {MANIFEST}{refused(str(error), raw)}") from None
    return manifest


def _check_belongs(folder: Path, manifest: BundleManifest) -> None:
    """Raise FileError unless all that the manifest says of its graph is so."""
    try:
        check_nodes(manifest.graph)
        found, layout = facts(manifest.graph), manifest.layout
        check_size(layout)
        check_channels(found)
    except GraphError as error:
        raise FileError(f"bundle {str(folder)!r}: {MANIFEST}: {printable(str(error))}") from None
    expected = {
        "refar": FORMAT,
        "opset": OPSET,
        "ir": IR,
        "state": state_ports(layout),
        "fixed": fixed_of(manifest.graph),
        "strict": found.strict,
        "first_output": found.first_position,
        "image": image_table(manifest.graph),
    }
    for field, value in expected.items():
        came = getattr(manifest, field)
        if came != value:
            raise FileError(f"bundle {str(folder)!r}: {MANIFEST}: {field}: {printable(_differs(value, came))}")
    if manifest.int8:
        _check_int8(folder, found, manifest)
    if manifest.sampler is not None:
        _check_sampler(folder, found, manifest.sampler)
    if manifest.encoder is not None:
        _check_encoder(folder, found, manifest.encoder)


def _check_int8(folder: Path, found: Facts, manifest: BundleManifest) -> None:
    """Raise FileError unless every convolution over time has a scale and a zero point that int8 can use."""
    what = f"bundle {str(folder)!r}: {MANIFEST}: int8"
    try:
        names = int8_products(found)
    except GraphError as error:
        raise FileError(f"{what}: {printable(str(error))}") from None
    if manifest.dtype != "float32" or manifest.int8.keys() != set(names):
        came = f"{', '.join(map(printable, manifest.int8))} and {manifest.dtype}"
        raise FileError(f"{what}: expected scales of {', '.join(names)} and dtype float32, got {came}")
    for name, (scale, zero) in manifest.int8.items():
        if not (0 < scale < math.inf and float(np.float32(scale)) == scale and 0 <= zero <= 255):
            raise FileError(f"{what}: {name}: expected a positive number of float32 and a zero point 0..255, got {scale}, {zero}")


def _check_sampler(folder: Path, found: Facts, sampler: Sampler) -> None:
    """Raise FileError unless tokens of the network can be drawn in the graph, of so many logits."""
    try:
        require_sampler(found)
        check_top_k(require_head(found.graph, "sampler"), sampler.top_k, found.types[found.graph.output].size)
    except (GraphError, InputError) as error:
        raise FileError(f"bundle {str(folder)!r}: {MANIFEST}: sampler: {printable(str(error))}") from None


def _check_encoder(folder: Path, found: Facts, encoder: Encoder) -> None:
    """Raise FileError unless the encoder makes a condition of the network, a vector for the whole sequence."""
    kind = found.types[encoder.condition] if encoder.condition in found.conditions else None
    if kind is None or kind.indexed or kind.timed:
        what = printable(f"{encoder.condition!r}") + ("" if kind is None else f" ({kind})")
        said = "expected a condition that is a vector for the whole sequence"
        raise FileError(f"bundle {str(folder)!r}: {MANIFEST}: encoder: {said}, got {what}")


def _differs(value: object, came: object) -> str:
    """Say in which entry or field what came first differs from the value that belongs to the graph."""
    if isinstance(value, tuple) and isinstance(came, tuple):
        for n, (entry, other) in enumerate(zip(value, came, strict=False)):
            if entry != other:
                return f"entry {n}: {_differs(entry, other)}"
        return f"expected {len(value)} entries, got {len(came)}"
    if isinstance(value, Struct) and isinstance(came, Struct):
        name = next(name for name in value.__struct_fields__ if getattr(value, name) != getattr(came, name))
        return f"{name}: {_differs(getattr(value, name), getattr(came, name))}"
    return f"expected {value}, got {came}"


def no_bundle(folder: Path) -> str:
    """Say what a path without bundle.json is, and what to do."""
    if (folder / "config.toml").is_file():
        return f"{str(folder)!r} is a run, not a bundle; write one with: refar export {folder} -o BUNDLE"
    if folder.is_dir():
        return f"{str(folder)!r} is a folder without bundle.json; expected a bundle (written by 'refar export')"
    if folder.is_file():
        return f"{str(folder)!r} is a file; expected the folder of a bundle (written by 'refar export')"
    return f"{str(folder)!r}: there is no such bundle"


def raw_manifest(folder: Path) -> tuple[bytes, Any]:
    """bundle.json as it stands, and what it holds: text in UTF-8, without a key twice."""
    if not os.path.lexists(folder / MANIFEST):
        raise FileError(printable(no_bundle(folder)))
    data = read_regular(folder / MANIFEST, _MOST_JSON, f"bundle {str(folder)!r}: {MANIFEST}")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"it holds the key {key!r} twice in one object")
            found[key] = value
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
    most = 16 * sum(math.prod(shape) for shape in sizes) + _MOST_BYTES  # a model holds its parameters, and may fold some anew
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
    except (OSError, ValueError) as error:  # a name with a zero byte is no OSError
        raise FileError(f"{what} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise FileError(f"{what} cannot be read: it is no regular file")
        if found.st_size > most:
            raise FileError(f"{what}: expected at most {most} bytes, got {found.st_size}")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(found.st_size + 1)
    except OSError as error:
        raise FileError(f"{what} cannot be read: {error.strerror}") from None
    finally:
        os.close(handle)
    if len(data) > found.st_size:
        raise FileError(f"{what} grows while it is read")
    return data


def read_weights(bundle: Bundle) -> Arrays:
    """The parameters, {name: float32 array}: what the models were made from, widened if stored in float16. Raises FileError."""
    tensors, dtype = _tensors(bundle.path, WEIGHTS, bundle.read(WEIGHTS)), bundle.manifest.dtype
    if wrong := [name for name, array in tensors.items() if array.dtype != np.dtype(dtype)]:
        came = tensors[wrong[0]].dtype
        raise FileError(f"bundle {str(bundle.path)!r}: {WEIGHTS}: {printable(wrong[0])!r}: expected {dtype}, got {came}")
    try:
        return check_parameters(facts(bundle.manifest.graph), {name: array.astype(np.float32) for name, array in tensors.items()})
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
