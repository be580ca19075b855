"""How many of 8 000 tokens of onnxruntime are those of exact arithmetic: `python tests/bench/certificates.py`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

import refar
from refar import Graph, models
from refar.analysis.facts import facts
from refar.rounding.certify import certify
from refar.runtime import load
from refar_export import export

NETS: dict[str, tuple[Graph, int, int]] = {
    # rows, tokens of each
    "nettoy1d": (models.nettoy1d(16), 8, 1000),
    "nettoy1d_dilated": (models.nettoy1d_dilated(16), 8, 1000),
    "wavenet, 8 layers, class condition": (
        models.wavenet(17, [1, 2, 4, 8] * 2, residual=32, gate=32, skip=64, condition="class:10"), 8, 1000
    ),
    "wavenet, 20 layers, R = 2 048": (models.wavenet(), 4, 2000),
}  # fmt: skip


def table() -> str:
    """Markdown."""
    lines = [
        "| 8 000 tokens of onnxruntime, float32 | uncertain steps | smallest gap | largest bound | seconds |",
        "|---|---|---|---|---|",
    ]
    for name, (graph, rows, count) in NETS.items():
        params = refar.init(graph, seed=0)
        condition = np.arange(rows) if facts(graph).conditions else None
        with tempfile.TemporaryDirectory() as folder:
            session = load(export(graph, params, Path(folder) / "bundle"))
            tokens = session.generate(count, batch=rows, seed=1, condition=condition)
        begin = time.perf_counter()
        found = certify(graph, params, tokens, seed=1, condition=condition)
        seconds = time.perf_counter() - begin
        share = f"{len(found.doubts)} of {found.gaps.size}"
        lines.append(f"| {name} | {share} | {found.gaps.min():.1g} | {found.bounds.max():.1g} | {seconds:.0f} |")
        print(lines[-1], flush=True)
        for doubt in found.doubts[:5]:
            print(doubt, flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
