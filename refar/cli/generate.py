"""refar generate: new sequences from a bundle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from refar.arrays import Array, check_sampling
from refar.cli import files, values
from refar.cli.console import count, line, number, progress
from refar.cli.sources import bundle_path


def generate(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE")],
    n: Annotated[int, typer.Option("-n", metavar="N", help="How many tokens.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.{npy,csv,png}", help="Where to write them.")],
    batch: Annotated[int | None, typer.Option(metavar="B", help="Sequences at once; as many as conditions if left out.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same sequences.")] = 0,
    temperature: Annotated[float, typer.Option(metavar="T", help="0 takes the most probable token.")] = 1.0,
    condition: Annotated[
        list[str] | None, typer.Option(metavar="C", help="3, or 0,1,2 (a row each), or a .npy file; NAME=… if there are several.")
    ] = None,
    prompt: Annotated[Path | None, typer.Option(metavar="FILE", help="Go on from these tokens: .npy or .csv.")] = None,
    shape: Annotated[str | None, typer.Option(metavar="HxW", help="The size of a picture, for .png.")] = None,
    provider: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to run; cuda never falls back.")] = "cpu",
) -> None:
    """Generate N tokens and write them as an array, a table or pictures."""
    from refar import runtime

    files.check_suffix(out, (".npy", ".csv", ".png"))
    check_sampling(n, temperature)
    session = runtime.load(bundle_path(bundle), provider)  # type: ignore[arg-type]  # checked there
    given = values.conditions(session.graph, condition or [])
    start = None if prompt is None else values.sequence(session.graph, files.read_array(prompt, "prompt"))
    size = values.shape(shape or session.manifest.metadata.get("picture"))
    whole = out.suffix.lower() == ".png" and start is not None and size is not None and start.shape[-1] + n == size[0] * size[1]
    if out.suffix.lower() == ".png":
        size = values.check_picture(session.graph, size, n + (start.shape[-1] if whole and start is not None else 0))
    begin = time.perf_counter()
    with progress("generating", n) as advance:
        tokens = session.generate(
            n, batch=batch, seed=seed, temperature=temperature, prompt=start, condition=given, progress=advance
        )
    seconds = time.perf_counter() - begin
    if size is not None and out.suffix.lower() == ".png":
        pixels = _with_prompt(start, tokens) if whole and start is not None else tokens
        files.write_bytes(out, values.picture(session.graph, pixels, size))
    else:
        files.write_array(out, tokens)
    rate = f", {number(round(tokens.shape[0] * n / seconds))} tokens/s on {session.provider}" if tokens.size else ""
    line(f"wrote {out}: {count(tokens.shape[0], 'sequence')} of {count(n, 'token')}{rate}")


def _with_prompt(prompt: Array, tokens: Array) -> Array:
    """A picture begun by the prompt is shown with it."""
    rows = np.atleast_2d(prompt)
    return np.concatenate([np.broadcast_to(rows, (len(tokens), rows.shape[1])), tokens], axis=1)
