"""A config, described before it is trained: the data beside the network, and the memory of a step."""

from __future__ import annotations

import math

import numpy as np

from refar.analysis.causality import sequence_field
from refar.analysis.facts import facts
from refar.cli.console import count, number
from refar.data import Dataset
from refar.data.dataset import check_fit, for_graph
from refar.graph.graph import Graph
from refar.training.checks import check_batch, check_reach
from refar.training.config import Config, TrainConfig
from refar.training.encoded import encoded_condition


def rows(config: Config, graph: Graph, data: Dataset) -> list[tuple[str, str]]:
    """Say what data and network are to each other. Raises InputError or GraphError if they do not fit."""
    data, options = for_graph(data, graph), config.train
    check_fit(data, graph, () if config.encoder is None else (encoded_condition(config.encoder, graph, data),))
    check_reach(graph, data)
    check_batch(options, data)
    return [
        ("data", _data(data)),
        *([("in a sequence", _reach(graph, data))] if facts(graph).grid is None else []),
        ("steps", _steps(options, data)),
        ("memory of a step", _memory(graph, options, data)),
    ]


def _data(data: Dataset) -> str:
    """Tell how many sequences each part has, and of what shape, which is another where what is held out fills no window."""
    shapes: dict[str, list[str]] = {}
    for name, split in data.splits.items():
        shapes.setdefault(" x ".join(map(str, split.x.shape[1:])), []).append(f"{number(len(split))} {name}")
    of = f"{data.classes} classes" if data.classes else "real numbers"
    return f"{data.name}: " + "; ".join(f"{', '.join(sizes)}; each {shape}" for shape, sizes in shapes.items()) + f" of {of}"


def _reach(graph: Graph, data: Dataset) -> str:
    positions, field = data.train.x.shape[-1], sequence_field(graph)
    whole = max(0, positions - facts(graph).left_context)
    return f"{count(positions, 'position')}, {number(whole)} of them behind a whole receptive field of {number(field)}"


def _steps(options: TrainConfig, data: Dataset) -> str:
    epochs = options.steps * options.batch / len(data.train)
    return f"{number(options.steps)} of {count(options.batch, 'sequence')}: {epochs:.3g} times through the training sequences"


def _memory(graph: Graph, options: TrainConfig, data: Dataset) -> str:
    """Weights, gradients, two moments and the average; and the value of every node, which the gradient needs."""
    found, shape = facts(graph), data.train.x.shape
    parameters = sum(math.prod(size) for size in found.parameters.values()) * (5 if options.ema else 4)
    positions = math.prod(shape[2:]) if len(shape) > 2 else shape[1]
    part = math.ceil(options.batch / options.accumulate)
    values = part * positions * sum(kind.channels for kind in found.types.values() if kind.timed)
    size = (parameters + values) * np.dtype(np.float32).itemsize
    return f"about {size / 2**20:.3g} MiB in float32, the values of all nodes included"
