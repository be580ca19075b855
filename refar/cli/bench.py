"""refar bench: how long a bundle takes, or the project's own networks, beside a floor and other ways to compute the same."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from refar.cli import files, values
from refar.cli.console import fixed, line, plain_table, show, status
from refar.cli.sources import bundle_path
from refar.errors import InputError, check_integer
from refar.files import replacing, write_bytes

if TYPE_CHECKING:
    from refar.bench.bundles import Wanted
    from refar.bench.results import Blocks, Table

_MOST = 2**20
"""Rows at once, and samples of a block, at the most."""


def bench(
    bundle: Annotated[str | None, typer.Argument(metavar="BUNDLE", help="The project's own networks if left out.")] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="B,B,…", help="Sequences or images at once; 1,8,32,64 if left out.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="HZ", help="Samples per second: the deadlines of blocks; 48000 if left out.")
    ] = None,
    buffer: Annotated[str | None, typer.Option(metavar="N,N,…", help="Samples of a block; 64,128,512 if left out.")] = None,
    shape: Annotated[str | None, typer.Option(metavar="HxW", help="The size of images; 28x28 if left out.")] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads; a step always takes one.")] = 1,
    provider: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where a bundle runs; cuda never falls back.")] = "cpu",
    seconds: Annotated[float, typer.Option(metavar="S", help="About how long a row of a table is timed.")] = 2.0,
    picture: Annotated[Path | None, typer.Option("-o", "--out", metavar="OUT.{png,svg,pdf}", help="Draw the times.")] = None,
    save: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the times there too.")] = None,
) -> None:
    """Time steps, blocks or pixels beside a floor, PyTorch, and recomputing, in turn.

    What stands beside refar is timed after its outputs were compared. Without a bundle this takes about three minutes.
    """
    check_integer("--threads", threads, 1, 1024)
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"--seconds {seconds:g}: expected a number of seconds above 0")
    device = values.device(provider)
    if save is not None:
        files.check_output(save)
    draw = None if picture is None else _drawing(picture)
    from refar.bench.bundles import Wanted
    from refar.bench.machine import limited, machine
    from refar.bench.results import Benchmark, Blocks, Table, to_json

    wanted = Wanted(_sizes("--batch", batch), rate, _sizes("--buffer", buffer), values.shape(shape))
    where, parts = machine(), list[Table | Blocks]()
    with status("opening") as progress, limited(threads):
        for part in _measured(bundle, wanted, device, threads, seconds, progress):
            _print(part, first=not parts)
            parts.append(part)
    tables = tuple(part for part in parts if isinstance(part, Table))
    blocks = next((part for part in parts if isinstance(part, Blocks)), None)
    if save is not None:
        command = shlex.join(["refar", *sys.argv[1:]])
        write_bytes(save, to_json(Benchmark(command, threads, device, where, tables, blocks)))
        line(f"wrote {save}")
    if draw is not None:
        draw(tables)
        line(f"wrote {picture}")


def _sizes(option: str, text: str | None) -> tuple[int, ...] | None:
    """'1,8' → (1, 8). Raises InputError unless all are positive."""
    if text is None:
        return None
    return tuple(check_integer(f"{option} {text}", size, 1, _MOST) for size in values.integers(option, text))


def _measured(
    bundle: str | None,
    wanted: Wanted,
    device: Literal["cpu", "cuda"],
    threads: int,
    seconds: float,
    progress: Callable[[str], None],
) -> Iterator[Table | Blocks]:
    """Open what is to be timed, and give its tables as they are measured."""
    if bundle is not None:
        path = bundle_path(bundle)
        from refar import runtime
        from refar.bench.bundles import bundle_tables

        return bundle_tables(runtime.load(path, device, threads=threads), wanted, threads, seconds, progress)
    for_bundles = [*wanted.said(), *(["--provider"] if device != "cpu" else [])]
    if for_bundles:
        raise InputError(f"{for_bundles[0]} is for a bundle, and none is given; as in: refar bench BUNDLE {for_bundles[0]} …")
    from refar.bench import plan, standard

    return standard.tables(plan.Plan(), threads, seconds, progress)


def _print(part: Table | Blocks, *, first: bool) -> None:
    """Show a table under its caption, and below it why something is not timed."""
    from refar.bench import render

    if not first:
        line("")
    line(render.caption(part), style="bold")
    rows = render.lines(part)
    table = plain_table()
    for place, name in enumerate(render.header(part)):
        fixed(table, name, [row[place] for row in rows], right=place > 0)
    for row in rows:
        table.add_row(*row)
    show(table)
    for reason in render.reasons(part):
        line(f"{render.NONE} {reason}")


def _drawing(path: Path) -> Callable[[Sequence[Table]], None]:
    """Return what draws tables into a file; that it can be written, and that matplotlib is there, is known at once."""
    files.check_output(path, (".png", ".svg", ".pdf"))
    from refar import plots

    def draw(tables: Sequence[Table]) -> None:
        panels = []
        for table in tables:
            if table.axis:
                ways: dict[str, list[tuple[float, float, float, float]]] = {}
                for row in table.rows:
                    for cell in row.cells:
                        if row.at is not None and cell.time is not None:
                            ways.setdefault(cell.way, []).append((row.at, cell.time.median, cell.time.low, cell.time.high))
                panels.append(plots.TimePanel(table.title, table.axis, f"µs a {table.unit}", ways))
        with replacing(path) as temporary:
            plots.save(plots.times(panels), temporary)

    return draw
