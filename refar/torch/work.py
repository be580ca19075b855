"""The work of training on a batch: the positions that count, and the origins and the noise of unrolling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.arguments.unrolling import Unrolling, draw_noise, draw_origins, feedback_of
from refar.data import Split
from refar.graph.graph import Graph, require_head
from refar.training.loss_config import LossConfig

VALIDATION = 2**40
"""The step of which validation takes its noise and its origins: no training does as many."""


@dataclass(frozen=True)
class Work:
    """Some rows of a batch: `mask` (B, T) of the positions that count, all without it; `origins` (B, M) and `noise` (B, M, n, K).

    An origin of -1 stands where a sequence is too short for any. `dropped` are the masks of dropouts, by node.
    """

    examples: Split
    mask: Array | None = None
    origins: Array | None = None
    noise: Array | None = None
    dropped: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, rows: slice) -> Work:
        mask, origins, noise = (None if a is None else a[rows] for a in (self.mask, self.origins, self.noise))
        return Work(self.examples[rows], mask, origins, noise, {name: a[rows] for name, a in self.dropped.items()})


def unrolling_of(graph: Graph, loss: LossConfig) -> Unrolling | None:
    """Return the unrolling that [loss] asks for; None if it asks for none."""
    if not loss.horizon:
        return None
    feedback = loss.feedback or feedback_of(require_head(graph, "unrolling"))[0]
    return Unrolling(loss.horizon, feedback, loss.temperature)


def first_counted(graph: Graph, loss: LossConfig) -> int:
    """The first position that counts in the loss."""
    found = facts(graph)
    return found.first_position if loss.context else max(found.left_context, found.first_position)


def plan(
    graph: Graph, loss: LossConfig, examples: Split, seed: int, step: int, rows: slice, offset: int = 0
) -> tuple[Work, tuple[int, ...]]:
    """The work of these rows of a batch, and how many values each term of the loss has in the whole batch.

    Noise and origins are functions of (seed, step, row), so that any number of processes computes the same; the first row of the
    batch is number `offset`.
    """
    mask = _mask(graph, loss, examples)
    count = _counted(loss, examples, mask)
    unrolling = unrolling_of(graph, loss)
    if unrolling is None:
        return Work(examples, mask)[rows], (count,)
    lengths = examples.lengths if examples.lengths is not None else np.full(len(examples), examples.x.shape[-1])
    first = first_counted(graph, loss)
    numbers = range(offset, offset + len(examples))
    origins = draw_origins(seed, step, numbers, loss.origins, first, lengths, loss.horizon)
    own = numbers[rows]
    noise = draw_noise(graph, seed, step, own, loss.origins, unrolling)
    part = Work(examples, mask, origins)[rows]
    tokens = int((origins >= 0).sum()) * loss.horizon
    return Work(part.examples, part.mask, part.origins, noise), (count, tokens * _channels(examples.x))


def _mask(graph: Graph, loss: LossConfig, examples: Split) -> Array | None:
    """Which positions count, (B, T); None for all."""
    first = first_counted(graph, loss)
    if examples.x.ndim == 4 or (first == 0 and examples.lengths is None):
        return None
    places = np.arange(examples.x.shape[-1])
    behind = examples.lengths[:, None] if examples.lengths is not None else len(places)
    return np.broadcast_to((places >= first) & (places < behind), (len(examples), len(places)))


def _counted(loss: LossConfig, examples: Split, mask: Array | None) -> int:
    """Count what the first term sums up: values, each channel of a signal being one, or of the ratio whole sequences."""
    if loss.kind == "esr":
        return len(examples) if mask is None else int(mask.any(axis=1).sum())
    if examples.x.ndim == 4:
        return examples.x.size
    positions = len(examples) * examples.x.shape[-1] if mask is None else int(mask.sum())
    if loss.kind == "mse":
        assert examples.target is not None
        return positions * examples.target.shape[1]
    return positions * _channels(examples.x)


def _channels(x: Array) -> int:
    """Return the number of values at a position of sequences x_bt or x_bct."""
    return x.shape[1] if x.ndim == 3 else 1
