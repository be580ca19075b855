"""The loss of a batch as a sum over its values, and how many they are: what several processes, or parts of a batch, add up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refar import ops
from refar.data import Split
from refar.graph.graph import Graph, require_head
from refar.torch.losses import nats
from refar.torch.module import Module


def given(module: Module, examples: Split, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the sequences and the conditions of the graph as tensors."""
    conditions = {name: torch.from_numpy(examples.conditions[name]).to(device) for name in module.conditions}
    return torch.from_numpy(examples.x).to(device), conditions


def nats_of(graph: Graph, y: Tensor, x: Tensor) -> Tensor:
    """Return -log p of each value, in float32 at least."""
    y = y.float() if y.dtype in (torch.bfloat16, torch.float16) else y
    return nats(require_head(graph, "training"), y, x.to(y.dtype) if x.is_floating_point() else x)


def loss_sum(network: nn.Module, module: Module, examples: Split, device: torch.device) -> Tensor:
    """Return the sum of -log p over all values of a batch, (); `network` is `module`, perhaps compiled or one of many."""
    x, conditions = given(module, examples, device)
    return nats_of(module.graph, network(x, conditions), x).sum()


def count_values(graph: Graph, examples: Split) -> int:
    """Count the values that `loss_sum` adds up: a Gaussian head has one for all channels of a position over time."""
    x = examples.x
    joint = isinstance(require_head(graph, "training"), ops.Gaussian) and x.ndim == 3
    return x.size // x.shape[1] if joint else x.size
