"""The demo and training by the command, in miniature and by the same code."""

from __future__ import annotations

import json
import re

import msgspec

from refar.cli.demonstration import deploy, stages
from refar.testing.contract import laws

DIGITS = stages.default_config()


def small():
    model = {**DIGITS.model, "dilations": [1, 2], "residual": 4, "gate": 4, "skip": 4}
    train = msgspec.structs.replace(DIGITS.train, steps=3, validate_every=2)
    return msgspec.structs.replace(DIGITS, model=model, train=train)


def test_demo(refar, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "default_config", small)
    monkeypatch.setattr(laws, "LAWS", {name: laws.LAWS[name] for name in ("types", "step")})
    monkeypatch.chdir(tmp_path)
    said = refar("demo")
    assert said.code == 0, said
    assert [line[:3] for line in said.out.splitlines() if re.match(r"\d/6", line)] == [f"{i}/6" for i in range(1, 7)]
    figures = json.loads((tmp_path / "demo/results.json").read_text())
    assert figures["deployed"]["blocked"] == list(deploy.BLOCKED)
    assert figures["deployed"]["nats_per_pixel"] < 3
    assert 1.8 < figures["baselines"]["nats_per_pixel"]["previous"] < figures["baselines"]["nats_per_pixel"]["unigram"] < 2.1
    assert all(race["equal_tokens"] == race["tokens"] for race in figures["deployed"]["generation"])
    page = (tmp_path / "demo/report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert "$" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert page.count('<div class="tile') == 10 * 20 + 10 * 8
    assert page.count("<table") == page.count('<div class="wide"><table')  # on a narrow screen a table scrolls by itself
    assert "`" not in page
    nats = f"{figures['deployed']['nats_per_pixel']:.4f}"
    assert f"<b>{nats}</b>" in page
    assert f">{nats}</td>" in page

    assert refar("demo").out.startswith("demo holds an earlier demo, which is replaced")
    (tmp_path / "demo/mine.txt").write_text("keep")
    assert "holds 'mine.txt', which no demo wrote" in refar("demo").sentence

    commands = re.findall(r"^refar (.*)$", page, flags=re.MULTILINE)
    assert len(commands) == 6
    for command in commands[:-1]:
        assert refar(*command.split()).code == 0, command
    assert (tmp_path / "sevens.png").exists()


def test_train_and_resume(refar, here):
    config = here / "run" / "config.toml"
    said = refar("train", config, "--out", "new")
    assert said.code == 0
    assert "wrote new" in said.out
    config.write_text(config.read_text().replace("steps = 2", "steps = 3"))
    assert refar("train", config, "--out", "new", "--resume").code == 0
    assert refar("check", "new", "--backends", "numpy").code == 0
