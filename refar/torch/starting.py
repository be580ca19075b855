"""The start of a training: checks of everything that can be known before the first step, and a fresh state."""

from __future__ import annotations

import copy

import torch
from torch.optim import AdamW

from refar import ops
from refar.analysis.facts import facts
from refar.analysis.windows import offsets_of_node
from refar.data import Dataset
from refar.data.dataset import check_fit
from refar.errors import BackendError, GraphError, InputError
from refar.graph.graph import Graph
from refar.torch.board import require_board
from refar.torch.checkpoint import State
from refar.torch.coupled import Network
from refar.torch.dropping import rates
from refar.torch.encoder import couple
from refar.torch.fitting import check_loss
from refar.torch.module import Module
from refar.torch.ranks import Ranks
from refar.training.config import Config, TrainConfig
from refar.training.encoded import encoded_condition


def new_state(graph: Graph, options: TrainConfig, module: Network | None = None) -> State:
    """Return the network as it is before the first step, with its optimizer; `module`, if it is not that of the graph alone."""
    module = module or Module(graph, seed=options.seed)
    module.to(options.device)
    average = copy.deepcopy(module) if options.ema else None
    groups = [
        {"params": [p for p in module.parameters() if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in module.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return State(module, average, AdamW(groups, lr=options.learning_rate, betas=options.betas, fused=True))


def new_network(config: Config, graph: Graph, data: Dataset) -> Network:
    """Return the module of the graph, coupled with an encoder if [encoder] says so. Raises as `couple`."""
    decoder = Module(graph, seed=config.train.seed)
    return decoder if config.encoder is None else couple(config.encoder, decoder, data, config.train.seed)


def check(config: Config, graph: Graph, data: Dataset, ranks: Ranks) -> None:
    """Raise GraphError, InputError or BackendError for what cannot be trained."""
    options = config.train
    check_loss(config.loss, graph, data)
    check_fit(data, graph, () if config.encoder is None else (encoded_condition(config.encoder, graph, data),))
    _check_reach(graph, data)
    _check_batch(options, data, ranks)
    if config.loss.horizon and (dropouts := list(rates(graph))):
        raise GraphError(f"loss.horizon: a network with a dropout, here {dropouts[0]!r}, cannot be unrolled")
    if options.tensorboard:
        require_board()
    if options.augment == "shift" and data.shape is None and data.meaning.kind == "picture":
        raise InputError(
            f"train.augment: 'shift' moves pictures of one value a pixel, but to this network over time each pixel of data "
            f"{data.name!r} is {data.meaning.channels} values, one after the other; take a network of images, or 'none'"
        )
    if options.augment == "shift" and data.shape is None:
        raise InputError(f"train.augment: 'shift' needs pictures, but data {data.name!r} has no picture shape")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise BackendError("train.device: 'cuda' was asked for, but PyTorch finds no CUDA device")
    if not facts(graph).parameters:
        raise GraphError("training needs a graph with parameters; this one has none")


def _check_batch(options: TrainConfig, data: Dataset, ranks: Ranks) -> None:
    if options.batch > len(data.train):
        raise InputError(
            f"train.batch: expected at most the {len(data.train)} training sequences of {data.name!r}, got {options.batch}"
        )
    if options.batch < ranks.count:
        raise InputError(
            f"train.batch: expected at least one sequence for each of the {ranks.count} processes, got {options.batch}"
        )
    if options.accumulate > options.batch:
        raise InputError(f"train.accumulate: expected at most the {options.batch} sequences of a batch, got {options.accumulate}")


def _check_reach(graph: Graph, data: Dataset) -> None:
    """Refuse a convolution with a weight that never meets a value, since no sequence is as long as it looks back."""
    if facts(graph).grid is not None:
        return
    length = data.train.x.shape[-1]
    for node in graph.nodes:
        if isinstance(node.op, ops.Conv1d) and max(offsets_of_node(node.op)) >= length:
            raise InputError(
                f"data {data.name!r}: expected sequences longer than the {max(offsets_of_node(node.op))} positions that node "
                f"{node.name!r} looks back, got {length} positions: its oldest weights would only ever see padding"
            )
