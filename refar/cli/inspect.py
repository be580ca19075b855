"""refar inspect: what a network is, from its description alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from refar import infer, streams
from refar.cli import describe, files
from refar.cli.console import count, facts, line, number, out, show
from refar.cli.sources import open_source
from refar.files import replacing
from refar.graph import Graph
from refar.runtime.bundle import PAST, StatePort, state_ports


def inspect(
    source: Annotated[str, typer.Argument(metavar="GRAPH|RUN|BUNDLE", help="A graph.json, a model, a run or a bundle.")],
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FIELD.png", help="Draw the receptive field.")] = None,
) -> None:
    """Layers, parameters, receptive field, offsets, dependency picture, state, cost per step."""
    if plot is not None:
        files.check_output(plot, (".png", ".svg", ".pdf"))
    opened = open_source(source)
    parts = page(opened.graph, opened.title)
    if plot is not None:
        from refar import plots

        with replacing(plot) as temporary:
            plots.save(plots.field(opened.graph), temporary)
    for part in parts:
        show(part) if isinstance(part, Table) else out.print(part, soft_wrap=True)
    if plot is not None:
        line(f"wrote {plot}")


def page(graph: Graph, title: str) -> list[Text | Table]:
    """Everything there is to print, so that nothing is printed of a graph that cannot be described."""
    layers = describe.layers(graph)
    weights, biases = sum(row.weights for row in layers), sum(row.biases for row in layers)
    seen, ports = infer.offsets(graph), state_ports(graph)
    rows = [
        ("size", f"{count(weights + biases, 'parameter')}: {count(weights, 'weight')}, {count(biases, 'bias', 'biases')}"),
        ("receptive field", f"{count(infer.receptive_field(graph), 'position')}, {number(len(seen))} of them used"),
        ("offsets", describe.offsets_text(seen)),
        ("smallest offset", _smallest(graph)),
        ("multiply-adds", _cost(layers)),
        ("state", _state(graph)),
    ]
    parts: list[Text | Table] = [Text(title, style="bold"), Text(), _layer_table(layers)]
    if not all(row.timed for row in layers):
        parts.append(Text("* one value for the whole sequence"))
    parts += [Text(), facts(rows), Text(), *map(Text, describe.dependency_picture(seen, min(out.width, 100)))]
    return [*parts, Text(), _port_table(ports)] if ports else parts


def _layer_table(layers: list[describe.Layer]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    sizes = [" + ".join(number(size) for size in (row.weights, row.biases) if size) for row in layers]
    for name in ("layer", "operator", "inputs"):
        table.add_column(name, overflow="fold", min_width=8)
    for name, cells in (("channels", [row.channels for row in layers]), ("parameters", sizes)):
        table.add_column(name, justify="right", no_wrap=True, min_width=max(map(len, [name, *cells])))
    for row, size in zip(layers, sizes, strict=True):
        table.add_row(*map(Text, (row.name, row.operator, row.inputs, row.channels, size)))
    return table


def _port_table(ports: tuple[StatePort, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    shapes = [f"(B, {port.channels}, {port.length})" for port in ports]
    table.add_column("state port", overflow="fold", min_width=8)
    table.add_column("shape", no_wrap=True, min_width=max(map(len, shapes)))
    table.add_column("bytes per row", justify="right", no_wrap=True, min_width=len("bytes per row"))
    for port, shape in zip(ports, shapes, strict=True):
        table.add_row(Text(f"{PAST}.{port.node}"), Text(shape), number(_bytes(port)))
    return table


def _smallest(graph: Graph) -> str:
    seen = infer.offsets(graph)
    if not seen:
        return "none: the output does not depend on the sequence"
    if (node := streams.looks_ahead(graph)) is not None:
        return f"{min(seen)}: {node.name!r} looks ahead, so the graph can only be evaluated as a whole"
    if streams.is_strict(graph):
        return f"{min(seen)}: strict, y_t models x_t without seeing it"
    return f"{min(seen)}: not strict, y_t sees x_t and can model x_{{t+1}} at best"


def _cost(layers: list[describe.Layer]) -> str:
    each = sum(row.cost for row in layers if row.timed)
    once = sum(row.cost for row in layers if not row.timed)
    return f"{number(each)} per step and row" + (f", {number(once)} once per sequence for the condition" if once else "")


def _state(graph: Graph) -> str:
    if streams.looks_ahead(graph) is not None:
        return "none, since there is no step by step"
    ports = state_ports(graph)
    total = sum(map(_bytes, ports))
    return f"{count(len(ports), 'port')}, {count(total, 'byte')} per row in float32"


def _bytes(port: StatePort) -> int:
    return 4 * port.channels * port.length
