"""refar export: a trained run as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refar.analysis.facts import facts
from refar.cli import examples, int8_report, values
from refar.cli.console import line, show
from refar.cli.sources import encoder_of, open_source, run_path
from refar.errors import FileError


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A folder that 'refar train' wrote.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="BUNDLE", help="The folder to write.")],
    check: Annotated[bool, typer.Option("--check/--no-check", help="Run the bundle against the oracle first.")] = True,
    spare: Annotated[int, typer.Option("--spare", metavar="N", help="How many of the last steps a stream can take back.")] = 0,
    dtype: Annotated[str, typer.Option(metavar="fp32|fp16", help="What the parameters are stored in.")] = "fp32",
    quantize: Annotated[str | None, typer.Option(metavar="int8", help="Compute convolutions in int8; needs --calibrate.")] = None,
    calibrate: Annotated[
        str | None, typer.Option(metavar="DATA", help="What int8 takes its scales from: as DATA of 'refar score'.")
    ] = None,
    sampler: Annotated[
        bool, typer.Option("--sampler", help="Write sampler.onnx too, which draws tokens in the graph: see generate --sampler.")
    ] = False,
    top_k: Annotated[
        int | None, typer.Option(metavar="K", help="Of how many classes sampler.onnx draws; all if left out.")
    ] = None,
    block: Annotated[bool, typer.Option("--block", help="No effect: block.onnx is always written.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there, with nothing beside it.")] = False,
) -> None:
    """Write the ONNX graphs of a run, with their state, and check them against the oracle."""
    opened = open_source(str(run_path(run)))
    if out.exists() and not force:
        raise FileError(f"{str(out)!r} is there already; give another name, or --force to replace a bundle")
    import refar_export
    from refar.runtime.bundle import layout_of, slots_of

    assert opened.params is not None
    kind, integers = values.dtype(dtype), values.quantization(quantize, calibrate)
    metadata = examples.metadata(opened)
    record = examples.record_of(metadata)
    given = examples.load(calibrate, opened.graph, record) if calibrate is not None else None
    encoder = encoder_of(run_path(run))
    refar_export.export(
        opened.graph,
        opened.params,
        out,
        metadata=examples.to_share(metadata),
        spare=spare,
        block=block,
        dtype=kind,
        quantize=integers,
        calibration=None if given is None else {facts(opened.graph).sequence: given.x, **given.conditions},
        sampler=sampler,
        top_k=top_k,
        encoder=encoder,
        verify=check,
        overwrite=force,
    )
    steps, images = layout_of(opened.graph), slots_of(opened.graph)
    agree = "full, prefill, step and block agree" if steps else "full and pixels agree" if images else "full agrees"
    whom = "with the oracle" if given is None else "with each other"
    line(f"wrote {out}" + (f": {agree} {whom}" if check else " (not checked)"))
    if encoder is not None:
        made = f"encoder.onnx makes {encoder.encoder.condition!r} of {encoder.encoder.reads!r}"
        line(f"{made} and agrees with PyTorch" if check else made)
    if given is not None:
        line(f"in float32 and in int8, on {given.title}:")
        show(int8_report.report(opened.graph, opened.params, out, given))
