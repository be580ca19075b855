"""The checker: a bundle in onnxruntime against the oracle's stored outputs. The one module here that uses `refar.oracle`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refar import noise
from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.errors import BackendError
from refar.graph.graph import Graph
from refar.oracle.functions import forward
from refar.rounding.tolerance import tolerance
from refar.runtime import load
from refar.runtime.bundle import BLOCK, ports


@dataclass(frozen=True)
class Comparison:
    """One output of one graph beside the oracle's: the largest difference, and what is allowed."""

    what: str
    difference: float
    allowed: float

    def __str__(self) -> str:
        mark = "✓" if self.difference <= self.allowed else "x"
        return f"[{mark}] {self.what}: largest difference {self.difference:.2e}, allowed {self.allowed:.2e}"


def vectors(graph: Graph, params: Arrays) -> Arrays:
    """Two sequences longer than the receptive field, and the oracle's outputs in float64 at some positions.

    "x", "condition.<name>", "positions" and "y" = output[:, :, positions]: the first 8, the last 16, and 8 between them.
    Positions in an image count pixels in raster order.
    Drawn from fixed noise.
    """
    found = facts(graph)
    length = max(facts(graph).left_context + 5, 12)
    side = min(facts(graph).left_context + 3, 24)
    inputs: Arrays = {}
    for stream, name in enumerate((found.sequence, *found.conditions)):
        kind = found.types[name]
        shape = [{"b": 2, "c": kind.channels, "t": length, "h": side, "w": side + 1}[axis] for axis in kind.axes]
        u = noise.uniform(0, [stream], 0, 1, int(np.prod(shape))).reshape(shape)
        inputs[name] = (u * kind.size).astype(np.int64) if kind.indexed else (4 * u - 2).astype(np.float32)
    y = forward(graph, params, inputs)
    y = y.reshape(*y.shape[:2], -1)
    length = y.shape[2]
    between = (noise.uniform(0, [len(inputs)], 0, 1, 8).ravel() * length).astype(np.int64)
    kept = np.unique([*range(min(8, length)), *between, *range(max(0, length - 16), length)])
    y = y[:, :, kept]
    stored = {"x": inputs[found.sequence], "positions": kept, "y": y}
    stored |= {f"condition.{name}": inputs[name] for name in found.conditions}
    return {name: np.ascontiguousarray(array) for name, array in stored.items()}  # safetensors writes memory, not values


def verify(path: str | Path, provider: str = "cpu") -> list[Comparison]:
    """Full, prefill, step and, if it is there, block against the stored outputs.

    Steps go from the start to the eighth position, and over the last sixteen; blocks of 1, 2, 3, … tokens over the same. The
    state that blocks leave is held against the one that steps leave: some of it may only be read much later.
    """
    session = load(path, "cuda" if provider == "cuda" else "cpu")
    graph, stored = session.graph, session.check_vectors()
    x, y = stored["x"], stored["y"]
    condition = {name.removeprefix("condition."): value for name, value in stored.items() if name.startswith("condition.")}
    expected = {int(t): y[:, :, i] for i, t in enumerate(stored["positions"])}
    allowed = tolerance(graph, y, np.float32)
    full = session.forward(x, condition)
    full = full.reshape(*full.shape[:2], -1)
    results = [Comparison("full", max(_largest(full[:, :, t], expected[t]) for t in expected), allowed)]
    if not ports(graph).steps:
        return results
    ahead, last = int(is_strict(graph)), x.shape[-1] - 1
    local = {name: value for name, value in condition.items() if facts(graph).types[name].timed}
    prefill, step, block = 0.0, 0.0, 0.0
    states: list[Comparison] = []
    for prompt, end in ((1 - ahead, 7), (max(last - 15 + (1 - ahead), 1), last)):
        tokens = range(prompt, end + 1 - ahead)
        prefill = max(prefill, _largest(session.prefill(x[..., :prompt], condition), expected[prompt - 1 + ahead]))
        for t in tokens:
            now = {name: value[..., t + ahead] for name, value in local.items()}
            step = max(step, _largest(session.step(x[..., t], now), expected[t + ahead]))
        if BLOCK not in session.manifest.files:
            continue
        stepped = session.state
        session.prefill(x[..., :prompt], condition)
        for piece in _growing(tokens):
            now = {name: value[..., piece.start + ahead : piece.stop + ahead] for name, value in local.items()}
            found = session.block(x[..., piece.start : piece.stop], now)
            block = max(block, _largest(found, np.stack([expected[t + ahead] for t in piece], axis=2)))
        for name, value in session.state.items():
            largest = _largest(value, stepped[name])
            states.append(Comparison(f"state of {name} after blocks", largest, tolerance(graph, stepped[name], np.float32)))
    results += [Comparison("prefill", prefill, allowed), Comparison("step", step, allowed)]
    if BLOCK in session.manifest.files:
        results += [Comparison("block", block, allowed), *sorted(states, key=lambda c: c.difference - c.allowed)[-1:]]
    return results


def _growing(tokens: range) -> list[range]:
    """At most 21 tokens in pieces of 1, 2, 3, …"""
    pieces = [tokens[n * (n - 1) // 2 :][:n] for n in range(1, 7)]
    return [piece for piece in pieces if piece]


def require(path: str | Path) -> None:
    """Raise BackendError with a line per output if a bundle disagrees with the oracle."""
    results = verify(path)
    if any(not result.difference <= result.allowed for result in results):
        raise BackendError("the exported graphs disagree with the oracle:\n" + "\n".join(map(str, results)))


def _largest(a: Array, b: Array) -> float:
    return float(np.abs(a - b).max())
