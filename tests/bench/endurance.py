"""Memory and drift of a long generation: `python tests/bench/endurance.py [PAGE] [--tokens N]`.

One stream draws N tokens. At each of some points the memory of the process is read, and the stream's output is compared with that
of one pass over the last R tokens, which knows nothing of the state.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pages import publish

import refar
from refar import models, noise
from refar.analysis.causality import receptive_field
from refar.runtime import load
from refar.runtime.session import Session
from refar_export import export

DILATIONS = [2**i for i in range(10)] * 2


def megabytes() -> float:
    """The memory that this process holds, of Linux."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("this system does not say how much memory a process holds")


def rows(session: Session, points: list[int]) -> Iterator[str]:
    """One row of the table for each number of tokens."""
    head, classes, window = session.graph.head, session.graph.nodes[0].op.classes, receptive_field(session.graph)
    assert head is not None
    stream, last, done = session.stream(), np.zeros((1, 0), np.int64), 0
    for point in points:
        while done < point:
            count = min(256, point - done)
            draws = noise.draw(head, 1, [0], done, count, classes)
            new = np.zeros((1, count), np.int64)
            for t in range(count):
                output = stream.output
                assert output is not None
                new[:, t] = noise.sample(head, output, draws[t], 1.0)
                stream.step(new[:, t])
            last, done = np.concatenate([last, new], axis=1)[:, -window:], done + count
        output = stream.output
        assert output is not None
        whole = session.forward(np.concatenate([last, [[0]]], axis=1))[:, :, -1]  # the last token is not seen
        off = np.abs(output - whole).max() / np.abs(whole).max()
        yield f"| {done:,} | {megabytes():.0f} | {off:.1e} |".replace(",", " ")
        print(done, file=sys.stderr, flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?")
    parser.add_argument("--tokens", type=int, default=200_000)
    options = parser.parse_args()
    graph = models.wavenet(256, DILATIONS)
    with tempfile.TemporaryDirectory() as folder:
        session = load(export(graph, refar.init(graph), Path(folder) / "bundle"))
    points = sorted({min(options.tokens, n) for n in (2_500, 10_000, 50_000, 100_000, options.tokens)})
    table = ["| tokens | memory, MB | largest difference, of the largest output |", "|---|---|---|", *rows(session, points)]
    publish("endurance", "\n".join(table), [options.page] if options.page else [])


if __name__ == "__main__":
    main()
