"""One step of the optimizer: a batch in parts, on one device or several, with everything else in few calls."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from refar.torch.checkpoint import State
from refar.torch.coupled import Coupled
from refar.torch.divergence import Watch
from refar.torch.feeding import Batch
from refar.torch.objective import Objective, tensors
from refar.torch.ranks import Ranks
from refar.torch.work import Work
from refar.training.config import TrainConfig
from refar.training.loss_config import LossConfig
from refar.training.schedule import learning_rate


class Stepper:
    """Trains the network of `state`. Whatever says whether a step went well stays on the device until `read`."""

    def __init__(self, state: State, loss: LossConfig, options: TrainConfig, ranks: Ranks) -> None:
        self._state, self._options, self._ranks = state, options, ranks
        self._named = dict(state.module.named_parameters())
        self._parameters: list[Tensor] = list(self._named.values())
        self._averages: list[Tensor] = list(state.average.parameters()) if state.average is not None else []
        buffers = [] if state.average is None else zip(state.average.buffers(), state.module.buffers(), strict=True)
        self._buffers = [pair for pair in buffers if pair[0].numel()]  # those of an encoder: statistics are not averaged
        self._statistics = [buffer for buffer in state.module.buffers() if buffer.numel()]
        self._device = self._parameters[0].device
        self._watch: Watch | None = None
        self._loss_sum = torch.tensor(state.counters.loss_sum, dtype=torch.float64, device=self._device)
        self._objective = Objective(state.module, loss)
        self._sums, self._alone = _shared(self._objective, options, ranks)

    def step(self, batch: Batch) -> None:
        """Do the next step. Raises DivergenceError where the notes were full, and one of those steps was not finite."""
        state, options, count = self._state, self._options, self._state.counters
        if self._watch is not None and self._watch.full:
            self.read()
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(options, count.step)
        if isinstance(state.module, Coupled):  # what its encoder may draw is a function of (seed, step), too
            torch.manual_seed((options.seed + (count.step << 32)) % 2**63)
        state.optimizer.zero_grad()
        loss = self._ranks.total(self._backward(batch))
        self._update(count.step + 1, loss)
        self._ranks.share(self._statistics)
        self._loss_sum += loss
        if state.average is not None:
            decay = min(options.ema, (1 + count.step) / (10 + count.step))
            with torch.no_grad():
                torch._foreach_lerp_(self._averages, self._parameters, 1 - decay)
                for mean, now in self._buffers:
                    mean.copy_(now)
        count.loss_steps += 1
        count.step += 1

    def read(self) -> None:
        """Bring the sum of losses into the counters. Raises DivergenceError if a step since the last reading was not finite."""
        if self._watch is not None:
            self._watch.read()
        self._state.counters.loss_sum = self._loss_sum.item()

    def validated(self) -> None:
        """Begin the sum of losses anew."""
        self._loss_sum.zero_()
        self._state.counters.loss_sum, self._state.counters.loss_steps = 0.0, 0

    def _backward(self, batch: Batch) -> Tensor:
        """Add up the gradients of the mean loss over the whole batch; returns this process's part of that mean."""
        loss = torch.zeros((), dtype=self._parameters[0].dtype, device=self._device)
        for part, last in _parts(batch.work, self._options.accumulate):
            with nullcontext() if last else self._alone():
                with self._precision():
                    sums = self._sums(**tensors(part, self._state.module, self._device))
                total = self._objective.total(sums, batch.counts)
                # DistributedDataParallel takes the mean over processes, and this is a sum.
                (total * self._ranks.count).backward()  # type: ignore[no-untyped-call]
            loss += total.detach()
        return loss

    def _precision(self) -> AbstractContextManager[object]:
        if self._options.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)

    def _update(self, step: int, loss: Tensor) -> None:
        reached = {name: p.grad for name, p in self._named.items() if p.grad is not None}  # the loss may not depend on all
        gradients = list(reached.values())
        norms = torch.stack(torch._foreach_norm(gradients))
        norm = torch.linalg.vector_norm(norms)
        if self._watch is None:
            self._watch = Watch(list(reached), [self._named[name] for name in reached])
        self._watch.note(step, loss, norms, norm)
        if self._options.gradient_clip is not None:
            torch._foreach_mul_(gradients, (self._options.gradient_clip / (norm + 1e-6)).clamp(max=1.0))
        self._state.optimizer.found_inf = self._watch.stopped  # type: ignore[attr-defined]  # PyTorch's GradScaler sets it so
        self._state.optimizer.step()


def _parts(examples: Work, count: int) -> Iterator[tuple[Work, bool]]:
    """Cut a batch into `count` parts, none of them empty; with each comes whether it is the last."""
    size = -(-len(examples) // count)
    for first in range(0, len(examples), size):
        yield examples[first : first + size], first + size >= len(examples)


def _shared(
    objective: nn.Module, options: TrainConfig, ranks: Ranks
) -> tuple[nn.Module, Callable[[], AbstractContextManager[Any]]]:
    """Return what is minimised, shared or compiled, and a context in which a process keeps its gradients to itself."""
    network: nn.Module = objective
    alone: Callable[[], AbstractContextManager[Any]] = nullcontext
    if ranks.count > 1:
        with warnings.catch_warnings():  # newer releases have another name for an option that older ones need
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            network = shared = DistributedDataParallel(objective, broadcast_buffers=False, find_unused_parameters=True)
        alone = shared.no_sync
    compiled: nn.Module = torch.compile(network) if options.compile else network  # type: ignore[assignment]
    return compiled, alone
