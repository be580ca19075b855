"""What float16 and int8 gain and lose beside float32, on one core: `python tests/bench/forms.py [PAGE]`.

Three WaveNets, each exported in float32, in float16 and in int8, and run in turn: bytes, a step, and the whole pass over 512
positions. Below it single products, a Gemm beside QuantizeLinear and MatMulInteger of the same size. At B = 1 each product has
as many weights of its own as fill 16 MB, up to 64 times, so that they come from memory as those of a deep network do.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from pages import publish
from steps import NETS, best, timed

import refar
from refar import models
from refar.analysis.int8_products import InputScale
from refar.runtime import load
from refar_export import export, int8
from refar_export.build import build

SIZES = [(64, 64), (128, 128), (128, 256), (256, 256), (512, 512), (1024, 1024)]
BATCHES = (1, 8, 32)
LARGE: dict[str, Any] = {"classes": 256, "dilations": [2**i for i in range(10)], "residual": 256, "gate": 256, "skip": 512}


def networks() -> str:
    """Make a table with a line for each network and form."""
    rows = ["| network | form | MB | " + " | ".join(f"step, B = {b}" for b in BATCHES) + " | whole pass |", "|---|" + "---|" * 6]
    for name, options in (NETS | {"10 layers, 256 channels": LARGE}).items():
        graph = models.wavenet(**options)
        params, tokens = refar.init(graph), np.random.default_rng(0).integers(0, options["classes"], (4, 512))
        with tempfile.TemporaryDirectory() as folder:
            paths = {"float32": export(graph, params, Path(folder) / "float32")}
            paths["float16"] = export(graph, params, Path(folder) / "float16", dtype="float16")
            paths["int8"] = export(graph, params, Path(folder) / "int8", quantize="int8", calibration=tokens)
            bytes_of = {form: sum(file.stat().st_size for file in path.iterdir()) / 1e6 for form, path in paths.items()}
            sessions = {form: load(path) for form, path in paths.items()}
            found = [best({form: stepping(session, batch) for form, session in sessions.items()}, 60) for batch in BATCHES]
            found.append(best({form: passing(session, tokens[:1]) for form, session in sessions.items()}, 40))
        for form, size in bytes_of.items():
            cells = [f"{each[form]:.0f} ({each[form] / each['float32']:.2f})" for each in found]
            rows.append(f"| {name} | {form} | {size:.1f} ({size / bytes_of['float32']:.2f}) | {' | '.join(cells)} |")
            print(rows[-1], file=sys.stderr, flush=True)
    return "\n".join(rows)


def stepping(session: Any, batch: int) -> Callable[[], float]:
    stream, x = session.stream(batch), np.zeros(batch, np.int64)
    return repeated(lambda: stream.step(x), 100)


def passing(session: Any, tokens: np.ndarray) -> Callable[[], float]:
    return repeated(lambda: session.forward(tokens), 2)


def repeated(call: Callable[[], object], times: int) -> Callable[[], float]:
    """Return a measurement: microseconds of one of so many calls."""

    def calls() -> None:
        for _ in range(times):
            call()

    return timed(calls, times)


def products() -> str:
    """Make a table with a line for each number of rows: how many times as fast int8 is."""
    rows = ["| rows | " + " | ".join(f"{i} × {o}" for i, o in SIZES) + " |", "|---|" + "---|" * len(SIZES)]
    for batch in (*BATCHES, 512):
        cells = []
        for sizes in SIZES:
            count = min(64, max(1, 2**22 // (sizes[0] * sizes[1]))) if batch == 1 else 1
            found = best({form: product(*sizes, batch, count, form) for form in ("float32", "int8")}, 20)
            cells.append(f"{found['float32'] / found['int8']:.2f}")
        rows.append(f"| {batch} | {' | '.join(cells)} |")
        print(rows[-1], file=sys.stderr, flush=True)
    return "\n".join(rows)


def product(fan_in: int, fan_out: int, batch: int, count: int, form: str) -> Callable[[], float]:
    """Calls of `count` products in turn, each with weights of its own."""
    import onnxruntime as ort

    g = refar.Builder()
    graph, rng = g.build(g.conv1d(g.input(channels=fan_in), fan_out, name="op")), np.random.default_rng(0)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    calls, x = [], ort.OrtValue.ortvalue_from_numpy(rng.normal(size=(batch, fan_in)).astype(np.float32))
    for _ in range(count):
        weight = rng.normal(size=(fan_out, fan_in, 1)).astype(np.float32)
        model = build(graph, {"op.weight": weight, "op.bias": np.zeros(fan_out, np.float32)}, "step")
        model = int8.stored(model, {"op": InputScale(1 / 32, 128)}) if form == "int8" else model
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", x)
        binding.bind_ortvalue_input("past.clock", ort.OrtValue.ortvalue_from_numpy(np.array(0)))
        for port in session.get_outputs():
            binding.bind_output(port.name)
        calls.append((session, binding))
    turns = cycle(calls)

    def call() -> None:
        session, binding = next(turns)
        session.run_with_iobinding(binding)

    return repeated(call, max(200, count))


if __name__ == "__main__":
    text = f"{networks()}\n\nA product in float32 takes as many times as long as in int8:\n\n{products()}"
    publish("forms", text)
