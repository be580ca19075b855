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
    """Name the columns."""
    if isinstance(part, Blocks):
        return ["", "deadline, µs", "median, µs", "of the deadline", "99th percentile, µs", "of the deadline"]
    return list(_columns(part, part.rows[0]))


def lines(part: Table | Blocks) -> list[list[str]]:
    """Write the rows, a cell for each column."""
    if isinstance(part, Blocks):
        return [_block(each) for each in part.blocks]
    return [list(_columns(part, row).values()) for row in part.rows]


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
    """Write a number with three digits, or, from 1 000 on, as a whole number."""
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


def _columns(table: Table, row: TableRow) -> dict[str, str]:
    """Write a row by columns: what it is, each way, the base over the floor, values per second if they are told, the spread."""
    found = {"": row.what} | {cell.way: _cell(cell) for cell in row.cells}
    for cell in row.cells:
        if cell.way == "floor":
            found[f"{table.base} ÷ floor"] = figure(1 / cell.ratio) if cell.ratio is not None else NONE
    if any(each.per_second is not None for each in table.rows):
        found["values/s"] = NONE if row.per_second is None else figure(row.per_second)
    return found | {"±": spread(row)}
