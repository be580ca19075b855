"""refar generate on a bundle of images: N images as an array or as pictures on one sheet."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.arguments.sampling import Sampling
from refar.cli import files, png, values
from refar.cli.console import count, line, number, progress
from refar.data.meaning import lighten
from refar.errors import FileError, InputError
from refar.files import write_bytes
from refar.graph.graph import Graph
from refar.rounding.certify import certify as refar_certify

if TYPE_CHECKING:
    from refar.runtime.session import Session


def paint(
    session: Session,
    out: Path,
    size: values.Shape | None,
    batch: int,
    sampling: Sampling,
    prompt: Path | None,
    condition: dict[str, Array] | None,
    *,
    ahead: int,
    certify: bool,
) -> bool:
    """Paint `batch` images and write them. Returns whether what was asked to be certified is certain."""
    kind = facts(session.graph).types[facts(session.graph).sequence]
    if size is None:
        raise InputError("images need a size; give it, as in --shape 28x28")
    pictures = out.suffix.lower() == ".png"
    if pictures and (not kind.indexed or kind.channels not in (1, 3)):
        raise InputError(f"{str(out)!r}: pictures need classes of 1 or 3 colours; this network is of {kind}; write .npy")
    if pictures and batch == 0:
        raise InputError(f"{str(out)!r}: a sheet of no image is no picture; expected -n 1 or more, or .npy")
    if out.suffix.lower() in (".csv", ".wav"):
        kinds = "table" if out.suffix.lower() == ".csv" else "sound"
        raise FileError(f"{str(out)!r}: images have no {kinds}; expected .npy or .png")
    first = None if prompt is None else values.fit("prompt", files.read_array(prompt, "prompt"), kind)
    begin = time.perf_counter()
    with progress("painting", size[0]) as advance:
        images = session.generate(
            size, batch=batch, seed=sampling.seed, temperature=sampling.temperature, top_k=sampling.top_k, prompt=first,
            condition=condition, ahead=ahead, progress=advance,
        )  # fmt: skip
    seconds = time.perf_counter() - begin
    write_bytes(out, sheet(session.graph, images)) if pictures else files.write_array(out, images)
    certain = True
    if certify:
        with progress("certifying", len(images)) as advance:
            certificate = refar_certify(
                session.graph, session.weights, images, seed=sampling.seed, temperature=sampling.temperature,
                top_k=sampling.top_k, prompt=first, condition=condition, progress=advance,
            )  # fmt: skip
        line(str(certificate))
        certain = bool(certificate)
    rate = f", {number(round(images.shape[0] * size[0] * size[1] / seconds))} pixels/s on {session.provider}"
    line(f"wrote {out}: {count(len(images), 'image')} of {size[0]}x{size[1]} pixels{rate}")
    return certain


def sheet(graph: Graph, images: Array) -> bytes:
    """A PNG with a tile for every image, grey or in red, green and blue: class 0 is dark, the last class light."""
    classes = facts(graph).types[facts(graph).sequence].size
    light = lighten(images, classes)
    sheets = [png.tiles(light[:, colour]) for colour in range(images.shape[1])]
    return png.encode(sheets[0] if len(sheets) == 1 else np.stack(sheets, axis=2))
