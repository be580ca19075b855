"""Samples of a network under training: a file in the run for every so many steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.cli import files, samples
from refar.cli.paint import sheet
from refar.data import Dataset
from refar.files import replacing
from refar.graph.graph import Graph
from refar.oracle.program import bind
from refar.training.runs import sample_stem

_ROWS, _CLASSES = 8, 16


def sketcher(run: Path) -> Callable[[int, Graph, Arrays, Dataset], None]:
    """Return what `train` calls with a step, the network, its weights and the data."""

    def sketch(step: int, graph: Graph, params: Arrays, data: Dataset) -> None:
        conditions = _conditions(graph, data)
        rows = len(next(iter(conditions.values()))) if conditions else _ROWS
        over = data.train.x.shape[2:] if facts(graph).grid is not None else data.train.x.shape[-1]
        x = bind(graph, params).generate(over, batch=rows, seed=step, condition=conditions or None)
        _write(run / sample_stem(step), x, graph, data)

    return sketch


def _conditions(graph: Graph, data: Dataset) -> dict[str, Array]:
    """One row for each class of the only condition; else those of the first sequences of the validation."""
    found = facts(graph)
    only = found.types[found.conditions[0]] if len(found.conditions) == 1 else None
    if only is not None and only.indexed and not only.timed:
        return {found.conditions[0]: np.arange(min(only.size, _CLASSES))}
    return {name: data.valid[:_ROWS].conditions[name] for name in found.conditions}


def _write(stem: Path, x: Array, graph: Graph, data: Dataset) -> None:
    """Pictures as a sheet, sound as sound, other sequences as lines, and what is none of them as numbers."""
    kind = facts(graph).types[facts(graph).sequence]
    if kind.image and not (kind.indexed and kind.channels in (1, 3)):
        files.write_array(stem.with_suffix(".npy"), x)
    elif kind.image:
        with replacing(stem.with_suffix(".png")) as temporary:
            temporary.write_bytes(sheet(graph, x))
    elif data.shape is not None and kind.indexed:
        samples.write_sheet(stem.with_suffix(".png"), x, data.meaning, graph, data.shape)
    elif data.meaning.kind == "sound":
        samples.write(stem.with_suffix(".wav"), x, data.meaning)
    else:
        from refar import plots

        values = data.meaning.decode(x)
        with replacing(stem.with_suffix(".png")) as temporary:
            plots.save(plots.series(values if values.ndim == 3 else values[:, None], data.meaning.columns), temporary)
