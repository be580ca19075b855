"""What the README shows works as printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from refar import models
from refar.cli.app import app
from refar.torch import train
from refar.training.config import load_config

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """The indented lines of the tour that call refar."""
    return [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("    refar ")]


def test_the_tour_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python and commands in the order of the text; training is cut to a few steps of a smaller network."""
    monkeypatch.chdir(tmp_path)
    (config,) = blocks("toml")
    shorter = config.replace("steps = 500 ", "steps = 2 ").replace(
        "[1, 2, 4, 8, 16, 32]", "[1, 2]\nresidual = 4\ngate = 4\nskip = 4"
    )
    assert shorter != config
    Path("config.toml").write_text(shorter)
    assert load_config("config.toml").graph == models.wavenet(17, [1, 2], residual=4, gate=4, skip=4, condition="class:10")
    describe, more, images, ask, check, kit, own, run, *_ = blocks("python")
    space: dict[str, object] = {}
    exec(describe + more + images + ask + check + kit + own, space)
    assert "(9, [1, 2, 3, 4, 5, 6, 7, 8, 9])" in describe
    assert space["refar"].receptive_field(space["graph"]) == 9  # type: ignore[attr-defined]
    train("config.toml", "run", progress=False)
    for command in commands():
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert result.exit_code == 0, f"{command}\n{result.output}"
    exec(run, space)
    assert {path.name for path in tmp_path.iterdir()} >= {"graph.json", "field.png", "blind.png", "bundle", "digits.png"}


def test_the_figures_are_there() -> None:
    figures = README.partition("<!-- figures -->")[2].partition("<!-- /figures -->")[0]
    for name in ("nettoy1d_dilated", "wavenet", "linear_ar", "previous pixel", "Bayes"):
        assert name in figures, f"run `make figures`: {name!r} is missing"
    for difference, allowed in re.findall(r"(\de-\d+) \((\de-\d+)\)", figures):
        assert float(difference) <= float(allowed)
