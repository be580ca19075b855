"""A bundle whose models are loaded: their sessions, which many streams share, and what they are fed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from refar.analysis.facts import facts
from refar.analysis.image_slots import CONDITION, PIXEL, PIXELS, ROW
from refar.arguments.arrays import Array, Arrays, Data
from refar.errors import FileError, GraphError, InputError, check_integer
from refar.graph import graph as graphs
from refar.runtime import provider as providers
from refar.runtime.bundle import BLOCK, FIXED, FULL, OUTPUT, STEP, Bundle, models_of, slots_of
from refar.runtime.provider import Guarded, finite
from refar.runtime.signature import check_signature

_MOST_THREADS = 1024  # onnxruntime starts as many as it is told to
_ALONE = {STEP, BLOCK, CONDITION, ROW, PIXEL, PIXELS}
"""Models that run in one thread."""


class Opened:
    """The models of a bundle in onnxruntime. `provider`: what really runs, 'cpu' or 'cuda'.

    Raises FileError for a model that is damaged or has other ports than its graph, BackendError for a provider that does not
    start.
    """

    def __init__(self, bundle: Bundle, provider: providers.Provider, *, fallback: bool, threads: int) -> None:
        threads = check_integer("threads", threads, 1, _MOST_THREADS)
        self.bundle, self.graph = bundle, bundle.manifest.graph
        self.found, self._layout, self.slots = facts(self.graph), bundle.manifest.layout, slots_of(self.graph)
        self.local = [name for name in self.found.conditions if self.found.types[name].timed]
        self.sessions: dict[str, Any] = {}
        for name in models_of(self.graph):
            data, count = bundle.read(name), 1 if name in _ALONE else threads
            self.sessions[name] = providers.open_session(data, name, provider, fallback=fallback, threads=count)
            self._check_model(name)
        self.provider = providers.running(self.sessions[FULL])

    @property
    def layout(self) -> Any:
        """The state of the step graphs. Raises GraphError for a network that has none."""
        self.require_steps("a stream")
        return self._layout

    def require_steps(self, purpose: str) -> None:
        """Raise GraphError, saying what to use instead, for a network that is not run one token at a time."""
        if self.found.grid is not None:
            raise GraphError(f"{purpose} needs a network over time; images are computed pixel by pixel, see generate and canvas")
        self.found.require_causal(purpose)

    def _check_model(self, name: str) -> None:
        session, path = self.sessions[name], str(self.bundle.path)
        if session.get_modelmeta().custom_metadata_map.get("refar.graph_sha256") != graphs.digest(self.graph):
            raise FileError(f"bundle {path!r}: {name} was exported from another graph than the one in bundle.json")
        check_signature(name, session, self.found, self._layout, self.slots)

    def feeds(self, inputs: Arrays) -> Arrays:
        """Return checked inputs in the dtypes of the models."""
        return {name: np.ascontiguousarray(a, np.int64 if a.dtype == np.int64 else np.float32) for name, a in inputs.items()}

    def run(self, model: str, outputs: list[str], inputs: Arrays) -> list[Array]:
        """Run a model once."""
        with Guarded(model):
            found: list[Array] = self.sessions[model].run(outputs, inputs)
        return found

    def forward(self, inputs: Arrays) -> Array:
        """The whole pass over checked inputs."""
        return finite(self.run(FULL, [OUTPUT], self.feeds(inputs))[0], FULL)

    def fixed(self, conditions: Arrays) -> Arrays:
        """Compute what follows from the global conditions alone, {node: (B, C)}."""
        names = [f"{FIXED}.{name}" for name in self.layout.fixed]
        given = {name: a for name, a in conditions.items() if not self.found.types[name].timed}
        return dict(zip(self.layout.fixed, self.run(CONDITION, names, self.feeds(given)), strict=True)) if names else {}

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
