"""Anybody's modules, from the import to a bundle: how long it takes, and how far the bundle is from the module; or why not.

    python tests/bench/imports.py [docs/importing.md] [--only WORD …] [--keep runs/imports.json]

Takes the packages that are installed, and says which are not. What was measured is written to the file after `--keep` row by row,
and rows that stand there already are not measured again. With the page the tables are written between their markers.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pages import publish

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import causal_modules
import causal_variants
import peers
import plane_colours
import plane_modules
import plane_variants
import refused_modules
import refused_planes

import refar
from refar.analysis.facts import facts
from refar.importing.probes import drawn
from refar.importing.torch_reference import reference
from refar.runtime import load
from refar_export import export

BATCH = 3
LONGEST = 200
BEYOND = 24
"""So many positions more than the receptive field are compared."""
USERS_LINES = 2
"""`got = refar.from_torch(net, example)` and `export(got.graph, got.params, path, verify=net)`; imports do not count."""


@dataclass(frozen=True)
class Row:
    """What became of one module: the differences from it of a bundle in float32, or the words of the refusal.

    Of an image `step` is pixel by pixel, and `block` in blocks of five pixels.
    """

    group: str
    name: str
    lines: int = 0
    seconds: float = 0.0
    full: float = 0.0
    step: float = 0.0
    block: float = 0.0
    refused: str = ""
    expected: bool = False
    """Whether it was to be refused and was, for the right reason; or was to be taken and was."""
    image: bool = False


def imported(net: torch.nn.Module, example: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Import and export a module, and return the seconds, and the largest difference of full, step and block from the module.

    Differences are parts of the largest value of each channel, of the module in float64.
    """
    begin = time.perf_counter()
    got = refar.from_torch(net, example, **options)
    with tempfile.TemporaryDirectory() as folder:
        path = export(got.graph, got.params, Path(folder) / "bundle", verify=net)
        seconds = time.perf_counter() - begin
        image = facts(got.graph).grid is not None
        found = painted_differences(path, net, got) if image else differences(path, net, got)
        return {"seconds": seconds, "image": image, **found}


def painted_differences(path: Path, net: torch.nn.Module, got: refar.importing.Imported) -> dict[str, float]:
    """Hold a bundle of images against the module in float64: whole, pixel by pixel, and in blocks."""
    found = facts(got.graph)
    height, width = got.report.receptive_field
    inputs = drawn(found, (height + 2, width + 1), BATCH)
    _, theirs = reference(net, got.graph, got.params).outputs(inputs)
    scale = np.maximum(np.abs(theirs).max(axis=(0, 2, 3), keepdims=True), np.finfo(float).tiny)
    session, x = load(path), inputs[found.sequence]
    pixels = x.reshape(*x.shape[:2], -1)
    given = {name: inputs[name] for name in found.conditions}

    def painted(length: int) -> np.ndarray:
        canvas = session.canvas(x.shape[2:], BATCH, given or None)
        parts = [canvas.block(pixels[:, :, n : n + length]) for n in range(0, pixels.shape[2], length)]
        return np.concatenate(parts, axis=2).reshape(theirs.shape)

    outputs = {"full": session.forward(inputs), "step": painted(1), "block": painted(5)}
    return {name: float((np.abs(y - theirs) / scale).max()) for name, y in outputs.items()}


def differences(path: Path, net: torch.nn.Module, got: refar.importing.Imported) -> dict[str, float]:
    """Hold a bundle against the module in float64, from the first position to the last."""
    found = facts(got.graph)
    inputs = drawn(found, (found.left_context + BEYOND,), BATCH)
    begin, theirs = reference(net, got.graph, got.params).outputs(inputs)
    scale = np.maximum(np.abs(theirs).max(axis=(0, 2), keepdims=True), np.finfo(float).tiny)  # a channel may be 0 throughout
    session = load(path)
    x = inputs[found.sequence]
    given = {name: inputs[name] for name in found.conditions}
    local = [name for name in given if found.types[name].timed]
    ahead, first = int(facts(session.graph).strict), found.first_position

    def apart(y: np.ndarray, at: int) -> float:
        start, stop = max(at, begin), min(at + y.shape[2], begin + theirs.shape[2])
        part = np.abs(y[:, :, start - at : stop - at] - theirs[:, :, start - begin : stop - begin])
        return float((part / scale).max()) if part.size else 0.0

    def streamed(length: int) -> np.ndarray:
        prompt = first + 1 - ahead
        outputs = [session.prefill(x[..., :prompt], given or None, BATCH)[:, :, None]]
        for t in range(prompt, x.shape[-1] - ahead - length + 1, length):
            now = {name: given[name][..., t + ahead : t + ahead + length] for name in local}
            piece = x[..., t : t + length]
            if length > 1:
                outputs.append(session.block(piece, now))
            else:
                outputs.append(session.step(piece[..., 0], {name: a[..., 0] for name, a in now.items()})[:, :, None])
        return np.concatenate(outputs, axis=2)

    full = session.forward(inputs)
    return {"full": apart(full, first), "step": apart(streamed(1), first), "block": apart(streamed(5), first)}


def row(group: str, name: str, make: Callable[[], Any], words: tuple[str, ...] | None, lines: int = 0) -> Row:
    """Measure one module; `make` gives it with its example and options, and `words` are those of its refusal, if it needs one."""
    net, example, options = make()
    try:
        numbers = imported(net, example, options)
    except refar.RefarError as error:
        said = str(error)
        return Row(group, name, refused=said, expected=words is not None and all(word in said for word in words))
    return Row(group, name, USERS_LINES + lines, **numbers, expected=words is None)


def modules() -> Iterator[tuple[str, str, Callable[[], Any], tuple[str, ...] | None, int]]:
    """List what is measured: the modules of others, then our own."""
    for listed in (peers.CAUSAL, peers.REFUSED):
        for peer in listed:
            words = peer.words if listed is peers.REFUSED else None
            yield peer.package, peer.name, lambda p=peer: (p.made(), p.example, p.options), words, peer.lines
    for name, make in causal_variants.CAUSAL.items():
        yield "", name.replace("_", " "), lambda n=name, m=make: _random(n, m()), None, 0
    for name, make in (plane_modules.PLANES | plane_variants.VARIANTS | plane_colours.COLOURED).items():
        if name != "valid_planes":  # whose output is smaller than its input: no bundle is held against it
            yield "", name.replace("_", " "), make, None, 0
    for name, refused in (refused_modules.REFUSED | refused_planes.REFUSED_PLANES).items():
        yield "", name.replace("_", " "), lambda n=name, m=refused: _random(n, m()), refused()[3], 0


def _random(name: str, made: Any) -> Any:
    """Give random numbers to a module of our own, and have it in eval mode, but for the one that is refused for its mode."""
    return causal_modules.randomised(made[0]).train(name == "training"), *made[1:3]


def measured(only: list[str], keep: Path | None) -> list[Row]:
    """Measure all modules whose packages are installed, one after another; those that are not are named on stderr."""
    rows = [Row(**each) for each in json.loads(keep.read_text())] if keep and keep.exists() else []
    known = {(each.group, each.name) for each in rows}
    for group, name, make, words, lines in modules():
        if (group, name) in known or (only and not any(word in f"{group} {name}" for word in only)):
            continue
        try:
            rows.append(row(group, name, make, words, lines))
        except peers.Lacking as error:
            print(f"left out: {group}: {name}: {error}", file=sys.stderr, flush=True)
            continue
        print(rows[-1], file=sys.stderr, flush=True)
        if keep:
            keep.parent.mkdir(exist_ok=True)
            keep.write_text(json.dumps([asdict(each) for each in rows], indent=1))
    order = [(group, name) for group, name, *_ in modules()]
    return sorted(rows, key=lambda each: order.index((each.group, each.name)))


def table(rows: list[Row]) -> str:
    """Write what was taken, from others and from us, and what was refused."""
    taken, refused = ([r for r in rows if bool(r.refused) == no] for no in (False, True))
    theirs, ours = [r for r in taken if r.group], [r for r in taken if not r.group and not r.image]
    images = [r for r in taken if not r.group and r.image]
    lines = [f"{len(theirs)} causal modules of {len({r.group for r in theirs})} packages:", "", *_heading("package | module")]
    lines += [f"| {r.group} {version(r.group)} | {r.name} {_numbers(r)}" for r in theirs]
    lines += ["", f"{len(ours)} of our own, written as others write them:", "", *_heading("module")]
    lines += [f"| {r.name} {_numbers(r)}" for r in ours]
    lines += ["", f"{len(images)} of our own over images, *step* being pixel by pixel:", "", *_heading("module")]
    lines += [f"| {r.name} {_numbers(r)}" for r in images]
    for which, what in (
        (True, "that must be refused, and are, for the right reason"),
        (False, "not taken yet"),
    ):
        some = [r for r in refused if r.expected == which]
        if some:
            lines += ["", f"{len(some)} {what}:", "", "| module | at | reason |", "|---|---|---|"]
            lines += [f"| {f'{r.group} {r.name}'.strip()} | {_refusal(r)} |" for r in some]
    return "\n".join(lines)


def _heading(first: str) -> list[str]:
    columns = f"{first} | lines | seconds | full | step | block"
    return [f"| {columns} |", "|---" * (columns.count("|") + 1) + "|"]


def _numbers(r: Row) -> str:
    return f"| {r.lines} | {r.seconds:.1f} | {r.full:.0e} | {r.step:.0e} | {r.block:.0e} |"


_PLACE = re.compile(r"(?P<at>\S+ in \S+(?: \((?!\S+:\d+: )[^)]*\))?|\S+)(?: \(\S+:\d+: .*?\))?: (?P<why>.*)")
"""A call, the module that makes it and the line of code, as `refar.importing.refusal.Place` writes them."""


def _refusal(r: Row) -> str:
    """Return where and why, without the line of code and without the advice."""
    found = _PLACE.match(r.refused)
    at, why = (found["at"], found["why"]) if found else ("", r.refused)
    return f"{at} | {why.partition('; ')[0][:LONGEST].replace('|', '&#124;')}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", nargs="*")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    publish("imports", table(measured(chosen.only, chosen.keep)), chosen.page)
