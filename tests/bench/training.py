"""The cost of a step of `refar train` beside a loop written by hand: `python tests/bench/training.py [PAGE]`.

Both train the same network by the same recipe: a new batch each step, AdamW (fused), the gradient clipped, an average of the
weights (foreach). They run in turns in one process. What the loop by hand has not: losses that are added up, a
check of every loss and gradient, batches that depend on (seed, step) alone, the learning rate of each step.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import torch
from pages import publish
from torch.nn import functional as F

from refar import models
from refar.data import Dataset, Split
from refar.graph.graph import Graph
from refar.torch import Module
from refar.torch.feeding import Feed
from refar.torch.ranks import Ranks
from refar.torch.starting import new_state
from refar.torch.step import Stepper
from refar.training.config import TrainConfig
from refar.training.loss_config import LossConfig

SIZES = {
    "small": ((17, [1, 2, 4, 8, 16, 32], {"residual": 32, "gate": 32, "skip": 32}), 32, 64),
    "larger": ((256, [2**i for i in range(8)], {"residual": 64, "gate": 64, "skip": 64}), 8, 512),
}
"""Classes, dilations and widths of a WaveNet; sequences of a batch, and their positions."""


def data(classes: int, length: int) -> Dataset:
    """Random sequences: how long a step takes does not depend on them."""
    split = Split(np.random.default_rng(0).integers(0, classes, (1300, length)))
    return Dataset("random", split, split, split, classes)


def by_refar(graph: Graph, given: Dataset, options: TrainConfig, pool: ThreadPoolExecutor) -> Callable[[], None]:
    """Return what does the next step of `refar train`."""
    state, loss = new_state(graph, options), LossConfig()
    stepper = Stepper(state, loss, options, Ranks())
    feed = Feed(pool, graph, loss, given, options, Ranks(), range(options.steps))
    return lambda: stepper.step(feed.take())


def by_hand(graph: Graph, given: Dataset, options: TrainConfig) -> Callable[[], None]:
    """Return what does the next step of a loop as one would write it."""
    module = Module(graph, seed=options.seed)
    network = torch.compile(module) if options.compile else module
    average = copy.deepcopy(module)
    optimizer = torch.optim.AdamW(module.parameters(), lr=options.learning_rate, weight_decay=0.0, fused=True)
    x = torch.from_numpy(given.train.x)
    parameters, averages = list(module.parameters()), list(average.parameters())

    def step() -> None:
        batch = x[torch.randint(len(x), (options.batch,))]
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if options.precision == "bf16" else nullcontext():
            logits = network(batch)
        F.cross_entropy(logits.float(), batch).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1 - 0.99)

    return step


def race(first: Callable[[], None], second: Callable[[], None], seconds: float) -> tuple[float, float]:
    """Return the median seconds of a step of each, in turns of one step, after some that are not counted.

    They are seconds of the processor, all threads of the process together, which other programs on the machine hardly change.
    """
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    for turn in range(10**6):
        for step, found in zip((first, second), times, strict=True):
            begin = time.process_time()
            step()
            if turn >= 5:
                found.append(time.process_time() - begin)
        if time.perf_counter() > end and turn > 10:
            break
    return statistics.median(times[0]), statistics.median(times[1])


def row(size: str, precision: str, compile: bool, seconds: float) -> str:
    """Return one row of the table."""
    (classes, dilations, widths), batch, length = SIZES[size]
    graph, given = models.wavenet(classes, dilations, **widths), data(classes, length)
    options = TrainConfig(
        steps=10**6, batch=batch, ema=0.99, gradient_clip=1.0, precision=precision, compile=compile, threads=1
    )  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        ours, theirs = race(by_refar(graph, given, options, pool), by_hand(graph, given, options), seconds)
    how = "compiled" if compile else "eager"
    return f"| {size} | {how} | {precision} | {ours * 1e3:.2f} | {theirs * 1e3:.2f} | {ours / theirs:.3f} |"


def main() -> None:
    """Print the table, and put it on the page if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", nargs="?")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each pair runs")
    parser.add_argument("--only", choices=["eager", "compiled"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| network | | precision | refar, ms of CPU | by hand, ms of CPU | ratio |", "|---|---|---|---|---|---|"]
    for size in SIZES:
        for how in ("eager", "compiled"):
            for precision in ("fp32", "bf16"):
                if options.only in (None, how):
                    lines.append(row(size, precision, how == "compiled", options.seconds))
                    print(lines[-1], flush=True)
    if options.page:
        publish("training", "\n".join(lines), [options.page])


if __name__ == "__main__":
    main()
