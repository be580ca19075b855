"""Tokens drawn on a device: are they right, and what does each cost? `python tests/bench/gpu.py --provider cuda --out FOLDER`.

First tokens beside those of the oracle, whether the first call gives what all others give, laws, and bounds with and without
TF32. Then microseconds of a step of the 20-layer network, with and without a CUDA graph, and of the same algorithm in PyTorch.
What is found stands in FOLDER/gpu.json and FOLDER/gpu.md after each part, so what is cut off leaves the parts before. On the CPU
nothing is recorded, and all else is the same.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

with contextlib.suppress(ModuleNotFoundError):
    importlib.import_module("torch")  # it brings the CUDA libraries, so it comes first

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parents[2] / "export"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import onnxruntime
from gpu_times import DILATIONS, ROUNDS, Provider, opened, ways
from stream_graphs import GRAPHS

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.errors import BackendError
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding
from refar.runtime import load
from refar.runtime.session import Session
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar.testing.contract.laws import run_bundle_laws
from refar_export import export


def mixture() -> Graph:
    """A network with a mixture of logistics as its head."""
    g = Builder()
    h = g.conv1d(g.standardize(g.input(classes=9), 4, 3), 6, kernel=2, dilation=2, strict=True)
    return g.build(g.conv1d(g.tanh(h), 9, kernel=2), ops.MixtureLogistics(components=3, classes=9))


def signal(head: ops.SignalHead, channels: int) -> Graph:
    """A network of a signal of two channels, which cannot drive it to infinity, with a head that takes so many channels."""
    g = Builder()
    h = g.tanh(g.conv1d(g.tanh(g.input(channels=2)), 6, kernel=2, dilation=2, strict=True))
    return g.build(g.tanh(g.conv1d(h, channels, kernel=2)), head)


NETWORKS: dict[str, tuple[Graph, int | None]] = {
    "delays": (GRAPHS["delays"], None),
    "conditions": (GRAPHS["conditions"], None),
    "local conditions": (GRAPHS["wavenet, local"], None),
    "a signal": (GRAPHS["pools"], None),
    "a mixture": (mixture(), None),
    "a learnt Gaussian": (signal(ops.LearntGaussian(-0.5), 4), None),
    "a mixture of Gaussians": (signal(ops.MixtureGaussians(3, -0.5), 18), None),
    "wavenet": (models.wavenet(17, [1, 2, 4, 8], residual=16, gate=16, skip=24, condition="class:3"), None),
    "wavenet, top 4": (models.wavenet(17, [1, 2, 4, 8], residual=16, gate=16, skip=24), 4),
}


class Findings:
    """What has been found, written after each part."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.begin, self.seconds = folder, time.perf_counter(), seconds
        self.found: dict[str, Any] = {"machine": {}, "checks": [], "times": []}
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def late(self) -> bool:
        """Whether no new part is to begin."""
        return time.perf_counter() - self.begin > self.seconds

    def add(self, kind: str, entry: dict[str, Any]) -> None:
        """Keep one entry, print it, and write all."""
        self.found[kind].append(entry)
        said = ", ".join(f"{key} {value}" for key, value in entry.items())
        print(f"{time.perf_counter() - self.begin:6.1f} s  {said}", flush=True)
        self.write()

    def write(self) -> None:
        """Write the JSON and the tables."""
        (self.folder / "gpu.json").write_text(json.dumps(self.found, indent=1))
        (self.folder / "gpu.md").write_text(self.page())

    def page(self) -> str:
        """The tables."""
        times, ways = self.found["times"], list(dict.fromkeys(each["way"] for each in self.found["times"]))
        lines = [", ".join(f"{key}: {value}" for key, value in self.found["machine"].items()), ""]
        lines += ["| check | holds | |", "|---|---|---|"]
        lines += [f"| {each['check']} | {'yes' if each['holds'] else 'NO'} | {each['said']} |" for each in self.found["checks"]]
        lines += ["", f"| µs a step, B | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
        for batch in dict.fromkeys(each["batch"] for each in times):
            by_way = {each["way"]: each for each in times if each["batch"] == batch}
            cells = [f"{by_way[way]['least']:.0f} ({by_way[way]['median']:.0f})" if way in by_way else "–" for way in ways]
            lines.append(f"| {batch} | {' | '.join(cells)} |")
        return "\n".join([*lines, "", "The least of several rounds taken in turn; in brackets the median.", ""])


def check(findings: Findings, name: str, call: Callable[[], tuple[bool, str]]) -> None:
    """Add what a check says; an error is a check that does not hold."""
    try:
        holds, said = call()
    except Exception as error:
        traceback.print_exc()
        holds, said = False, f"{type(error).__name__}: {str(error)[:300]}"
    findings.add("checks", {"check": name, "holds": bool(holds), "said": said})


def tokens(graph: Graph, top_k: int | None, path: Path, provider: Provider) -> tuple[bool, str]:
    """Tokens beside the oracle's; the first call beside the second, and beside one without a CUDA graph."""
    n, rows, temperatures = 100, 3, [1.0, 0.8, 0.0]
    params = {name: a.astype(np.float32) for name, a in generic_parameters(graph, np.random.default_rng(5)).items()}
    export(graph, params, path, sampler=True, top_k=top_k)
    given = generic_inputs(graph, np.random.default_rng(6), rows, n)
    options: dict[str, Any] = {"top_k": top_k, "condition": {name: given[name] for name in facts(graph).conditions} or None}
    session, plain = opened(path, provider), opened(path, provider, captured=False)
    first, second, without = (
        each.generate(n, batch=rows, seed=4, temperature=temperatures, sampler=True, **options)
        for each in (session, session, plain)
    )
    expected = np.concatenate(
        [
            refar.generate(graph, params, n, batch=rows, seed=4, temperature=temperature, **options)[row : row + 1]
            for row, temperature in enumerate(temperatures)
        ]
    )
    again = np.array_equal(first, second)
    same = int(np.isclose(first, expected, rtol=0, atol=1e-4 * np.abs(expected).max() if first.dtype != np.int64 else 0).sum())
    alike = int((first == without).sum())
    how = "captured" if not session.not_captured else f"not captured: {session.not_captured[:120]}"
    said = (
        f"{same} of {expected.size} as the oracle's, first call {'=' if again else '≠'} second, {alike} as without capture; {how}"
    )
    return again and same == expected.size, said


def laws(graph: Graph, path: Path, provider: Provider) -> tuple[bool, str]:
    """Every law of bundles, that of the sampler among them."""
    params = generic_parameters(graph, np.random.default_rng(1))
    report = run_bundle_laws(export(graph, params, path, sampler=True, spare=1), provider)
    broken = [str(line) for line in report.lines if not line.passed]
    return report.passed, "; ".join(broken) or f"{len(report.lines)} laws"


def within(path: Path, provider: Provider, *, tf32: bool) -> tuple[bool, str]:
    """Outputs of the whole pass and of a block within the bound of first order of float32, or of float32 and TF32."""
    session, rng = load(path, provider, tf32=tf32), np.random.default_rng(0)
    graph, params = session.graph, {name: a.astype(np.float64) for name, a in session.weights.items()}
    x = rng.integers(0, 256, (2, 150))
    values = forward_nodes(unchecked(graph, params, np.float64), {facts(graph).sequence: x})
    whole, block = session.forward(x), session.stream(prompt=x[:, :100]).push(x[:, 100:-1])
    off = np.maximum(np.abs(whole - values[graph.output])[:, :, 101:], np.abs(block - values[graph.output][:, :, 101:]))
    ratios = []
    for reduced in (bound.TF32 if tf32 else 0.0, 0.0):
        local, worst = rounding.local_bounds(graph, params, values, bound.FLOAT32, reduced=reduced), 0.0
        for _ in range(4):
            channel, place = int(rng.integers(256)), int(rng.integers(off.shape[2]))
            dy = np.zeros(values[graph.output].shape)
            dy[:, channel, 101 + place] = 1
            allowed = rounding.first_order(graph, params, values, local, dy)[0]
            worst = max(worst, float((off[:, channel, place] / allowed).max()))
        ratios.append(worst)
    said = f"off by {off.max():.2g} at most, at {ratios[0]:.2g} of the bound"
    return ratios[0] <= 1, said + (f", {ratios[1]:.2g} of that of float32 alone" if tf32 else "")


def too_large(path: Path, provider: Provider) -> tuple[bool, str]:
    """A batch that does not fit."""
    try:
        load(path, provider).generate(1, batch=10**6, sampler=True)
    except BackendError as error:
        return True, str(error)
    return False, "no error"


def times(findings: Findings, path: Path, provider: Provider, batch: int) -> None:
    """Time every way, in turn."""
    calls: dict[str, tuple[int, Callable[[], float]]] = {}
    for name, rounds, make in ways(path, provider, batch):
        if findings.late:
            print(f"B = {batch}, {name}: left out, no time is left", flush=True)
            continue
        try:
            calls[name] = rounds, make()
            calls[name][1]()
            print(f"B = {batch}, {name}: ready", flush=True)
        except Exception as error:
            traceback.print_exc()
            calls.pop(name, None)
            findings.add("checks", {"check": f"{name}, B = {batch}", "holds": False, "said": f"{type(error).__name__}: {error}"})
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS):
        for name, (rounds, call) in calls.items():
            if turn < rounds:
                found[name].append(call())
    for name, each in found.items():
        findings.add("times", {"batch": batch, "way": name, "least": min(each), "median": statistics.median(each)})


def machine(provider: Provider, session: Session) -> dict[str, str]:
    """What was measured on."""
    found = {"provider": provider, "onnxruntime": onnxruntime.__version__, "python": platform.python_version()}
    with contextlib.suppress(ModuleNotFoundError):
        torch: Any = importlib.import_module("torch")
        found |= {"torch": torch.__version__}
        if provider == "cuda":
            found |= {"device": torch.cuda.get_device_name(), "TF32 in torch": str(torch.backends.cuda.matmul.allow_tf32)}
    return found | {"CUDA graph": session.not_captured[:300] or "yes"}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64, 256, 1024])
    parser.add_argument("--seconds", type=float, default=170.0, help="no new part begins after so many")
    given = parser.parse_args()
    provider: Provider = "cuda" if given.provider == "cuda" else "cpu"
    findings = Findings(given.out, given.seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        medium = models.wavenet(classes=256, dilations=DILATIONS)
        path = export(medium, refar.init(medium, seed=1), folder / "medium", sampler=True)
        findings.found["machine"] = machine(provider, opened(path, provider))
        print(findings.found["machine"], flush=True)
        for key, (graph, top_k) in NETWORKS.items():
            bundle = folder / f"tokens {key}"
            check(findings, f"tokens, {key}", partial(tokens, graph, top_k, bundle, provider))
        for key in ("delays", "conditions", "a signal", "a mixture"):
            bundle = folder / f"laws {key}"
            check(findings, f"laws, {key}", partial(laws, NETWORKS[key][0], bundle, provider))
        check(findings, "bound of float32", lambda: within(path, provider, tf32=False))
        if provider == "cuda":
            check(findings, "bound of TF32", lambda: within(path, provider, tf32=True))
            check(findings, "a batch of a million", lambda: too_large(path, provider))
        for batch in given.batch:
            times(findings, path, provider, batch)
    if not all(each["holds"] for each in findings.found["checks"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
