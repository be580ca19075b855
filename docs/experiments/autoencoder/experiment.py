"""An autoencoder whose decoder is a PixelCNN: an encoder's vector is the condition, and both are trained together."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lab import sheets
from lab.scoring import test_nats
from refar import data
from refar.data.described import DataConfig
from refar.runtime import load

SIDE, PIXELS = 28, 784
SHOWN = 16


def prepare(work: Path) -> None:
    """Read MNIST, and put the encoder where [encoder] looks for it."""
    data.load("mnist")
    shutil.copy2(Path(__file__).with_name("encoder.py"), work / "encoder.py")


def measure(bundles: Mapping[str, Path], work: Path) -> dict[str, Any]:
    """Nats of the test part with a picture's own vector and with that of another; reconstructions, and what lies between two."""
    session = load(bundles["pixelcnn"])
    test = data.load(DataConfig(name="mnist", levels=2)).test
    x = test.x.astype(np.int64).reshape(-1, 1, SIDE, SIDE)
    vectors = session.encode(x)
    some = x[:SHOWN]
    made = [session.generate((SIDE, SIDE), condition=vectors[:SHOWN], seed=seed) for seed in (1, 2, 3)]
    first, last = vectors[: SHOWN // 2], vectors[SHOWN // 2 : SHOWN]
    between = [
        session.generate((SIDE, SIDE), condition=((1 - share) * first + share * last).astype(np.float32), seed=1)
        for share in np.linspace(0, 1, 7)
    ]
    np.savez(work / "shown.npz", rebuilt=np.stack([some, *made])[:, :, 0], between=np.stack(between)[:, :, 0])
    other = session.score(x[:1000], np.roll(vectors[:1000], 1, axis=0))
    nats = test_nats(bundles["pixelcnn"], work)
    return {"losses": {"pixelcnn": nats}, "image": nats * PIXELS, "other": -float(other.mean())}


def draw(figures: dict[str, Any], work: Path, here: Path) -> None:
    """Draw pictures above their reconstructions, and what lies between two vectors."""
    with np.load(work / "shown.npz") as held:
        sheets.draw({"pictures of the test part, and three reconstructions of each": held["rebuilt"]}, here / "rebuilt.svg")
        sheets.draw({"from the vector of one picture to that of another": held["between"]}, here / "between.svg", width=4.6)


def table(figures: dict[str, Any]) -> str:
    """Tell nats with the right vector and with a wrong one."""
    return "\n".join([
        "| condition | nats per picture of the test part |", "|---|---|",
        f"| the picture's own vector | {figures['image']:.1f} |",
        f"| that of another picture (1,000 pictures) | {figures['other']:.1f} |",
        "\n![reconstructions](rebuilt.svg)\n\n![interpolations](between.svg)",
    ])  # fmt: skip


def claims(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """The vector says which picture it is."""
    own, other = figures["image"], figures["other"]
    return [
        (
            "nats per picture: fewer by 20 with its own vector than with another",
            f"{own:.1f} against {other:.1f}",
            own + 20 < other,
        )
    ]


DESCRIPTION = {
    "title": "an autoencoder with a PixelCNN for its decoder",
    "minutes": 15,
    "data": "MNIST: refar data fetch mnist",
    "configs": ("pixelcnn",),
    "prepare": prepare, "measure": measure, "draw": draw, "table": table, "claims": claims,
}  # fmt: skip
