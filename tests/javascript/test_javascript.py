"""The caller in JavaScript of export/README.md, run by node with onnxruntime-web: `make test-javascript`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stream_graphs import GRAPHS

import refar
from refar.analysis.facts import facts
from refar.rounding.tolerance import tolerance
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar_export import export

HERE = Path(__file__).parent


def tensor(array: np.ndarray) -> dict[str, Any]:
    kind = "int64" if array.dtype == np.int64 else "float32"
    return {"type": kind, "data": array.ravel().tolist(), "dims": list(array.shape)}


@pytest.mark.javascript
@pytest.mark.parametrize("name", GRAPHS)
def test_a_browser_runs_the_bundle(name: str, tmp_path: Path) -> None:
    """Prompts of one and of four tokens, then steps and blocks."""
    graph, rng, lengths = GRAPHS[name], np.random.default_rng(3), np.array([1, 4])
    params, found = generic_parameters(graph, rng), facts(graph)
    bundle = export(graph, params, tmp_path / "bundle")
    inputs = {n: a if a.dtype == np.int64 else a.astype(np.float32) for n, a in generic_inputs(graph, rng, 2, 24).items()}
    strict = int(found.strict)

    def part(begin: int, end: int) -> dict[str, np.ndarray]:
        firsts = {name: lengths + (0 if name == found.sequence else strict) for name in inputs if found.types[name].timed}
        return {n: np.stack([inputs[n][b, ..., f + begin : f + end] for b, f in enumerate(first)]) for n, first in firsts.items()}

    first = {n: a[..., :5] if found.types[n].timed else a for n, a in inputs.items()}
    calls = [{"call": "start", "inputs": {n: tensor(a) for n, a in first.items()}, "length": tensor(lengths)}]
    at = 0
    for size in (1, 3, 1, 9):
        now = {n: a[..., 0] if size == 1 else a for n, a in part(at, at + size).items()}
        calls.append({"call": "step" if size == 1 else "block", "inputs": {n: tensor(a) for n, a in now.items()}})
        at += size
    (tmp_path / "cases.json").write_text(json.dumps(calls))
    subprocess.run(["node", HERE / "run.mjs", bundle, tmp_path / "cases.json", tmp_path / "out.json"], check=True)
    outputs = [np.array(y["data"]).reshape(y["dims"]) for y in json.loads((tmp_path / "out.json").read_text())]
    got = np.concatenate([y if y.ndim == 3 else y[..., None] for y in outputs], axis=2)
    y = refar.forward(graph, params, inputs)
    expected = np.stack([row[:, n + strict - 1 : n + strict + 14] for row, n in zip(y, lengths, strict=True)])
    assert np.abs(got - expected).max() <= tolerance(graph, y, np.float32)
