"""The checker: a bundle in onnxruntime against the oracle's stored outputs. This is the one part that uses `refar.spec`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refar import noise
from refar.arrays import Array, Arrays
from refar.errors import BackendError
from refar.graph import Graph
from refar.infer import analyse, is_strict, receptive_field
from refar.runtime import load
from refar.spec import forward
from refar.tolerance import tolerance


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
    """Two short sequences and the oracle's outputs in float64: "x", "condition.<name>", "y". Drawn from fixed noise."""
    found = analyse(graph)
    length = min(max(receptive_field(graph) + 5, 12), 64)
    inputs: Arrays = {}
    for stream, name in enumerate((found.sequence, *found.conditions)):
        kind = found.types[name]
        shape = [{"b": 2, "c": kind.size, "t": length}[axis] for axis in kind.axes]
        u = noise.uniform(0, [stream], 0, 1, int(np.prod(shape))).reshape(shape)
        inputs[name] = (u * kind.size).astype(np.int64) if kind.indexed else (4 * u - 2).astype(np.float32)
    y = forward(graph, params, inputs)
    stored = {"x": inputs[found.sequence], "y": y} | {f"condition.{name}": inputs[name] for name in found.conditions}
    return {name: np.ascontiguousarray(array) for name, array in stored.items()}  # safetensors writes memory, not values


def verify(path: str | Path, provider: str = "cpu") -> list[Comparison]:
    """Full, prefill and step against the stored outputs: full at every position, prefill after a third, steps from there."""
    session = load(path, "cuda" if provider == "cuda" else "cpu")
    stored = session.check_vectors()
    x, y = stored["x"], stored["y"]
    condition = {name.removeprefix("condition."): value for name, value in stored.items() if name.startswith("condition.")}
    allowed = tolerance(session.graph, y, np.float32)
    third, ahead = y.shape[2] // 3, int(is_strict(session.graph))
    first = session.prefill(x[..., :third], condition)[:, :, None]
    steps = [session.step(x[..., t])[:, :, None] for t in range(third, y.shape[2] - ahead)]
    begin = third - 1 + ahead
    return [
        Comparison("full", _largest(session.forward(x, condition), y), allowed),
        Comparison("prefill", _largest(first, y[:, :, begin : begin + 1]), allowed),
        Comparison("step", _largest(np.concatenate(steps, axis=2), y[:, :, begin + 1 :]), allowed),
    ]


def require(path: str | Path) -> None:
    """Raise BackendError with a line per output if a bundle disagrees with the oracle."""
    results = verify(path)
    if any(not result.difference <= result.allowed for result in results):
        raise BackendError("the exported graphs disagree with the oracle:\n" + "\n".join(map(str, results)))


def _largest(a: Array, b: Array) -> float:
    return float(np.abs(a - b).max())
