"""The loss over a split, in pieces of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.data import Split
from refar.graph.graph import Graph
from refar.torch.module import Module
from refar.torch.ranks import Ranks
from refar.torch.sums import given, nats_of

VALUES = 2**22


def mean_nats(module: Module, split: Split, batch_size: int = 256, values: int = VALUES, ranks: Ranks | None = None) -> float:
    """Return the mean nats per value over a split, summed in float64.

    At most `batch_size` sequences are taken at once, and so few that the widest layer has at most `values` values; a sequence
    that is longer is taken in parts, each with the positions before it that it sees. Raises GraphError for a graph without
    a head.
    """
    device = next(module.parameters()).device
    ranks = ranks or Ranks()
    total = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for piece, context in pieces(module.graph, split[ranks.rows(len(split))], batch_size, values):
            x, conditions = given(module, piece, device)
            each = nats_of(module.graph, module(x, conditions), x)[:, context:]
            total += torch.tensor([float(each.double().sum()), each.numel()], dtype=torch.float64)
    nats, count = ranks.total(total.to(device)).tolist()
    return nats / count


def pieces(graph: Graph, split: Split, rows: int, values: int) -> Iterator[tuple[Split, int]]:
    """Cut a split into at most `rows` sequences at once whose widest layer has about `values` values.

    With each piece comes the number of its first positions that only are there to be seen. Images and networks that look ahead
    are not cut within a sequence.
    """
    found = facts(graph)
    positions = split.x[0].size // (split.x.shape[1] if split.x.ndim > 2 else 1) if len(split) else 1
    widest = max(kind.channels for kind in found.types.values() if kind.timed and not (kind.indexed and not kind.image))
    rows = min(rows, max(1, values // (widest * positions)))
    whole = found.grid is not None or found.looks_ahead is not None or graph.padding == "valid"
    length = positions if whole else max(values // widest, found.left_context, 1)
    for first in range(0, len(split), rows):
        part = split[first : first + rows]
        if positions <= length:
            yield part, 0
            continue
        for start in range(0, positions, length):
            context = min(start, found.left_context)
            yield _over(graph, part, slice(start - context, start + length)), context


def _over(graph: Graph, split: Split, positions: slice) -> Split:
    """Return these positions of sequences, and of what is beside them over time."""
    types = facts(graph).types

    def cut(array: Array) -> Array:
        return array[..., positions]

    conditions = {name: cut(a) if name in types and types[name].timed else a for name, a in split.conditions.items()}
    x, target = cut(split.x), None if split.target is None else cut(split.target)
    lengths = None if split.lengths is None else np.clip(split.lengths - positions.start, 0, x.shape[-1])
    return Split(x, conditions, target, lengths)
