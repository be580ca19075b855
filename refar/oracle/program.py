"""A graph bound to parameters, checked once: a value with methods. The functions of `refar` make one and use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar.analysis.causality import require_strict
from refar.arguments.arrays import Array, Arrays, Data, apart, bind_inputs, check_observed, check_real, extent, in_order
from refar.arguments.sampling import Sampling, SamplingOptions
from refar.errors import InputError
from refar.graph.graph import Graph, require_head
from refar.oracle import losses
from refar.oracle.bayes import log_joint, logsumexp
from refar.oracle.bound_graph import BoundGraph, bound_graph
from refar.oracle.generation import generate_sequences
from refar.oracle.image_generation import generate_images
from refar.oracle.image_stream import ImageStream
from refar.oracle.raster import ImageState
from refar.oracle.sequence_stream import NotReady, SequenceStream
from refar.oracle.stream import SequenceState
from refar.oracle.whole import forward_nodes, gradients

State = SequenceState | ImageState
"""Of a sequence {node: array}, of an image an `ImageState`."""


class Options(SamplingOptions, total=False):
    """The options of `generate`, see `refar.generate`."""

    algorithm: Literal["fast", "slow"]


class Program:
    """A graph bound to parameters and a dtype, checked once.

        program = refar.bind(graph, params)
        y_0, state = program.start(batch=2)
        y_next, state = program.next(state, x_t)

    Every method is the function of `refar` of the same name without `graph`, `params` and `dtype`.
    """

    def __init__(self, net: BoundGraph) -> None:
        self._net = net
        self._stream = SequenceStream(net) if net.facts.grid is None else ImageStream(net)

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self._net.graph

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that all arithmetic is done in."""
        return self._net.dtype

    def __repr__(self) -> str:
        return f"Program({self.graph!r}, {self.dtype})"

    def forward(self, x: Data, condition: Data | None = None) -> Array:
        """Return the output for a whole sequence, y_bct; see `refar.forward`."""
        inputs = self._net.cast(bind_inputs(self._net.facts, x, condition))
        y = forward_nodes(self._net, inputs, keep=False)[self.graph.output][:, :, self._net.facts.first_position :]
        return apart(y, inputs)

    def backward(self, x: Data, dy: ArrayLike, condition: Data | None = None) -> dict[str, Arrays]:
        """Return the gradients of Σ dy·y; see `refar.backward`."""
        found, net = self._net.facts, self._net
        inputs = net.cast(bind_inputs(self._net.facts, x, condition))
        sequence, first = inputs[found.sequence], found.first_position
        place = extent(found.types[found.sequence], sequence)
        upstream = np.zeros((len(sequence), found.types[self.graph.output].channels, *place), net.dtype)
        upstream[:, :, first:] = check_real("dy, the gradient of the output", dy, upstream[:, :, first:].shape)
        dparams, dinputs = gradients(net, inputs, upstream)
        return {"params": dparams, "inputs": dinputs}

    def log_prob(self, x: Data, condition: Data | None = None) -> Array:
        """Return log p(x) of each sequence in nats, shape (B,); see `refar.log_prob`."""
        return -self._nats("log_prob", bind_inputs(self._net.facts, x, condition)).sum(axis=1)

    def nll_per_position(self, x: Data, condition: Data | None = None) -> Array:
        """Return -log p of each position in nats, (B, T), or of each value of an image; see `refar.nll_per_position`."""
        found = self._net.facts
        inputs = bind_inputs(found, x, condition)
        nats, modelled = self._nats("nll_per_position", inputs), inputs[found.sequence]
        if not found.types[found.sequence].image:
            return nats
        batch, colours, height, width = modelled.shape
        return np.moveaxis(nats.reshape(batch, height, width, colours), -1, 1)

    def _nats(self, purpose: str, inputs: Arrays) -> Array:
        """Return -log p of each position, (B, T), or of an image's values in the order in which they are modelled, (B, H·W·C)."""
        found = self._net.facts
        require_strict(found, purpose)
        head = require_head(self.graph, purpose)
        y, values = in_order(found.types[found.sequence], self.forward(inputs), inputs[found.sequence])
        return losses.nats(head, y, values)

    def nll(self, x: Data, condition: Data | None = None) -> float:
        """Return the training loss, nats per value; see `refar.nll`."""
        inputs = bind_inputs(self._net.facts, x, condition)
        total, count = self._nats("nll", inputs).sum(), inputs[self._net.facts.sequence].size
        if count == 0:
            raise InputError("nll: expected at least one value, got an empty sequence, whose mean does not exist")
        return float(total / count)

    def log_marginal(self, x: ArrayLike, prior: ArrayLike | None = None) -> Array:
        """Return log p(x) with the class summed out, shape (B,); see `refar.log_marginal`."""
        return logsumexp(log_joint(self._net, x, prior, "log_marginal")[:, -1])

    def posterior(self, x: ArrayLike, prior: ArrayLike | None = None, *, observed: ArrayLike | None = None) -> Array:
        """Return p(y | x), shape (B, classes); see `refar.posterior`."""
        joint = log_joint(self._net, x, prior, "posterior")
        seen = joint[:, check_observed(observed, joint.shape[1] - 1)]
        return np.exp(seen - logsumexp(seen)[..., None])

    def initial_state(self, batch: int = 1, condition: Data | None = None, *, shape: tuple[int, int] | None = None) -> State:
        """Return the state before position 0; see `refar.initial_state`."""
        return self._stream.initial_state(batch, condition, shape)

    def start(
        self, batch: int | None = None, condition: Data | None = None, *, shape: tuple[int, int] | None = None
    ) -> tuple[Array, State]:
        """Return y_0 and the state for `next`; see `refar.start`."""
        return self._stream.start(batch, condition, shape)

    def step(self, state: State, x_t: Data, condition: Data | None = None) -> tuple[Array | Literal[NotReady.NOT_READY], State]:
        """Return y_t and the state after position t; see `refar.step`."""
        return self._stream.step(state, x_t, condition)

    def block(self, state: State, x: Data, condition: Data | None = None) -> tuple[Array, State]:
        """Take any number of positions in one call; see `refar.block`."""
        return self._stream.block(state, x, condition)

    def next(self, state: State, x_t: Data, condition: Data | None = None) -> tuple[Array | None, State]:
        """Return y_{t+1} after the token x_t, and the state after it; see `refar.next`."""
        return self._stream.next(state, x_t, condition)

    def next_block(self, state: State, x: Data, condition: Data | None = None) -> tuple[Array, State]:
        """`next` for any number of tokens in one call; see `refar.next_block`."""
        return self._stream.next_block(state, x, condition)

    def generate(self, n: int | tuple[int, int], **options: Unpack[Options]) -> Array:
        """Return new tokens after the prompt; see `refar.generate`, which has the same options but `certify`."""
        return self.generate_with_outputs(n, **options)[0]

    def generate_with_outputs(
        self,
        n: int | tuple[int, int],
        *,
        batch: int | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        prompt: ArrayLike | None = None,
        condition: Data | None = None,
        algorithm: Literal["fast", "slow"] = "fast",
    ) -> tuple[Array, Array]:
        """As `generate`, with the outputs y_bct or y_bchw that the tokens were drawn from; of an image 0 where the prompt is."""
        require_strict(self._net.facts, "generate")
        head = require_head(self.graph, "generate")
        if algorithm not in ("fast", "slow"):
            raise InputError(f"algorithm: expected 'fast' or 'slow', got {algorithm!r}")
        sampling = Sampling(head, batch, seed, temperature, top_k)
        generate = generate_sequences if self._net.facts.grid is None else generate_images
        return generate(self._net, n, prompt, condition, sampling, fast=algorithm == "fast")


def bind(graph: Graph, params: Mapping[str, ArrayLike], *, dtype: DTypeLike = np.float64) -> Program:
    """Bind a graph to parameters, checked once, for many calls.

    The program holds copies of its own: parameters that are changed in place afterwards change nothing in it. Raises
    GraphError, and ParameterError naming the first parameter that does not fit.
    """
    net = bound_graph(graph, params, dtype)
    return Program(net.copied())
