"""refar score and refar classify: what a bundle says of data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from refar.arguments.arrays import Array, class_condition, one_or
from refar.cli import examples, files, values
from refar.cli.console import count, line, number, pairs, progress, show
from refar.cli.scorable import opened
from refar.errors import InputError

if TYPE_CHECKING:
    from refar.runtime.session import Session

Bundle = Annotated[str, typer.Argument(metavar="BUNDLE|RUN")]
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
    if save is not None:
        files.check_output(save, (".npy", ".csv"))
    with opened(bundle, provider) as session:
        _score(session, data, condition or [], save)


def _score(session: Session, data: str, condition: list[str], save: Path | None) -> None:
    record = examples.record_of(session.manifest.metadata)
    meaning = examples.meaning_of(record)
    given = examples.load(data, session.graph, record, conditions=not condition)
    given.require_sequences(data)
    known = {**_encoded(session, given), **given.conditions}
    conditions = values.conditions(session.graph, condition, known, meaning.names) or {}
    for name, array in conditions.items():
        if len(array) not in (1, len(given.x)):
            raise InputError(f"condition {name!r}: expected {one_or(len(given.x), 'row')}, got {len(array)}")
    log_p = np.zeros(len(given.x))
    with progress("scoring", len(given.x)) as advance:
        for first in range(0, len(given.x), _ROWS):
            some = slice(first, first + _ROWS)
            chunk = {name: array if len(array) == 1 else array[some] for name, array in conditions.items()}
            lengths = None if given.lengths is None else given.lengths[some]
            log_p[some] = session.score(given.x[some], chunk or None, lengths=lengths)
            advance(min(first + _ROWS, len(given.x)))
    least, most, dimensions = int(given.values.min()), int(given.values.max()), int(given.values.sum())
    of = count(most, "dimension") if least == most else f"{number(least)} to {count(most, 'dimension')}"
    line(f"{given.title}: {count(len(log_p), 'sequence')} of {of}")
    nats, total = -float(log_p.mean()), -float(log_p.sum())
    each = total / dimensions
    rows = [
        ("per dimension", f"{each:.4f} nats = {each / math.log(2):.4f} bits"),
        ("per sequence", f"{nats:.3f} nats = {nats / math.log(2):.3f} bits"),
        ("total", f"{total:.1f} nats = {total / math.log(2):.1f} bits"),
    ]
    if meaning.std and meaning.quantizer is None:  # densities: v = x·std + mean has that of x, divided by std
        units = each + float(np.log(meaning.std).mean())
        rows.append(("in the units of the file", f"{units:.4f} nats = {units / math.log(2):.4f} bits per dimension"))
    show(pairs(rows))
    if save is not None:
        files.write_array(save, log_p)
        line(f"wrote {save}")


def _encoded(session: Session, given: examples.Examples) -> dict[str, Array]:
    """Return the condition that the bundle's encoder makes of the data, if there is one and they hold what it reads."""
    encoder = session.manifest.encoder
    if encoder is None or encoder.reads not in given.held:
        return {}
    return {encoder.condition: session.encode(given.held[encoder.reads])}


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
    if save is not None:
        files.check_output(save, (".npy", ".csv"))
    with opened(bundle, provider) as session:
        _classify(session, data, progressive, save)


def _classify(session: Session, data: str, progressive: str | None, save: Path | None) -> None:
    class_condition(session.graph, "classify")
    record = examples.record_of(session.manifest.metadata)
    given, names = examples.load(data, session.graph, record), examples.meaning_of(record).names
    given.require_sequences(data)
    given.require_one_length(data, "classify")
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
            said = [names[c] for c in column[:100]] if names else list(map(str, column[:100]))
            line(after + " ".join(said) + (" …" if len(column) > 100 else ""))
    if save is not None:
        files.write_array(save, predicted)
        line(f"wrote {save}")
