"""Whether a training can begin, by its config, its network and its data; PyTorch is not needed to know."""

from __future__ import annotations

from refar import ops
from refar.analysis.facts import facts
from refar.analysis.windows import offsets_of_node
from refar.data import Dataset
from refar.errors import InputError
from refar.graph.graph import Graph
from refar.training.config import TrainConfig


def check_batch(options: TrainConfig, data: Dataset, processes: int = 1) -> None:
    """Raise InputError for a batch of more sequences than there are, or fewer than processes or parts."""
    if options.batch > len(data.train):
        raise InputError(
            f"train.batch: expected at most the {len(data.train)} training sequences of {data.name!r}, got {options.batch}"
        )
    if options.batch < processes:
        raise InputError(
            f"train.batch: expected at least one sequence for each of the {processes} processes, got {options.batch}"
        )
    if options.accumulate > options.batch:
        raise InputError(f"train.accumulate: expected at most the {options.batch} sequences of a batch, got {options.accumulate}")


def check_reach(graph: Graph, data: Dataset) -> None:
    """Raise InputError for a convolution with weights that never meet a value, since no sequence is as long as it looks back."""
    if facts(graph).grid is not None:
        return
    length = data.train.x.shape[-1]
    for node in graph.nodes:
        if isinstance(node.op, ops.Conv1d) and max(offsets_of_node(node.op)) >= length:
            raise InputError(
                f"data {data.name!r}: expected sequences longer than the {max(offsets_of_node(node.op))} positions that node "
                f"{node.name!r} looks back, got {length} positions: its oldest weights would only ever see padding"
            )
