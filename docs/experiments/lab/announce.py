"""Announce an experiment before it starts: its needs, its time, and the files that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lab.book import Experiment
from lab.course import results

NEEDED = {"torch": "torch", "refar_export": "refar[export]", "onnxruntime": "refar[runtime]", "matplotlib": "refar[plot]"}


def list_all(experiments: Sequence[Experiment]) -> None:
    """Print a line for each experiment."""
    for experiment in experiments:
        print(f"{experiment.name:12} {experiment.title} ({_minutes(experiment)})")
    print("\npython docs/experiments/run.py NAME runs one of them")


def ready(experiment: Experiment, work: Path, *, trains: bool) -> bool:
    """Say what is going to happen. Returns whether all that is needed is there."""
    held = f"data, runs and bundles of {', '.join(experiment.runs)}" if experiment.runs else "what is measured"
    print(f"{experiment.name}: {experiment.title}")
    print(f"  data:   {experiment.data}")
    print(f"  takes:  {_minutes(experiment) if trains else _measuring(experiment)}")
    print(f"  writes: {_shown(work)}/ ({held}); {_shown(experiment.here)}/ (results, pictures, weights, page)")
    modules = {**NEEDED, **{name: name for name in experiment.packages}}
    missing = [package for module, package in modules.items() if find_spec(module) is None]
    if missing:
        print(f"missing: {', '.join(missing)}; pip install {' '.join(missing)}")
    if not trains and experiment.configs and not (experiment.here / "weights").is_dir():
        print(f"missing: {_shown(experiment.here)}/weights; leave --weights out to train them")
        return False
    if trains and experiment.gpu and not missing and not _gpu():
        print("missing: a GPU that PyTorch can use; --weights takes the weights that are kept, and needs none")
        return False
    return not missing


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _minutes(experiment: Experiment) -> str:
    minutes, where = experiment.minutes, "with a GPU" if experiment.gpu else "on two cores"
    return f"about {minutes:.0f} minutes {where}" if minutes < 90 else f"about {minutes / 60:.1f} hours {where}"


def _measuring(experiment: Experiment) -> str:
    if not (experiment.here / "results.json").is_file():
        return "the time of measuring: nothing is trained"
    return f"about {max(results(experiment)['minutes']['measuring'], 1):.0f} minutes of measuring: nothing is trained"


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
