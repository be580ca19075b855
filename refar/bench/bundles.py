"""A bundle of any kind, timed: which tables there are for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from refar.analysis.facts import facts
from refar.bench.over_images import pixel_table
from refar.bench.over_time import Progress, block_times, step_table
from refar.bench.results import Blocks, Table
from refar.errors import InputError
from refar.runtime.session import Session

_BATCHES, _SIZES, _SHAPE, _RATE = (1, 8, 32, 64), (64, 128, 512), (28, 28), 48_000.0


@dataclass(frozen=True)
class Wanted:
    """Hold what a caller asks for. None stands for the default.

    `batches`: sequences or images at once; `rate`: samples per second, and `sizes` the samples of blocks, of a network over time;
    `shape`: (H, W) of images.
    """

    batches: tuple[int, ...] | None = None
    rate: float | None = None
    sizes: tuple[int, ...] | None = None
    shape: tuple[int, int] | None = None

    def said(self) -> list[str]:
        """List the options that are given, as the command line names them."""
        given = {"--batch": self.batches, "--rate": self.rate, "--buffer": self.sizes, "--shape": self.shape}
        return [name for name, value in given.items() if value is not None]


def bundle_tables(session: Session, wanted: Wanted, threads: int, seconds: float, progress: Progress) -> Iterator[Table | Blocks]:
    """Yield each table of a bundle as soon as it is measured; all that is asked for is checked at once.

    `seconds` is about what a row takes, `progress` hears what is measured. Raises InputError for what does not fit the network
    and for a rate that is not above 0, GraphError for a network that looks ahead.
    """
    found = facts(session.graph)
    foreign = ("--shape",) if found.grid is None else ("--rate", "--buffer")
    if wrong := [name for name in wanted.said() if name in foreign]:
        kind = "over time" if found.grid is None else "over images"
        raise InputError(f"{wrong[0]}: the network of this bundle is one {kind}, which has no such option")
    rate = _RATE if wanted.rate is None else wanted.rate
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"rate: expected a number of samples per second above 0, got {rate:g}")
    found.require_causal("bench")
    return _tables(session, wanted, rate, threads, seconds, progress)


def _tables(
    session: Session, wanted: Wanted, rate: float, threads: int, seconds: float, progress: Progress
) -> Iterator[Table | Blocks]:
    batches = wanted.batches or _BATCHES
    if facts(session.graph).grid is not None:
        yield pixel_table(session, batches, wanted.shape or _SHAPE, threads, seconds, progress)
        return
    yield step_table(session, batches, threads, seconds, progress)
    yield block_times(session, rate, wanted.sizes or _SIZES, seconds, progress)
