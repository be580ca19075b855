"""Several processes train as one: the same gradients, one writer, and what is resumed goes on bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import TEXT

from refar.torch import train
from refar.torch.ranks import Ranks
from refar.training.config import parse_config
from refar.training.runs import load_run, read_tensors

GRADIENTS = """
import atexit, os, sys
from pathlib import Path
threads = lambda: sorted(task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").glob("*"))
atexit.register(lambda: Path(f"{sys.argv[2]}{os.environ.get('RANK', 0)}.txt").write_text("\\n".join(threads())))
import numpy as np, torch
from concurrent.futures import ThreadPoolExecutor
from refar import data
from refar.data.dataset import for_graph
from refar.torch.feeding import Feed
from refar.torch.ranks import joined
from refar.torch.starting import new_state
from refar.torch.step import Stepper
from refar.torch.validate import mean_nats
from refar.training.config import load_config

def main():
    config = load_config(sys.argv[1])
    graph, loss, options = config.graph, config.loss, config.train
    ranks = joined("cpu")
    with ThreadPoolExecutor(1) as pool:
        given = for_graph(data.load(config.data.source), graph)
        state = new_state(graph, options)
        state.module.double()
        stepper = Stepper(state, loss, options, ranks)
        loss = ranks.total(stepper._backward(Feed(pool, graph, loss, given, options, ranks, range(3, 4)).take()))
        gradients = {name: p.grad.numpy() for name, p in state.module.named_parameters() if p.grad is not None}
        valid = mean_nats(state.module, given.valid, ranks=ranks)
        np.savez(f"{sys.argv[2]}{ranks.rank}.npz", **gradients, loss=loss.item(), valid=valid)

main()  # nothing of the networks is left when the processes part
"""


PARTS = """
from refar.torch import train
assert not train("config.toml", "parts", until=5, progress=False).finished
assert train("config.toml", "parts", resume=True, progress=False).finished
"""


def log(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def torchrun(folder: Path, *arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Start processes as torchrun does, each with one thread."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("edits", "lengths"),
    [({}, False), ({"batch = 8": "batch = 7\naccumulate = 3", 'class:2"': 'class:2"\ndropout = 0.3'}, True)],
    ids=["even", "uneven, in parts, of many lengths, with dropout"],
)
def test_two_processes_have_the_gradients_of_one(config, tmp_path, edits, lengths):
    """Each process weighs by its number of values: with `lengths` the first has others than the second."""
    if lengths:
        arrays = dict(np.load(tmp_path / "my.npz"))
        np.savez(tmp_path / "my.npz", **arrays, lengths=np.arange(40) % 11 + 2)
    text = TEXT
    for old, new in edits.items():
        text = text.replace(old, new)
    (tmp_path / "config.toml").write_text(text)
    (tmp_path / "gradients.py").write_text(GRADIENTS)
    alone = [sys.executable, "gradients.py", "config.toml", "alone"]
    subprocess.run(alone, cwd=tmp_path, check=True, capture_output=True)
    done = torchrun(tmp_path, "gradients.py", "config.toml", "rank")
    assert done.returncode == 0, done.stderr
    one, *two = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("alone0", "rank0", "rank1"))
    assert len(one) > 10
    for rank in (0, 1):  # a thread of gloo that outlives Python aborts the process now and then
        assert "gloo" not in (tmp_path / f"rank{rank}.txt").read_text()
    for several in two:
        assert several.keys() == one.keys()
        for name, array in one.items():
            np.testing.assert_allclose(several[name], array, rtol=1e-12, atol=1e-14, err_msg=name)


def test_two_processes_write_one_run_that_goes_on_bit_for_bit(config, tmp_path):
    (tmp_path / "config.toml").write_text(TEXT.replace("steps = 20", "steps = 12"))
    done = torchrun(tmp_path, "-m", "refar", "train", "config.toml", "--out", "whole")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("trained 12 steps") == 1
    assert done.stdout.count("wrote whole") == 1
    (tmp_path / "parts.py").write_text(PARTS)
    done = torchrun(tmp_path, "parts.py")
    assert done.returncode == 0, done.stderr
    for name in ("weights.safetensors", "config.toml", "graph.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    arrays = [read_tensors(tmp_path / run / "checkpoint.safetensors", "checkpoint")[0] for run in ("parts", "whole")]
    assert {name: array.tobytes() for name, array in arrays[0].items()} == {n: array.tobytes() for n, array in arrays[1].items()}
    train(parse_config((tmp_path / "config.toml").read_bytes(), tmp_path), tmp_path / "alone", progress=False)
    params = [load_run(tmp_path / run).params for run in ("whole", "alone")]
    for name, array in params[0].items():
        np.testing.assert_allclose(array, params[1][name], atol=1e-4, err_msg=name)


def test_a_folder_that_cannot_be_written_ends_all_processes(config, tmp_path):
    (tmp_path / "config.toml").write_text(TEXT)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("keep")
    done = torchrun(tmp_path, "-m", "refar", "train", "config.toml", "--out", "run")
    assert done.returncode != 0
    assert done.stderr.count("holds 'mine.txt', which no training wrote") == 1
    assert "barrier" not in done.stderr
    assert "Traceback" not in done.stderr.partition("ChildFailedError")[0].partition("torch/distributed")[0]


STATISTICS = """
import torch
from torch import nn
from refar.torch import train
from refar.torch import loop

def encoder():
    return nn.Sequential(nn.Embedding(4, 3), nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 2))

old = loop._Training.save
def save(self):
    torch.save([b.clone() for b in self.state.module.buffers() if b.numel()], f"buffers{self.ranks.rank}.pt")
    old(self)
loop._Training.save = save
if __name__ == "__main__":
    train("config.toml", "run", progress=False)
"""


def test_processes_have_the_same_statistics(config, tmp_path):
    """A batch norm in an encoder sees another share of the batch in each process; validation and resuming need one."""
    text = TEXT.replace('condition = "class:2"', 'condition = "vector:2"').replace(
        "[data]", "[encoder]\nfactory = 'own:encoder'\n[data]"
    )
    (tmp_path / "config.toml").write_text(text)
    (tmp_path / "own.py").write_text(STATISTICS)
    done = torchrun(tmp_path, "own.py")
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(tmp_path / f"buffers{rank}.pt") for rank in (0, 1))
    assert len(one) == 3
    for mine, theirs in zip(one, other, strict=True):
        assert torch.equal(mine, theirs)


def test_shares_of_a_batch_are_all_of_it():
    for count in (1, 2, 3, 7):
        shares = [range(10)[Ranks(rank, count).rows(10)] for rank in range(count)]
        assert [row for share in shares for row in share] == list(range(10))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
