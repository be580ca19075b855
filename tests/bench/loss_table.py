"""Each loss of training in the oracle and in PyTorch: `python tests/bench/loss_table.py docs/figures.md` writes the table.

A difference stands beside what is allowed: u · nodes · max(64, 2√m) · the largest magnitude, once for each step that is unrolled,
as `refar.rounding.tolerance` has it for one pass. Gradients are those of all parameters together.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pages import publish

import refar
from refar import Builder, Graph, ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.data import Split
from refar.oracle import losses, pairs
from refar.rounding.tolerance import tolerance
from refar.testing.contract.cases import generic_parameters
from refar.torch import Module
from refar.torch.objective import Objective, tensors
from refar.torch.work import Work, plan, unrolling_of
from refar.training.loss_config import LossConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import unrolled_cases

SEED, STEP, ROWS, T = 3, 8, 4, 40
STEP_OF_DIFFERENCES = 1e-5
PLAIN = LossConfig()


@dataclass(frozen=True)
class Case:
    """A loss with a network and a batch that it is computed of."""

    title: str
    graph: Graph
    loss: LossConfig = PLAIN
    lengths: bool = False


def head(which: ops.AnyHead, channels: int) -> Graph:
    """A network over classes or signals with this head."""
    indexed = isinstance(which, ops.Categorical | ops.MixtureLogistics)
    return unrolled_cases.lookups(which, channels) if indexed else unrolled_cases.signal(which, channels)


def as_float32(array: Array) -> Array:
    """The nearest numbers of float32, so that both sides compute of the same."""
    return array.astype(np.float32).astype(np.float64)


def effect() -> Graph:
    """A network that maps a signal onto one of two channels."""
    g = Builder()
    h = g.tanh(g.conv1d(g.input(channels=1), 6, kernel=3, dilation=2))
    return g.build(g.conv1d(h, 2, kernel=2))


CLASSES, LOGISTICS = head(ops.Categorical(), 4), head(ops.MixtureLogistics(2, 4), 6)
GAUSSIAN, LEARNT, MIXTURE = (
    head(ops.Gaussian(0.6), 2),
    head(ops.LearntGaussian(-0.2), 4),
    head(ops.MixtureGaussians(2), 12),
)


def unrolled(**options: Any) -> LossConfig:
    """The unrolled term alone, three steps from two origins."""
    return LossConfig(horizon=3, origins=2, one_step=0.0, **options)


CASES = [
    Case("nats: categorical", CLASSES),
    Case("nats: mixture of logistics", LOGISTICS),
    Case("nats: Gaussian", GAUSSIAN),
    Case("nats: Gaussian, learnt scale", LEARNT),
    Case("nats: mixture of Gaussians", MIXTURE),
    Case("nats: categorical, lengths, without context", CLASSES, LossConfig(context=False), True),
    Case("mse, lengths", effect(), LossConfig(kind="mse"), True),
    Case("esr", effect(), LossConfig(kind="esr")),
    Case("esr, pre-emphasis 0.85, DC, lengths", effect(), LossConfig(kind="esr", pre_emphasis=0.85, dc=1.0), True),
    Case("3 steps unrolled: straight-through", CLASSES, unrolled(temperature=0.7)),
    Case("3 steps unrolled: Gumbel-softmax", CLASSES, unrolled(feedback="gumbel-softmax", temperature=0.7)),
    Case("3 steps unrolled: Gumbel-softmax of a mixture", LOGISTICS, unrolled(feedback="gumbel-softmax")),
    Case("3 steps unrolled: mean", GAUSSIAN, unrolled()),
    Case("3 steps unrolled: sample", GAUSSIAN, unrolled(feedback="sample")),
    Case("3 steps unrolled: sample, learnt scale", LEARNT, unrolled(feedback="sample")),
    Case("3 steps unrolled: mean of a mixture", MIXTURE, unrolled()),
    Case("one step + ½ · 8 steps unrolled, lengths", CLASSES, LossConfig(horizon=8, origins=4, unrolled=0.5), True),
]


def batch(case: Case, rng: np.random.Generator) -> Split:
    """Sequences with their conditions, and a target if the loss is one of pairs."""
    found, drawn = facts(case.graph), {}
    for name in found.inputs:
        kind = found.types[name]
        shape = (ROWS, *([] if kind.indexed else [kind.size]), *([T] if kind.timed else []))
        drawn[name] = rng.integers(0, kind.size, shape) if kind.indexed else as_float32(rng.normal(size=shape))
    x = drawn.pop(found.sequence)
    target = None if case.loss.kind == "nats" else as_float32(rng.normal(size=(ROWS, 2, T)))
    return Split(x, drawn, target, np.array([T, T - 7, T // 2, T]) if case.lengths else None)


def by_oracle(case: Case, params: Mapping[str, Array], work: Work, counts: tuple[int, ...]) -> tuple[float, Arrays]:
    """The loss and its gradient."""
    graph, loss, examples = case.graph, case.loss, work.examples
    x, conditions = examples.x, examples.conditions
    y = refar.forward(graph, params, x, conditions)
    mask = np.ones((ROWS, T), bool) if work.mask is None else work.mask
    if loss.kind == "nats":
        d = mask / counts[0]
        value, dy = (losses.nats(graph.head, y, x) * d).sum(), losses.nats_backward(graph.head, y, x, d)
    elif loss.kind == "mse":
        d = mask.sum(axis=1) / mask.sum()
        value = (pairs.mean_square(y, examples.target, mask) * d).sum()
        dy = pairs.mean_square_backward(y, examples.target, mask, d)
    else:
        options, d = (loss.pre_emphasis, loss.dc), np.full(ROWS, 1 / counts[0])
        value = (pairs.error_to_signal(y, examples.target, mask, *options) * d).sum()
        dy = pairs.error_to_signal_backward(y, examples.target, mask, d, *options)
    one = loss.one_step if loss.horizon else 1.0
    gradient = refar.backward(graph, params, x, one * dy, conditions)["params"]
    if not loss.horizon:
        return float(value), gradient
    unrolling = unrolling_of(graph, loss)
    there, at = work.origins >= 0, np.maximum(work.origins, 0)
    d3 = np.broadcast_to(there[:, :, None] / counts[1], (*there.shape, loss.horizon))
    given = {"noise": work.noise, "condition": conditions}
    each = refar.unroll(graph, params, x, at, unrolling, **given)
    more = refar.unroll_backward(graph, params, x, at, unrolling, loss.unrolled * d3, **given)["params"]
    total = one * value + loss.unrolled * (d3 * each).sum()
    return float(total), {name: gradient[name] + more[name] for name in gradient}


def by_torch(
    case: Case, params: Mapping[str, Array], work: Work, counts: tuple[int, ...], dtype: torch.dtype
) -> tuple[float, Arrays]:
    """The same in PyTorch."""
    module = Module(case.graph, params).to(dtype)
    objective = Objective(module, case.loss)
    loss = objective.total(objective(**tensors(work, module, torch.device("cpu"))), counts)
    loss.backward()
    return loss.item(), {n: np.zeros(p.shape) if p.grad is None else p.grad.numpy() for n, p in module.named_parameters()}


def difference(case: Case, wanted: tuple[float, Arrays], found: tuple[float, Arrays], dtype: str) -> str:
    """Return the differences of value and gradient, each beside what is allowed."""
    steps = max(1, case.loss.horizon)
    cells = []
    for ours, other in ((np.array([wanted[0]]), np.array([found[0]])), (flat(wanted[1]), flat(found[1]))):
        allowed = steps * tolerance(case.graph, ours, dtype, positions=ROWS * T)
        off = float(np.abs(ours - other).max())
        if off > allowed:
            raise SystemExit(f"{case.title}: {dtype} is off by {off:.1e}, allowed {allowed:.1e}")
        cells.append(f"{off:.0e} ({allowed:.0e})")
    return " | ".join(cells)


def flat(arrays: Arrays) -> Array:
    """All numbers in one row."""
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


def central_difference(value: Callable[[Arrays], float], params: Arrays, gradient: Arrays, rng: np.random.Generator) -> float:
    """Return the difference of the gradient from (L(θ + h·v) - L(θ - h·v)) / 2h along a random v, relative to the latter."""
    v = {name: rng.normal(size=array.shape) for name, array in params.items()}
    moved = [value({n: a + sign * STEP_OF_DIFFERENCES * v[n] for n, a in params.items()}) for sign in (1, -1)]
    measured = (moved[0] - moved[1]) / (2 * STEP_OF_DIFFERENCES)
    return abs(sum((gradient[n] * v[n]).sum() for n in v) / measured - 1)


def row(case: Case) -> str:
    """One line of the table."""
    rng = np.random.default_rng(0)
    params = {name: as_float32(array) for name, array in generic_parameters(case.graph, rng).items()}
    examples = batch(case, rng)
    work, counts = plan(case.graph, case.loss, examples, SEED, STEP, slice(None))
    if work.noise is not None:  # as PyTorch has it in float32
        work = Work(work.examples, work.mask, work.origins, as_float32(work.noise))
    wanted = by_oracle(case, params, work, counts)
    hard = case.loss.horizon and unrolling_of(case.graph, case.loss).feedback == "straight-through"
    off = "–" if hard else f"{central_difference(lambda p: by_oracle(case, p, work, counts)[0], params, wanted[1], rng):.0e}"
    cells = [case.title, f"{wanted[0]:.6f}", f"{np.linalg.norm(flat(wanted[1])):.6f}", off]
    for dtype in (torch.float64, torch.float32):
        cells.append(difference(case, wanted, by_torch(case, params, work, counts, dtype), str(dtype).removeprefix("torch.")))
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """All losses."""
    return "\n".join(
        [
            "| loss | oracle | norm of its gradient | central differences | torch float64 | its gradient | torch float32 "
            "| its gradient |",
            "|---|---|---|---|---|---|---|---|",
            *(row(case) for case in CASES),
        ]
    )


if __name__ == "__main__":
    publish("losses", table())
