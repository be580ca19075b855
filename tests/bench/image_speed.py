"""What a pixel costs in onnxruntime on one core: `python tests/bench/image_speed.py [--size N] [--batch B …]`.

Beside painting stand the bare calls of the pixel and the row graph, and one pass of the full graph, which is what a pixel costs
(a colour, where colours are ordered) if everything is computed anew for it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from image_graphs import opened
from pages import publish

import refar
from refar import Graph, models
from refar.analysis.facts import facts
from refar.analysis.image_slots import PIXEL, ROW
from refar.runtime.canvas import Canvas
from refar.runtime.painter import Painter
from refar_export.build import build

NETWORKS = {
    "two stacks, 32": models.pixelcnn(256),
    "masked, 7 x 96": models.masked_pixelcnn(256),
    "gated, 8 x 96": models.gated_pixelcnn(256),
    "masked, 3 colours": models.masked_pixelcnn(256, channels=3),
}


def best(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Microseconds of the fastest of several calls of each, taken in turn, as other programs slow all of them down at times."""
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            found[name] = min(found[name], 1e6 * (time.process_time() - begin))
    return found


def bare_calls(canvas: Canvas) -> dict[str, Callable[[], object]]:
    """Hundred calls of the pixel graph, and one of the row graph; state and bindings as they are."""
    canvas._enter()

    def pixels() -> None:
        for _ in range(100):
            canvas._sessions[PIXEL].run_with_iobinding(canvas._visit_once)

    def row() -> None:
        if canvas._before_row is not None:
            canvas._sessions[ROW].run_with_iobinding(canvas._before_row)

    return {"pixels": pixels, "row": row}


HEADER = "| network | B | pixel graph, µs | row graph, µs | painting, µs a pixel | one full pass, µs | full passes ÷ painting |"


def measure(name: str, graph: Graph, batch: int, size: int) -> str:
    """Make one line of the table."""
    params = {each: array.astype(np.float32) for each, array in refar.init(graph).items()}
    painter = Painter(graph, opened(graph, params))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    full = onnxruntime.InferenceSession(build(graph, params, "full").SerializeToString(), options)
    colours = facts(graph).types[facts(graph).sequence].channels
    x = np.zeros((batch, colours, size, size), np.int64)
    calls = bare_calls(painter.start((size, size), batch))
    calls["pass"] = lambda: full.run(["output"], {"x": x})
    calls["image"] = lambda: painter.paint((size, size), batch=batch)
    found = best(calls, 8)
    pass_us, image_us = found["pass"], found["image"] / size**2
    looks = colours if facts(graph).ordered else 1
    each = [found["pixels"] / 100, found["row"], image_us, pass_us, looks * pass_us / image_us]
    line = " | ".join([name, str(batch), *(f"{value:.0f}" for value in each)])
    print(line, file=sys.stderr, flush=True)
    return f"| {line} |"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?", help="where to write the table")
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    arguments = parser.parse_args()
    rows = [measure(name, graph, batch, arguments.size) for name, graph in NETWORKS.items() for batch in arguments.batch]
    publish("pixels", "\n".join([HEADER, "|---|" + "---|" * 6, *rows]), [arguments.page] if arguments.page else [])


if __name__ == "__main__":
    main()
