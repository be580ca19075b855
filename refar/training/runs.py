"""What a training run leaves behind, and how to read it. NumPy only.

config.toml              the config with every value spelled out
graph.json               the network
data.json                what the data mean, and how they were divided: see `refar.data.record`
checkpoint.safetensors   all that is needed to go on
weights.safetensors      the best parameters so far: what is exported
log.jsonl                one JSON object per validation, and per change of [train] on resuming
samples/                 what the network generated on the way, if that was asked for
tensorboard/             the figures of the log for TensorBoard, if that was asked for
.lock                    held by the one process that writes here
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from refar.analysis.facts import facts
from refar.arguments.arrays import Arrays, check_parameters
from refar.arguments.encoder import Encoder
from refar.building import text
from refar.data import record
from refar.data.record import Record
from refar.errors import FileError, is_newer, newer
from refar.files import write_bytes
from refar.graph.graph import Graph, digest
from refar.locks import LOCK
from refar.training.config import Config, load_config

CONFIG, GRAPH, DATA, LOG = "config.toml", "graph.json", "data.json", "log.jsonl"
CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"
OF_ENCODER = "encoder:"
"""The prefix of the names of an encoder's tensors, beside those of its decoder; no node has such a name."""
SAMPLES = "samples"
FILES = (CONFIG, GRAPH, DATA, CHECKPOINT, WEIGHTS, LOG, LOCK)


def sample_stem(step: int) -> str:
    """Return the name below a run of what was generated after a step, without its suffix."""
    return f"{SAMPLES}/step-{step:07d}"


class Run(NamedTuple):
    """A trained network: the graph, its best parameters, and the config that made them."""

    graph: Graph
    params: Arrays
    config: Config


def load_run(path: str | Path) -> Run:
    """Read a run folder. Raises FileError for what is missing, damaged, or not of one run."""
    path = Path(path)
    if not path.is_dir():
        raise FileError(
            f"run {str(path)!r}: expected a folder written by training, got {'a file' if path.exists() else 'nothing'}"
        )
    if not (path / GRAPH).exists():
        raise FileError(f"run {str(path)!r}: {GRAPH} is missing; expected a folder written by training")
    if not (path / WEIGHTS).exists():
        raise FileError(
            f"run {str(path)!r}: {WEIGHTS} is missing; the first validation writes it, so train (or resume) until then"
        )
    graph, config = text.load(path / GRAPH), load_config(path / CONFIG)
    params, info = read_tensors(path / WEIGHTS, "weights")
    check_graph(path / WEIGHTS, info, graph)
    own = {name: array for name, array in params.items() if not name.startswith(OF_ENCODER)}
    return Run(graph, check_parameters(facts(graph), own), config)


def load_encoder(path: str | Path) -> tuple[Encoder, Arrays] | None:
    """The encoder that was trained in a run, and its tensors; None if there was none. Raises FileError as `load_run`."""
    arrays, info = read_tensors(Path(path) / WEIGHTS, "weights")
    if "encoder" not in info:
        return None
    own = {name.removeprefix(OF_ENCODER): array for name, array in arrays.items() if name.startswith(OF_ENCODER)}
    return msgspec.convert(info["encoder"], Encoder), own


def read_record(path: str | Path) -> Record | None:
    """Read the record of a run's data; None for a run of an earlier release, which has none. Raises FileError if damaged."""
    file = Path(path) / DATA
    return record.from_json(file.read_bytes(), f"run {str(path)!r}: {DATA}") if file.is_file() else None


def check_graph(path: Path, info: Mapping[str, Any], graph: Graph) -> None:
    """Raise FileError unless a file of tensors was written for this graph."""
    if info.get("graph") != digest(graph):
        raise FileError(f"{str(path)!r} belongs to another graph than this one ({GRAPH} or [model] has changed)")


def write_tensors(path: Path, kind: str, arrays: Arrays, info: Mapping[str, Any]) -> None:
    """A safetensors file that knows what it is, holds `info`, and carries a digest of all of it."""
    text = msgspec.json.encode(info, order="sorted").decode()
    header = {"format": f"refar-{kind}", "version": 1, "info": text, "sha256": _digest(arrays, text)}
    # One key only: safetensors writes several in random order, and equal runs should leave equal bytes.
    metadata = {"refar": msgspec.json.encode(header).decode()}
    write_bytes(path, save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata))


def read_tensors(path: Path, kind: str) -> tuple[Arrays, dict[str, Any]]:
    """What `write_tensors` wrote. Raises FileError for a file that is missing, truncated, altered, or of another kind."""
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("refar", "{}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = msgspec.json.decode(text, type=dict[str, Any])
    except (OSError, SafetensorError, msgspec.DecodeError) as error:
        raise FileError(f"{str(path)!r} cannot be read as safetensors: {error}") from None
    if is_newer(header, f"refar-{kind}"):
        came = newer(f"version {header['version']}", "version 1")
        raise FileError(f"{str(path)!r}: {came}")
    if (header.get("format"), header.get("version")) != (f"refar-{kind}", 1):
        came = f"{header.get('format')!r} version {header.get('version')!r}"
        raise FileError(f"{str(path)!r}: expected 'refar-{kind}' version 1, got {came}")
    if header.get("sha256") != _digest(arrays, header.get("info", "")):
        raise FileError(f"{str(path)!r} is damaged: its content does not have the digest that was written with it")
    return arrays, msgspec.json.decode(header["info"])


def _digest(arrays: Arrays, info: str) -> str:
    digest = hashlib.sha256(info.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
