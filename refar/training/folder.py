"""Whether a training may write into a folder. Nobody else's files are written over; a killed run leaves nothing in the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refar.errors import FileError
from refar.files import check_writable, is_leftover, sweep
from refar.locks import LOCK, one_writer
from refar.training.runs import CHECKPOINT, CONFIG, FILES, GRAPH, SAMPLES

_BEGUN = re.compile(r"\.(step-[\d-]+)\.\w{8}(\.\w+)")
"""The name of a sample that is being written; see `refar.files.replacing` and `sample_stem`."""


@contextmanager
def writing_run(run: Path, resume: bool, graph: bytes) -> Iterator[None]:
    """Hold a run folder as its only writer, and remove what killed runs left half-written in it.

    `graph` is the text of graph.json that the run is going to have. Raises FileError for a folder that another process writes,
    that holds a run (without `resume`) or none (with it), or that holds anything else.
    """
    if not (run / LOCK).exists():  # if it does, whoever holds it is told of first
        _check(run, resume, graph)  # before the folder is touched
    with one_writer(run, f"run {str(run)!r}"):
        _check(run, resume, graph)  # whoever held the lock may have written since
        sweep(run, FILES)
        _sweep_samples(run / SAMPLES)
        yield


def _sweep_samples(folder: Path) -> None:
    """Remove the samples that were half-written, of whatever step and ending."""
    begun = [_BEGUN.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    if names := {match[1] + match[2] for match in begun if match}:
        sweep(folder, names)


def _check(run: Path, resume: bool, graph: bytes) -> None:
    if run.exists() and not run.is_dir():
        raise FileError(f"run {str(run)!r}: expected a folder, got a file")
    held = sorted(path.name for path in run.iterdir()) if run.exists() else []
    held = [name for name in held if name != LOCK and not is_leftover(name, FILES)]
    if resume and CHECKPOINT not in held:
        begin = " Begin it without resuming." if _may_begin(run, held, graph) else ""
        raise FileError(f"run {str(run)!r}: expected a run to resume, but {CHECKPOINT} is missing.{begin}")
    if not resume and not _may_begin(run, held, graph):
        found = [name for name in FILES if name in held]
        if CHECKPOINT in held:
            raise FileError(f"run {str(run)!r} holds a run already ({', '.join(found)}); resume it, or choose another folder")
        raise FileError(f"run {str(run)!r} holds {held[0]!r}, which no training wrote; choose another folder")
    check_writable(run / CONFIG)


def _may_begin(run: Path, held: list[str], graph: bytes) -> bool:
    """Say whether the folder holds nothing, or only what refar 0.1.0 wrote before the first checkpoint: this very graph."""
    return not held or (held == [GRAPH] and (run / GRAPH).read_bytes() == graph)
