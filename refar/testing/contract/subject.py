"""What the laws are run on: a graph, its parameters, its backends, and data that is drawn once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph
from refar.oracle.bound_graph import cast, unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import half
from refar.rounding.tolerance import relative_tolerance
from refar.testing.contract import cases
from refar.testing.contract.backends import Backend, Streamed, open_backends
from refar.testing.contract.cases import Extent


@dataclass
class Subject:
    """`params` is None for a bundle, of which only the session is there: then a backend is its own reference."""

    graph: Graph
    params: Arrays | None
    backends: list[Backend]
    names: tuple[str, ...]
    seed: int
    provider: Literal["cpu", "cuda"] = "cpu"
    sizes: cases.Sizes = field(init=False)
    _inputs: dict[Extent, Arrays] = field(default_factory=dict)
    _outputs: dict[tuple[str, Extent], Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sizes = cases.sizes(self.graph)

    @property
    def small(self) -> bool:
        """Whether whole sequences are cheap."""
        return self.sizes.small

    @property
    def image(self) -> bool:
        """Whether the sequence is an image."""
        return facts(self.graph).grid is not None

    def axes(self, first: int = 0) -> str:
        """The axes of the output, or those from the first on, as a message names them."""
        return f"[{', '.join(facts(self.graph).types[self.graph.output].axes[first:])}]"

    @property
    def strict(self) -> bool:
        """Whether y_t is computed without x_t."""
        return is_strict(self.graph)

    @property
    def sequence(self) -> str:
        """The name of the sequence input."""
        return facts(self.graph).sequence

    def rng(self, *key: int) -> np.random.Generator:
        """Random numbers that depend on the seed and the key only."""
        return np.random.default_rng([self.seed, *key])

    def inputs(self, extent: Extent) -> Arrays:
        """One batch of generic data for each extent; one row where a whole sequence is expensive."""
        if extent not in self._inputs:
            rows = self.sizes.rows(extent)
            self._inputs[extent] = cases.generic_inputs(self.graph, self.rng(*extent), rows, *extent)
        return self._inputs[extent]

    def forward(self, backend: Backend, extent: Extent) -> Array:
        """The backend's output on `inputs(extent)`, computed once."""
        key = (backend.name, extent)
        if key not in self._outputs:
            self._outputs[key] = backend.forward(self.inputs(extent))
        return self._outputs[key]

    def values(self, inputs: Arrays) -> Arrays:
        """The oracle's value of every node in float64."""
        assert self.params is not None
        return forward_nodes(unchecked(self.graph, self.params, np.float64), cast(inputs, np.float64))

    def tolerance(self, dtype: str) -> float:
        """How far a backend in this dtype may be off, relative to the largest magnitude of the reference."""
        if dtype in half.BITS:
            assert self.params is not None
            return half.relative_tolerance(self.graph, self.params, cast(self.inputs(self.sizes.short), np.float64), dtype)
        return relative_tolerance(self.graph, dtype, self.sizes.batch * math.prod(self.sizes.long))

    def open(self, graph: Graph, params: Arrays) -> list[Backend]:
        """Open the same backends on another graph."""
        return open_backends(graph, params, self.names, self.provider)

    def streams(self, extent: Extent, split: list[int]) -> Iterator[tuple[Backend, Streamed]]:
        """Every way of every backend to stream over `inputs(extent)` in such pieces."""
        for backend in self.backends:
            for streamed in backend.stream(self.inputs(extent), split):
                yield backend, streamed
