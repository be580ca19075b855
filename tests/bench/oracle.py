"""The oracle's speed: NumPy beside PyTorch, float64, on the same cores in the same run. `python tests/bench/oracle.py`."""

from __future__ import annotations

import time

import numpy as np
import torch

import refar
from refar import models
from refar.torch import Module

BATCH, LENGTH, RUNS = 4, 2048, 5


def measure() -> tuple[float, float]:
    """Seconds for forward and backward of a WaveNet of 20 layers, the best of some runs: NumPy, PyTorch."""
    graph = models.wavenet()
    params = {name: array.astype(np.float64) for name, array in refar.init(graph).items()}
    rng = np.random.default_rng(0)
    x, dy = rng.integers(0, 256, (BATCH, LENGTH)), rng.normal(size=(BATCH, 256, LENGTH))
    module = Module(graph, params).double()
    tokens, upstream = torch.from_numpy(x), torch.from_numpy(dy)
    numpy_seconds, torch_seconds = [], []
    for _ in range(RUNS):  # turn by turn, so that what else the machine does meets both
        begin = time.perf_counter()
        refar.backward(graph, params, x, dy)
        numpy_seconds.append(time.perf_counter() - begin)
        module.zero_grad()
        begin = time.perf_counter()
        torch.autograd.backward(module(tokens), upstream)
        torch_seconds.append(time.perf_counter() - begin)
    return min(numpy_seconds), min(torch_seconds)


def sentence() -> str:
    """Markdown."""
    own, peer = measure()
    return (
        f"Forward and backward of the WaveNet of 20 layers in float64, B = {BATCH}, T = {LENGTH}: {own:.2f} s in NumPy, "
        f"{peer:.2f} s in PyTorch, {own / peer:.2f} times as long."
    )


if __name__ == "__main__":
    print(sentence())
