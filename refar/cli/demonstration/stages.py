"""The six stages, each with its time, from data to a page."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import refar
from refar import data
from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.cli.demonstration import baselines, deploy
from refar.cli.demonstration.written import NAMES, Folder
from refar.errors import BackendError
from refar.files import replacing, write_bytes
from refar.training.config import Config, parse_config
from refar.training.runs import LOG, Run, load_run

STAGES = ("data", "train", "check", "export", "deploy", "report")
Say = Callable[[str], None]


@dataclass
class Demo:
    """What the stages find out. `figures` becomes results.json."""

    folder: Folder
    say: Say
    figures: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[Say]:
        """Say which stage this is, what it yields, and how long it took; list the files that it writes."""
        self.say(f"{STAGES.index(name) + 1}/{len(STAGES)} {name} …")
        begin = time.perf_counter()
        results: list[str] = []
        with self.folder.writing(NAMES.get(name, ())):
            yield results.append
        seconds = time.perf_counter() - begin
        self.figures.setdefault("seconds", {})[name] = round(seconds, 2)
        self.say(f"    {'; '.join(results)} ({seconds:.1f} s)")


def default_config() -> Config:
    """digits.toml."""
    return parse_config(files("refar.cli.demonstration").joinpath("digits.toml").read_bytes(), origin="digits.toml")


def run(out: Path, say: Say, config: Config | None = None) -> dict[str, Any]:
    """All stages; returns the figures. Raises FileError if `out` holds anything but an earlier demo, which is replaced."""
    from refar.cli.demonstration import report

    demo = Demo(Folder(out), say)
    if demo.folder.clear():
        say(f"{out} holds an earlier demo, which is replaced")
    config = config or default_config()
    with demo.stage("data") as result:
        digits = data.load(config.data.source)
        heldout = out / "heldout.npz"
        with replacing(heldout) as temporary:
            np.savez(temporary, x=digits.test.x, condition=np.asarray(digits.test.condition))
        demo.figures["baselines"] = {"nats_per_pixel": baselines.nats(digits), "accuracy": baselines.accuracy(digits)}
        counts = {name: len(split) for name, split in digits.splits.items()}
        demo.figures["data"] = {"name": digits.name, "source": digits.source, "licence": digits.licence, **counts}
        result(f"{counts['train']} pictures to train, {counts['valid']} to validate, {counts['test']} held out")
    with demo.stage("train") as result:
        trained, log = _train(out / "run", config)
        demo.figures["training"] = {"steps": config.train.steps, "log": log, "parameters": _size(trained)}
        best = min(line["valid_nats"] for line in log)
        result(f"{config.train.steps} steps, {_size(trained)} parameters, best validation {best:.4f} nats per pixel")
    with demo.stage("check") as result:
        demo.figures["laws"] = _check(trained)
        result(f"{len(demo.figures['laws'])} laws hold for NumPy, PyTorch and onnxruntime with the trained weights")
    with demo.stage("export") as result:
        demo.figures["export"] = _export(trained, out / "bundle", digits.shape)
        result(f"{out / 'bundle'}: full, prefill, step and block agree with the oracle")
    with demo.stage("deploy") as result:
        arrays, figures = _deploy(out)
        demo.figures["deployed"] = figures
        result(f"in a process without {', '.join(figures['blocked'])}")
    with demo.stage("report") as result:
        demo.figures["versions"] = _versions()
        arrays |= {"x": digits.test.x, "label": np.asarray(digits.test.condition)}
        page = report.page(demo.figures, arrays, trained.graph, digits.shape or (1, digits.test.x.shape[1]), out)
        write_bytes(out / "report.html", page.encode())
        write_bytes(out / "results.json", json.dumps(demo.figures, indent=2).encode() + b"\n")
        result(f"{out / 'report.html'}, {len(page) // 1024} KiB")
    return demo.figures


def _train(folder: Path, config: Config) -> tuple[Run, list[dict[str, Any]]]:
    from refar.torch.loop import train

    if not train(config, folder).finished:
        raise KeyboardInterrupt
    return load_run(folder), [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def _check(trained: Run) -> list[dict[str, Any]]:
    from refar.testing import run_laws

    lines = run_laws(trained.graph, trained.params).require().lines
    return [{"law": line.law, "statement": line.statement, "figure": line.figure} for line in lines]


def _export(trained: Run, bundle: Path, shape: tuple[int, int] | None) -> list[dict[str, Any]]:
    from refar_export import export
    from refar_export.verify import verify

    known = {"data": trained.config.data.source} | ({"picture": f"{shape[0]}x{shape[1]}"} if shape else {})
    export(trained.graph, trained.params, bundle, metadata=known, verify=True)
    return [{"what": r.what, "difference": r.difference, "allowed": r.allowed} for r in verify(bundle)]


def _deploy(out: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    target = out / "deployed"
    command = [sys.executable, "-c", deploy.LAUNCH, str(out / "bundle"), str(out / "heldout.npz"), str(target)]
    if subprocess.run(command, check=False).returncode:
        raise BackendError("the process that runs the bundle without PyTorch has failed; its message stands above")
    with np.load(target.with_suffix(".npz")) as file:
        return {name: file[name] for name in file}, json.loads(target.with_suffix(".json").read_text())


def _size(trained: Run) -> int:
    return sum(int(np.prod(shape)) for shape in facts(trained.graph).parameters.values())


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    import onnxruntime

    known = {name: version(name) for name in ("torch", "onnx", "numpy")}
    return {"refar": refar.__version__, "python": platform.python_version(), **known, "onnxruntime": onnxruntime.__version__}
