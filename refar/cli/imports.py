"""refar import: models of others as bundles. What the subcommands share: the export and the report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from refar import ops
from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.cli import files
from refar.cli.console import line, out, status
from refar.errors import FileError, GraphError
from refar.files import write_bytes
from refar.graph.graph import Graph
from refar.importing import Imported

IMPORTED = "imported"
"""The key of a bundle's metadata that says from what it was imported."""


def run(title: str, read: Callable[[], Imported], bundle: Path, *, force: bool, save: Path | None, module: Any = None) -> None:
    """Import a model with `read`, write its bundle, and print the report; the bundle is held against the PyTorch `module`.

    Without one it is held against the oracle. Nothing is written that does not agree.
    """
    if bundle.exists() and not force:
        raise FileError(f"{str(bundle)!r} is there already; give another name, or --force to replace a bundle")
    if save is not None:
        files.check_output(save)
    import refar_export

    begin = time.perf_counter()
    with status("reading the model, and comparing") as update:
        got = read()
        graph = with_head(got.graph)
        update("writing the bundle, and comparing")
        verify = True if module is None else module if got.trunk is None else got.trunk
        metadata = {**got.metadata, IMPORTED: title if got.trunk is None else f"a part of {title}"}
        refar_export.export(graph, got.params, bundle, metadata=metadata, verify=verify, overwrite=force)
    out.print(Text(title, style="bold"))
    for said in str(got.report).splitlines():
        line(said)
    whom = "with the oracle" if module is None else "with the module"
    image = facts(graph).grid is not None
    graphs = "full, row, pixel and pixels agree" if image else "full, prefill, step and block agree"
    line(f"wrote {bundle}: {graphs} {whom} ({time.perf_counter() - begin:.0f} s)")
    kind, output = facts(graph).types[facts(graph).sequence], facts(graph).types[graph.output]
    if graph.head is None and kind.indexed and output.size != kind.size * kind.colours:
        line(f"no head: its output has {output.size} channels, and the sequence {kind.size} classes; generate and score need one")
    if not is_strict(graph) and image:
        line("some output at a pixel sees the colour that it models, or a later one: it cannot generate")
    elif not is_strict(graph):
        line("its output at t sees x_t; to generate, import it with --shift output or --shift input")
    if save is not None:
        write_bytes(save, json.dumps(_document(title, graph, got, bundle), indent=2, ensure_ascii=False).encode() + b"\n")
        line(f"wrote {save}")


def with_head(graph: Graph) -> Graph:
    """Return the graph with a head of classes, if its output has a channel for each class of its sequence; else as it is.

    Of an image with colours it has one for each class of each, in an order that is known where they see each other in order.
    """
    found = facts(graph)
    kind, output = found.types[found.sequence], found.types[graph.output]
    in_order = kind.colours == 1 or (found.strict and found.ordered)
    if graph.head is not None or not kind.indexed or not in_order or output.size != kind.size * kind.colours:
        return graph
    headed = msgspec.structs.replace(graph, head=ops.Categorical())
    try:
        facts(headed)
    except GraphError:  # as of probabilities, which are no logits
        return graph
    return headed


def require_shifted(graph: Graph, metadata: dict[str, str]) -> None:
    """Raise GraphError if an imported network sees the present, so that it cannot generate."""
    if IMPORTED in metadata and not is_strict(graph) and facts(graph).grid is None:
        raise GraphError(
            f"generate needs an output at t that does not see x_t; this one does, as {metadata[IMPORTED]!r} does: import it with "
            "--shift output, if it was trained on the loss of y_t and x_{t+1}, or with --shift input"
        )


def _document(title: str, graph: Graph, got: Imported, bundle: Path) -> dict[str, Any]:
    report = got.report
    return {
        "source": title,
        "bundle": str(bundle),
        "receptive_field": report.receptive_field,
        "padding": report.padding,
        "strict": is_strict(graph),
        "largest_difference": report.largest_difference,
        "gradient_difference": report.gradient_difference,
        "checked": [list(pair) for pair in report.checked],
        "origins": report.origins,
        "notes": list(report.notes),
    }
