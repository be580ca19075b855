"""refar demo: everything once, on real data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from refar.cli.console import line, out, pairs, show
from refar.errors import InputError


def demo(
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write.")] = Path("demo"),
    steps: Annotated[int | None, typer.Option(metavar="N", help="Train for fewer steps, for a quick look.")] = None,
) -> None:
    """Train on digits, check against the oracle, export, generate without PyTorch, and write a report."""
    from refar.cli.demonstration import stages

    config = stages.default_config()
    if steps is not None:
        if steps < 1:
            raise InputError(f"--steps: expected a number ≥ 1, got {steps}")
        config = msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, steps=steps))
    try:
        figures = stages.run(folder, line, config)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the demo starts anew when it is run again") from None
    deployed, base = figures["deployed"], figures["baselines"]
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("held-out pictures")
    table.add_column("nats per pixel", justify="right")
    table.add_column("accuracy", justify="right")
    for name in ("unigram", "previous", "marginals"):
        right = f"{base['accuracy']:.1%}" if name == "marginals" else ""
        table.add_row(name, f"{base['nats_per_pixel'][name]:.4f}", right)
    table.add_row("WaveNet", f"{deployed['nats_per_pixel']:.4f}", f"{deployed['accuracy']:.1%}", style="bold")
    out.print()
    show(table)
    out.print()
    races = [
        (f"batch {race['batch']}", f"step graph {race['ratio']:.1f} times as fast as recomputing the full graph")
        for race in deployed["generation"]
    ]
    show(pairs([*races, ("time", f"{sum(figures['seconds'].values()):.0f} seconds"), ("page", str(folder / "report.html"))]))
