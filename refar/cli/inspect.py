"""refar inspect: what a network is, from its description alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from refar.analysis.causality import is_strict, sequence_field, sequence_offsets
from refar.analysis.facts import facts
from refar.cli import describe, files, inspect_config, inspect_images, inspect_strided
from refar.cli.console import count, fixed, line, number, out, pairs, plain_table, show
from refar.cli.sources import open_source
from refar.files import replacing
from refar.graph.graph import Graph
from refar.runtime.bundle import PAST, StatePort, layout_of, state_ports


def inspect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="GRAPH|CONFIG|RUN|BUNDLE",
            help="A graph.json, a model, a config.toml, a run, a bundle or a conceptual network.",
        ),
    ],
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FIELD.png", help="Draw the receptive field.")] = None,
) -> None:
    """Layers, parameters, receptive field, offsets, dependency picture, state, cost per step."""
    if plot is not None:
        files.check_output(plot, (".png", ".svg", ".pdf"))
    opened = open_source(source)
    parts = page(opened.graph, opened.title if opened.network is None else "in practice, at every position")
    if opened.network is not None:
        table, rows = inspect_strided.page(opened.network)
        parts = [Text(opened.title, style="bold"), Text(), table, Text(), pairs(rows), Text(), *parts]
    if plot is not None:
        from refar import plots

        beside = opened.network if opened.network is not None and plots.fits(opened.network) else None
        with replacing(plot) as temporary:
            plots.save(plots.field(opened.graph) if beside is None else plots.conceptual(beside), temporary)
    if opened.config is not None and opened.data is not None:
        parts += [Text(), pairs(inspect_config.rows(opened.config, opened.graph, opened.data))]
    for part in parts:
        show(part) if isinstance(part, Table) else out.print(part, soft_wrap=True)
    if plot is not None:
        long = opened.network is not None and beside is None
        line(f"wrote {plot}" + long * ", the practical graph alone, since one window is too long to stand beside it")


def page(graph: Graph, title: str) -> list[Text | Table]:
    """Everything there is to print, so that nothing is printed of a graph that cannot be described."""
    layers = describe.layers(graph)
    parts: list[Text | Table] = [Text(title, style="bold"), Text(), _layer_table(layers)]
    if not all(row.timed for row in layers):
        parts.append(Text("* one value for the whole sequence"))
    width = min(out.width, 100)
    if facts(graph).grid is None:
        rows, picture, state = (
            _remarks(graph, layers),
            describe.dependency_picture(sequence_offsets(graph), width),
            _port_table(graph),
        )
    else:
        rows, picture, state = inspect_images.remarks(graph, layers), inspect_images.field(graph, width), _row_table(graph)
    if graph.head is not None:
        rows = [("head", describe.head(graph.head, facts(graph).types[facts(graph).sequence].size)), *rows]
    parts += [Text(), pairs([("size", _size(layers)), *rows]), Text(), *map(Text, picture)]
    return [*parts, Text(), state] if state.row_count else parts


def _remarks(graph: Graph, layers: list[describe.LayerRow]) -> list[tuple[str, str]]:
    seen = sequence_offsets(graph)
    return [
        ("receptive field", f"{count(sequence_field(graph), 'position')}, {number(len(seen))} of them used"),
        ("offsets", describe.offsets_text(seen)),
        ("smallest offset", _smallest(graph)),
        *([("padding", _padding(graph))] if graph.padding != "layer" else []),
        ("multiply-adds", _cost(layers)),
        ("state", _state(graph)),
    ]


def _size(layers: list[describe.LayerRow]) -> str:
    weights, biases, masked = (sum(getattr(row, name) for row in layers) for name in ("weights", "biases", "masked"))
    hidden = f" ({number(masked)} of them masked)" if masked else ""
    return f"{count(weights + biases, 'parameter')}: {count(weights, 'weight')}{hidden}, {count(biases, 'bias', 'biases')}"


def _layer_table(layers: list[describe.LayerRow]) -> Table:
    table = plain_table()
    sizes = [" + ".join(number(size) for size in (row.weights, row.biases) if size) for row in layers]
    clocks = [row.clock for row in layers]
    for name in ("layer", "operator", "inputs"):
        table.add_column(name, overflow="fold", min_width=8)
    if any(clocks):
        fixed(table, "clock", clocks)
    fixed(table, "channels", [row.channels for row in layers], right=True)
    fixed(table, "parameters", sizes, right=True)
    for row, size in zip(layers, sizes, strict=True):
        cells = [row.name, row.operator, row.inputs, *([row.clock] if any(clocks) else []), row.channels, size]
        table.add_row(*map(Text, cells))
    return table


def _port_table(graph: Graph) -> Table:
    table, state = plain_table(), state_ports(layout_of(graph))
    shapes = [f"(B, {port.channels}, {port.kept})" for port in state]
    table.add_column("state of", overflow="fold", min_width=8)
    table.add_column("slots", overflow="fold", min_width=8)
    fixed(table, "shape", shapes)
    fixed(table, "bytes per row", [], right=True)
    for port, shape in zip(state, shapes, strict=True):
        slots = f"{PAST}.{port.tensor}[{port.base}:{port.base + port.slots}]"
        table.add_row(Text(port.node), Text(slots), Text(shape), number(_bytes(port)))
    return table


def _row_table(graph: Graph) -> Table:
    table = plain_table()
    table.add_column("rows kept of", overflow="fold", min_width=8)
    fixed(table, "rows", [], right=True)
    fixed(table, "bytes per column", [], right=True)
    for name, rows, size in inspect_images.rows_kept(graph):
        table.add_row(Text(name), number(rows), number(size))
    return table


def _smallest(graph: Graph) -> str:
    seen = sequence_offsets(graph)
    if not seen:
        return "none: the output does not depend on the sequence"
    if (node := facts(graph).looks_ahead) is not None:
        return f"{min(seen)}: {node.name!r} looks ahead, so the graph can only be evaluated as a whole"
    if is_strict(graph):
        return f"{min(seen)}: strict, y_t models x_t without seeing it"
    return f"{min(seen)}: not strict, y_t sees x_t and can model x_{{t+1}} at best"


def _padding(graph: Graph) -> str:
    if graph.padding == "valid":
        first = number(facts(graph).first_position)
        return f"valid: no values at t < 0; the first output is that of t = {first}"
    return "input: before the start the input is zero, and every node what it computes from that"


def _cost(layers: list[describe.LayerRow]) -> str:
    each = sum(row.cost for row in layers if row.timed)
    once = sum(row.cost for row in layers if not row.timed)
    return f"{number(each)} per step and row" + (f", {number(once)} once per sequence for the condition" if once else "")


def _state(graph: Graph) -> str:
    if facts(graph).looks_ahead is not None:
        return "none, since there is no step by step"
    state = state_ports(layout_of(graph))
    total = sum(map(_bytes, state))
    return f"{count(len(state), 'node')}, {count(total, 'byte')} per row"


def _bytes(port: StatePort) -> int:
    return (8 if port.classes else 4) * port.channels * port.kept
