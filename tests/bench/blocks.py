"""What a block of sound costs on one core: `python tests/bench/blocks.py [PAGE] [--base COMMIT] [--length T …]`.

Beside `push` of a stream stand one bare call of the model that it runs, with everything bound, and one of block.onnx; with --base
also `session.block` as it was at another commit, and a bare run of its block.onnx. Everything is taken in turn, in processes of
their own for each checkout. Of each round of calls the median counts and the 99th percentile, and of the rounds the least: other
programs slow all of them down at times.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from pages import publish

ROOT = Path(__file__).parents[2]
RATE = 48_000
CALLS, ROUNDS = 100, 6


def neural_amp() -> Any:
    """The A1 "standard" WaveNet of Neural Amp Modeler: 10 layers of 16 channels, 10 of 8, the sample mixed into each."""
    from refar import Builder

    g = Builder()
    x = g.input(channels=1)
    h, head = x, None
    for stack, (width, out) in enumerate([(16, 8), (8, 1)]):
        h, sums = g.conv1d(h, width, bias=False), [head] if head is not None else []
        for n in range(10):
            inner = g.tanh(g.add(g.conv1d(h, width, kernel=3, dilation=2**n), g.conv1d(x, width, bias=False)))
            sums.append(inner)
            h = g.add(h, g.conv1d(inner, width))
        head = g.conv1d(g.add(*sums), out, bias=stack == 1)
    return g.build(head)


def amplifier() -> Any:
    """A TCN as amplifier models use it: 10 layers of 8 channels, kernels of 3, dilations to 512."""
    from refar import Builder

    g = Builder()
    h = g.conv1d(g.input(channels=1), 8)
    for n in range(10):
        h = g.add(g.conv1d(h, 8), g.leaky_relu(g.conv1d(h, 8, kernel=3, dilation=2**n), 0.2))
    return g.build(g.conv1d(h, 1))


NETS = {"WaveNet, R = 4 093": neural_amp, "TCN, R = 2 047": amplifier}


def in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Microseconds of a call: the least median and the least 99th percentile of the rounds."""
    found = dict.fromkeys(calls, (np.inf, np.inf))
    for _ in range(rounds):
        for name, call in calls.items():
            taken = []
            for _ in range(CALLS):
                begin = time.perf_counter()
                call()
                taken.append(1e6 * (time.perf_counter() - begin))
            median, late = np.percentile(taken, [50, 99])
            found[name] = min(found[name][0], float(median)), min(found[name][1], float(late))
    return found


def bare(model: Path, length: int, rows: dict[str, int], *, bound: bool) -> Callable[[], object]:
    """A call of a model on a block of one sequence; `rows` {port: its first axis} where that is no batch and no length."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session, rng, feeds = onnxruntime.InferenceSession(model, options), np.random.default_rng(0), {}
    for port in session.get_inputs():
        free = {"batch_size": 1, "sequence_length": length}
        shape = [size if isinstance(size, int) else free.get(size, rows.get(port.name, 0)) for size in port.shape]
        feeds[port.name] = rng.normal(size=shape).astype(np.float32) if "float" in port.type else np.zeros(shape, np.int64)
    if not bound:
        return lambda: session.run(None, feeds)
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in feeds.items()}
    binding, made = session.io_binding(), session.run(None, feeds)
    for port, result in zip(session.get_outputs(), made, strict=True):  # present.X in the memory of past.X, as streams have it
        value = values.get(port.name.replace("present.", "past."), onnxruntime.OrtValue.ortvalue_from_numpy(result))
        values[port.name] = value
        binding.bind_ortvalue_output(port.name, value)
    for name in feeds:
        binding.bind_ortvalue_input(name, values[name])
    return lambda: (session.run_with_iobinding(binding), values, feeds, made)


def measured(name: str, length: int, rounds: int) -> dict[str, tuple[float, float]]:
    """What a block costs with the refar that is imported: with this one, or with an earlier one that has no streams."""
    import refar
    from refar.runtime import load
    from refar_export import export

    graph = NETS[name]()
    x = np.random.default_rng(1).normal(size=(1, 1, length)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = export(graph, refar.init(graph), Path(folder) / "bundle", block=True)
        session = load(path)
        if not hasattr(session, "stream"):
            session.prefill(x[..., :1])
            old = bare(path / "block.onnx", length, {}, bound=False)
            return in_turn({"block": lambda: session.block(x), "run": old}, rounds)
        stream = session.stream(1)
        for _ in range(40):  # until everything that is made once is made
            stream.push(x)
        calls = {"push": lambda: stream.push(x), "block.onnx": bare(path / "block.onnx", length, {}, bound=True)}
        return in_turn(calls | {"bare": bare_push(session, path, length)}, rounds)


def bare_push(session: Any, path: Path, length: int) -> Callable[[], object]:
    """A call of the model that `push` runs."""
    from refar.analysis.facts import facts
    from refar.analysis.linear import windows

    if length == 1:
        return bare(path / "step.onnx", length, {}, bound=True)
    read = windows(facts(session.graph), session.manifest.layout).values()
    return bare(path / "window.onnx", length, {f"past.{each.port}": each.visits(length) for each in read}, bound=True)


def child(tree: Path, name: str, length: int) -> dict[str, tuple[float, float]]:
    """The same in a process of its own, with the code of a checkout."""
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (tree, tree / "export"))), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child", name, str(length)]
    done = subprocess.run(command, env=os.environ | paths, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(base: str | None, lengths: list[int], turns: int) -> str:
    """Make a table with a line for each network and length."""
    before = {"block": f"`session.block` at {base}", "run": "its block.onnx, `run`"} if base else {}
    titles = ["network", "T", "push", "its model alone", "push over it", "of the deadline: median, 99 %", "block.onnx alone"]
    rows = ["| " + " | ".join([*titles, *before.values()]) + " |", "|---|" + "---|" * (len(titles) + len(before) - 1)]
    with tempfile.TemporaryDirectory() as folder:
        trees = [ROOT]
        if base:
            trees.append(Path(folder) / "base")
            subprocess.run(["git", "-C", ROOT, "worktree", "add", "-q", "--detach", trees[1], base], check=True)
        try:
            for name in NETS:
                for length in lengths:
                    rows.append(row(name, length, least(trees, name, length, turns), list(before)))
                    print(rows[-1], file=sys.stderr, flush=True)
        finally:
            if base:
                subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", trees[1]], check=True)
    return "\n".join(rows)


def least(trees: list[Path], name: str, length: int, turns: int) -> dict[str, tuple[float, float]]:
    """The least of what is measured with the code of each checkout, by turns."""
    found: dict[str, tuple[float, float]] = {}
    for _ in range(turns):
        for tree in trees:
            for key, (median, late) in child(tree, name, length).items():
                old = found.get(key, (np.inf, np.inf))
                found[key] = min(median, old[0]), min(late, old[1])
    return found


def row(name: str, length: int, found: dict[str, tuple[float, float]], before: list[str]) -> str:
    """A line of the table."""
    (push, late), (alone, _), deadline = found["push"], found["bare"], 1e6 * length / RATE
    shares = f"{push / deadline:.1%}, {late / deadline:.1%}".replace("%", " %")
    cells = [f"{push:.0f}", f"{alone:.0f}", f"{push / alone:.2f}", shares, f"{found['block.onnx'][0]:.0f}"]
    return "| " + " | ".join([name, str(length), *cells, *(f"{found[key][0]:.0f}" for key in before)]) + " |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", nargs="?", help="where to write the table")
    parser.add_argument("--base", help="a commit to compare with, such as 225e3bc")
    parser.add_argument("--length", type=int, nargs="+", default=[1, 16, 64, 256, 1024])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        network, size = arguments.child
        print(json.dumps(measured(network, int(size), ROUNDS)))
    else:
        publish("blocks", compare(arguments.base, arguments.length, arguments.turns), [arguments.page] if arguments.page else [])
