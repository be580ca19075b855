"""The start of a training: checks of everything that can be known before the first step, and a fresh state."""

from __future__ import annotations

import copy

import torch
from torch.optim import AdamW

from refar.analysis.facts import facts
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
from refar.training.checks import check_batch, check_reach
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
    check_reach(graph, data)
    check_batch(options, data, ranks.count)
    if config.loss.horizon and (dropouts := list(rates(graph))):
        raise GraphError(f"loss.horizon: a network with a dropout, here {dropouts[0]!r}, cannot be unrolled")
    if options.samples_every and config.loss.kind != "nats":
        raise InputError(
            f"train.samples_every: expected 0 with the loss {config.loss.kind!r}, as such a network draws no sequences"
        )
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
