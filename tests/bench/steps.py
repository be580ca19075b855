"""What a token costs in onnxruntime on one core: `python tests/bench/steps.py [PAGE] [--base COMMIT] [--batch B …]`.

Beside one call of a stream and one token of `generate` stand the floor, the bare matrix products of the same network in one ONNX
graph with everything bound, and, with --base, `generate` as it was at another commit, taken in turn in the same run.
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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pages import publish

ROOT = Path(__file__).parents[2]
NETS: dict[str, dict[str, Any]] = {
    "20 layers, 64 channels": {"classes": 256, "dilations": [2**i for i in range(10)] * 2},
    "8 layers, 32 channels": {"classes": 64, "dilations": [1, 2, 4, 8] * 2, "residual": 32, "gate": 32, "skip": 64},
}
TOKENS = 200


def best(calls: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The smallest of several results of each call, taken in turn, as other programs slow all of them down at times."""
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            found[name] = min(found[name], call())
    return found


def timed(call: Callable[[], object], units: float) -> Callable[[], float]:
    """Microseconds of one unit of a call that computes so many."""

    def measure() -> float:
        begin = time.perf_counter()
        call()
        return 1e6 * (time.perf_counter() - begin) / units

    return measure


def measured(name: str, batch: int, rounds: int) -> dict[str, float]:
    """Microseconds of a token of `generate`; where refar has what `refar bench` measures with, also of what stands beside it."""
    import refar
    from refar import models
    from refar.runtime import load
    from refar_export import export

    graph = models.wavenet(**NETS[name])
    with tempfile.TemporaryDirectory() as folder:
        session = load(export(graph, refar.init(graph), Path(folder) / "bundle"))
        calls = {"generate": timed(lambda: session.generate(TOKENS, batch=batch), TOKENS)}
        if find_spec("refar.bench") is not None:
            calls |= beside(session, batch)
        return best(calls, rounds)


def beside(session: Any, batch: int) -> dict[str, Callable[[], float]]:
    """A step, the floor, and recomputing over the last R tokens, which is done for 8 rows at the most."""
    from refar.bench.floor import floor
    from refar.bench.over_time import Sequences, recomputing, stepping

    rows = min(batch, 8)
    ways = {"step": stepping(Sequences(session, batch)), "floor": floor(session, batch, threads=1)}
    whole = recomputing(Sequences(session, rows))
    return {name: timed(way.call, way.units) for name, way in ways.items()} | {"recomputing": timed(whole.call, rows / batch)}


def child(tree: Path, name: str, batch: int, rounds: int) -> dict[str, float]:
    """The same in a process of its own, with the code of a checkout."""
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (tree, tree / "export"))), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child", name, str(batch), str(rounds)]
    done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


COLUMNS = {"floor": "floor", "step": "step", "generate": "generate", "recomputing": "recomputing"}


def compare(base: str | None, batches: list[int], turns: int) -> str:
    """Make a table with a line for each network and batch."""
    columns = COLUMNS | ({"before generate": f"generate at {base}"} if base else {})
    rows = [
        "| network | B | " + " | ".join(f"{title}, µs" for title in columns.values()) + " |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    with tempfile.TemporaryDirectory() as folder:
        trees = {"": ROOT}
        if base:
            trees["before"] = Path(folder) / "base"
            subprocess.run(["git", "-C", ROOT, "worktree", "add", "-q", "--detach", trees["before"], base], check=True)
        try:
            for name in NETS:
                for batch in batches:
                    found = measured_in_turn(name, batch, trees, turns)
                    cells = [f"{found[key]:.0f} ({found[key] / found['floor']:.1f})" for key in columns]
                    rows.append(f"| {name} | {batch} | {' | '.join(cells)} |")
                    print(rows[-1], file=sys.stderr, flush=True)
        finally:
            if base:
                subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", trees["before"]], check=True)
    return "\n".join(rows)


def measured_in_turn(name: str, batch: int, trees: dict[str, Path], turns: int) -> dict[str, float]:
    """The smallest of what is measured with the code of each checkout, by turns."""
    found: dict[str, float] = {}
    for _ in range(turns):
        for tree, path in trees.items():
            for key, value in child(path, name, batch, 3).items():
                found[f"{tree} {key}".strip()] = min(value, found.get(f"{tree} {key}".strip(), float("inf")))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?", help="where to write the table")
    parser.add_argument("--base", help="a commit to compare with, such as 225e3bc")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        network, size, rounds = arguments.child
        print(json.dumps(measured(network, int(size), int(rounds))))
    else:
        table = compare(arguments.base, arguments.batch, arguments.turns)
        publish("steps", table, [arguments.page] if arguments.page else [])
