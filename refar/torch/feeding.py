"""The batches of a training, each made while the step before it is computed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.data import Dataset, Split
from refar.data.batches import batch, shift
from refar.graph.graph import Graph
from refar.torch.dropping import draw_masks
from refar.torch.ranks import Ranks
from refar.torch.work import Work, plan
from refar.training.config import TrainConfig
from refar.training.loss_config import LossConfig


@dataclass(frozen=True)
class Batch:
    """The part of one step that this process computes; the whole batch has `counts` values of each term of the loss."""

    work: Work
    counts: tuple[int, ...]


class Feed:
    """Makes the batches of a training in order, from step `first` to before step `end`, one ahead of what was asked for."""

    def __init__(
        self, pool: ThreadPoolExecutor, graph: Graph, loss: LossConfig, data: Dataset, options: TrainConfig, ranks: Ranks,
        steps: range
    ) -> None:  # fmt: skip
        self._pool, self._graph, self._loss, self._data = pool, graph, loss, data
        self._options, self._ranks = options, ranks
        self._steps = iter(steps)
        self._ahead = self._begin()

    def take(self) -> Batch:
        """Return the next batch, of which there must be one."""
        assert self._ahead is not None
        (step, future), self._ahead = self._ahead, None
        made = self._make(step) if future.cancel() else future.result()  # a thread that got no time yet is not waited for
        self._ahead = self._begin()
        return made

    def _begin(self) -> tuple[int, Future[Batch]] | None:
        step = next(self._steps, None)
        return None if step is None else (step, self._pool.submit(self._make, step))

    def _make(self, step: int) -> Batch:
        options, shape = self._options, self._data.shape
        examples = batch(self._data.train, options.seed, step, options.batch)
        rows = self._ranks.rows(len(examples))
        if options.augment == "shift" and shape is not None:  # all rows, so that each moves alike on any number of processes
            examples = _shifted(self._graph, examples, shape, options, step)
        work, counts = plan(self._graph, self._loss, examples, options.seed, step, rows)
        masks = draw_masks(self._graph, work.examples.x, options.seed, step, range(rows.start, rows.stop))
        return Batch(replace(work, dropped=masks), counts)


def _shifted(graph: Graph, examples: Split, shape: tuple[int, int], options: TrainConfig, step: int) -> Split:
    """Pictures moved, and with each of them the conditions that say something of its pixels."""
    types = facts(graph).types

    def over_pixels(name: str, array: Array) -> bool:
        return types[name].timed if name in types else array.shape[2:] == shape

    def moved(array: Array) -> Array:
        return shift(array, shape, options.seed, step, options.augment_probability)

    conditions = {name: moved(array) if over_pixels(name, array) else array for name, array in examples.conditions.items()}
    return replace(examples, x=moved(examples.x), conditions=conditions)


@contextmanager
def feeding(graph: Graph, loss: LossConfig, data: Dataset, options: TrainConfig, ranks: Ranks, steps: range) -> Iterator[Feed]:
    """Make batches in a thread of their own."""
    with ThreadPoolExecutor(1, "batches") as pool:
        yield Feed(pool, graph, loss, data, options, ranks, steps)
