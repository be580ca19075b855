"""Tiles of photographs, 16 levels of red, green and blue: colours in order, and colours that do not see each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lab import sheets
from lab.folders import at
from lab.scoring import of_test, test_nats
from refar.runtime import load

SIDE, LEVELS = 16, 16
CONFIGS = ("ordered", "apart")
ROWS, COLUMNS = 5, 7


def prepare(work: Path) -> None:
    """Write the two photographs that come with scikit-learn as files, for [data] to cut into tiles."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    folder = work / "photos"
    folder.mkdir(exist_ok=True)
    found = load_sample_images()
    for path, picture in zip(found.filenames, found.images, strict=True):
        Image.fromarray(picture).save(folder / f"{Path(path).stem}.png")


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """Nats of the tiles that were held out; samples, and tiles completed from their upper half."""
    losses, shown = {}, {}
    for name, bundle in bundles.items():
        session = load(bundle)
        with at(work):
            tiles = of_test(session).x
        some = tiles[np.linspace(0, len(tiles) - 1, COLUMNS).astype(int)]
        completed = session.complete(some, SIDE * SIDE // 2, samples=2, seed=1).trajectories
        drawn = session.generate((SIDE, SIDE), batch=ROWS * COLUMNS, seed=1)
        shown[name] = drawn.reshape(ROWS, COLUMNS, 3, SIDE, SIDE)
        shown[f"{name}_completed"] = np.stack([completed[:, 0], completed[:, 1]])
        shown["tiles"] = some[None]
        losses[name] = test_nats(bundle, work)
    np.savez(work / "shown.npz", **shown)
    return {"losses": losses}


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw samples, and completions under the tile that they begin as."""
    with np.load(work / "shown.npz") as held:
        light = {name: np.moveaxis(held[name], 2, -1) / (LEVELS - 1) for name in held.files}
    sheets.draw({"colours in order": light["ordered"], "colours apart": light["apart"]}, here / "samples.svg")
    completed = {
        f"tile, and two completions: {title}": np.concatenate([light["tiles"], light[f"{name}_completed"]])
        for name, title in (("ordered", "in order"), ("apart", "apart"))
    }
    sheets.draw(completed, here / "completed.svg")


def table(figures: dict[str, Any]) -> str:
    """Tell bits."""
    lines = ["| colours | bits per colour of a pixel, of the tiles that were held out |", "|---|---|"]
    for name, nats in figures["losses"].items():
        lines.append(f"| {name} | {nats / math.log(2):.3f} |")
    return "\n".join([*lines, "\n![samples of both](samples.svg)\n\n![completions of both](completed.svg)"])


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Colours that see each other are told with fewer bits."""
    ordered, apart = (figures["losses"][name] / math.log(2) for name in CONFIGS)
    return [("bits per colour: fewer with colours in order", f"{ordered:.3f} against {apart:.3f}", ordered < apart)]


DESCRIPTION = {
    "title": "tiles of photographs: colours in order, and colours apart",
    "minutes": 10,
    "data": "the two photographs that come with scikit-learn",
    "configs": CONFIGS,
    "packages": ("sklearn", "PIL"),
    "prepare": prepare, "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
