"""What sampling ahead gains: `python tests/bench/ahead.py [PAGE] [--folder DIR]`, five minutes, two of them of training.

Plain generation and sampling ahead take turns in one process on one core, eight times for each seed, of which the least counts,
as other programs slow some down; the gain is the quotient of the sums over seeds. Every token and pixel is compared. The digits
are the network of `refar demo`; the binary ones are the same, drawn on 28 × 28 pixels. The 20 layers have random weights, wider
than those that training begins with: there a guess is hardly ever right.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from pages import publish

import refar
from refar import data, models
from refar.runtime import load
from refar.runtime.session import Session
from refar_export import export

SPARE = 31
BINARY = """
[model]
name = "pixelcnn"
classes = 2
hidden = 32
[data]
path = "binary.npz"
[train]
steps = 400
batch = 16
threads = 1
"""


def binary_digits() -> np.ndarray:
    """The digits of scikit-learn, 8 × 8, drawn on 28 × 28 pixels of two classes: between their pixels a straight line."""
    digits = data.load("digits")
    grey = np.asarray(digits.train.x, float).reshape(-1, 8, 8)
    to, at = np.linspace(0, 7, 28), np.arange(8)
    wide = np.stack([np.interp(to, at, row) for row in grey.reshape(-1, 8)]).reshape(-1, 8, 28)
    tall = np.stack([np.interp(to, at, column) for column in wide.transpose(0, 2, 1).reshape(-1, 8)]).reshape(-1, 28, 28)
    return (tall.transpose(0, 2, 1) > 8).astype(np.int64)[:, None]


def trained(folder: Path, name: str, config: str) -> Session:
    """A network that `refar train` trains in the folder, unless it is there."""
    if not (folder / name).exists():
        (folder / f"{name}.toml").write_text(config, encoding="utf-8")
        subprocess.run([sys.executable, "-m", "refar", "train", f"{name}.toml", "--out", f"{name}_run"], cwd=folder, check=True)
        exporting = ["export", f"{name}_run", "-o", name, *([] if name == "binary" else ["--spare", str(SPARE)])]
        subprocess.run([sys.executable, "-m", "refar", *exporting], cwd=folder, check=True)
    return load(folder / name)


def random(folder: Path) -> Session:
    """A network of the size that speech takes, with random weights."""
    graph = models.wavenet(classes=256, dilations=[2**i for i in range(10)] * 2)
    params = {name: 3 * value for name, value in refar.init(graph, seed=0).items()}
    return load(export(graph, params, folder / "random", spare=SPARE, overwrite=True))


def gain(make: Callable[[int, int], np.ndarray], ahead: int, seeds: int) -> tuple[float, float]:
    """The seconds of plain generation, and how many times those of sampling ahead: the least of eight for each seed, in turn."""
    total = {0: 0.0, ahead: 0.0}
    for seed in range(seeds):
        least, found = dict.fromkeys(total, float("inf")), {}
        for _ in range(8):
            for each in total:
                begin = time.perf_counter()
                found[each] = make(seed, each)
                least[each] = min(least[each], time.perf_counter() - begin)
        if not np.array_equal(found[0], found[ahead]):
            raise SystemExit(f"seed {seed}: sampling ahead gave other values")
        total = {each: seconds + least[each] for each, seconds in total.items()}
    return total[0] / seeds, total[0] / total[ahead]


def cases(folder: Path) -> list[tuple[str, int, int, Callable[[int, int, int], np.ndarray]]]:
    """Name, values of a row, seeds, what makes them from batch, seed and guesses."""
    digits = files("refar.cli.demonstration").joinpath("digits.toml").read_text("utf-8")
    np.savez(folder / "binary.npz", x=binary_digits())
    demo, binary, speech = trained(folder, "demo", digits), trained(folder, "binary", BINARY), random(folder)

    def drawn(session: Session, n: Any, **more: Any) -> Callable[[int, int, int], np.ndarray]:
        return lambda batch, seed, ahead: session.generate(
            n, batch=batch, seed=seed, ahead=ahead, **{name: make(batch) for name, make in more.items()}
        )

    return [
        ("digits, 8 × 8 as a sequence", 64, 40, drawn(demo, 64, condition=lambda batch: np.arange(batch) % 10)),
        ("binary digits, 28 × 28 as images", 784, 10, drawn(binary, (28, 28))),
        ("20 layers, random weights", 2000, 2, drawn(speech, 2000)),
    ]


def table(folder: Path, batches: list[int], guesses: list[int]) -> str:
    """Make a line for each network and batch."""
    lines = ["| network | B | plain, µs a value | " + " | ".join(f"ahead {each}" for each in guesses) + " |"]
    lines.append("|---|---|---|" + "---|" * len(guesses))
    for name, values, seeds, make in cases(folder):
        for batch in batches:
            found = [gain(lambda seed, ahead, b=batch, m=make: m(b, seed, ahead), ahead, seeds) for ahead in guesses]
            plain = 1e6 * min(seconds for seconds, _ in found) / values
            lines.append(f"| {name} | {batch} | {plain:.0f} | " + " | ".join(f"{times:.2f}" for _, times in found) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?", help="where to write the table")
    parser.add_argument("--folder", type=Path, help="where trained networks are kept, or found again")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--ahead", type=int, nargs="+", default=[3, 7, 15, 27])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        text = table(folder, options.batch, options.ahead)
    publish("ahead", text, [options.page] if options.page else [])


if __name__ == "__main__":
    main()
