"""The loss of a batch as sums over its values, one for each term: what several processes, or parts of a batch, add up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from refar.arguments.arrays import Array
from refar.graph.graph import Graph, require_head
from refar.torch.coupled import Network
from refar.torch.losses import nats
from refar.torch.pairs import error_to_signal
from refar.torch.unroll import Unrolled
from refar.torch.work import Work, unrolling_of
from refar.training.loss_config import LossConfig


class Objective(nn.Module):
    """A network together with what is minimised; calling it gives the sum of each term of [loss] over a batch."""

    def __init__(self, network: Network, loss: LossConfig) -> None:
        super().__init__()
        self.network, self._loss = network, loss
        unrolling = unrolling_of(network.graph, loss)
        self._unrolled = None if unrolling is None else Unrolled(network.graph, unrolling)

    @property
    def loss(self) -> LossConfig:
        """[loss]."""
        return self._loss

    def forward(
        self,
        x: Tensor,
        conditions: Mapping[str, Tensor],
        target: Tensor | None = None,
        mask: Tensor | None = None,
        origins: Tensor | None = None,
        noise: Tensor | None = None,
        dropped: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The sums, one for each of `LossConfig.terms`; the arguments are those of `Work`, as tensors."""
        if self._unrolled is None:
            y = self.network(x, conditions, dropped)
            return self._each(y, x, target, mask).sum().unsqueeze(0)
        assert origins is not None
        values, before = self.network.forward_everywhere(x, conditions)
        one_step = self._each(values[self.network.graph.output], x, target, mask).sum()
        each = self._unrolled(self.network.decoder, values, before, origins.clamp(min=0), noise)
        return torch.stack([one_step, torch.where(origins[:, :, None] >= 0, each, 0).sum()])

    def each(self, x: Tensor, conditions: Mapping[str, Tensor], target: Tensor | None, mask: Tensor | None) -> Tensor:
        """The first term before it is summed: (B, T) of nats, (B, C, T) of squares, (B,) of ratios; 0 where `mask` is not."""
        return self._each(self.network(x, conditions), x, target, mask)

    def _each(self, y: Tensor, x: Tensor, target: Tensor | None, mask: Tensor | None) -> Tensor:
        y, loss = y.float() if y.dtype in (torch.bfloat16, torch.float16) else y, self._loss
        if loss.kind == "nats":
            each = nats_of(self.network.graph, y, x)
            return each if mask is None else torch.where(mask, each, 0)
        assert target is not None
        first = target.shape[2] - y.shape[2]  # under padding "valid" the first positions have no output
        target = target[:, :, first:].to(y.dtype)
        counted = mask[:, first:] if mask is not None else torch.ones_like(y[:, 0], dtype=torch.bool)
        if loss.kind == "esr":
            return error_to_signal(y, target, counted, loss.pre_emphasis, loss.dc)
        return torch.where(counted[:, None], (y - target).square(), 0)

    def total(self, sums: Tensor, counts: tuple[int, ...]) -> Tensor:
        """Σ weight · sum / count over the terms."""
        weights = [weight / max(count, 1) for weight, count in zip(self._loss.terms.values(), counts, strict=True)]
        total = sums[0] * weights[0]
        return total if len(weights) == 1 else total + sums[1] * weights[1]


def nats_of(graph: Graph, y: Tensor, x: Tensor) -> Tensor:
    """Return -log p of each value."""
    return nats(require_head(graph, "training"), y, x.to(y.dtype) if x.is_floating_point() else x)


def tensors(work: Work, network: Network, device: torch.device) -> dict[str, Any]:
    """The arguments of `Objective.forward`."""
    examples = work.examples
    conditions = {name: _tensor(examples.conditions[name], device) for name in network.conditions}
    rest = {"target": examples.target, "mask": work.mask, "origins": work.origins, "noise": work.noise}
    given: dict[str, Any] = {name: _tensor(array, device) for name, array in rest.items() if array is not None}
    if work.dropped:
        given["dropped"] = {name: _tensor(array, device) for name, array in work.dropped.items()}
    return {"x": _tensor(examples.x, device), "conditions": conditions, **given}


def _tensor(array: Array, device: torch.device) -> Tensor:
    # A view that repeats one row, as a mask may be, has no memory that PyTorch could write to.
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)
