"""How many tokens of onnxruntime are those of exact arithmetic: `python tests/bench/certificates.py [PAGE] [--only WORDS]`.

Half an hour. Seconds are those of the processor in this process, which runs on one core: what other programs do meanwhile counts
less. Two small networks of images are trained first, a minute each. The others are experiments of docs/, or have weights that are
drawn. With `--only` a table of the networks whose names hold these words is printed.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ahead import BINARY, binary_digits
from pages import ROOT, publish

import refar
from refar import Graph, models
from refar.analysis.facts import facts
from refar.arguments.arrays import Arrays
from refar.rounding.certify import certify
from refar.runtime import load
from refar.training.runs import load_run
from refar_export import export

MIXTURE = """
[model]
name = "pixelcnn"
hidden = 32
mixture = 5
condition = "class:10"
[data]
name = "digits"
[train]
steps = 600
batch = 32
threads = 1
"""


@dataclass(frozen=True)
class Net:
    """A network, and how many rows of which extent are drawn."""

    graph: Graph
    params: Arrays
    rows: int
    extent: int | tuple[int, int]


def of_run(folder: Path, rows: int, extent: int | tuple[int, int]) -> Net:
    """A network as it was trained."""
    run = load_run(folder)
    return Net(run.graph, run.params, rows, extent)


def trained_here(folder: Path, config: str, rows: int, extent: tuple[int, int]) -> Net:
    """A network that `refar train` trains now."""
    folder.mkdir()
    np.savez(folder / "binary.npz", x=binary_digits())
    (folder / "config.toml").write_text(config, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "refar", "train", "config.toml", "--out", "run"], cwd=folder, check=True)
    return of_run(folder / "run", rows, extent)


def drawn(graph: Graph, gain: float) -> Net:
    """A network with the weights that training begins with, times `gain`."""
    return Net(graph, {key: gain * array for key, array in refar.init(graph, seed=0).items()}, 4, 2000)


def nets(folder: Path) -> dict[str, Callable[[], Net]]:
    """The rows of the table, at least 8 000 tokens each, by name."""
    twice, weights = [2**n for n in range(10)] * 2, ROOT / "docs/experiments"
    return {
        "WaveNet on MNIST, 16 layers of 64, trained": lambda: of_run(weights / "mnist/weights/scanline", 11, 784),
        "WaveNet on digits, 6 layers of 32, trained": lambda: of_run(weights / "orders/weights/scanline-0", 125, 64),
        "PixelCNN on binary digits 28 × 28, trained": lambda: trained_here(folder / "binary", BINARY, 11, (28, 28)),
        "PixelCNN on digits, a mixture of 5 logistics, trained": lambda: trained_here(folder / "mixture", MIXTURE, 125, (8, 8)),
        "WaveNet, 20 layers of 64, R = 2 048, fresh": lambda: drawn(models.wavenet(), 1),
        "WaveNet, 70 layers of 8, fresh": lambda: drawn(
            models.wavenet(16, twice * 3 + twice[:10], residual=8, gate=8, skip=8), 1
        ),
        "WaveNet, 30 layers of 64, weights twice those": lambda: drawn(models.wavenet(16, twice + twice[:10], skip=64), 2),
    }


def row(name: str, net: Net) -> str:
    """A line of the table."""
    condition = np.arange(net.rows) % 10 if facts(net.graph).conditions else None
    params = {name: array.astype(np.float32) for name, array in net.params.items()}
    with tempfile.TemporaryDirectory() as folder:
        tokens = load(export(net.graph, params, Path(folder) / "b")).generate(
            net.extent, batch=net.rows, seed=1, condition=condition
        )
    begin = time.process_time()
    found = certify(net.graph, params, tokens, seed=1, condition=condition)
    seconds = time.process_time() - begin
    for doubt in found.doubts[:5]:
        print(doubt, flush=True)
    share = f"{found.gaps.size - len(found.doubts):,} of {found.gaps.size:,}".replace(",", " ")
    return f"| {name} | {share} | {found.gaps.min():.1g} | {found.bounds.max():.0e} | {seconds:.0f} |"


def processor() -> str:
    """The name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(some: str = "") -> str:
    """Make a line for each network whose name holds `some`."""
    lines = ["| tokens of onnxruntime, float32 | certain | smallest gap | largest bound | seconds |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for name, make in nets(Path(folder)).items():
            if some in name:
                lines.append(row(name, make()))
                print(lines[-1], flush=True)
    return "\n".join(
        [*lines, "", f"Seconds of one core of {processor()}, `time.process_time`, the cores shared with other programs."]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", nargs="*")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    publish("certificates", table(options.only), [] if options.only else options.page)
