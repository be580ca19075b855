"""refar generate: new sequences from a bundle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from refar.analysis.causality import require_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import check_sampling
from refar.arguments.sampling import Sampling
from refar.cli import examples, files, samples, values
from refar.cli.console import count, line, number, progress
from refar.cli.imports import require_shifted
from refar.cli.paint import paint
from refar.cli.sources import bundle_path
from refar.errors import GraphError, InputError, check_integer
from refar.graph.graph import require_head
from refar.rounding.certify import certify as refar_certify


def generate(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE")],
    n: Annotated[int, typer.Option("-n", metavar="N", help="How many tokens; of images, how many images.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.{npy,csv,png,wav}", help="Where to write them.")],
    batch: Annotated[int | None, typer.Option(metavar="B", help="Sequences at once; as many as conditions if left out.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same sequences.")] = 0,
    temperature: Annotated[float, typer.Option(metavar="T", help="0 takes the most probable token.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(metavar="K", help="Draw from the K most probable classes only.")] = None,
    condition: Annotated[
        list[str] | None, typer.Option(metavar="C", help="3, or 0,1,2 (a row each), or a .npy file; NAME=… if there are several.")
    ] = None,
    prompt: Annotated[Path | None, typer.Option(metavar="FILE", help="Go on from this: .npy, .csv, or of sound .wav.")] = None,
    ahead: Annotated[
        int,
        typer.Option(metavar="W", help="Guess W tokens at once; but for rounding the tokens are the same. See export --spare."),
    ] = 0,
    sampler: Annotated[
        bool, typer.Option("--sampler", help="Draw the tokens in the graph, in float32; needs export --sampler.")
    ] = False,
    shape: Annotated[str | None, typer.Option(metavar="HxW", help="The size of a picture or of images.")] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads that share the rows of sequences out.")] = 1,
    provider: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to run; cuda never falls back.")] = "cpu",
    certify: Annotated[
        bool,
        typer.Option("--certify", help="Say whether exact arithmetic gives the same tokens; exit code 1 if not for certain."),
    ] = False,
) -> None:
    """Generate N tokens and write them as an array, a table or pictures."""
    from refar import runtime

    files.check_output(out, samples.SUFFIXES)
    check_integer("--threads", threads, 1, 1024)
    if batch is not None:
        check_integer("--batch", batch, 1)
    session = runtime.load(bundle_path(bundle), values.device(provider), threads=threads)
    record = examples.record_of(session.manifest.metadata)
    meaning = examples.meaning_of(record)
    if facts(session.graph).grid is not None:
        check_sampling(n, temperature, seed, batch)
        if sampler:
            raise GraphError("sampler: expected a network over time, got one over images")
        if batch not in (None, n):
            raise InputError(f"--batch {batch}: of images -n says how many, here {n}")
        given = values.conditions(session.graph, condition or [], names=meaning.names)
        sampling = Sampling(require_head(session.graph, "generate"), n, seed, temperature, top_k)
        known = values.shape(shape or session.manifest.metadata.get("picture"))
        if not paint(session, out, known, n, sampling, prompt, given, ahead=ahead, certify=certify):
            raise typer.Exit(1)
        return
    pictures = out.suffix.lower() == ".png"
    if shape is not None and not pictures:
        raise InputError(f"--shape {shape}: only a picture has a size, and {str(out)!r} is none")
    check_sampling(n, temperature, seed, batch)
    session.require_steps("generate")
    require_shifted(session.graph, session.manifest.metadata)
    require_strict(facts(session.graph), "generate")
    found = facts(session.graph)
    given = values.conditions(session.graph, condition or [], names=meaning.names)
    rows = max([batch or 1, *(len(array) for array in (given or {}).values())])
    samples.check(out, meaning, rows)
    kind = found.types[found.sequence]
    start = None if prompt is None else values.fit("prompt", samples.read_prompt(prompt, record, kind), kind)
    before = 0 if start is None else start.shape[-1]
    known = values.shape(shape or session.manifest.metadata.get("picture")) if pictures else None
    size = values.check_picture(session.graph, known, n, before, meaning.channels) if pictures else None
    begin = time.perf_counter()
    with progress("generating", n) as advance:
        tokens = session.generate(
            n, batch=batch, seed=seed, temperature=temperature, top_k=top_k, prompt=start, condition=given, ahead=ahead,
            sampler=sampler, progress=advance,
        )  # fmt: skip
    seconds = time.perf_counter() - begin
    if size is None:
        written = samples.write(out, tokens, meaning)
    else:  # a picture begun by the prompt is shown with it
        whole = n == size[0] * size[1] * meaning.channels
        begun = [] if start is None or whole else [np.broadcast_to(start, (len(tokens), before))]
        written = samples.write_sheet(out, np.concatenate([*begun, tokens], axis=1), meaning, session.graph, size)
    rate = f", {number(round(tokens.shape[0] * n / seconds))} tokens/s on {session.provider}" if tokens.size else ""
    if certify:
        with progress("certifying", len(tokens)) as advance:
            certificate = refar_certify(
                session.graph, session.weights, tokens, seed=seed, temperature=temperature, top_k=top_k,
                prompt=start, condition=given, progress=advance,
            )  # fmt: skip
        line(str(certificate))
    names = str(out) if len(written) == 1 else f"{written[0]} to {written[-1].name}"
    line(f"wrote {names}: {count(tokens.shape[0], 'sequence')} of {count(n, 'token')}{rate}")
    if sampler and session.provider == "cuda" and session.not_captured:
        line(f"its steps are not replayed as a CUDA graph: {session.not_captured}")
    if certify and not certificate:
        raise typer.Exit(1)
