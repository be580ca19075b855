"""The deployed half of the demo: everything is done by the bundle, in a process in which PyTorch cannot be imported."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from refar import noise
from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.runtime import load
from refar.runtime.session import Session

BLOCKED = ("torch", "onnx", "sklearn", "matplotlib")
LAUNCH = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    f"sys.modules.update(dict.fromkeys({BLOCKED!r})); from refar.cli.demonstration.deploy import main; main(*sys.argv[1:])"
)
"""What the new Python runs: Ctrl-C ends it silently; a module that is None in sys.modules cannot be imported by anyone."""

PER_CLASS, COMPLETIONS, BATCHES = 10, 6, (1, 64)


def main(bundle: str, data: str, out: str) -> None:
    """Write the arrays to `out` and the figures beside it, as .npz and .json."""
    _prove_blocked()
    session = load(bundle)
    with np.load(data) as file:
        x, label = file["x"], file["condition"]
    classes, length = facts(session.graph).types[facts(session.graph).conditions[0]].size, x.shape[1]
    of_class = np.arange(classes).repeat(PER_CLASS)
    arrays: dict[str, Array] = {}
    figures: dict[str, Any] = {"provider": session.provider, "blocked": list(BLOCKED)}

    said = _Said()
    arrays["samples"] = session.generate(length, seed=1, condition=of_class)
    said(f"generated {len(of_class)} pictures")

    picked = np.array([np.flatnonzero(label == c)[0] for c in range(classes) if (label == c).any()])  # the first of each class
    half = length // 2
    rows = picked.repeat(COMPLETIONS)
    rest = session.generate(length - half, seed=2, prompt=x[rows, :half], condition=label[rows])
    arrays["originals"] = x[picked]
    arrays["completions"] = np.concatenate([x[rows, :half], rest], axis=1).reshape(len(picked), COMPLETIONS, length)
    said(f"completed {len(rows)} pictures from their first {half} pixels")

    log_p = session.score(x, label)
    figures["nats_per_pixel"] = -float(log_p.mean()) / length
    said(f"scored {len(x)} held-out pictures: {figures['nats_per_pixel']:.4f} nats per pixel")

    posterior = session.classify(x)
    arrays["posterior"] = posterior
    figures["accuracy"] = float((posterior.argmax(axis=1) == label).mean())
    said(f"classified them by Bayes' rule: {figures['accuracy']:.1%} right")

    figures["generation"] = [_race(session, length, batch) for batch in BATCHES]
    said("timed the step graph against the full graph")
    np.savez(f"{out}.npz", **arrays)  # type: ignore[arg-type]  # NumPy types the names as if they were its options
    Path(f"{out}.json").write_text(json.dumps(figures))


def _prove_blocked() -> None:
    for name in BLOCKED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        raise SystemExit(f"{name} can be imported; this process was meant to do without")


class _Said:
    """Prints what was done, and how long it took since the last time."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    def __call__(self, what: str) -> None:
        now = time.perf_counter()
        print(f"      {what} ({now - self._begin:.1f} s)", file=sys.stderr, flush=True)
        self._begin = time.perf_counter()


def _race(session: Session, length: int, batch: int) -> dict[str, Any]:
    """The same tokens twice: one step per token, and one pass of the full graph over all tokens so far per token."""
    condition = np.zeros(batch, np.int64)

    def step() -> Array:
        return session.generate(length, batch=batch, seed=3, condition=condition)

    def recompute() -> Array:
        return _recompute(session, length, batch, condition)

    (fast, step_seconds), (slow, full_seconds) = _best(step), _best(recompute)
    return {
        "batch": batch,
        "tokens": batch * length,
        "step_seconds": step_seconds,
        "recompute_seconds": full_seconds,
        "ratio": full_seconds / step_seconds,
        "equal_tokens": int((fast == slow).sum()),
    }


def _best(run: Callable[[], Array], times: int = 3) -> tuple[Array, float]:
    """The result and the shortest of a few durations."""
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - begin)
    return result, min(seconds)


def _recompute(session: Session, length: int, batch: int, condition: Array) -> Array:
    graph = session.graph
    assert graph.head is not None
    draws = noise.draw(graph.head, 3, range(batch), 0, length, facts(graph).types[graph.output].size)
    tokens = np.zeros((batch, length), np.int64)
    for t in range(length):
        y = session.forward(tokens[:, : t + 1], condition)[:, :, -1]  # strict: the token at t is not seen yet
        tokens[:, t] = noise.sample(graph.head, y, draws[t], 1.0)
    return tokens
