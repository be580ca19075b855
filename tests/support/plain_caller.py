"""A bundle as a program without refar runs it, with onnxruntime and NumPy. The listing in export/README.md is this file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort


class Caller:
    """`start` takes prompts, `step` one token, `block` several; all give the output. `state` goes from one call to the next."""

    def __init__(self, bundle: Path, level: str = "ORT_ENABLE_ALL") -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        self.manifest = json.loads((bundle / "bundle.json").read_text())
        self.models = {path.stem: ort.InferenceSession(path, options) for path in bundle.glob("*.onnx")}
        self.state: dict[str, np.ndarray] = {}

    def start(self, inputs: dict[str, np.ndarray], length: np.ndarray) -> np.ndarray:
        """Prompts, padded on the right to T positions, 1 ≤ T; of a strict network T > every length."""
        self.state = {"past.clock": np.array(0, np.int64)}
        return self._run("prefill", {**inputs, "length": length})

    def step(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """One token of each sequence, and the local conditions of the position of its output."""
        return self._run("step", inputs)

    def block(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """T tokens of each sequence."""
        return self._run("block", inputs)

    def rewind(self, steps: int) -> None:
        """Take back steps, at most as many as bundle.json has `spare`."""
        self.state["past.clock"] = np.array(self.state["past.clock"] - steps)

    def _run(self, name: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        model = self.models[name]
        given = {**inputs, **self.state}
        results = model.run(None, {port.name: given[port.name] for port in model.get_inputs()})
        for port, value in zip(model.get_outputs(), results, strict=True):
            self.state[port.name.replace("present.", "past.")] = value  # fixed.* keep their names
        return self.state.pop("output")
