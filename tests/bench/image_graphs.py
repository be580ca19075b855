"""Row and pixel graphs of random networks against the whole pass: `python tests/bench/image_graphs.py [--graphs N] [--seed S]`.

Each graph runs over several shapes; with one visit and with several visits in a call; with the state written in place and not;
with wrong guesses first; and with nan in every slot that no visit has written, and for the pixel before the first. Outputs are
held against the bound of all orders.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from hypothesis import HealthCheck, Phase, given, seed, settings
from rich.progress import Progress

from refar import Graph, to_json
from refar.analysis.facts import facts
from refar.analysis.image_slots import CONDITION, PIXEL, PIXELS, ROW
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import digest
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding.network import composed
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar.testing.strategies import plane_graphs
from refar_export.image_graphs import REWRITES, image_models

LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
SHAPES = ((1, 1), (3, 4), (4, 2))


def opened(graph: Graph, params: Arrays, level: str = "ORT_ENABLE_ALL", rewrites: Collection[str] = REWRITES) -> dict[str, Any]:
    """Sessions of all graphs of a network."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    models = image_models(graph, {name: np.asarray(array, np.float32) for name, array in params.items()}, rewrites)
    return {name: onnxruntime.InferenceSession(model.SerializeToString(), options) for name, model in models.items()}


@dataclass
class Way:
    """How the graphs are driven: visits in a call (0: pixel.onnx), in place or not, how many columns are guessed wrong first."""

    visits: int = 0
    in_place: bool = True
    guesses: int = 0
    poisoned: bool = True


WAYS = (Way(), Way(in_place=False), Way(guesses=2), Way(visits=3), Way(visits=2, in_place=False, guesses=1))


class Drive:
    """One run over a batch of images: the contract of export/README.md, and nothing of refar's own runtime."""

    def __init__(self, graph: Graph, sessions: dict[str, Any], inputs: Arrays, way: Way) -> None:
        self.sessions, self.way = sessions, way
        driving = json.loads(sessions[PIXEL].get_modelmeta().custom_metadata_map["refar.image"])
        self.first, self.lead, self.past = driving["first_visit"], driving["output_lead"], driving["past"]
        self.sequence = facts(graph).sequence
        self.x = narrow(inputs[self.sequence])
        self.batch, _, self.height, self.width = self.x.shape
        self.ports: Arrays = {name: narrow(array) for name, array in inputs.items() if name != self.sequence}
        sizes = {"batch": self.batch, "height": self.height, "width": self.width, "row": 0, "column": 0}
        self.ports |= {name: np.array(size, np.int64) for name, size in sizes.items()}
        known = {"slots": self.past + 1 + self.width, "batch_size": self.batch, "width": self.width}
        for port in (port for session in sessions.values() for port in session.get_inputs() if port.name.startswith("past.")):
            self.ports[port.name] = np.zeros([known.get(size, size) for size in port.shape], np.float32)
        self.rng = np.random.default_rng(0)

    def outputs(self) -> Array:
        """y_bchw of the images."""
        channels = self.sessions[PIXEL].get_outputs()[0].shape[1]
        y = np.zeros((self.batch, channels, self.height, self.width))
        if CONDITION in self.sessions:
            self._call(CONDITION)
        for row in range(self.height):
            self._enter(row)
            visit, count = self.first, max(1, self.way.visits)
            while visit < self.width:
                last = min(visit + count, self.width)
                for guess in range(visit, min(visit + self.way.guesses, self.width)):
                    self._visit(guess, self._guessed(row, guess))
                found = self._visit(visit, np.stack([self._pixel(row, each) for each in range(visit, last)]))
                for each, y_bc in enumerate(found, visit + self.lead):
                    if each < self.width:
                        y[:, :, row, each] = y_bc
                visit = last
        return y

    def _enter(self, row: int) -> None:
        self.ports["row"] = np.array(row, np.int64)
        if ROW in self.sessions:
            self._call(ROW)
        if self.way.poisoned:
            self.ports.get("past.pixels", np.zeros(0))[self.past + 1 + self.first :] = np.nan

    def _pixel(self, row: int, visit: int) -> Array:
        """The pixel of a visit; at visit -1, where nothing may depend on it, nan or the last class that there is."""
        if visit >= 0:
            return self.x[:, :, row, visit]
        return np.full(self.x.shape[:2], self.x.max() if self.x.dtype == np.int64 else np.nan, self.x.dtype)

    def _guessed(self, row: int, visit: int) -> Array:
        """Another pixel out of the same images."""
        flat = self.x.reshape(*self.x.shape[:2], -1)
        return flat[None, :, :, self.rng.integers(flat.shape[2])]

    def _visit(self, visit: int, x_nbc: Array) -> Array:
        self.ports["column"] = np.array(visit, np.int64)
        if self.way.visits:
            self.ports[self.sequence] = np.ascontiguousarray(x_nbc)
            return self._call(PIXELS)["output"]
        assert len(x_nbc) == 1
        self.ports[self.sequence] = np.ascontiguousarray(x_nbc[0])
        return self._call(PIXEL)["output"][None]

    def _call(self, file: str) -> Arrays:
        """Run one graph; what is present becomes past."""
        session = self.sessions[file]
        feeds = {value.name: self.ports[value.name] for value in session.get_inputs()}
        names = [value.name for value in session.get_outputs()]
        found = (
            self._in_place(session, feeds, names)
            if self.way.in_place
            else dict(zip(names, session.run(names, feeds), strict=True))
        )
        self.ports |= {name.replace("present.", "past."): array for name, array in found.items() if name != "output"}
        return found

    def _in_place(self, session: Any, feeds: Arrays, names: list[str]) -> Arrays:
        binding = session.io_binding()
        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for name in names:
            past = name.replace("present.", "past.")
            binding.bind_ortvalue_output(name, values[past]) if past in values else binding.bind_output(name)
        session.run_with_iobinding(binding)
        found = dict(zip(names, binding.get_outputs(), strict=True))
        return {name: feeds.get(name.replace("present.", "past."), np.array(value.numpy())) for name, value in found.items()}


def narrow(array: Array) -> Array:
    """In the dtype of the graphs."""
    return np.ascontiguousarray(array, np.int64 if array.dtype == np.int64 else np.float32)


@dataclass(frozen=True)
class Expected:
    """The oracle in float64, of parameters and inputs as float32 holds them, and the bound of each number."""

    y_bchw: Array
    bound_bchw: Array

    def ratio(self, found_bchw: Array) -> float:
        """The largest difference over the bound; infinite for nan, and for what must be exact and is not."""
        difference = np.abs(found_bchw - self.y_bchw)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(difference == 0, 0, difference / self.bound_bchw)
        return float(np.nan_to_num(ratios, nan=np.inf).max(initial=0))


def expected(graph: Graph, params: Arrays, inputs: Arrays) -> Expected:
    """The oracle's output and the bound for float32."""
    wide = {name: array.astype(np.float32).astype(np.float64) for name, array in params.items()}
    net = unchecked(graph, wide)
    given = net.cast({name: narrow(array) for name, array in inputs.items()})
    y = forward_nodes(net, given, keep=False)[graph.output]
    return Expected(y, composed(graph, wide, given, bound.FLOAT32)[graph.output])


def case(graph: Graph, number: int, batch: int, shape: tuple[int, int]) -> tuple[Arrays, Arrays]:
    """Parameters, of every second graph such that no relu is off, and inputs."""
    rng = np.random.default_rng([number, *shape])
    return generic_parameters(graph, rng, alive=number % 2 == 1), generic_inputs(graph, rng, batch, *shape)


def run(distinct: int, start: int, bar: Progress) -> tuple[int, int, float, int]:
    """Graphs, runs, the largest difference over the bound, and how many graphs looked ahead and were left out."""
    task, seen, runs, worst, ahead, shrinking = bar.add_task("graphs", total=distinct), set[str](), 0, 0.0, 0, False

    @seed(start)
    @settings(
        max_examples=4 * distinct, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(plane_graphs())
    def holds(graph: Graph) -> None:
        nonlocal runs, worst, ahead, shrinking
        if not shrinking:
            if len(seen) == distinct or (name := digest(graph)) in seen:
                return
            if facts(graph).looks_ahead is not None:
                ahead += 1
                return
            seen.add(name)
            bar.advance(task)
            if len(seen) % 100 == 0:
                print(f"{len(seen)} graphs, {runs} runs, largest difference over the bound {worst:.3g}", flush=True)
        for shape in SHAPES:
            params, inputs = case(graph, len(seen), 2, shape)
            sessions, wanted = opened(graph, params, LEVELS[len(seen) % 4]), expected(graph, params, inputs)
            for way in WAYS:
                ratio = wanted.ratio(Drive(graph, sessions, inputs, way).outputs())
                runs, worst = runs + 1, max(worst, ratio)
                if not ratio <= 1:
                    shrinking = True
                    print(to_json(graph).decode(), f"shape {shape}, {way}", file=sys.stderr)
                    raise AssertionError(f"{ratio} times the bound at shape {shape}, {way}")

    holds()
    return len(seen), runs, worst, ahead


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin = time.perf_counter()
    with Progress(disable=not sys.stderr.isatty()) as bar:
        graphs, runs, worst, ahead = run(options.graphs, options.seed, bar)
    print(
        f"{graphs} random graphs, {runs} runs, all within the bound; the largest difference is {worst:.3g} of it; "
        f"{ahead} that look ahead were left out; {time.perf_counter() - begin:.0f} s"
    )


if __name__ == "__main__":
    main()
