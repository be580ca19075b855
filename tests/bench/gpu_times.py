"""What a step and a token cost on a device, each way by itself: what tests/bench/gpu.py times in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from refar import noise, ops
from refar.runtime import load
from refar.runtime.generation import Draws, drawn_ahead
from refar.runtime.in_graph import _noise_ahead as how
from refar.runtime.resident import Resident
from refar.runtime.session import Session

DILATIONS = [2**i for i in range(10)] * 2
ROUNDS = 5
Provider = Literal["cpu", "cuda"]


@cache
def opened(path: Path, provider: Provider, *, captured: bool = True, tf32: bool = False) -> Session:
    """Load a bundle; its steps are replayed only if they are to be `captured`."""
    session = load(path, provider, tf32=tf32)
    if not captured and session._opened.captures:
        session._opened.stop_capturing("it was asked for")
    return session


def resident(session: Session, batch: int) -> Callable[[], float]:
    """Return what times a step: all of one batch of steps, noise there before it, tokens and all on the CPU after it."""
    memory = Resident(session._opened, batch)
    draws = np.random.default_rng(0).gumbel(size=(memory.steps, batch, 256)).astype(np.float32)

    def measure() -> float:
        memory.feed(draws, {})
        begin = time.perf_counter()
        memory.draw(memory.steps)
        return 1e6 * (time.perf_counter() - begin) / memory.steps

    return measure


def in_torch(session: Session, batch: int, device: str, *, captured: bool) -> Callable[[], float]:
    """Return what times a step of the same algorithm in PyTorch, after its tokens were found to be the same."""
    from gpu_torch import Steps

    steps = Steps(session.weights, DILATIONS, batch, 16, device)
    drawn = noise.draw(ops.Categorical(), 0, range(batch), 0, 16, 256)
    if captured:
        steps.capture()
    steps.feed(drawn)
    came, expected = steps.run(), session.generate(16, batch=batch, sampler=True)
    if (came != expected).mean() > 0.01:
        raise ValueError(f"{int((came != expected).sum())} of {came.size} tokens of PyTorch are others")

    def measure() -> float:
        steps.feed(drawn)
        begin = time.perf_counter()
        steps.run()
        return 1e6 * (time.perf_counter() - begin) / steps.steps

    return measure


def generating(session: Session, batch: int, n: int, *, sampler: bool) -> Callable[[], float]:
    """Return what times a token of `generate`, noise drawn on the CPU, what begins a generation not counted."""

    def seconds(count: int) -> float:
        begin = time.perf_counter()
        session.generate(count, batch=batch, sampler=sampler)
        return time.perf_counter() - begin

    seconds(2)
    return lambda: 1e6 * (seconds(3 * n) - seconds(n)) / (2 * n)


def noise_alone(session: Session, batch: int, n: int) -> Callable[[], float]:
    """Return what times the noise of a step, drawn in threads as for generation in the graph."""
    head = ops.Categorical()
    draws = Draws(head, 0, None, np.ones(batch), None, None)

    def measure() -> float:
        batches = drawn_ahead(draws, np.zeros(batch, np.int64), n, 256, how(session._opened, draws))
        next(batches)
        begin = time.perf_counter()
        steps = sum(len(each) for each in batches)
        return 1e6 * (time.perf_counter() - begin) / max(1, steps)

    return measure


def ways(path: Path, provider: Provider, batch: int) -> Iterator[tuple[str, int, Callable[[], Callable[[], float]]]]:
    """Name each way, how many rounds it is timed, and what makes it."""
    device = "cuda" if provider == "cuda" else "cpu"
    n = 256 if batch < 512 else 128
    if provider == "cuda":
        yield "refar, CUDA graph", ROUNDS, lambda: resident(opened(path, provider), batch)
        yield "refar, CUDA graph, TF32", ROUNDS, lambda: resident(opened(path, provider, tf32=True), batch)
    yield "refar, no capture", ROUNDS, lambda: resident(opened(path, provider, captured=False), batch)
    if provider == "cuda":
        yield "torch, CUDA graph", ROUNDS, lambda: in_torch(opened(path, provider), batch, device, captured=True)
    yield "torch, eager", ROUNDS, lambda: in_torch(opened(path, provider), batch, device, captured=False)
    yield "generate, in the graph", 2, lambda: generating(opened(path, provider), batch, n, sampler=True)
    yield "noise alone", 2, lambda: noise_alone(opened(path, provider), batch, 4 * n)
    if batch <= 64:
        yield "generate, on the CPU", 2, lambda: generating(opened(path, provider), batch, 16, sampler=False)
