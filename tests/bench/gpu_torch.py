"""The step of refar.bench.torch_wavenet on a device, tokens drawn there too, eager or replayed as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refar.bench.torch_wavenet import TorchWaveNet


class Steps:
    """`batch` sequences from the first token on, and the noise of `steps` steps, all on the device."""

    def __init__(self, params: dict[str, Any], dilations: Sequence[int], batch: int, steps: int, device: str) -> None:
        self.net: Any = moved(TorchWaveNet(params, dilations), device)
        classes = len(self.net.head[-1][1])
        older, newer, bias = self.net.front
        none = torch.zeros(1, older.shape[1], device=device)  # before the first token there is none: class Q
        self.net.front = torch.cat([older, none]), torch.cat([newer, none]), bias
        ring, clock = self.net.empty(batch)
        self.state = [ring.to(device), clock.to(device)]
        self.tokens = [torch.full((batch,), classes, device=device) for _ in range(2)]  # the one before, and the newest
        self.turn = torch.zeros(1, dtype=torch.int64, device=device)
        self.noise = torch.zeros(steps, batch, classes, device=device)
        self.drawn = torch.zeros(steps, batch, dtype=torch.int64, device=device)
        self.device, self.steps, self.begun = device, steps, [each.clone() for each in self._changing()]
        self.step: Callable[[], None] = self._once

    def _changing(self) -> list[Tensor]:
        return [*self.state, *self.tokens, self.turn]

    @torch.inference_mode()
    def _once(self) -> None:
        """Make one step, in place."""
        previous, newest = self.tokens
        h = self.net.front[2] + self.net.front[0][previous] + self.net.front[1][newest]
        logits = self.net.step(h, *self.state)
        token = (logits + self.noise.index_select(0, self.turn)[0]).argmax(1)
        self.drawn.index_copy_(0, self.turn, token[None])
        previous.copy_(newest)
        newest.copy_(token)
        self.turn.add_(1)

    def capture(self) -> None:
        """Record the step as a CUDA graph, on values that are set back afterwards."""
        other = torch.cuda.Stream()
        other.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(other):
            for _ in range(3):
                self._once()
        torch.cuda.current_stream().wait_stream(other)
        self.reset()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._once()
        self.step = graph.replay
        self.reset()

    def reset(self) -> None:
        """Begin anew, in the same memory."""
        with torch.inference_mode():
            for each, value in zip(self._changing(), self.begun, strict=True):
                each.copy_(value)

    def feed(self, noise: Any) -> None:
        """Set the noise (steps, B, K), and go back to its first step."""
        with torch.inference_mode():
            self.noise.copy_(torch.from_numpy(np.ascontiguousarray(noise, np.float32)))
            self.turn.zero_()

    def run(self) -> Any:
        """Make all steps: their tokens x_bt, on the CPU."""
        for _ in range(self.steps):
            self.step()
        return self.drawn.T.cpu().numpy()


def moved(value: Any, device: str) -> Any:
    """Move all tensors in a module's own attributes, lists and tuples to a device; the module itself is returned."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(moved(each, device) for each in value)
    if isinstance(value, torch.nn.Module):
        for name, each in vars(value).items():
            if isinstance(each, Tensor | list | tuple):
                setattr(value, name, moved(each, device))
    return value
