"""Bundles on a device: every law of bundles, tokens and pixels beside the oracle's, and what a step costs.

`python tests/bench/device.py [--provider cpu|cuda]`; on CUDA it fails where the provider does not start. With PyTorch in the
environment import it first: it brings the CUDA libraries.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import tempfile
import time
from pathlib import Path

with contextlib.suppress(ModuleNotFoundError):
    importlib.import_module("torch")

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parents[2] / "export"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from stream_graphs import GRAPHS

import refar
from refar import Graph, models
from refar.analysis.facts import facts
from refar.runtime import load
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar.testing.contract.laws import run_bundle_laws
from refar_export import export

IMAGES = {
    "two stacks": models.pixelcnn(16, hidden=8, condition="class:10"),
    "masked, 3 colours": models.masked_pixelcnn(4, channels=3, hidden=6, layers=2),
    "gated": models.gated_pixelcnn(16, layers=2, hidden=8),
}
MEDIUM = {"classes": 256, "dilations": [2**i for i in range(10)] * 2}


def laws(name: str, graph: Graph, folder: Path, provider: str) -> bool:
    """Whether every law holds; prints those that do not."""
    path = export(graph, generic_parameters(graph, np.random.default_rng(1)), folder / name.replace(" ", "_"))
    report = run_bundle_laws(path, "cuda" if provider == "cuda" else "cpu")
    for line in report.lines:
        if not line.passed:
            print(f"  {name}: law {line.law}: {line.message}")
    return report.passed


def same(name: str, graph: Graph, folder: Path, provider: str) -> str:
    """How many tokens or values are those of the oracle in float64."""
    params = {key: value.astype(np.float32) for key, value in refar.init(graph, seed=3).items()}
    session = load(export(graph, params, folder / f"same_{name.replace(' ', '_')}"), "cuda" if provider == "cuda" else "cpu")
    conditions = generic_inputs(graph, np.random.default_rng(2), 3, *((9, 8) if facts(graph).grid else (60,)))
    given = {key: conditions[key] for key in facts(graph).conditions} or None
    n = (9, 8) if facts(graph).grid else 60
    found = session.generate(n, batch=3, seed=4, condition=given)
    expected = refar.generate(graph, params, n, batch=3, seed=4, condition=given)
    return f"{name}: {int((found == expected).sum())} of {expected.size} equal"


def cost(batch: int, provider: str, folder: Path) -> str:
    """Microseconds of a step of a stream, and of a token of `generate`."""
    graph = models.wavenet(**MEDIUM)
    session = load(export(graph, refar.init(graph), folder / f"cost{batch}"), "cuda" if provider == "cuda" else "cpu")
    stream, x, steps = session.stream(batch), np.zeros(batch, np.int64), []
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(100):
            stream.step(x)
        steps.append((time.perf_counter() - begin) / 100)
    begin = time.perf_counter()
    session.generate(300, batch=batch)
    each = (time.perf_counter() - begin) / 300
    return f"20 layers, 64 channels, B = {batch}: {1e6 * min(steps):.0f} µs a step, {1e6 * each:.0f} µs a token of generate"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", choices=["cpu", "cuda"], default="cpu")
    provider = parser.parse_args().provider
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks = {**GRAPHS, **IMAGES}
        held = [laws(name, graph, folder, provider) for name, graph in networks.items()]
        print(f"{sum(held)} of {len(held)} networks keep every law of bundles on {provider}", flush=True)
        for key in ("delays", "conditions", "wavenet, local", *IMAGES):
            print(same(key, networks[key], folder, provider), flush=True)
        for batch in (1, 64, 256):
            print(cost(batch, provider, folder), flush=True)
    if not all(held):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
