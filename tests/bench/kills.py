"""Kill a training with SIGKILL at random moments, resume it, and compare what it leaves with a run that was never interrupted.

    python tests/bench/kills.py [--kills 20] [--seed 0]

Every step validates and writes a checkpoint, so that many kills fall into the middle of writing. Exit code 1 if a byte differs,
the clock aside, or if anything is left that no training names.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from refar.training.runs import CHECKPOINT, CONFIG, FILES, GRAPH, LOG, WEIGHTS, read_tensors

TEXT = """
[model]
name = "wavenet"
classes = 16
dilations = [1, 2, 4, 8]
residual = 32
gate = 32
skip = 32
[data]
path = "my.npz"
[train]
steps = 600
batch = 8
ema = 0.99
validate_every = 1
checkpoint_every = 1
threads = 1
"""


def command(folder: Path, run: str, resume: bool) -> list[str]:
    """Return how the training is started or resumed."""
    return [sys.executable, "-m", "refar", "train", str(folder / "my.toml"), "--out", str(folder / run), *["--resume"] * resume]


def kill_often(folder: Path, kills: int, dice: random.Random) -> list[str]:
    """Start the run again and again, and kill it; then let it end. Returns where each kill fell."""
    fell = []
    run = folder / "parts"
    while len(fell) < kills:
        resume = (run / CHECKPOINT).exists()
        process = subprocess.Popen(command(folder, "parts", resume), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        if dice.random() < 0.8:  # else it may be killed before its first step, or before it has begun to write
            process.stderr.readline()
        time.sleep(dice.uniform(0, 1.5))
        process.kill()
        if process.wait() == 0:
            raise SystemExit(f"the training ended before kill {len(fell) + 1}: give it more steps")
        if b"error" in (said := process.stderr.read()):
            raise SystemExit(said.decode())
        left = [path.name for path in run.iterdir() if path.name not in FILES] if run.exists() else []
        fell.append(f"after step {done(run)}" + f", {len(left)} half-written file" * bool(left))
    subprocess.run(command(folder, "parts", (run / CHECKPOINT).exists()), check=True, capture_output=True)
    return fell


def done(run: Path) -> int:
    """Return how many steps the checkpoint holds; 0 without one."""
    if not (run / CHECKPOINT).exists():
        return 0
    return read_tensors(run / CHECKPOINT, "checkpoint")[1]["counters"]["step"]


def contents(run: Path) -> dict[str, object]:
    """Return all that a run holds, but for the clock."""
    arrays, info = read_tensors(run / CHECKPOINT, "checkpoint")
    del info["counters"]["seconds"]
    lines = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    found: dict[str, object] = {f"{CHECKPOINT}: {name}": array.tobytes() for name, array in arrays.items()}
    found |= {f"{CHECKPOINT}: info": info, LOG: [{k: v for k, v in line.items() if k != "seconds"} for line in lines]}
    return found | {name: (run / name).read_bytes() for name in (WEIGHTS, CONFIG, GRAPH)}


def main() -> int:
    """Print where the kills fell, and whether the two runs are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "my.npz", x=np.random.default_rng(0).integers(0, 16, (120, 128)))
        (folder / "my.toml").write_text(TEXT)
        subprocess.run(command(folder, "whole", False), check=True, capture_output=True)
        fell = kill_often(folder, options.kills, random.Random(options.seed))
        whole, parts = contents(folder / "whole"), contents(folder / "parts")
        left = sorted(path.name for path in (folder / "parts").iterdir() if path.name not in FILES)
    differ = [name for name in whole.keys() | parts.keys() if whole.get(name) != parts.get(name)]
    print(f"{len(fell)} kills: {'; '.join(fell)}")
    print(f"differing: {', '.join(sorted(differ)) or 'nothing'}; left over: {', '.join(left) or 'nothing'}")
    return int(bool(differ or left))


if __name__ == "__main__":
    sys.exit(main())
