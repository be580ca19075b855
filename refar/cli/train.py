"""refar train: a config to a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from refar.cli.console import line


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help=escape("The tables [model], [data] and [train]."))],
    out: Annotated[Path | None, typer.Option("--out", metavar="RUN", help="Where to write; runs/CONFIG if left out.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run from its last checkpoint.")] = False,
) -> None:
    """Train in PyTorch; Ctrl-C stops after a checkpoint."""
    from refar.training.config import load_config

    run = out or Path("runs", config.stem)
    settings = load_config(config)
    from refar.cli.sketch import sketcher
    from refar.torch.loop import train as train_run

    result = train_run(settings, run, resume=resume, samples=sketcher(run))
    if os.environ.get("RANK", "0") != "0":  # of the processes that torchrun started the first speaks for all
        return
    if not result.finished:
        line(f"go on with: refar train {config} --out {run} --resume")
        raise typer.Exit(130)
    line(f"wrote {run}; next: refar check {run}, or refar export {run} -o BUNDLE")
