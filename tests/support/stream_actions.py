"""Whatever may be done to a stream, in a random order, beside what the oracle gives for each of its sequences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import onnxruntime

import refar
from refar import Graph
from refar.analysis.facts import facts
from refar.rounding.tolerance import tolerance
from refar.runtime import load
from refar.runtime.stream import Stream
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar_export import export

LENGTH, SPARE = 96, 3
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
ACTIONS = ("push", "push", "blocks", "blocks", "step", "rewind", "fork", "take", "join", "reset", "save")


@contextmanager
def optimised(level: str) -> Iterator[None]:
    """Sessions that are opened meanwhile rewrite their graphs at this level."""
    right = onnxruntime.SessionOptions

    def options() -> onnxruntime.SessionOptions:
        made = right()
        made.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        return made

    with mock.patch.object(onnxruntime, "SessionOptions", options):
        yield


@dataclass
class Followed:
    """A stream, and of each of its rows which sequence it follows and how far it has come."""

    stream: Stream
    rows: list[int]
    at: list[int]


class Trial:
    """One network at one level: streams under random actions. `worst` is the largest difference over what is allowed."""

    def __init__(self, graph: Graph, folder: Path, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        params = {name: array.astype(np.float32) for name, array in generic_parameters(graph, self.rng).items()}
        self.graph, self.found, self.strict = graph, facts(graph), int(facts(graph).strict)
        with optimised(LEVELS[seed % 4]):
            self.session = load(export(graph, params, folder / "b", spare=SPARE))
        self.inputs = generic_inputs(graph, self.rng, 4, LENGTH)
        self.y = refar.forward(graph, params, self.inputs)
        self.allowed, self.worst, self.folder = tolerance(graph, self.y, np.float32), 0.0, folder

    def begun(self, rows: list[int]) -> Followed:
        """Sequences with prompts of different lengths."""
        lengths = [int(n) for n in self.rng.integers(0, 6, len(rows))]
        prompt = [self.inputs[self.found.sequence][row][..., :length] for row, length in zip(rows, lengths, strict=True)]
        given = {}
        for name in self.found.conditions:
            array = self.inputs[name][rows]
            given[name] = array[..., : max(lengths) + self.strict] if self.found.types[name].timed else array
        followed = Followed(self.session.stream(condition=given or None, prompt=prompt, batch=len(rows)), rows, lengths)
        self._compare(followed, followed.stream.output, None)
        return followed

    def run(self, actions: int) -> float:
        """Do so many random things to a stream of three sequences."""
        followed = self.begun([0, 1, 2])
        for _ in range(actions):
            followed = self.act(str(self.rng.choice(ACTIONS)), followed)
        return self.worst

    def act(self, action: str, of: Followed) -> Followed:
        """Do one thing; the result is the stream to go on with."""
        match action:
            case "push" | "step":
                self._advance(of, 1 if action == "step" else int(self.rng.integers(1, 9)))
            case "blocks":
                length = int(self.rng.integers(2, 6))
                for _ in range(int(self.rng.integers(2, 7))):
                    self._advance(of, length)
            case "rewind":
                steps = min(SPARE, of.stream._back, min(of.at))
                of.stream.rewind(steps)
                of.at = [at - steps for at in of.at]
                self._advance(of, steps)
            case "fork":
                other = Followed(of.stream.fork(), list(of.rows), list(of.at))
                self._advance(other, 2)
            case "take":
                chosen = [int(n) for n in self.rng.integers(0, len(of.rows), int(self.rng.integers(1, 4)))]
                return Followed(of.stream.take(chosen), [of.rows[n] for n in chosen], [of.at[n] for n in chosen])
            case "join" if len(of.rows) < 5:
                late = self.begun([3])
                self._advance(late, 3)
                return Followed(of.stream.join(late.stream), of.rows + late.rows, of.at + late.at)
            case "reset":
                row = int(self.rng.integers(len(of.rows)))
                local = {n: self.inputs[n][of.rows[row], None][..., : self.strict] for n in self._local()}
                of.stream.reset([row], local or None)
                of.at[row] = 0
            case "save":
                of.stream.save(self.folder / "stream")
                return Followed(self.session.load_stream(self.folder / "stream"), of.rows, of.at)
        return of

    def _local(self) -> list[str]:
        return [name for name in self.found.conditions if self.found.types[name].timed]

    def _advance(self, of: Followed, length: int) -> None:
        length = min(length, LENGTH - self.strict - max(of.at))
        if length <= 0:
            return

        def part(name: str, later: int) -> np.ndarray:
            array = self.inputs[name]
            return np.stack([array[row][..., at + later : at + later + length] for row, at in zip(of.rows, of.at, strict=True)])

        local = {name: part(name, self.strict) for name in self._local()}
        y = of.stream.push(part(self.found.sequence, 0), local or None)
        of.at = [at + length for at in of.at]
        self._compare(of, y[..., -1], None)
        self._compare(of, None, y)

    def _compare(self, of: Followed, last: np.ndarray | None, y: np.ndarray | None) -> None:
        for n, (row, at) in enumerate(zip(of.rows, of.at, strict=True)):
            end = at + self.strict
            if last is not None and end > 0:
                self._off(last[n] - self.y[row, :, end - 1])
            if y is not None:
                self._off(y[n] - self.y[row, :, end - y.shape[2] : end])

    def _off(self, difference: np.ndarray) -> None:
        off = float(np.abs(difference).max(initial=0)) / self.allowed
        self.worst = max(self.worst, off)
        assert off <= 1, f"{off:.3g} times what is allowed"
