"""How much right code the two checks take that know no graph, over many seeds: `python tests/bench/rates.py [docs/mistakes.md]`.

WaveNets as PyTorch initialises them, whose oldest taps vanish in rounding, are given to `check_causality` with their true reach:
as modules, and as functions of arrays that have no derivative. Smaller ones, with a queue for each layer, are given to
`check_streaming`. With the page the table is written between its markers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pages import publish
from torch import Tensor, nn

from refar.testing import ContractError, check_causality, check_streaming

LAYERS = {127: 6, 255: 7, 511: 8}
"""Of a receptive field how many layers each of two stacks has, whose dilations double."""
SEEDS, STREAMS = 9, 30
CHANNELS = 16


class WaveNet(nn.Module):
    """Two stacks of gated layers of two taps, with residuals and skips."""

    def __init__(self, layers: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.dilations = [2**n for n in range(layers)] * 2
        self.front, self.out = nn.Conv1d(1, CHANNELS, 1), nn.Conv1d(CHANNELS, 4, 1)
        self.convs = nn.ModuleList(nn.Conv1d(CHANNELS, 2 * CHANNELS, 2, dilation=d) for d in self.dilations)
        self.mixes, self.skips = (nn.ModuleList(nn.Conv1d(CHANNELS, CHANNELS, 1) for _ in self.dilations) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.zeros(len(x), x.dtype), x)[0]

    def zeros(self, rows: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """What stands in front of the input of each layer."""
        return [torch.zeros(rows, CHANNELS, d, dtype=dtype) for d in self.dilations]

    def after(self, past: list[Tensor], x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The outputs for x behind the past of each layer, and the past after it."""
        h, total, kept = self.front(x), torch.zeros((), dtype=x.dtype), []
        for before, d, conv, mix, skip in zip(past, self.dilations, self.convs, self.mixes, self.skips, strict=True):
            wide = torch.cat([before, h], 2)
            kept.append(wide[..., -d:])
            filtered, gate = conv(wide).chunk(2, 1)
            z = torch.tanh(filtered) * torch.sigmoid(gate)
            total, h = total + skip(z), h + mix(z)
        return self.out(torch.relu(total)), kept


def accepted(check: Any, *given: Any, **options: Any) -> bool:
    """Whether a check takes it; else its sentence is printed."""
    try:
        with torch.no_grad():
            check(*given, **options)
    except ContractError as error:
        print(error)
        return False
    return True


def takes_causality(reach: int, dtype: str, opaque: bool) -> int:
    """How many of the seeds check_causality takes."""
    count = 0
    for seed in range(SEEDS):
        net = WaveNet(LAYERS[reach], seed).to(getattr(torch, dtype))
        function: Any = (lambda x, net=net: net(torch.from_numpy(x)).numpy()) if opaque else net
        shape = (4, 1, reach + 20)
        count += accepted(check_causality, function, shape=shape, reach=reach, strict=False, dtype=dtype, seed=seed)
    return count


def takes_streams() -> int:
    """How many of the seeds check_streaming takes, in float32."""
    count = 0
    for seed in range(STREAMS):
        net = WaveNet(4, seed)

        def step(state: list[Tensor], x: np.ndarray, net: WaveNet = net) -> tuple[np.ndarray, list[Tensor]]:
            y, after = net.after(state, torch.from_numpy(x)[..., None])
            return y[..., 0].numpy(), after

        count += accepted(check_streaming, net, step, shape=(2, 1, 60), initial_state=net.zeros, seed=seed)
    return count


def table() -> str:
    """A line for each receptive field and dtype, and one for the streams."""
    lines = ["| right networks | given to | accepted |", "|---|---|---|"]
    for reach in LAYERS:
        for dtype, opaque in (("float32", False), ("float64", False), ("float32", True)):
            kind = "functions of arrays" if opaque else "modules"
            count = takes_causality(reach, dtype, opaque)
            lines.append(f"| WaveNets, R = {reach}, {dtype}, {kind} | check_causality | {count} of {SEEDS} |")
    lines.append(f"| WaveNets step by step, float32 | check_streaming | {takes_streams()} of {STREAMS} |")
    return "\n".join(lines)


if __name__ == "__main__":
    publish("rates", table())
