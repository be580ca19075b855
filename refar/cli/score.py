"""refar score and refar classify: what a bundle says of data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from refar.arguments.arrays import Array, class_condition, one_or
from refar.cli import examples, files, values
from refar.cli.console import count, line, number, pairs, progress, show
from refar.cli.sources import bundle_path
from refar.errors import InputError

Bundle = Annotated[str, typer.Argument(metavar="BUNDLE")]
Data = Annotated[str, typer.Argument(metavar="DATA", help=examples.HELP)]
Provider = Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to run; cuda never falls back.")]
_ROWS = 64


def score(
    bundle: Bundle,
    data: Data,
    condition: Annotated[list[str] | None, typer.Option(metavar="C", help="Instead of the condition in the data.")] = None,
    save: Annotated[Path | None, typer.Option("-o", "--out", metavar="OUT.{npy,csv}", help="log p of each sequence.")] = None,
    provider: Provider = "cpu",
) -> None:
    """Nats and bits per dimension under the network."""
    from refar import runtime

    if save is not None:
        files.check_output(save, (".npy", ".csv"))
    session = runtime.load(bundle_path(bundle), values.device(provider))
    given = examples.load(data, session.graph, conditions=not condition)
    conditions = values.conditions(session.graph, condition or [], given.conditions) or {}
    for name, array in conditions.items():
        if len(array) not in (1, len(given.x)):
            raise InputError(f"condition {name!r}: expected {one_or(len(given.x), 'row')}, got {len(array)}")
    log_p = np.zeros(len(given.x))
    with progress("scoring", len(given.x)) as advance:
        for first in range(0, len(given.x), _ROWS):
            rows = slice(first, first + _ROWS)
            chunk = {name: array if len(array) == 1 else array[rows] for name, array in conditions.items()}
            log_p[rows] = session.score(given.x[rows], chunk or None)
            advance(min(first + _ROWS, len(given.x)))
    dimensions = math.prod(given.x.shape[1:])
    line(f"{given.title}: {count(len(log_p), 'sequence')} of {count(dimensions, 'dimension')}")
    nats = -float(log_p.mean())
    each, total = nats / dimensions, -float(log_p.sum())
    show(
        pairs(
            [
                ("per dimension", f"{each:.4f} nats = {each / math.log(2):.4f} bits"),
                ("per sequence", f"{nats:.3f} nats = {nats / math.log(2):.3f} bits"),
                ("total", f"{total:.1f} nats = {total / math.log(2):.1f} bits"),
            ]
        )
    )
    if save is not None:
        files.write_array(save, log_p)
        line(f"wrote {save}")


def classify(
    bundle: Bundle,
    data: Data,
    progressive: Annotated[
        str | None, typer.Option(metavar="H,H,…", help="The class after the first H positions, for each H.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="OUT.{npy,csv}", help="The class of each; a column per H.")
    ] = None,
    provider: Provider = "cpu",
) -> None:
    """The most probable condition by Bayes' rule with equal priors, and the accuracy if the data hold labels."""
    from refar import runtime

    if save is not None:
        files.check_output(save, (".npy", ".csv"))
    session = runtime.load(bundle_path(bundle), values.device(provider))
    class_condition(session.graph, "classify")
    given = examples.load(data, session.graph)
    observed = None if progressive is None else values.integers("--progressive", progressive)
    parts: list[Array] = []
    with progress("classifying", len(given.x)) as advance:
        for first in range(0, len(given.x), _ROWS):
            parts.append(session.classify(given.x[first : first + _ROWS], observed=observed).argmax(axis=-1))
            advance(min(first + _ROWS, len(given.x)))
    predicted = np.concatenate(parts)
    line(f"{given.title}: {count(len(predicted), 'sequence')}")
    positions = math.prod(given.x.shape[1:]) if given.x.ndim == 4 else given.x.shape[-1]  # of an image every value is one
    of = f"of {number(positions)}: "
    columns = {"": predicted} if observed is None else {f"after {h} {of}": predicted[:, i] for i, h in enumerate(observed)}
    labels = next(iter(given.conditions.values()), None)
    for after, column in columns.items():
        if labels is not None:
            right = int((column == labels).sum())
            line(f"{after}accuracy {right / len(labels):.1%} ({number(right)} of {number(len(labels))} right)")
        elif save is None:
            line(after + " ".join(map(str, column[:100])) + (" …" if len(column) > 100 else ""))
    if save is not None:
        files.write_array(save, predicted)
        line(f"wrote {save}")
