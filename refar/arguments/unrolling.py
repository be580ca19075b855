"""Options of unrolling a network in training: the tokens that are fed back, the origins, and the noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refar import noise, ops
from refar.analysis.causality import require_strict
from refar.analysis.facts import Facts, facts
from refar.errors import GraphError, InputError, check_integer
from refar.graph.graph import Graph, require_head

Feedback = Literal["gumbel-softmax", "straight-through", "mean", "sample"]

# Streams of `noise` that no parameter, no row of a batch and no order of examples reads.
_NOISE, _ORIGINS = 2**33, 2**34


@dataclass(frozen=True)
class Unrolling:
    """The tokens z_{o+k} that take the place of x_{o+k} for `horizon` steps, made from the output y_{o+k} and noise.

    Of classes a vector z_q over all of them: "gumbel-softmax", softmax((l + noise)/τ) of the logits l with the `temperature` τ;
    or "straight-through", the unit vector of the largest l + noise, which is the token that generation draws, with the gradient
    of the former. A mixture of logistics has the logits log p(q). Of a signal the "mean" of its distribution, of a mixture
    Σ_k softmax(l)_k·μ_k; or, of a single Gaussian, a "sample", mean + τ·std·noise.
    Source: Jang et al. 2017; Maddison et al. 2017.
    """

    horizon: int
    feedback: Feedback
    temperature: float = 1.0


def feedback_of(head: ops.AnyHead) -> tuple[Feedback, ...]:
    """The kinds of feedback that a head has, the usual one first."""
    match head:
        case ops.Categorical() | ops.MixtureLogistics():
            return "straight-through", "gumbel-softmax"
        case ops.Gaussian() | ops.LearntGaussian():
            return "mean", "sample"
        case ops.MixtureGaussians():
            return ("mean",)
        case _:
            assert_never(head)


def check_unrolling(graph: Graph, unrolling: Unrolling) -> Facts:
    """The facts of a graph that can be unrolled so. Raises GraphError for another graph, InputError for an option."""
    found = facts(graph)
    if found.grid is not None:
        raise GraphError("unrolling expects a graph over time, whose tokens come one after the other; got one of images")
    require_strict(found, "unrolling")
    kinds = feedback_of(require_head(graph, "unrolling"))
    if unrolling.feedback not in kinds:
        expected = " or ".join(map(repr, kinds))
        raise InputError(f"feedback: expected {expected} for a {type(graph.head).__name__} head, got {unrolling.feedback!r}")
    check_integer("horizon", unrolling.horizon, 1, 2**31 - 1)
    noise.check_temperature(unrolling.temperature, positive=True)
    return found


def check_origins(origins: ArrayLike, rows: int, length: int, horizon: int) -> NDArray[np.int64]:
    """Origins o_bm as integers. Raises InputError unless 0 ≤ o ≤ T - horizon."""
    found = np.asarray(origins)
    if horizon > length:
        raise InputError(f"horizon: expected at most the {length} positions of a sequence, got {horizon}")
    if found.ndim != 2 or len(found) != rows or found.dtype.kind not in "iu":
        raise InputError(f"origins: expected integers o_bm for {rows} sequences, got {found.dtype} {found.shape}")
    if found.size and not (found.min() >= 0 and found.max() <= length - horizon):
        came = found.min() if found.min() < 0 else found.max()
        raise InputError(f"origins: expected 0..{length - horizon}, so that {horizon} positions follow, got {came}")
    return found.astype(np.int64)


def noise_size(graph: Graph) -> int:
    """Count the numbers of noise that a token takes: one for each class, or for each channel of a signal."""
    found = facts(graph)
    return found.types[found.sequence].size


def check_noise(graph: Graph, given: ArrayLike | None, shape: tuple[int, ...], feedback: Feedback) -> NDArray[np.float64]:
    """Noise (B, M, n, K) as an array; zeros for the mean, which takes none. Raises InputError if it is missing or misshapen."""
    wanted = (*shape, noise_size(graph))
    if given is None:
        if feedback != "mean":
            raise InputError(f"noise: expected numbers of shape {wanted} for feedback {feedback!r}, got none")
        return np.zeros(wanted)
    found = np.asarray(given, np.float64)
    if found.shape != wanted:
        raise InputError(f"noise: expected the shape {wanted}, got {found.shape}")
    return found


def draw_noise(graph: Graph, seed: int, step: int, rows: range, origins: int, unrolling: Unrolling) -> NDArray[np.float64] | None:
    """Noise (B, M, n, K) as a function of (seed, step, row): Gumbel(0, 1) for classes, N(0, 1) for signals; None for the mean."""
    found = facts(graph)
    if unrolling.feedback == "mean":
        return None
    kind: ops.AnyHead = ops.Categorical() if found.types[found.sequence].indexed else ops.Gaussian()
    size = noise_size(graph)
    streams = [_NOISE + row for row in rows]
    drawn = noise.draw(kind, seed, streams, step, 1, origins * unrolling.horizon * size)
    return drawn.reshape(len(rows), origins, unrolling.horizon, size)


def draw_origins(
    seed: int, step: int, rows: range, count: int, first: int, lengths: NDArray[np.int64], horizon: int
) -> NDArray[np.int64]:
    """Origins o_bm as a function of (seed, step, row): number m is drawn from the m-th of `count` equal parts of the possible.

    Possible are `first` to lengths_b - horizon. With as many origins as that, each comes once; where there are fewer, some come
    several times, and none if the sequence is too short for any: its origins are then -1.
    """
    u = noise.uniform(seed, [_ORIGINS + row for row in rows], step, 1, count).reshape(len(rows), count)
    possible = (lengths - horizon - first + 1)[:, None]
    drawn = first + np.floor((np.arange(count) + u) * np.maximum(possible, 0) / count).astype(np.int64)
    return np.where(possible > 0, drawn, -1)
