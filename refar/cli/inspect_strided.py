"""What `refar inspect` says of a conceptual network: its strides, and the dilations that take their place."""

from __future__ import annotations

from math import prod

from rich.table import Table
from rich.text import Text

from refar import conceptual
from refar.cli.console import count, fixed, number, plain_table
from refar.conceptual.strided import AnyLayer, Conv, Dense, Flatten, Network, Pool


def page(net: Network) -> tuple[Table, list[tuple[str, str]]]:
    """The table of its layers, and names and what is to be said."""
    r, shapes = conceptual.receptive_field(net), conceptual.parameters(net)
    weights = sum(prod(shape) for name, shape in shapes.items() if name.endswith("weight"))
    biases = sum(prod(shape) for name, shape in shapes.items() if name.endswith("bias"))
    window = _products(net, conceptual.widths(net)[1:])
    rows = [
        ("size", f"{count(weights + biases, 'parameter')}: {count(weights, 'weight')}, {count(biases, 'bias', 'biases')}"),
        ("receptive field", f"R = {number(r)}: one window gives one value"),
        ("multiply-adds", f"{number(window)} for one window; in practice {number(_products(net))} per position"),
        ("in practice", f"the graph below, dilations for strides: the same parameters and values, from t = {r - 1} on"),
    ]
    return _layer_table(net), rows


def _products(net: Network, widths: tuple[int, ...] | None = None) -> int:
    """Multiply-adds of all layers, each at so many positions; at one each if left out."""
    shapes = conceptual.parameters(net)
    each = [
        sum(prod(shapes.get(f"{name}{end}", (0,))) for end in (".weight", ".project.weight")) for name in conceptual.names(net)
    ]
    return sum(cost * width for cost, width in zip(each, widths or (1,) * len(each), strict=True))


def _layer_table(net: Network) -> Table:
    shapes, layers = conceptual.parameters(net), list(zip(conceptual.names(net), net.layers, strict=True))
    sizes = [" + ".join(number(prod(shapes[key])) for key in shapes if key.startswith(f"{name}.")) for name, _ in layers]
    columns = {
        "stride": ["", *(number(conceptual.geometry(layer)[1]) for layer in net.layers)],
        "practical D": ["", *map(number, conceptual.dilations(net))],
        "in a window": [*map(number, conceptual.widths(net))],
        "channels": [*map(number, conceptual.channels(net))],
        "parameters": ["", *sizes],
    }
    table = plain_table()
    table.add_column("layer", overflow="fold", min_width=8)
    table.add_column("operator", overflow="fold", min_width=8)
    for heading, cells in columns.items():
        fixed(table, heading, cells, right=True)
    labels = [("input", ""), *((name, _operator(layer)) for name, layer in layers)]
    for label, row in zip(labels, zip(*columns.values(), strict=True), strict=True):
        table.add_row(*map(Text, (*label, *row)))
    return table


def _operator(layer: AnyLayer) -> str:
    match layer:
        case Conv():
            words = [f"conv K={layer.kernel}", f"D={layer.dilation}" if layer.dilation > 1 else "", layer.activation or ""]
            return " ".join(word for word in [*words, f"skip {layer.skip}" if layer.skip else ""] if word)
        case Pool():
            own = f" D={layer.dilation}" if layer.dilation > 1 else ""
            return f"{layer.kind} pool K={layer.kernel}{own} {layer.pad}"
        case Flatten():
            return f"flatten {layer.steps}"
        case Dense():
            return " ".join(word for word in ["dense", layer.activation or ""] if word)
