"""refar complete: how sequences and images may go on from what was observed of them."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.cli import completed, examples, files, values
from refar.cli.console import count, line, number, progress
from refar.cli.score import Bundle, Data, Provider
from refar.cli.sources import bundle_path
from refar.errors import InputError, check_integer

if TYPE_CHECKING:
    from refar.runtime.session import Session

_SAMPLES, _SAMPLES_OF_PICTURES = 100, 8
_SHOWN, _SHOWN_PICTURES = 4, 8


def complete(
    bundle: Bundle,
    data: Data,
    observed: Annotated[
        str, typer.Option(metavar="N|HxW", help="How much is observed: positions or pixels, or the first H rows of a picture.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT.{npy,npz,csv,png,svg}", help="Trajectories, all, a table, or a picture.")
    ],
    n: Annotated[
        int | None, typer.Option("-n", metavar="N", help="How many positions are to come; as many as the data have if left out.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(metavar="S", help="Trajectories of each example; 100, or 8 of pictures if left out.")
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
        float, typer.Option(metavar="D", help="Observe with noise: its standard deviation, of classes in steps of one class.")
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
    given = examples.load(data, session.graph, conditions=not condition)
    conditions = values.conditions(session.graph, condition or [], given.conditions) or {}
    size = picture_size(session, shape, given.x)
    known = check_observed(observed, size)
    drawn = completed.check_kind(out, session.graph, size, None if n is None else known + n, given.x)
    chosen = check_rows(rows, len(given.x), (_SHOWN_PICTURES if drawn.sheet else _SHOWN) if drawn.picture else None)
    completed.check_panels(out, drawn, len(chosen), given.x)
    asked = samples if samples is not None else _SAMPLES_OF_PICTURES if drawn.sheet else _SAMPLES
    own = {name: array[chosen] if len(array) == len(given.x) else array for name, array in conditions.items()}
    begin = time.perf_counter()
    with progress("completing", _steps(given.x, known, n, asked * len(chosen))) as advance:
        found = session.complete(
            given.x[chosen], known, n, samples=asked, seed=seed, temperature=temperature, top_k=top_k,
            condition=own or None, noise=noise, progress=advance,
        )  # fmt: skip
    seconds = time.perf_counter() - begin
    completed.write(out, completed.Completed(found, given.x[chosen], chosen, levels, own), drawn)
    what, unit = ("image", "pixels") if found.is_image else ("sequence", "positions")
    shown = count(len(chosen), what) + ("" if len(chosen) == len(given.x) else f" of {number(len(given.x))}")
    line(f"{given.title}: {shown}, {number(known)} {unit} observed, {count(asked, 'trajectory', 'trajectories')} each")
    for text in completed.coverage(found, levels):
        line(text)
    rate = found.trajectories.size / seconds
    line(f"wrote {out}: {number(found.trajectories.size)} values, {number(round(rate))} a second on {session.provider}")


def check_quantiles(text: str) -> list[float]:
    """'0.05,0.5,0.95' → [0.05, 0.5, 0.95]. Raises InputError unless these are ascending numbers from 0 to 1."""
    try:
        levels = [float(piece) for piece in text.split(",")]
    except ValueError:
        levels = []
    if not levels or not all(0 <= level <= 1 for level in levels) or levels != sorted(set(levels)):
        raise InputError(f"--quantiles {text}: expected ascending numbers from 0 to 1 separated by commas, as in 0.05,0.5,0.95")
    return levels


def check_observed(text: str, size: values.Shape | None) -> int:
    """'392', or '14x28' of pictures that are 28 wide, as a number of positions or pixels. Raises InputError for other text."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise InputError(f"--observed {text}: expected a number, as in 392, or the first rows of a picture, as in 14x28")
    if match[2] is None:
        return int(match[1])
    if size is None:
        raise InputError(f"--observed {text}: the size of a picture is not known; give it, as in --shape 28x28, or a number")
    if int(match[2]) != size[1]:
        raise InputError(f"--observed {text}: the pictures have rows of {size[1]} pixels; expected as in {match[1]}x{size[1]}")
    return int(match[1]) * size[1]


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
    """What `progress` of `Session.complete` counts to."""
    each = x.shape[2] if x.ndim == 4 else max(0, x.shape[-1] - known) if n is None else n
    return trajectories * each
