"""The loss over a split, in pieces of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.data import Split
from refar.graph.graph import Graph
from refar.torch.coupled import Coupled
from refar.torch.module import Module
from refar.torch.objective import Objective, tensors
from refar.torch.ranks import Ranks
from refar.torch.work import VALIDATION, Work, plan
from refar.training.loss_config import LossConfig

VALUES = 2**22


def mean_nats(module: Module, split: Split, batch_size: int = 256, values: int = VALUES, ranks: Ranks | None = None) -> float:
    """Return the mean nats per value over a split, summed in float64; what is behind `lengths` does not count.

    At most `batch_size` sequences are taken at once, and so few that the widest layer has at most `values` values; a sequence
    that is longer is taken in parts, each with the positions before it that it sees. Raises GraphError for a graph without
    a head.
    """
    return validate(Objective(module, LossConfig()), split, 0, batch_size, values, ranks)["nats"]


def validate(
    objective: Objective, split: Split, seed: int, batch_size: int = 256, values: int = VALUES, ranks: Ranks | None = None
) -> dict[str, float]:
    """Return the mean of each term of the loss over a split, by name, and their weighed sum as the unit of the loss.

    In pieces as `mean_nats`, but whole sequences for a ratio over each, and for an encoder. Origins and noise of unrolling are
    the same every time.
    """
    network, loss, ranks = objective.network, objective.loss, ranks or Ranks()
    device, share = next(network.parameters()).device, ranks.rows(len(split))
    own = split[share]
    rows, length = sizes(network.graph, own, batch_size, values)
    cuts = loss.terms.keys() <= {"nats", "mse"} and not isinstance(network, Coupled)  # an encoder reads all of a sequence
    found = torch.zeros(2, len(loss.terms), dtype=torch.float64)
    with torch.no_grad(), _evaluating(objective):
        for first in range(0, len(own), rows):
            part = own[first : first + rows]
            work, counts = plan(network.graph, loss, part, seed, VALIDATION, slice(None), offset=share.start + first)
            found[1] += torch.tensor(counts)
            for piece in pieces(network.graph, work, length) if cuts else (work,):
                found[0] += objective(**tensors(piece, network, device)).double().cpu()
    sums, numbers = ranks.total(found.to(device)).tolist()
    means = {name: total / max(number, 1) for name, total, number in zip(loss.terms, sums, numbers, strict=True)}
    return means | {loss.unit: sum(weight * means[name] for name, weight in loss.terms.items())}


@contextmanager
def _evaluating(objective: Objective) -> Iterator[None]:
    """Let modules that differ in training, as an encoder's may, be as they are in use."""
    training = objective.network.training
    objective.network.eval()
    try:
        yield
    finally:
        objective.network.train(training)


def sizes(graph: Graph, split: Split, rows: int, values: int) -> tuple[int, int]:
    """Return how many sequences, at most `rows`, and positions of each the widest layer holds in about `values` values."""
    found = facts(graph)
    positions = split.x[0].size // (split.x.shape[1] if split.x.ndim > 2 else 1) if len(split) else 1
    widest = max(kind.channels for kind in found.types.values() if kind.timed and not (kind.indexed and not kind.image))
    return min(rows, max(1, values // (widest * positions))), max(values // widest, found.left_context, 1)


def pieces(graph: Graph, work: Work, length: int) -> Iterator[Work]:
    """Cut sequences into parts of `length` positions, each with those before it that it sees, which do not count again.

    Images and networks that look ahead are not cut.
    """
    found, positions = facts(graph), work.examples.x.shape[-1]
    whole = found.grid is not None or found.looks_ahead is not None or graph.padding == "valid"
    if whole or positions <= length:
        yield work
        return
    for start in range(0, positions, length):
        context = min(start, found.left_context)
        over = slice(start - context, start + length)
        examples = _over(graph, work.examples, over)
        counted = np.ones((len(work), examples.x.shape[-1]), bool) if work.mask is None else work.mask[:, over].copy()
        counted[:, :context] = False
        yield Work(examples, counted)


def _over(graph: Graph, split: Split, positions: slice) -> Split:
    """Return these positions of sequences, and of what is beside them over time."""
    types = facts(graph).types

    def cut(array: Array) -> Array:
        return array[..., positions]

    conditions = {name: cut(a) if name in types and types[name].timed else a for name, a in split.conditions.items()}
    return Split(cut(split.x), conditions, None if split.target is None else cut(split.target))
