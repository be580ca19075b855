"""refar complete: how sequences and images may go on from what was observed of them."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.cli import completed, examples, files, values
from refar.cli.console import line, number, progress
from refar.cli.score import Data, Provider, encoded
from refar.cli.sources import bundle_path
from refar.errors import InputError, check_integer

if TYPE_CHECKING:
    from refar.data.meaning import Meaning
    from refar.runtime.session import Session


def complete(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE")],
    data: Data,
    observed: Annotated[
        str, typer.Option(metavar="N|HxW", help="How much is observed: positions or pixels, or the first H rows of a picture.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="OUT.{npy,npz,csv,png,svg,wav}", help="Trajectories, all, a table, a picture, sound."
        ),
    ],
    n: Annotated[
        int | None, typer.Option("-n", metavar="N", help="How many positions are to come; as many as the data have if left out.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(metavar="S", help="Trajectories of each example; 100 if left out, of pictures 8, of sound 1.")
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="R,R,…", help="Which examples, as in 0,3,5 or 0:10; all, or the first few in a picture if left out."
        ),
    ] = None,
    quantiles: Annotated[
        str, typer.Option(metavar="P,P,…", help="Quantiles over the trajectories, ascending; two make a band.")
    ] = "0.05,0.5,0.95",
    noise: Annotated[
        float,
        typer.Option(
            metavar="D", help="Observe with noise: its standard deviation, in units of the data, or steps of one class."
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same trajectories.")] = 0,
    temperature: Annotated[float, typer.Option(metavar="T", help="0 takes the most probable token.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(metavar="K", help="Draw from the K most probable classes only.")] = None,
    condition: Annotated[list[str] | None, typer.Option(metavar="C", help="Instead of the condition in the data.")] = None,
    shape: Annotated[str | None, typer.Option(metavar="HxW", help="The size of a picture that is a sequence.")] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads that share the trajectories of sequences out.")] = 1,
    provider: Provider = "cpu",
) -> None:
    """Draw trajectories from p(what follows | what was observed, condition), and quantile bands over them."""
    from refar import runtime

    files.check_output(out, completed.SUFFIXES)
    levels = check_quantiles(quantiles)
    check_integer("--threads", threads, 1, 1024)
    session = runtime.load(bundle_path(bundle), values.device(provider), threads=threads)
    record = examples.record_of(session.manifest.metadata)
    meaning = examples.meaning_of(record)
    given = examples.load(data, session.graph, record, conditions=not condition, encoded=encoded(session))
    given.require_sequences(data)
    given.require_one_length(data, "complete")
    if not facts(session.graph).types[facts(session.graph).sequence].indexed and given.dtype.kind in "iu":
        raise InputError(f"data {data!r}: expected real numbers, since the network models a signal; got {given.dtype}")
    conditions = values.conditions(session.graph, condition or [], given.conditions, meaning.names) or {}
    size = picture_size(session, shape, given.x)
    known = check_observed(observed, size, meaning.channels if given.x.ndim == 2 else 1)
    kind = completed.check_kind(out, session.graph, meaning, size, given.x.shape[-1] if n is None else known + n)
    chosen, each = check_rows(rows, len(given.x), kind.examples), kind.samples if samples is None else samples
    completed.check_few(out, kind, chosen, each, given.x)
    x, own = given.x[chosen], {name: a[chosen] if len(a) == len(given.x) else a for name, a in conditions.items()}
    given_part, left = with_noise(x, known, noise, seed, meaning)
    begin = time.perf_counter()
    with progress("completing", _steps(x, known, n, each * len(chosen))) as advance:
        found = session.complete(
            given_part, known, n, samples=each, seed=seed, temperature=temperature, top_k=top_k, condition=own or None,
            noise=left, progress=advance,
        )  # fmt: skip
    seconds = time.perf_counter() - begin
    shown, truth = (found.decoded(meaning.decode), meaning.decode(x)) if _has_units(meaning) else (found, x)
    done = completed.Completed(found, x, shown, truth, chosen, levels, own, meaning)
    written = completed.write(out, done, kind)
    some = len(given.x) if len(chosen) < len(given.x) else None
    for text in completed.report(done, given.title, some):
        line(text)
    names = str(out) if len(written) == 1 else f"{written[0]} to {written[-1].name}"
    rate = number(round(found.trajectories.size / seconds))
    line(f"wrote {names}: {number(found.trajectories.size)} values, {rate} a second on {session.provider}")


def with_noise(x: Array, known: int, noise: float, seed: int, meaning: Meaning) -> tuple[Array, float]:
    """The data with noise in what is observed, in the units of the data if these are known; and the noise that is left to add."""
    if not noise or not _has_units(meaning):
        return x, noise
    from refar.runtime.completion import observation_noise

    v_bct = meaning.decode(x[..., :known])
    noisy = v_bct + observation_noise(v_bct.shape, noise, seed)
    seen = np.stack([meaning.encode(v_ct) for v_ct in noisy])
    return np.concatenate([seen.astype(x.dtype), x[..., known:]], axis=-1), 0.0


def _has_units(meaning: Meaning) -> bool:
    """Whether the network's numbers stand for others."""
    return meaning.quantizer is not None or bool(meaning.std)


def check_quantiles(text: str) -> list[float]:
    """'0.05,0.5,0.95' → [0.05, 0.5, 0.95]. Raises InputError unless these are ascending numbers from 0 to 1."""
    try:
        levels = [float(piece) for piece in text.split(",")]
    except ValueError:
        levels = []
    if not levels or not all(0 <= level <= 1 for level in levels) or levels != sorted(set(levels)):
        raise InputError(f"--quantiles {text}: expected ascending numbers from 0 to 1 separated by commas, as in 0.05,0.5,0.95")
    return levels


def check_observed(text: str, size: values.Shape | None, each: int) -> int:
    """'392', or '14x28' of pictures that are 28 wide, as a number of positions or pixels. Raises InputError for other text.

    In a sequence a pixel takes `each` = 3 positions where it has three colours.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise InputError(f"--observed {text}: expected a number, as in 392, or the first rows of a picture, as in 14x28")
    if match[2] is None:
        return int(match[1])
    if size is None:
        raise InputError(f"--observed {text}: the size of a picture is not known; give it, as in --shape 28x28, or a number")
    if int(match[2]) != size[1]:
        raise InputError(f"--observed {text}: the pictures have rows of {size[1]} pixels; expected as in {match[1]}x{size[1]}")
    return int(match[1]) * size[1] * each


def check_rows(text: str | None, there: int, most: int | None) -> list[int]:
    """'0,3,5' or '0:10' as numbers of examples; without a text all, or the first `most`. Raises InputError for other text."""
    if text is None:
        return list(range(there if most is None else min(most, there)))
    chosen: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"(\d+)(?::(\d+))?", piece)
        if match is None:
            raise InputError(f"--rows {text}: expected numbers of examples, as in 0,3,5 or 0:10")
        chosen += [int(match[1])] if match[2] is None else range(int(match[1]), int(match[2]))
    if wrong := [row for row in chosen if row >= there]:
        raise InputError(f"--rows {text}: the data have examples 0 to {there - 1}, got {wrong[0]}")
    if not chosen:
        raise InputError(f"--rows {text}: expected at least one example")
    return chosen


def picture_size(session: Session, shape: str | None, x: Array) -> values.Shape | None:
    """The rows and columns of images, or of pictures that are sequences, if there are any."""
    if facts(session.graph).grid is not None:
        if shape is not None:
            raise InputError(f"--shape {shape}: the images say their size themselves, {x.shape[2]}x{x.shape[3]}")
        return x.shape[2], x.shape[3]
    return values.shape(shape or session.manifest.metadata.get("picture"))


def _steps(x: Array, known: int, n: int | None, trajectories: int) -> int:
    """Return the number that `progress` of `Session.complete` counts to."""
    each = x.shape[2] if x.ndim == 4 else max(0, x.shape[-1] - known) if n is None else n
    return trajectories * each
