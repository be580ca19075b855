"""The two generation algorithms. Both pick sample(head, y_t, noise(seed, row, t)), so their tokens can be compared one by one.

Slow: one whole pass over the last R tokens for every new one, of which only the last output is used.
Fast: one `next` per token, over queues. Images: `oracle.paint`. Source: Paine et al. 2016, "Fast WaveNet generation algorithm".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar import noise
from refar.analysis.causality import require_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays, Data, bind_prompt, check_sampling, positions
from refar.errors import InputError
from refar.graph.graph import Graph, require_head
from refar.oracle import stream
from refar.oracle.paint import paint, prepare_canvas
from refar.oracle.run import cast, forward_nodes, prepare
from refar.rounding.certify import certify as certificate_of

Step = Callable[[Array], Array]
"""Takes all tokens so far, (B, ≥ 0) or (B, C, ≥ 0), and returns the output for the next position, y_bc."""


def generate(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    n: int | tuple[int, int],
    *,
    batch: int | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    prompt: ArrayLike | None = None,
    condition: Data | None = None,
    algorithm: Literal["fast", "slow"] = "fast",
    dtype: DTypeLike = np.float64,
    certify: bool = False,
) -> Any:
    """`n` new tokens after the prompt: x_bt, or x_bct for a signal. The prompt itself is not repeated.

    `prompt` is x_bt (or x_t for every row), of any length ≥ 0. `batch` defaults to the rows of prompt or condition, else 1.
    `temperature` divides the logits (or scales the std); 0 takes the most probable; see `noise.sample`. With `top_k` only the
    k largest logits of a categorical head can be drawn, of equals the lower classes. Row b draws stream b of the seed.

    Over a plane `n` is the shape (H, W), the result whole images x_bchw, and `prompt` their first rows, x_bchw with any number
    of rows up to H.
    With `certify` the result is (tokens, `rounding.certify.Certificate`): whether exact arithmetic would give the same tokens.
    Raises GraphError for a graph that is not strict or has no head, InputError for options out of range.
    """
    tokens, _ = generate_with_outputs(
        graph, params, n, batch=batch, seed=seed, temperature=temperature, top_k=top_k, prompt=prompt,
        condition=condition, algorithm=algorithm, dtype=dtype,
    )  # fmt: skip
    if not certify:
        return tokens
    return tokens, certificate_of(
        graph, params, tokens, seed=seed, temperature=temperature, top_k=top_k, prompt=prompt, condition=condition
    )


def generate_with_outputs(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    n: int | tuple[int, int],
    *,
    batch: int | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    prompt: ArrayLike | None = None,
    condition: Data | None = None,
    algorithm: Literal["fast", "slow"] = "fast",
    dtype: DTypeLike = np.float64,
) -> tuple[Array, Array]:
    """As `generate`, with the outputs y_bct, or y_bchw, that the tokens were drawn from; of an image 0 where the prompt is."""
    require_strict(facts(graph), "generate")
    head = require_head(graph, "generate")
    if algorithm not in ("fast", "slow"):
        raise InputError(f"algorithm: expected 'fast' or 'slow', got {algorithm!r}")
    if facts(graph).grid is not None:
        canvas = prepare_canvas(graph, params, n, prompt, condition, batch, dtype)
        return paint(canvas, head, seed, temperature, top_k, algorithm)
    n = check_sampling(n, temperature, seed, batch)
    found = facts(graph)
    kind = found.types[found.sequence]
    noise.check_top_k(head, top_k, kind.size)
    tokens, conditions, rows = bind_prompt(graph, prompt, condition, batch, more=n)
    size = found.types[graph.output].size
    weights = prepare(graph, params, dtype)
    conditions = cast(conditions, dtype)
    draws = noise.draw(head, seed, range(rows), tokens.shape[-1], n, size)
    outputs = np.zeros((rows, size, n), dtype)
    fast = algorithm == "fast"
    steps = _fast(graph, weights, conditions, rows, dtype) if fast else _slow(graph, weights, conditions, dtype)
    new = np.zeros((rows, *([] if kind.indexed else [size]), n), np.int64 if kind.indexed else dtype)
    for i in range(n):
        outputs[:, :, i] = steps(tokens)
        new[..., i] = noise.sample(head, outputs[:, :, i], draws[i], temperature, top_k)
        tokens = np.concatenate([tokens, new[..., i : i + 1]], axis=-1)
    return new, outputs


def _slow(graph: Graph, params: Arrays, conditions: Arrays, dtype: DTypeLike) -> Step:
    sequence, furthest = facts(graph).sequence, facts(graph).left_context

    def steps(tokens: Array) -> Array:
        seen = tokens[..., max(tokens.shape[-1] - furthest, 0) :]
        unknown = np.zeros((*seen.shape[:-1], 1), seen.dtype)  # the graph is strict: no output sees it
        x = np.concatenate([seen, unknown], axis=-1)
        now = positions(graph, conditions, tokens.shape[-1] - seen.shape[-1], tokens.shape[-1] + 1)
        return forward_nodes(graph, params, cast({sequence: x, **now}, dtype), dtype)[graph.output][:, :, -1]

    return steps


def _fast(graph: Graph, params: Arrays, conditions: Arrays, rows: int, dtype: DTypeLike) -> Step:
    state = stream.empty(graph, params, conditions, rows, ahead=True, dtype=dtype)
    consumed: int | None = None  # before the start, of which nothing is known but the conditions

    def steps(tokens: Array) -> Array:
        nonlocal state, consumed
        if consumed is None:
            first = positions(graph, conditions, 0, 1)
            y, state = stream.advance(graph, params, state, first, ahead=True, dtype=dtype, rows_before=rows)
            consumed = 0
        if tokens.shape[-1] > consumed:
            later = positions(graph, conditions, consumed + 1, tokens.shape[-1] + 1)
            x = {facts(graph).sequence: tokens[..., consumed:], **later}
            y, state = stream.advance(graph, params, state, x, ahead=True, dtype=dtype)
            consumed = tokens.shape[-1]
        return y[:, :, -1]

    return steps
