"""Score a bundle on the data that it was trained on, by onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lab.folders import at
from refar.cli import examples
from refar.runtime import load
from refar.runtime.session import Session

_ROWS = 64


def test_nats(bundle: Path, work: Path) -> float:
    """Return the mean nats per value over the test part, of which `work` holds the files."""
    session = load(bundle)
    with at(work):
        given = of_test(session)
    return -total(session, given) / int(given.values.sum())


def of_test(session: Session) -> examples.Examples:
    """Return the test part, with the condition that the bundle's encoder makes of it, if there is one."""
    encoder, record = session.manifest.encoder, examples.record_of(session.manifest.metadata)
    given = examples.load("data:test", session.graph, record, encoded=encoder and encoder.condition)
    if encoder is None:
        return given
    return replace(given, conditions={**given.conditions, encoder.condition: session.encode(given.held[encoder.reads])})


def total(session: Session, given: examples.Examples) -> float:
    """Return log p of all sequences together."""
    parts = []
    for first in range(0, len(given.x), _ROWS):
        some = slice(first, first + _ROWS)
        lengths = None if given.lengths is None else given.lengths[some]
        conditions = {name: array[some] for name, array in given.conditions.items()}
        parts.append(session.score(given.x[some], conditions or None, lengths=lengths))
    return float(np.concatenate(parts).sum())
