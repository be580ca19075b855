"""The course of an experiment: data, training, export, measuring without PyTorch, pictures; results.json says what came out."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from lab.book import Experiment, Figures
from lab.folders import at

if TYPE_CHECKING:
    from refar.arguments.arrays import Arrays
    from refar.graph.graph import Graph
    from refar.torch.coupled import Network
    from refar.training.config import Config

KEPT = ("config.toml", "graph.json", "data.json", "weights.safetensors", "log.jsonl")
"""The files of a run that are kept beside its page: they are enough to export the network and to draw its learning curve."""

_WORK = "{work}"
"""The name of the work folder in what is kept, since the folders of one machine are nobody's concern."""

_NEAR = 1e-5
"""The distance that the loss of a bundle may have from that of PyTorch, relative to it."""


def run(experiment: Experiment, work: Path, *, trains: bool) -> None:
    """Do all of it, and write results.json and pictures beside the page. What was done before is not done again."""
    work.mkdir(parents=True, exist_ok=True)
    experiment.prepare(work)
    for name in experiment.runs:
        if trains:
            _train(experiment, work, name)
        else:
            bring_weights(experiment, work, name)
    for name in experiment.runs:
        _refar(work, "export", f"runs/{name}", "-o", f"bundles/{name}", "--force")
    torch = {name: loss_of_torch(work, name) for name in experiment.runs}
    begin = time.perf_counter()
    figures = _measured(experiment, work)
    _agree(torch, figures)
    if trains:
        _keep(experiment, work)
    if trains or not (experiment.here / "results.json").is_file():
        seconds = time.perf_counter() - begin
        elsewhere = {} if trains else {"trained": experiment.trained}
        _write(experiment.here / "results.json", _results(experiment, work, figures, torch, seconds) | elsewhere)
    else:
        _same(experiment, figures)
    experiment.draw(figures, work, experiment.here)


class _NoTorch(MetaPathFinder):
    """Lets nobody import PyTorch."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raise ImportError for PyTorch and its parts."""
        if fullname.partition(".")[0] == "torch":
            raise ImportError("these figures are computed without PyTorch")


def bring_weights(experiment: Experiment, work: Path, name: str) -> None:
    """Make a run in the work folder of what is kept of one beside the page."""
    folder = work / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in KEPT:
        _copy(experiment.here / "weights" / name / file, folder / file, _WORK, str(work.resolve()))


def write_measures(experiment: Experiment, work: Path) -> None:
    """Compute the figures from the bundles, where PyTorch cannot be imported."""
    assert "torch" not in sys.modules
    sys.meta_path.insert(0, _NoTorch())
    bundles = {name: work / "bundles" / name for name in experiment.runs}
    _write(work / "figures.json", experiment.measure(bundles, work))


def _copy(source: Path, target: Path, here: str, there: str) -> None:
    """Copy a file of a run; where it names the data, which lie in the work folder, that is named anew."""
    if source.suffix == ".safetensors":
        shutil.copy2(source, target)
    else:
        target.write_text(source.read_text(encoding="utf-8").replace(here, there), encoding="utf-8")


def results(experiment: Experiment) -> Figures:
    """Read results.json of an experiment."""
    path = experiment.here / "results.json"
    if not path.is_file():
        raise SystemExit(f"{path}: there is no such file; run the experiment first")
    found: Figures = json.loads(path.read_text(encoding="utf-8"))
    return found


def _train(experiment: Experiment, work: Path, name: str) -> None:
    """Train a run by its config, with a stop at each mark to export what was best until then."""
    from refar.torch import train

    config, seed = experiment.runs[name]
    text = (experiment.here / f"{config}.toml").read_text(encoding="utf-8")
    path, folder = work / f"{name}.toml", work / "runs" / name
    path.write_text(text.rstrip() + f"\nseed = {seed}\n", encoding="utf-8")  # [train] is the last table of each config
    for mark in (*experiment.marks, None):
        bundle = work / "marks" / f"{name}-{mark}"
        if mark is not None and bundle.is_dir():
            continue
        print(f"{name}: to step {mark}" if mark else f"{name}: to the end", flush=True)
        with at(work):  # an encoder is imported from here
            result = train(path.resolve(), folder.resolve(), resume=folder.is_dir(), until=mark)
        if mark is None and not result.finished:
            raise SystemExit("interrupted; the same command goes on from here")
        if mark is not None:
            _refar(work, "export", f"runs/{name}", "-o", f"marks/{name}-{mark}", "--no-check")


def _refar(work: Path, *arguments: str) -> None:
    print("$ refar", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "refar", *arguments], cwd=work, check=True)


def loss_of_torch(work: Path, name: str) -> float:
    """The loss over the test part as PyTorch computes it from the run: nats a value, or the ratio of error to signal."""
    from refar import data
    from refar.data.dataset import for_graph
    from refar.torch.objective import Objective
    from refar.torch.validate import validate
    from refar.training.loss_config import LossConfig
    from refar.training.runs import load_run, read_record

    folder = (work / "runs" / name).resolve()
    graph, params, config = load_run(folder)
    with at(work):
        test = for_graph(data.load(config.data, read_record(folder)), graph).test
        network = _network(folder, graph, params, config)
    loss = LossConfig() if config.loss.kind == "nats" else config.loss  # as `refar score` counts, whatever was minimised
    return validate(Objective(network, loss), test, 0)[config.loss.kind]


def _network(folder: Path, graph: Graph, params: Arrays, config: Config) -> Network:
    """The network of a run in PyTorch, with its encoder if it has one."""
    import torch

    from refar.torch import Module
    from refar.torch.coupled import Coupled
    from refar.torch.encoder import make_encoder
    from refar.training.runs import load_encoder

    decoder, stored = Module(graph, params), load_encoder(folder)
    if config.encoder is None or stored is None:
        return decoder
    described, arrays = stored
    encoder = make_encoder(config.encoder, 0)
    encoder.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return Coupled(decoder, encoder, described)


def _measured(experiment: Experiment, work: Path) -> Figures:
    command = [sys.executable, str(experiment.here.parent / "run.py"), experiment.name, "--measure", str(work)]
    subprocess.run(command, check=True)
    found: Figures = json.loads((work / "figures.json").read_text(encoding="utf-8"))
    return found


def _agree(torch: dict[str, float], figures: Figures) -> None:
    """Raise SystemExit unless each bundle has the loss that PyTorch computes."""
    for name, loss in torch.items():
        if not math.isclose(figures["losses"][name], loss, rel_tol=_NEAR):
            raise SystemExit(f"{name}: loss of the test part: the bundle has {figures['losses'][name]!r}, PyTorch {loss!r}")


def _same(experiment: Experiment, figures: Figures) -> None:
    """Raise SystemExit unless the losses are those of results.json."""
    for name, loss in results(experiment)["figures"]["losses"].items():
        if not math.isclose(figures["losses"][name], loss, rel_tol=_NEAR):
            found = figures["losses"][name]
            raise SystemExit(f"{name}: loss of the test part: expected {loss!r} as in results.json, got {found!r}")


def _keep(experiment: Experiment, work: Path) -> None:
    for name in experiment.runs:
        folder = experiment.here / "weights" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in KEPT:
            _copy(work / "runs" / name / file, folder / file, str(work.resolve()), _WORK)


def _results(experiment: Experiment, work: Path, figures: Figures, torch: dict[str, float], seconds: float) -> Figures:
    training = {name: _last(work / "runs" / name / "log.jsonl") for name in experiment.runs}
    minutes = {"training": sum(run["seconds"] for run in training.values()) / 60, "measuring": seconds / 60}
    records = {name: json.loads((work / "runs" / name / "data.json").read_text(encoding="utf-8")) for name in experiment.runs}
    return {
        "command": f"python docs/experiments/run.py {experiment.name}",
        "commit": _commit(),
        "hardware": f"{_processor()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
        "seeds": {name: seed for name, (_, seed) in experiment.runs.items()},
        "training": training,
        "data": {name: record["digests"] for name, record in records.items()},
        "minutes": {what: round(number, 2) for what, number in minutes.items()},
        "torch_losses": torch,
        "figures": figures,
    }


def _last(log: Path) -> Figures:
    """Steps done and seconds spent, by the last line of a log."""
    last = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    return {"steps": last["step"], "seconds": last["seconds"]}


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "refar", "export")
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _write(path: Path, found: Figures) -> None:
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
