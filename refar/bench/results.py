"""Hold measured times in tables, and write them as `refar bench --json` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from refar.errors import FileError, is_newer, newer

FORMAT: Literal["refar-bench"] = "refar-bench"
_HUNDRED = 100
"""Calls from which on one in a hundred is told."""

Positive = Annotated[float, Meta(gt=0)]


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of all that is in the file."""


class Time(Data, frozen=True):
    """Microseconds per unit over a number of calls: the median, the quartiles `low` and `high`, and the 99th percentile.

    `p99` is None of fewer than 100 calls.
    """

    median: Positive
    low: Positive
    high: Positive
    p99: Positive | None
    calls: Annotated[int, Meta(ge=1)]


class Cell(Data, frozen=True):
    """One way in one row: its time, and how many times as long it takes as the base of the table; or the reason why not."""

    way: str
    time: Time | None = None
    ratio: Positive | None = None
    reason: str | None = None


class TableRow(Data, frozen=True):
    """Ways that were timed in turn. `at` is where the row stands on the axis of a picture; `per_second` counts values."""

    what: str
    cells: tuple[Cell, ...]
    at: float | None = None
    per_second: Positive | None = None


class Table(Data, frozen=True):
    """Rows with the same ways. Times are microseconds per `unit`; `base` names the way that ratios are over.

    `axis` says what `at` of the rows counts; "" where it is nothing.
    """

    title: str
    unit: str
    base: str
    rows: tuple[TableRow, ...]
    axis: str = ""


class Block(Data, frozen=True):
    """One push of so many samples of one sequence. `deadline`: the microseconds that these samples last."""

    samples: Annotated[int, Meta(ge=1)]
    deadline: Positive
    time: Time


class Blocks(Data, frozen=True):
    """Blocks at a rate, in samples per second."""

    rate: Positive
    blocks: tuple[Block, ...]


class Machine(Data, frozen=True):
    """Where it was measured. `load`: how many programs were running or waiting in the minute before, None where unknown."""

    processor: str
    cores: int
    system: str
    load: float | None
    versions: dict[str, str]


class Benchmark(Data, frozen=True):
    """One run: the command, with how many threads and on which provider, where, and what was measured."""

    command: str
    threads: int
    provider: str
    machine: Machine
    tables: tuple[Table, ...]
    blocks: Blocks | None = None
    format: Literal["refar-bench"] = FORMAT
    version: Literal[1] = 1


def summary(times: Sequence[float]) -> Time:
    """Return the median and the spread of microseconds."""
    low, median, high, p99 = (float(q) for q in np.quantile(times, (0.25, 0.5, 0.75, 0.99)))
    return Time(median, low, high, p99 if len(times) >= _HUNDRED else None, len(times))


def to_json(benchmark: Benchmark) -> bytes:
    """Write a run as JSON, every field named."""
    return msgspec.json.format(msgspec.json.encode(benchmark), indent=2) + b"\n"


def from_json(data: bytes, name: str) -> Benchmark:
    """Read what `to_json` wrote; `name` is that of the file. Raises FileError for anything else."""
    try:
        return msgspec.json.decode(data, type=Benchmark)
    except msgspec.MsgspecError as error:
        problem = str(error)
    if is_newer(raw := _raw(data), FORMAT):
        problem = newer(f"version {raw['version']}", "version 1")
    raise FileError(f"{name!r}: expected the JSON that 'refar bench --json' writes; {problem}")


def _raw(data: bytes) -> dict[str, object]:
    """Return the object that a file holds; an empty one if it holds none."""
    try:
        return msgspec.json.decode(data, type=dict[str, object])
    except msgspec.MsgspecError:
        return {}
