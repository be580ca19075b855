"""One row of a table: ways that give the same outputs, timed in turn; of the others the reason why they are not timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from refar.arguments.arrays import Array
from refar.bench.clock import NotTimedError, Way, in_turn
from refar.bench.results import Cell, TableRow, summary
from refar.errors import RefarError
from refar.graph.graph import Graph
from refar.rounding.tolerance import tolerance

Maker = Callable[[], Way]
"""Prepares a way and compares its outputs. Raises NotTimedError, a RefarError or ModuleNotFoundError where it cannot be timed."""

_INSTALL = {
    "onnx": "'refar[export]'",
    "torch": "'refar[torch]'",
    "wavenet_vocoder": "wavenet-vocoder==0.1.1",
    "pytorch_tcn": "pytorch-tcn==1.2.3",
}


def compared(
    what: str, makers: Mapping[str, Maker], base: str, seconds: float, *, at: float | None = None, values: float = 0
) -> TableRow:
    """Make a row: prepare each way, then time those that can be in turn for about `seconds`.

    Ratios are over the median of the way `base`. `values` is how many values a unit has, where values per second are told.
    """
    ways: dict[str, Way] = {}
    reasons: dict[str, str] = {}
    for name, maker in makers.items():
        try:
            ways[name] = maker()
        except (NotTimedError, RefarError) as error:
            reasons[name] = str(error)
        except ModuleNotFoundError as error:
            reasons[name] = missing(error)
    times = {name: summary(found) for name, found in in_turn(ways, seconds).items()}
    unit = times[base].median if base in times else None
    cells = [
        Cell(name, time, time.median / unit if unit else None) if (time := times.get(name)) else Cell(name, reason=reasons[name])
        for name in makers
    ]
    return TableRow(what, tuple(cells), at, 1e6 * values / unit if values and unit else None)


def missing(error: ModuleNotFoundError) -> str:
    """Say which package is not installed, and how to install it."""
    module = (error.name or "").partition(".")[0]
    how = f"; pip install {_INSTALL[module]}" if module in _INSTALL else ""
    return f"{module} is not installed{how}"


@contextmanager
def foreign(name: str) -> Iterator[None]:
    """Turn whatever somebody else's program raises into the reason why it is not timed."""
    try:
        yield
    except (NotTimedError, ModuleNotFoundError):
        raise
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise NotTimedError(f"{name} failed: {type(error).__name__}: {first}") from None


def check_close(graph: Graph, found: Array, expected: Array) -> None:
    """Raise NotTimedError unless two float32 backends gave the same outputs of this graph, up to rounding."""
    if found.shape != expected.shape:
        raise NotTimedError(f"its outputs have the shape {found.shape}, refar's {expected.shape}")
    difference, allowed = float(np.abs(found - expected).max(initial=0)), 2 * tolerance(graph, expected, np.float32)
    if not difference <= allowed:
        raise NotTimedError(f"its outputs are up to {difference:.1e} from refar's; rounding explains {allowed:.1e}")


def check_equal(found: Array, expected: Array) -> None:
    """Raise NotTimedError unless two backends drew the same values from the same noise."""
    if found.shape != expected.shape or (found != expected).any():
        wrong = int((found != expected).sum()) if found.shape == expected.shape else expected.size
        raise NotTimedError(f"{wrong} of {expected.size} values are not refar's from the same noise")
