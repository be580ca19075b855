"""The two generation algorithms. Both pick sample(head, y_t, noise(seed, row, t)), so their tokens can be compared one by one.

Slow: one whole pass over the last R tokens for every new one, of which only the last output is used.
Fast: one call per token, over cached values. Images: `oracle.image_generation`.
Source: Paine et al. 2016, "Fast WaveNet generation algorithm".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from refar import noise
from refar.arguments.arrays import Array, Arrays, Data, bind_prompt, check_sampling, positions
from refar.arguments.sampling import Sampling
from refar.oracle import stream
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.whole import forward_nodes

Step = Callable[[Array], Array]
"""Takes all tokens so far, (B, ≥ 0) or (B, C, ≥ 0), and returns the output for the next position, y_bc."""


def generate_sequences(
    net: BoundGraph, n: object, prompt: ArrayLike | None, condition: Data | None, sampling: Sampling, *, fast: bool
) -> tuple[Array, Array]:
    """Return `n` new tokens after the prompt, x_bt or x_bct, and the outputs y_bct that they were drawn from.

    Raises InputError for arguments that do not fit the graph.
    """
    found = net.facts
    count = check_sampling(n, sampling.temperature, sampling.seed, sampling.batch)
    kind, size = found.types[found.sequence], found.types[net.graph.output].size
    noise.check_top_k(sampling.head, sampling.top_k, kind.size)
    tokens, conditions, rows = bind_prompt(net.graph, prompt, condition, sampling.batch, more=count)
    draws = noise.draw(sampling.head, sampling.seed, range(rows), tokens.shape[-1], count, size)
    outputs = np.zeros((rows, size, count), net.dtype)
    steps = _fast(net, net.cast(conditions), rows) if fast else _slow(net, net.cast(conditions))
    new = np.zeros((rows, *([] if kind.indexed else [kind.size]), count), np.int64 if kind.indexed else net.dtype)
    for i in range(count):
        outputs[:, :, i] = steps(tokens)
        new[..., i] = noise.sample(sampling.head, outputs[:, :, i], draws[i], sampling.temperature, sampling.top_k)
        tokens = np.concatenate([tokens, new[..., i : i + 1]], axis=-1)
    return new, outputs


def _slow(net: BoundGraph, conditions: Arrays) -> Step:
    sequence, furthest = net.facts.sequence, net.facts.left_context

    def steps(tokens: Array) -> Array:
        seen = tokens[..., max(tokens.shape[-1] - furthest, 0) :]
        unknown = np.zeros((*seen.shape[:-1], 1), seen.dtype)  # the graph is strict: no output sees it
        x = np.concatenate([seen, unknown], axis=-1)
        now = positions(net.graph, conditions, tokens.shape[-1] - seen.shape[-1], tokens.shape[-1] + 1)
        return forward_nodes(net, net.cast({sequence: x, **now}))[net.graph.output][:, :, -1]

    return steps


def _fast(net: BoundGraph, conditions: Arrays, rows: int) -> Step:
    state = stream.empty(net, conditions, rows, leading=True)
    consumed: int | None = None  # no token has arrived yet

    def steps(tokens: Array) -> Array:
        nonlocal state, consumed
        if consumed is None:
            first = positions(net.graph, conditions, 0, 1)
            y, state = stream.advance(net, state, first, leading=True, rows_before=rows)
            consumed = 0
        if tokens.shape[-1] > consumed:
            later = positions(net.graph, conditions, consumed + 1, tokens.shape[-1] + 1)
            y, state = stream.advance(net, state, {net.facts.sequence: tokens[..., consumed:], **later}, leading=True)
            consumed = tokens.shape[-1]
        return y[:, :, -1]

    return steps
