"""Tables of times as text: cells for a terminal, and a page of Markdown."""

from __future__ import annotations

from refar.bench.results import Benchmark, Block, Blocks, Cell, Table, TableRow

NONE = "–"


def caption(part: Table | Blocks) -> str:
    """Say what the numbers of a table are."""
    if isinstance(part, Blocks):
        return f"Blocks of one sequence at {part.rate:g} samples a second"
    return f"{part.title}, µs a {part.unit} (in brackets: times {part.base})"


def header(part: Table | Blocks) -> list[str]:
    """Name the columns: what the row is, each way, values per second if they are told, and the spread."""
    if isinstance(part, Blocks):
        return ["", "deadline, µs", "median, µs", "of the deadline", "99th percentile, µs", "of the deadline"]
    ways = [cell.way for cell in part.rows[0].cells]
    return ["", *ways, *(["values/s"] if _counts(part) else []), "±"]


def lines(part: Table | Blocks) -> list[list[str]]:
    """Write the rows: microseconds, in brackets times the base; the spread is half the distance of the quartiles, the largest."""
    if isinstance(part, Blocks):
        return [_block(each) for each in part.blocks]
    counts = _counts(part)
    return [[row.what, *map(_cell, row.cells), *([_rate(row)] if counts else []), spread(row)] for row in part.rows]


def reasons(part: Table | Blocks) -> list[str]:
    """Say of each way that is not timed why, and in which rows."""
    rows = () if isinstance(part, Blocks) else part.rows
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for cell in row.cells:
            if cell.reason is not None:
                found.setdefault((cell.way, cell.reason), []).append(row.what)
    partly = {key: "" if len(where) == len(rows) else f" ({', '.join(where)})" for key, where in found.items()}
    return [f"{way}{partly[way, reason]}: {reason}" for way, reason in found]


def spread(row: TableRow) -> str:
    """Write the largest relative spread of a row."""
    times = [cell.time for cell in row.cells if cell.time is not None]
    return f"{100 * max((t.high - t.low) / 2 / t.median for t in times):.0f} %" if times else NONE


def figure(value: float) -> str:
    """Write a number in three digits, or all that stand before the point."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}".replace(",", " ")


def markdown(benchmark: Benchmark) -> str:
    """Write a run as a part of a page: where it was measured, and each table with its caption."""
    parts = [_where(benchmark)]
    tables: list[Table | Blocks] = [*benchmark.tables]
    if benchmark.blocks is not None:
        tables.append(benchmark.blocks)
    for part in tables:
        notes = "".join(f" {reason}." for reason in reasons(part))
        parts += [f"{caption(part)}.{notes}", _grid(header(part), lines(part))]
    return "\n\n".join(parts)


def _where(benchmark: Benchmark) -> str:
    machine, threads = benchmark.machine, benchmark.threads
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    load = "" if machine.load is None else f", load {machine.load:.1f} at the beginning"
    counted = f"{threads} thread{'s' * (threads != 1)}"
    return f"`{benchmark.command}`: {machine.processor}, {machine.cores} cores{load}; {counted}; {versions}."


def _grid(names: list[str], rows: list[list[str]]) -> str:
    first, *rest = [f"| {' | '.join(row)} |" for row in [names, *rows]]
    return "\n".join([first, "|" + "---|" * len(names), *rest])


def _cell(cell: Cell) -> str:
    if cell.time is None:
        return NONE
    return figure(cell.time.median) + ("" if cell.ratio is None else f" ({figure(cell.ratio)})")


def _block(block: Block) -> list[str]:
    cells = [f"{block.samples} samples", figure(block.deadline)]
    for time in (block.time.median, block.time.p99):
        cells += [NONE, NONE] if time is None else [figure(time), f"{100 * time / block.deadline:.1f} %"]
    return cells


def _counts(table: Table) -> bool:
    return any(row.per_second is not None for row in table.rows)


def _rate(row: TableRow) -> str:
    return NONE if row.per_second is None else f"{row.per_second:,.0f}".replace(",", " ")
