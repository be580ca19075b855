"""The tables of docs/figures.md, measured here: `python tests/bench/figures.py docs/figures.md`.

Without a file the tables are printed. What the demo found is read from demo/results.json.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bounds
import numpy as np
import oracle
import torch
from pages import publish

import refar
from refar import Builder, Graph, models
from refar.analysis.causality import receptive_field
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.rounding.tolerance import tolerance
from refar.runtime import load
from refar.runtime.bundle import layout_of
from refar.testing import check_contract
from refar.torch import Module
from refar_export import export

MODELS: dict[str, Callable[[], Graph]] = {
    "linear_ar, R = 512": lambda: models.linear_ar(512),
    "nettoy1d": models.nettoy1d,
    "nettoy1d_dilated": models.nettoy1d_dilated,
    "wavenet, 8 layers, class condition": lambda: models.wavenet(
        17, [1, 2, 4, 8] * 2, residual=32, gate=32, skip=64, condition="class:10"
    ),
    "wavenet, 20 layers, R = 2 048": models.wavenet,
    "pixelcnn, two stacks": lambda: models.pixelcnn(8),
    "masked_pixelcnn, colours": lambda: models.masked_pixelcnn(4, channels=3, hidden=24, layers=4),
    "gated_pixelcnn, class condition": lambda: models.gated_pixelcnn(4, hidden=16, layers=4, condition="class:10"),
}


@dataclass(frozen=True)
class Measured:
    """The largest difference from the oracle, and the tolerance, of the array that comes nearest to it."""

    difference: float = 0.0
    allowed: float = 1.0

    def worse(self, difference: float, allowed: float) -> Measured:
        return max(Measured(difference, allowed), self, key=lambda m: m.difference / m.allowed)

    def __str__(self) -> str:
        return f"{self.difference:.0e} ({self.allowed:.0e})"


def data(graph: Graph, batch: int, length: int) -> Arrays:
    """Random inputs, and an upstream gradient under the name 'dy'."""
    rng = np.random.default_rng(0)
    found = facts(graph)
    arrays: Arrays = {}
    for name in (found.sequence, *found.conditions):
        kind = found.types[name]
        shape = [{"b": batch, "c": kind.channels, "t": length, "h": 12, "w": 13}[axis] for axis in kind.axes]
        arrays[name] = rng.integers(0, kind.size, shape) if kind.indexed else rng.normal(size=shape).astype(np.float32)
    return arrays


def against_torch(graph: Graph, params: Arrays, inputs: Arrays, y: Array, dtype: torch.dtype) -> tuple[Measured, Measured]:
    """Forward, and the gradient of every parameter and real input."""
    precision = np.float64 if dtype == torch.float64 else np.float32
    dy = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    module = Module(graph, params).to(dtype)
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    real = {name: tensor.to(dtype).requires_grad_() for name, tensor in tensors.items() if tensor.is_floating_point()}
    out = module({**tensors, **real})
    out.backward(torch.from_numpy(dy).to(dtype))
    forward = Measured().worse(np.abs(out.detach().numpy() - y).max(), tolerance(graph, y, precision))
    gradients = Measured()
    found = refar.backward(graph, params, inputs, dy)
    reference = {**found["params"], **found["inputs"]}
    for name, tensor in [*module.named_parameters(), *real.items()]:
        assert tensor.grad is not None, name
        allowed = tolerance(graph, reference[name], precision, positions=y[:, 0].size)
        gradients = gradients.worse(np.abs(tensor.grad.numpy() - reference[name]).max(), allowed)
    return forward, gradients


def against_onnx(graph: Graph, params: Arrays, inputs: Arrays, y: Array) -> list[Measured]:
    """Full, and where there are steps prefill at several lengths, and 60 steps after a third of the sequence."""
    found = facts(graph)
    x = inputs[found.sequence]
    condition = {name: inputs[name] for name in found.conditions}
    allowed = tolerance(graph, y, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        session = load(export(graph, params, Path(folder) / "bundle"), threads=2)
        full = Measured().worse(np.abs(session.forward(x, condition) - y).max(), allowed)
        prefill = step = Measured()
        if layout_of(graph) is None:
            return [full]
        third = x.shape[-1] // 3
        for length in (0, 1, third):
            prefill = prefill.worse(np.abs(session.prefill(x[..., :length], condition) - y[:, :, length]).max(), allowed)
        for t in range(third, min(third + 60, x.shape[-1] - 1)):
            step = step.worse(np.abs(session.step(x[..., t]) - y[:, :, t + 1]).max(), allowed)
    return [full, prefill, step]


def agreement() -> str:
    """The table of models against backends."""
    lines = [
        "| largest difference from the oracle (allowed) | torch float64 | its gradients | torch float32 | its gradients "
        "| ONNX full | prefill | step |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, build in MODELS.items():
        graph = build()
        params = refar.init(graph, seed=0)
        reach = receptive_field(graph)
        inputs = data(graph, 2, 48 if isinstance(reach, tuple) else max(48, reach * 5 // 4))
        y = refar.forward(graph, params, inputs)
        results = [
            *against_torch(graph, params, inputs, y, torch.float64),
            *against_torch(graph, params, inputs, y, torch.float32),
            *against_onnx(graph, params, inputs, y),
        ]
        lines.append("| " + " | ".join([name, *map(str, results), *[""] * (7 - len(results))]) + " |")
        print(lines[-1], flush=True)
        assert all(m.difference <= m.allowed for m in results), name
    return "\n".join(lines)


def stack() -> str:
    """Row 002-4 of what the documents claim: few weights, all inputs used."""
    g = Builder()
    h = g.input(channels=1)
    for i in range(9):
        h = g.conv1d(h, 1, kernel=2, dilation=2**i, bias=False)
    graph = g.build(h)
    weights = sum(int(np.prod(shape)) for shape in facts(graph).parameters.values())
    seen = ", ".join(map(str, sorted(refar.offsets(models.nettoy1d_dilated()))))
    return (
        f"`nettoy1d_dilated` sees the offsets {seen} and no other. "
        f"Nine layers with K = 2 and dilations 1 to 256 have {weights} weights and use {len(refar.offsets(graph))} inputs, "
        f"R = {receptive_field(graph)}."
    )


def integers() -> str:
    """What the law of exactness saw: small integers, compared by ==."""
    seen = []
    for name in ("nettoy1d", "nettoy1d_dilated"):
        lines = {line.law: line for line in check_contract(MODELS[name]()).lines}
        seen.append(f"{name}: {lines['exact'].figure}")
    return f"Small integers, by `==`, in NumPy, PyTorch (gradients too) and onnxruntime (full, prefill, step): {'. '.join(seen)}."


def tokens() -> str:
    """The slow and the fast algorithm in NumPy and prefill with steps in onnxruntime, from the same seed."""
    graph = MODELS["wavenet, 8 layers, class condition"]()
    params = {name: 3 * value for name, value in refar.init(graph, seed=0).items()}
    r, rng, equal, total = receptive_field(graph), np.random.default_rng(0), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        session = load(export(graph, params, Path(folder) / "bundle"))
        for batch in (1, 5):
            for length in (0, 1, r - 1, r, r + 1):
                prompt = rng.integers(0, 17, (batch, length))
                fast = refar.generate(graph, params, 30, batch=batch, prompt=prompt, condition=3)
                slow = refar.generate(graph, params, 30, batch=batch, prompt=prompt, condition=3, algorithm="slow")
                exported = session.generate(30, batch=batch, prompt=prompt, condition=3)
                equal += int(((fast == slow) & (fast == exported)).sum())
                total += fast.size
    return (
        f"Tokens of NumPy's slow algorithm, its fast one, and prefill and step in onnxruntime, for the same seed, batches "
        f"of 1 and 5 and prompts of 0, 1, R−1, R and R+1 tokens: {equal} of {total} equal in all three."
    )


def demo(path: Path) -> str:
    """What the demo found."""
    if not path.is_file():
        raise SystemExit(f"{path} is missing; run `make demo` first")
    found = json.loads(path.read_text())
    nats, deployed = found["baselines"]["nats_per_pixel"], found["deployed"]
    lines = [
        f"`make demo`: {found['training']['parameters']:,} parameters trained in {found['seconds']['train']:.0f} s, run in "
        f"onnxruntime on the {found['data']['test']} held-out digits.".replace(",", " ", 1),
        "",
        "| held-out digits | nats per pixel | accuracy |",
        "|---|---|---|",
        f"| unigram | {nats['unigram']:.3f} | |",
        f"| previous pixel | {nats['previous']:.3f} | |",
        f"| pixel and class, naive Bayes | {nats['marginals']:.3f} | {found['baselines']['accuracy']:.1%} |",
        f"| WaveNet, Bayes' rule | {deployed['nats_per_pixel']:.3f} | {deployed['accuracy']:.1%} |",
        "",
        "| generation by the step graph | µs per step | recomputing the full graph takes |",
        "|---|---|---|",
    ]
    for row in deployed["generation"]:
        steps = row["tokens"] // row["batch"]
        lines.append(
            f"| the demo's network, R = 72, 64 pixels, batch {row['batch']} | {1e6 * row['step_seconds'] / steps:.0f} "
            f"| {row['ratio']:.1f} times as long |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parts = [stack(), agreement(), integers(), bounds.table(), tokens(), oracle.sentence()]
    text = "\n\n".join([*parts, demo(Path("demo/results.json"))])
    publish("figures", text)
