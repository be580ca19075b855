"""How many tokens of onnxruntime are those of exact arithmetic: `python tests/bench/certificates.py [PAGE]`, half an hour.

Seconds are those of the processor in this process, which runs on one core: what other programs do meanwhile counts little. Two
small networks of images are trained first, a minute each. The others are experiments of docs/, or have weights that are drawn.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import time
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
    """A network, what the table calls it, and how many rows of which extent are drawn."""

    name: str
    graph: Graph
    params: Arrays
    rows: int
    extent: int | tuple[int, int]


def of_run(name: str, folder: Path, rows: int, extent: int | tuple[int, int]) -> Net:
    """A network as it was trained."""
    run = load_run(folder)
    return Net(name, run.graph, run.params, rows, extent)


def trained_here(name: str, folder: Path, config: str, rows: int, extent: tuple[int, int]) -> Net:
    """A network that `refar train` trains now."""
    (folder / "config.toml").write_text(config, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "refar", "train", "config.toml", "--out", "run"], cwd=folder, check=True)
    return of_run(name, folder / "run", rows, extent)


def drawn(name: str, graph: Graph, gain: float) -> Net:
    """A network with the weights that training begins with, times `gain`."""
    return Net(name, graph, {key: gain * array for key, array in refar.init(graph, seed=0).items()}, 4, 2000)


def nets(folder: Path) -> list[Net]:
    """The rows of the table, at least 8 000 tokens each."""
    twice = [2**n for n in range(10)] * 2
    binary, mixture = folder / "binary", folder / "mixture"
    binary.mkdir()
    mixture.mkdir()
    np.savez(binary / "binary.npz", x=binary_digits())
    weights = ROOT / "docs/experiments"
    return [
        of_run("WaveNet on MNIST, 16 layers of 64, trained", weights / "mnist/weights/scanline", 11, 784),
        of_run("WaveNet on digits, 6 layers of 32, trained", weights / "orders/weights/scanline-0", 125, 64),
        trained_here("PixelCNN on binary digits 28 × 28, trained", binary, BINARY, 11, (28, 28)),
        trained_here("PixelCNN on digits, a mixture of 5 logistics, trained", mixture, MIXTURE, 125, (8, 8)),
        drawn("WaveNet, 20 layers of 64, R = 2 048, fresh", models.wavenet(), 1),
        drawn("WaveNet, 70 layers of 8, fresh", models.wavenet(16, twice * 3 + twice[:10], residual=8, gate=8, skip=8), 1),
        drawn("WaveNet, 30 layers of 64, weights twice those", models.wavenet(16, twice + twice[:10], skip=64), 2),
    ]


def row(net: Net) -> str:
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
    return f"| {net.name} | {share} | {found.gaps.min():.1g} | {found.bounds.max():.0e} | {seconds:.0f} |"


def processor() -> str:
    """The name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(some: str = "") -> str:
    """Make a line for each network whose name holds `some`."""
    lines = ["| tokens of onnxruntime, float32 | certain | smallest gap | largest bound | seconds |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for net in nets(Path(folder)):
            if some in net.name:
                lines.append(row(net))
                print(lines[-1], flush=True)
    return "\n".join(
        [*lines, "", f"Seconds of one core of {processor()}, `time.process_time`, the cores shared with other programs."]
    )


if __name__ == "__main__":
    publish("certificates", table())
