"""A tiny network as graph, run and bundle, and the command called as a user would."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from refar import cli
from refar.training.config import parse_config

CONFIG = """
[model]
name = "wavenet"
classes = 17
condition = "class:10"
front = 9
dilations = [1, 2]
residual = 4
gate = 4
skip = 4

[data]
name = "digits"

[train]
steps = 2
batch = 8
threads = 1
"""


class Said(NamedTuple):
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line of an error."""
        assert self.code == 2, self
        assert self.out == "", self
        line, end, rest = self.err.partition("\n")
        assert (end, rest) == ("\n", ""), self.err
        assert line.startswith("error: "), self.err
        return line.removeprefix("error: ")


Refar = Callable[..., Said]


@pytest.fixture
def refar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refar:
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["refar", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run` and `bundle`, to be read only."""
    from refar.torch.loop import train
    from refar.training.runs import load_run
    from refar_export import export

    folder = tmp_path_factory.mktemp("trained")
    train(parse_config(CONFIG), folder / "run", progress=False)
    graph, params, _ = load_run(folder / "run")
    export(graph, params, folder / "bundle", metadata={"picture": "8x8"})
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder of the test's own, but for copies of `run` and `bundle`."""
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copytree(trained / "bundle", tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    return tmp_path
