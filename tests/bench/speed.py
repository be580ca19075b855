"""How much the step and block graphs save: ratios measured in one run. `python tests/bench/speed.py [--json FILE]`.

The floor beside which the step graph is put is recomputing the full graph for every token, as is done without a state:
over everything so far, or over the last R tokens once there are more. A block of known tokens is put beside as many steps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

import refar
from refar import models
from refar.analysis.causality import receptive_field
from refar.runtime import load
from refar.runtime.session import Session
from refar_export import export

BLOCK = 64
NETS = {
    "8 layers, 32 channels": {"classes": 64, "dilations": [1, 2, 4, 8] * 2, "residual": 32, "gate": 32, "skip": 64},
    "20 layers, 64 channels": {"classes": 256, "dilations": [2**i for i in range(10)] * 2},
}


def seconds_per_step(session: Session, batch: int, tokens: int) -> float:
    """Generating with the step graph, the best of three."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        session.generate(tokens, batch=batch)
        times.append((time.perf_counter() - begin) / tokens)
    return min(times)


def seconds_per_recomputation(session: Session, batch: int, window: int) -> float:
    """One whole pass over the receptive field, of which only the last output is used, the best of three."""
    x = np.zeros((batch, window), np.int64)
    session.forward(x)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        session.forward(x)
        times.append(time.perf_counter() - begin)
    return min(times)


def seconds_per_block(session: Session, batch: int) -> tuple[float, float]:
    """One block of 64 tokens, and 64 steps, in turn, the best of five each."""
    x = np.zeros((batch, BLOCK), np.int64)
    session.prefill(batch=batch)
    blocks, steps = [], []
    for _ in range(5):
        begin = time.perf_counter()
        session.block(x)
        middle = time.perf_counter()
        for t in range(BLOCK):
            session.step(x[:, t])
        blocks.append(middle - begin)
        steps.append(time.perf_counter() - middle)
    return min(blocks), min(steps)


def measure() -> list[dict[str, object]]:
    """One row per network and batch size."""
    rows = []
    for name, options in NETS.items():
        graph = models.wavenet(**options)  # type: ignore[arg-type]
        with tempfile.TemporaryDirectory() as folder:
            session = load(export(graph, refar.init(graph), Path(folder) / "bundle", block=True), threads=2)
            for batch in (1, 8):
                step = seconds_per_step(session, batch, 300)
                full = seconds_per_recomputation(session, batch, receptive_field(graph))
                block, steps = seconds_per_block(session, batch)
                row = {"network": name, "R": receptive_field(graph), "batch": batch, "step_us": 1e6 * step, "ratio": full / step}
                row |= {"block_ratio": steps / block}
                print(
                    f"{name}, R = {row['R']}, batch {batch}: {row['step_us']:.0f} µs per step, "
                    f"recomputing takes {row['ratio']:.0f} times as long; "
                    f"{BLOCK} steps take {row['block_ratio']:.1f} times as long as a block of them",
                    flush=True,
                )
                rows.append(row)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = measure()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
