"""The checker: a bundle in onnxruntime against the oracle's stored outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.analysis.linear import windows
from refar.arguments.arrays import Array, Arrays
from refar.errors import BackendError
from refar.rounding.tolerance import tolerance
from refar.runtime import load
from refar.runtime.bundle import BLOCK, FULL, PAST, PRESENT, STEP, WINDOW
from refar.runtime.session import Session
from refar_export.in_place import require_order, require_windows


@dataclass(frozen=True)
class Comparison:
    """One output of one graph beside the oracle's: the largest difference, and what is allowed."""

    what: str
    difference: float
    allowed: float

    def __str__(self) -> str:
        mark = "✓" if self.difference <= self.allowed else "x"
        return f"[{mark}] {self.what}: largest difference {self.difference:.2e}, allowed {self.allowed:.2e}"


def verify(path: str | Path, provider: str = "cpu") -> list[Comparison]:
    """Full, prefill, step, block and window against the stored outputs.

    Steps go from the start to the eighth position, and over the last sixteen; blocks of 1, 2, 3, … tokens over the same, and
    blocks of two, all but the first of which run window.onnx. The
    state that blocks leave is held against the one that steps leave: some of it may only be read much later. Of a bundle in int8
    the outputs of full.onnx take the place of the stored ones.
    Raises BackendError where step or block could write its state before it has read the old one, or window the other way round.
    """
    session = load(path, "cuda" if provider == "cuda" else "cpu")
    graph, stored = session.graph, session.check_vectors()
    x, y = stored["x"], stored["y"]
    condition = {name.removeprefix("condition."): value for name, value in stored.items() if name.startswith("condition.")}
    first, allowed = facts(graph).first_position, tolerance(graph, y, np.float32)
    full = session.forward(x, condition)
    full = full.reshape(*full.shape[:2], -1)
    for model in (STEP, BLOCK) if session.manifest.layout is not None else ():
        require_order(onnx.load_from_string(session._opened.bundle.read(model)), model)
    if (layout := session.manifest.layout) is not None:
        ends = {f"{PAST}.{each.port}": f"{PRESENT}.{each.node}" for each in windows(facts(graph), layout).values()}
        require_windows(onnx.load_from_string(session._opened.bundle.read(WINDOW)), WINDOW, ends)
    if session.manifest.int8:  # how far int8 is from the oracle no tolerance says; but all models must give the same
        y = full[:, :, stored["positions"]]
    expected = {first + int(t): y[:, :, i] for i, t in enumerate(stored["positions"])}
    results = []
    if not session.manifest.int8:
        results.append(Comparison("full", max(_largest(full[:, :, t - first], expected[t]) for t in expected), allowed))
    if session.manifest.image is not None:
        results.append(Comparison("pixels", _pixels(session, x, condition, expected), allowed))
    if session.manifest.layout is None:
        return results
    ahead, last = int(is_strict(graph)), x.shape[-1] - 1
    local = {name: value for name, value in condition.items() if facts(graph).types[name].timed}
    prefill, step, off = 0.0, 0.0, {BLOCK: 0.0, WINDOW: 0.0}
    states: list[Comparison] = []
    for prompt, end in ((first + 1 - ahead, min(first + 7, last)), (max(last - 15, first) + 1 - ahead, last)):
        tokens = range(prompt, end + 1 - ahead)
        prefill = max(prefill, _largest(session.prefill(x[..., :prompt], condition), expected[prompt - 1 + ahead]))
        for t in tokens:
            now = {name: value[..., t + ahead] for name, value in local.items()}
            step = max(step, _largest(session.step(x[..., t], now), expected[t + ahead]))
        stepped = session.state
        for model, pieces in ((BLOCK, _growing(tokens)), (WINDOW, _equal(tokens))):
            session.prefill(x[..., :prompt], condition)
            for piece in pieces:
                now = {name: value[..., piece.start + ahead : piece.stop + ahead] for name, value in local.items()}
                found = session.block(x[..., piece.start : piece.stop], now)
                off[model] = max(off[model], _largest(found, np.stack([expected[t + ahead] for t in piece], axis=2)))
            for name, value in session.state.items():
                largest = _largest(value, stepped[name])
                states.append(Comparison(f"state of {name} after blocks", largest, tolerance(graph, stepped[name], np.float32)))
    results += [Comparison("prefill", prefill, allowed), Comparison("step", step, allowed)]
    results += [Comparison("block", off[BLOCK], allowed), Comparison("window", off[WINDOW], allowed)]
    return [*results, *sorted(states, key=lambda c: c.difference - c.allowed)[-1:]]


def _pixels(session: Session, x: Array, condition: Arrays, expected: dict[int, Array]) -> float:
    """The largest difference at the stored pixels: each pushed by itself, and once more with half of each row in one call."""
    pixels, (height, width) = x.reshape(*x.shape[:2], -1), x.shape[2:]
    largest = 0.0
    for known in (1, max(1, width // 2)):
        canvas = session.canvas((height, width), len(x), condition or None)
        while canvas.place < height * width:
            place = canvas.place
            count = known if place % width == 0 else 1
            y = canvas.block(pixels[:, :, place : place + count]) if count > 1 else canvas.push(pixels[:, :, place])[..., None]
            stored = [n for n in range(count) if place + n in expected]
            largest = max([largest, *(_largest(y[:, :, n], expected[place + n]) for n in stored)])
    return largest


def _growing(tokens: range) -> list[range]:
    """At most 21 tokens in pieces of 1, 2, 3, …"""
    pieces = [tokens[n * (n - 1) // 2 :][:n] for n in range(1, 7)]
    return [piece for piece in pieces if piece]


def _equal(tokens: range) -> list[range]:
    """All tokens in pieces of 2; the last may be alone."""
    return [tokens[n : n + 2] for n in range(0, len(tokens), 2)]


def require(path: str | Path) -> None:
    """Raise BackendError with a line per output if a bundle disagrees with the oracle, or one in int8 with its full.onnx."""
    results = verify(path)
    if any(not result.difference <= result.allowed for result in results):
        reference = "the oracle" if results[0].what == "full" else FULL
        raise BackendError(f"the exported graphs disagree with {reference}:\n" + "\n".join(map(str, results)))


def _largest(a: Array, b: Array) -> float:
    return float(np.abs(a - b).max())
