"""The experiments: each is a folder with its configs, its page, and experiment.py, which describes it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """One experiment, in the folder `here`.

    `configs` name its configs, CONFIG.toml; each is trained once, into a run of that name, or with `seeds` n > 1 n times, into
    CONFIG-0 to CONFIG-(n-1). At each of the steps `marks` the weights that are best until then become a bundle too.
    `minutes` is about how long all of it takes on two cores, or training on the GPU that `gpu` asks for; `packages` are what it
    imports beside refar and its extras, and `data` says where the data come from. `trained` says where and by what the weights
    that are kept were trained, if that was on another machine than the figures were computed on.

    `prepare(work)` writes data into the folder where the configs look for them. `measure(bundles, work)` computes the figures
    from the bundle of each run, without PyTorch; the bundle of a mark is work/marks/RUN-STEP. It may leave arrays in `work` for
    `draw(figures, work, here)`, which makes the pictures. `table(figures)` tells the figures in Markdown. `claims(figures)` are
    the aims: a sentence, what was found, and whether it was reached.
    """

    here: Path
    title: str
    minutes: float
    data: str
    configs: tuple[str, ...]
    measure: Callable[[Mapping[str, Path], Path], Figures]
    draw: Callable[[Figures, Path, Path], None]
    table: Callable[[Figures], str]
    claims: Callable[[Figures], list[tuple[str, str, bool]]]
    packages: tuple[str, ...] = ()
    gpu: bool = False
    trained: str = ""
    seeds: int = 1
    marks: tuple[int, ...] = ()
    prepare: Callable[[Path], None] = lambda work: None

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.here.name

    @property
    def runs(self) -> dict[str, tuple[str, int]]:
        """The name of each run, with its config and seed."""
        if self.seeds == 1:
            return {config: (config, 0) for config in self.configs}
        return {f"{config}-{seed}": (config, seed) for config in self.configs for seed in range(self.seeds)}


def names(folder: Path) -> list[str]:
    """Return the names of all experiments below a folder."""
    return sorted(path.parent.name for path in folder.glob("*/experiment.py"))


def load(folder: Path, name: str) -> Experiment:
    """Read the description of one experiment."""
    here = folder / name
    spec = importlib.util.spec_from_file_location(f"experiment_{name}", here / "experiment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Experiment(here=here, **module.DESCRIPTION)


def all_of(folder: Path) -> list[Experiment]:
    """Read the descriptions of all experiments."""
    return [load(folder, name) for name in names(folder)]
