"""refar plot: how a training went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refar.cli import files
from refar.cli.console import count, line
from refar.cli.sources import run_path
from refar.errors import FileError
from refar.files import replacing


def plot(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, also one that is being trained.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="CURVES.{svg,png,pdf}", help="Where to draw them.")],
) -> None:
    """Draw the learning curves of a run: training and validation, and the best."""
    files.check_output(out, (".svg", ".png", ".pdf"))
    from refar import plots
    from refar.training.log import UNITS, read_log, unit_of

    folder = run_path(run)
    lines = read_log(folder)
    if not lines:
        raise FileError(f"run {run!r} has no validation in its log yet; the first comes after train.validate_every steps")
    unit = unit_of(lines[-1])
    train, valid = ([(line["step"], line[f"{part}_{unit}"]) for line in lines] for part in ("train", "valid"))
    best = min(valid, key=lambda point: point[1])
    with replacing(out) as temporary:
        plots.save(plots.losses(train, valid, UNITS.get(unit, unit), best), temporary)
    line(f"wrote {out}: {count(len(lines), 'validation')}; best {best[1]:.4f} at step {best[0]}")
