"""What int8 costs and gains: a bundle beside the same network in float32, on the same data and in the same run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.cli.console import plain_table
from refar.cli.examples import Examples
from refar.graph.graph import Graph

if TYPE_CHECKING:
    from refar.runtime.session import Session

_ROWS = 64
_STEPS, _TURNS = 100, 7


def report(graph: Graph, params: Arrays, bundle: Path, given: Examples) -> Table:
    """Make a table with a column for float32 and one for int8: the loss on all `given` data, bytes, and the time of a step."""
    import refar_export
    from refar import runtime
    from refar.runtime.bundle import layout_of

    with tempfile.TemporaryDirectory() as folder:
        paths = [refar_export.export(graph, params, Path(folder) / "float32"), bundle]
        float32, int8 = (runtime.load(path) for path in paths)
        rows: list[tuple[str, ...]] = [_loss(float32, int8, given)]
        for what, pattern in (("models", "*.onnx"), ("all files", "*")):
            rows.append((what, *(f"{sum(f.stat().st_size for f in path.glob(pattern)) / 1e6:.2f} MB" for path in paths), ""))
        if layout_of(graph) is not None:
            times = _in_turn([_stepping(session, given) for session in (float32, int8)])
            rows.append(("a step of one row", *(f"{each:.0f} µs" for each in times), f"{times[1] / times[0]:.2f} times"))
    table = plain_table()
    for name in ("", "float32", "int8", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _loss(float32: Session, int8: Session, given: Examples) -> tuple[str, str, str, str]:
    """Nats per dimension of both; without a density how far the outputs are apart."""
    parts = [slice(first, first + _ROWS) for first in range(0, len(given.x), _ROWS)]
    whole = float32.manifest.strict and float32.manifest.first_output == 0
    if float32.graph.head is not None and whole:
        each = [
            -sum(float(_score(session, given, rows).sum()) for rows in parts) / int(given.values.sum())
            for session in (float32, int8)
        ]
        return "nats per dimension", f"{each[0]:.4f}", f"{each[1]:.4f}", f"{each[1] - each[0]:+.4f}"
    squares = np.zeros(2)
    for rows in parts:
        y, other = (session.forward(given.x[rows], _rows(given, rows)) for session in (float32, int8))
        squares += float((y**2).sum()), float(((other - y) ** 2).sum())
    return "outputs, root mean square", "", "", f"off by {100 * np.sqrt(squares[1] / (squares[0] or 1.0)):.2g} %"


def _score(session: Session, given: Examples, rows: slice) -> Array:
    lengths = None if given.lengths is None else given.lengths[rows]
    return session.score(given.x[rows], _rows(given, rows), lengths=lengths)


def _rows(given: Examples, rows: slice) -> Arrays | None:
    return {name: array[rows] for name, array in given.conditions.items()} or None


def _stepping(session: Session, given: Examples) -> Callable[[], object]:
    """Steps of one sequence of the data, from its first token on, again and again the same token."""
    found, x = facts(session.graph), given.x[:1, ..., 0]
    strict = int(session.manifest.strict)
    conditions = {name: array[:1] for name, array in given.conditions.items()}
    local = {name: array[..., 0] for name, array in conditions.items() if found.types[name].timed}
    first = {name: array[..., :strict] if found.types[name].timed else array for name, array in conditions.items()}
    stream = session.stream(1, first or None)
    return lambda: stream.step(x, local or None)


def _in_turn(calls: list[Callable[[], object]]) -> list[float]:
    """The least microseconds of one call of each, several times in turn, as other programs slow all of them down at times."""
    best = [float("inf")] * len(calls)
    for _ in range(_TURNS):
        for n, call in enumerate(calls):
            begin = time.perf_counter()
            for _ in range(_STEPS):
                call()
            best[n] = min(best[n], 1e6 * (time.perf_counter() - begin) / _STEPS)
    return best
