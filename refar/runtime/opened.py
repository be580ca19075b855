"""A bundle whose models are loaded: their sessions, which many streams share, and what they are fed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from refar.analysis.facts import facts
from refar.analysis.image_slots import CONDITION, PIXEL, PIXELS, ROW
from refar.analysis.slots import StateLayout
from refar.arguments.arrays import Array, Arrays, Data, as_array, as_float32, extent
from refar.errors import FileError, GraphError, InputError, check_integer, near, printable
from refar.graph.graph import digest, to_json
from refar.runtime import provider as providers
from refar.runtime.bundle import BLOCK, ENCODER, FIXED, FORMAT, FULL, IR, OPSET, OUTPUT, SAMPLER, STEP, WINDOW, slots_of
from refar.runtime.bundle_files import Bundle, read_vectors, read_weights
from refar.runtime.denormals import mode_of
from refar.runtime.model_header import Header, read_header
from refar.runtime.pace import Pace
from refar.runtime.provider import Guarded, finite, shaped
from refar.runtime.resident import Residents
from refar.runtime.signature import check_signature

_MOST_THREADS = 1024  # onnxruntime starts as many as it is told to
_ALONE = {STEP, BLOCK, WINDOW, SAMPLER, CONDITION, ROW, PIXEL, PIXELS}
"""Models that run in one thread."""


class Opened:
    """The models of a bundle in onnxruntime. `provider`: what really runs, 'cpu' or 'cuda'.

    Raises FileError for a model that is damaged or has other ports than its graph, BackendError for a provider that does not
    start.
    """

    def __init__(self, bundle: Bundle, provider: providers.Provider, *, fallback: bool, threads: int, tf32: bool = False) -> None:
        threads = check_integer("threads", threads, 1, _MOST_THREADS)
        self.bundle, self.graph = bundle, bundle.manifest.graph
        self.found, self._layout, self.slots = facts(self.graph), bundle.manifest.layout, slots_of(self.graph)
        self.first_output = bundle.manifest.first_output  # the first position with an output, of padding "valid" beyond 0
        self.local = [name for name in self.found.conditions if self.found.types[name].timed]
        self.mode = mode_of(self.found)
        self.sessions: dict[str, Any] = {}
        self._cuda = {"use_tf32": str(int(tf32))}
        self.not_captured = f"there is no {SAMPLER}"  # why its steps are no CUDA graph; "" if they are
        self.residents = Residents()
        self.graph_numbers, self.sampling = itertools.count(1), threading.Lock()
        self.paces: dict[tuple[int, int], Pace] = {}  # of sampling ahead, {(rows, guesses): whether it pays}
        for name in bundle.manifest.models:
            data, count = bundle.read(name), 1 if name in _ALONE else threads
            what = f"bundle {str(bundle.path)!r}: {name}"
            options: dict[str, Any] = {"fallback": fallback, "threads": count, "cuda": self._cuda}
            if name == SAMPLER:
                self.sessions[name], self.not_captured = providers.open_captured(data, what, provider, **options)
            else:
                self.sessions[name] = providers.open_session(data, what, provider, **options)
            self._check_model(name, data)
        self.provider = providers.running(self.sessions[FULL])
        read_weights(bundle)  # damaged ones are found now, not when they are asked for
        if bundle.made is None:
            read_vectors(bundle)

    @property
    def captures(self) -> bool:
        """Whether sampler.onnx records its steps as CUDA graphs."""
        return not self.not_captured

    def stop_capturing(self, why: str) -> None:
        """Open sampler.onnx anew, without CUDA graphs."""
        data, what = self.bundle.read(SAMPLER), f"bundle {str(self.bundle.path)!r}: {SAMPLER}"
        self.sessions[SAMPLER] = providers.open_session(data, what, "cuda", fallback=False, threads=1, cuda=self._cuda)
        self.not_captured = why

    @property
    def layout(self) -> StateLayout:
        """The state of the step graphs. Raises GraphError for a network that has none."""
        self.require_steps("a stream")
        assert self._layout is not None
        return self._layout

    def require_steps(self, purpose: str) -> None:
        """Raise GraphError, saying what to use instead, for a network that is not run one token at a time."""
        if self.found.grid is not None:
            raise GraphError(f"{purpose} needs a network over time; images are computed pixel by pixel, see generate and canvas")
        self.found.require_causal(purpose)

    def _check_model(self, name: str, data: bytes) -> None:
        """Raise FileError unless a model has the versions, the metadata and the ports that the manifest implies."""
        session, path = self.sessions[name], str(self.bundle.path)
        wanted = Header(IR, "refar", FORMAT, {"": OPSET})
        try:
            header = read_header(data)
        except ValueError as error:
            raise FileError(f"bundle {path!r}: {name} is damaged: {error}") from None
        if header != wanted:
            raise FileError(f"bundle {path!r}: {name}: expected {wanted}, got {printable(str(header))}")
        metadata = session.get_modelmeta().custom_metadata_map
        if metadata.get("refar.graph_sha256") != digest(self.graph):
            raise FileError(f"bundle {path!r}: {name} was exported from another graph than the one in bundle.json")
        expected = self._metadata(name)
        for key in sorted(expected.keys() | metadata.keys()):
            if metadata.get(key) != expected.get(key):
                came = printable(repr(metadata.get(key)))
                raise FileError(f"bundle {path!r}: {name}: {printable(key)}: expected {expected.get(key)!r}, got {came}")
        check_signature(f"bundle {path!r}: {name}", name, session, self.found, self._layout, self.slots)

    def _metadata(self, name: str) -> dict[str, str]:
        """The metadata of one of the models."""
        found = {
            "refar.format": FORMAT,
            "refar.kind": name.removesuffix(".onnx"),
            "refar.graph": to_json(self.graph).decode(),
            "refar.graph_sha256": digest(self.graph),
        }
        if self.slots is not None and name in self.slots.ports:
            found["refar.image"] = msgspec.json.encode(self.bundle.manifest.image).decode()
        return found

    def feeds(self, inputs: Arrays) -> Arrays:
        """Return checked inputs in the dtypes of the models. Raises InputError for a number that float32 does not hold."""
        found: Arrays = {}
        for name, array in inputs.items():
            found[name] = np.ascontiguousarray(array if array.dtype == np.int64 else as_float32(f"input {name!r}", array))
        return found

    def run(self, model: str, outputs: list[str], inputs: Arrays) -> list[Array]:
        """Run a model once."""
        with Guarded(model), self.mode():
            found: list[Array] = self.sessions[model].run(outputs, inputs)
        return found

    def forward(self, inputs: Arrays) -> Array:
        """The whole pass over checked inputs."""
        sequence, kind = inputs[self.found.sequence], self.found.types[self.graph.output]
        over = extent(self.found.types[self.found.sequence], sequence)
        over = over if self.found.grid else (max(0, over[0] - self.first_output),)
        y = self.run(FULL, [OUTPUT], self.feeds(inputs))[0]
        channels = () if kind.indexed and not kind.image else (kind.channels,)
        return finite(shaped(y, (len(sequence), *channels, *over), FULL), FULL)

    def encode(self, a: ArrayLike) -> Array:
        """The condition vectors of the examples a, by encoder.onnx, which is opened when it is first asked for."""
        encoder = self.bundle.manifest.encoder
        if encoder is None:
            raise GraphError(f"encode: bundle {str(self.bundle.path)!r} has no encoder.onnx; one comes from a run with [encoder]")
        given = as_array("encode", a, f"an array of shape (B, {', '.join(map(str, encoder.shape))})", InputError)
        if given.shape[1:] != encoder.shape or (given.dtype.kind in "iu") != (encoder.dtype == "int64"):
            expected = f"{encoder.dtype} (B, {', '.join(map(str, encoder.shape))})"
            raise InputError(f"encode: expected {encoder.reads!r} as {expected}, got {given.dtype} {given.shape}")
        if ENCODER not in self.sessions:
            what = f"bundle {str(self.bundle.path)!r}: {ENCODER}"
            self.sessions[ENCODER] = providers.open_session(self.bundle.read(ENCODER), what, "cpu", fallback=False, threads=1)
        found = self.run(ENCODER, [encoder.condition], {encoder.reads: given.astype(encoder.dtype)})[0]
        return finite(shaped(found, (len(given), self.found.types[encoder.condition].size), ENCODER), ENCODER)

    def fixed(self, conditions: Arrays) -> Arrays:
        """Compute what follows from the global conditions alone, {node: (B, C)}."""
        names = [f"{FIXED}.{name}" for name in self.layout.fixed]
        if any(len(array) == 0 for array in conditions.values()):  # onnxruntime 1.20 ends the process where there are no rows
            return {name: np.zeros((0, self.found.types[name].size), np.float32) for name in self.layout.fixed}
        given = {name: a for name, a in conditions.items() if not self.found.types[name].timed}
        if not names:
            return {}
        rows = len(next(iter(given.values())))
        values = self.run(CONDITION, names, self.feeds(given))
        each = zip(self.layout.fixed, values, strict=True)
        return {name: shaped(value, (rows, self.found.types[name].size), CONDITION) for name, value in each}

    def named(self, purpose: str, condition: Data | None) -> dict[str, ArrayLike]:
        """Return conditions by name. A lone array is that of the only local condition, or, if there is none, of the only one."""
        if condition is None:
            return {}
        if isinstance(condition, Mapping):
            return dict(condition)
        candidates = self.local or list(self.found.conditions)
        if len(candidates) != 1:
            expected = f"a mapping with {', '.join(map(repr, self.found.conditions))}" if candidates else "none"
            raise InputError(f"{purpose}: condition: expected {expected}, got a value")
        return {candidates[0]: condition}

    def check_names(self, purpose: str, given: Mapping[str, object]) -> None:
        """Raise InputError unless these are the local conditions."""
        if unknown := [name for name in given if name not in self.local]:
            known = {name: "local" if name in self.local else "global" for name in self.found.conditions}
            said = ", ".join(f"{name!r} ({kind})" for name, kind in known.items()) or "none"
            hint = near(unknown[0], known)
            raise InputError(f"{purpose}: there is no condition {unknown[0]!r}{hint}; those of this network are {said}")
        if missing := [name for name in self.local if name not in given]:
            raise InputError(f"{purpose}: condition {missing[0]!r} is missing; give its values at the positions of the outputs")

    def check_changeable(self, purpose: str, names: Mapping[str, object]) -> None:
        """Raise InputError, naming the node, if a global condition cannot change in the middle of a sequence.

        It cannot where a node of a strict network that sees the newest token reads it: that node is still at the position
        before the output. Nor can it under input padding, where the values at t < 0 depend on it.
        """
        changing = set(names)
        for node in self.graph.nodes:
            timed, reads = self.found.types[node.name].timed, sorted(changing & set(node.inputs))
            if reads and timed and self.found.strict and self.layout.schedule.lead[node.name] == 0:
                raise InputError(
                    f"{purpose}: {', '.join(map(repr, names))} cannot change in mid-stream: node {node.name!r} "
                    f"({node.op.__struct_config__.tag}) is at the position of the token, where it is still the old one; "
                    "begin a new stream, or make the condition a local one"
                )
            if reads and not timed:
                changing.add(node.name)
        if self.graph.padding == "input":
            raise InputError(
                f"{purpose}: {', '.join(map(repr, names))} cannot change in mid-stream under padding 'input': "
                "the values at t < 0 depend on it; begin a new stream"
            )
