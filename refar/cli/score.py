"""refar score and refar classify: what a bundle says of data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays, class_condition, one_or
from refar.cli import examples, files, values
from refar.cli.console import count, line, number, pairs, progress, show
from refar.cli.scorable import opened
from refar.errors import InputError

if TYPE_CHECKING:
    from refar.runtime.session import Session

Bundle = Annotated[str, typer.Argument(metavar="BUNDLE|RUN")]
Data = Annotated[str, typer.Argument(metavar="DATA", help=examples.HELP)]
Provider = Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to run; cuda never falls back.")]
_ROWS, _VALUES = 64, 2**24
"""The most sequences that are taken at once, and the most numbers that the widest layer holds of them, unless one has more."""


def score(
    bundle: Bundle,
    data: Data,
    condition: Annotated[list[str] | None, typer.Option(metavar="C", help="Instead of the condition in the data.")] = None,
    save: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="OUT.{npy,csv}", help="log p of each sequence, or ESR of each pair.")
    ] = None,
    provider: Provider = "cpu",
) -> None:
    """Nats and bits per dimension under the network; of pairs of x and target, mean square and error to signal."""
    if save is not None:
        files.check_output(save, (".npy", ".csv"))
    with opened(bundle, provider) as session:
        _score(session, data, condition or [], save)


def _score(session: Session, data: str, condition: list[str], save: Path | None) -> None:
    record = examples.record_of(session.manifest.metadata)
    meaning = examples.meaning_of(record)
    given = examples.load(data, session.graph, record, conditions=not condition, encoded=encoded(session))
    known = {**given.conditions, **_made(session, given)}
    conditions = values.conditions(session.graph, condition, known, meaning.names) or {}
    for name, array in conditions.items():
        if len(array) not in (1, len(given.x)):
            raise InputError(f"condition {name!r}: expected {one_or(len(given.x), 'row')}, got {len(array)}")
    if given.target is not None and session.graph.head is None:
        _score_pairs(session, given, given.target, conditions, save)
        return
    given.require_sequences(data)
    log_p = np.zeros(len(given.x))
    for some, chunk in _pieces("scoring", session, given.x, conditions):
        lengths = None if given.lengths is None else given.lengths[some]
        log_p[some] = session.score(given.x[some], chunk, lengths=lengths)
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


def _pieces(what: str, session: Session, x: Array, conditions: Arrays) -> Iterator[tuple[slice, Arrays | None]]:
    """Rows of a bounded number of values, and their conditions, with a bar that shows how far it is."""
    rows = _rows(session, x)
    with progress(what, len(x)) as advance:
        for first in range(0, len(x), rows):
            some = slice(first, first + rows)
            yield some, {name: array if len(array) == 1 else array[some] for name, array in conditions.items()} or None
            advance(min(first + rows, len(x)))


def _score_pairs(session: Session, given: examples.Examples, target: Array, conditions: Arrays, save: Path | None) -> None:
    """Tell how far the network's answers are from those in the data, as a mean over the sequences."""
    from refar.oracle.pairs import error_to_signal, mean_square

    found = np.zeros((2, len(given.x)))
    for some, chunk in _pieces("comparing", session, given.x, conditions):
        x, v = given.x[some], target[some].astype(np.float64)
        lengths = np.full(len(x), x.shape[-1]) if given.lengths is None else given.lengths[some]
        y, counted = session.forward(x, chunk).astype(np.float64), np.arange(x.shape[-1]) < lengths[:, None]
        found[:, some] = mean_square(y, v, counted), error_to_signal(y, v, counted)
    line(f"{given.title}: {count(len(given.x), 'pair')} of {count(given.x.shape[-1], 'position')}")
    rows = [("mean square", f"{found[0].mean():.6g}"), ("error to signal", f"{found[1].mean():.6g}, without pre-emphasis")]
    show(pairs(rows))
    if save is not None:
        files.write_array(save, found[1])
        line(f"wrote {save}")


def _rows(session: Session, x: Array) -> int:
    """Return how many sequences to take at once."""
    types = facts(session.graph).types.values()
    positions = math.prod(x.shape[2:]) if x.ndim > 2 else x.shape[1]
    return min(_ROWS, max(1, _VALUES // (positions * max(kind.channels for kind in types if kind.timed))))


def encoded(session: Session) -> str | None:
    """Return the name of the condition that the bundle's encoder makes; None without an encoder."""
    encoder = session.manifest.encoder
    return None if encoder is None else encoder.condition


def _made(session: Session, given: examples.Examples) -> dict[str, Array]:
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
    for some, _ in _pieces("classifying", session, given.x, {}):
        parts.append(session.classify(given.x[some], observed=observed).argmax(axis=-1))
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
