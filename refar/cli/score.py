"""refar score and refar classify: what a bundle says of data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from refar.arrays import Array
from refar.cli import examples, files
from refar.cli.console import count, facts, line, number, out, progress
from refar.cli.sources import bundle_path

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
        files.check_suffix(save, (".npy", ".csv"))
    session = runtime.load(bundle_path(bundle), provider)  # type: ignore[arg-type]  # checked there
    given = examples.load(data, session.graph)
    conditions = examples.condition(session.graph, given, condition or [])
    log_p = np.zeros(len(given.x))
    with progress("scoring", len(given.x)) as advance:
        for first in range(0, len(given.x), _ROWS):
            rows = slice(first, first + _ROWS)
            chunk = {name: array[rows] for name, array in conditions.items()} if conditions else None
            log_p[rows] = session.score(given.x[rows], chunk)
            advance(min(first + _ROWS, len(given.x)))
    dimensions = math.prod(given.x.shape[1:])
    line(f"{given.title}: {count(len(log_p), 'sequence')} of {count(dimensions, 'dimension')}")
    if len(log_p) and dimensions:
        nats = -float(log_p.mean())
        each, total = nats / dimensions, -float(log_p.sum())
        out.print(
            facts(
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
    save: Annotated[Path | None, typer.Option("-o", "--out", metavar="OUT.{npy,csv}", help="The class of each.")] = None,
    provider: Provider = "cpu",
) -> None:
    """The most probable condition by Bayes' rule with equal priors, and the accuracy if the data hold labels."""
    from refar import runtime

    if save is not None:
        files.check_suffix(save, (".npy", ".csv"))
    session = runtime.load(bundle_path(bundle), provider)  # type: ignore[arg-type]  # checked there
    given = examples.load(data, session.graph)
    parts: list[Array] = [session.classify(given.x[:0]).argmax(axis=1)]
    with progress("classifying", len(given.x)) as advance:
        for first in range(0, len(given.x), _ROWS):
            parts.append(session.classify(given.x[first : first + _ROWS]).argmax(axis=1))
            advance(min(first + _ROWS, len(given.x)))
    predicted = np.concatenate(parts)
    line(f"{given.title}: {count(len(predicted), 'sequence')}")
    labels = given.condition
    if labels is not None and labels.shape == predicted.shape and labels.dtype.kind in "iu" and len(labels):
        right = int((predicted == labels).sum())
        line(f"accuracy {right / len(labels):.1%} ({number(right)} of {number(len(labels))} right)")
    elif save is None:
        line(" ".join(map(str, predicted[:100])) + (" …" if len(predicted) > 100 else ""))
    if save is not None:
        files.write_array(save, predicted)
        line(f"wrote {save}")
