"""The demo and training by the command, in miniature and by the same code."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest
from helpers import refuses

from refar.cli.demonstration import deploy, stages
from refar.cli.demonstration.written import NAMES, Folder
from refar.errors import FileError
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
    before = contents(tmp_path)
    assert "'demo' holds 'mine.txt', which no demo wrote; choose another folder" in refar("demo").sentence
    assert contents(tmp_path) == before
    (tmp_path / "demo/mine.txt").unlink()
    assert sorted(json.loads((tmp_path / "demo/demo.json").read_text())["files"]) == sorted(
        str(path.relative_to(tmp_path / "demo"))
        for path in (tmp_path / "demo").rglob("*")
        if path.is_file() and path.name != "demo.json"
    )

    commands = re.findall(r"^refar (.*)$", page, flags=re.MULTILINE)
    assert len(commands) == 6
    for command in commands[:-1]:
        assert refar(*command.split()).code == 0, command
    assert (tmp_path / "sevens.png").exists()


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


TRAINED = ("run/config.toml", "run/weights.safetensors")


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What a demo leaves that was interrupted while it trained."""
    folder = Folder(tmp_path / "demo")
    assert not folder.clear()
    with folder.writing(NAMES["data"]):
        write(tmp_path / "demo", "heldout.npz")
    with contextlib.suppress(KeyboardInterrupt), folder.writing(NAMES["train"]):
        write(tmp_path / "demo", *TRAINED)
        raise KeyboardInterrupt
    return tmp_path / "demo"


def test_a_demo_that_was_interrupted_is_replaced(left):
    (left / "heldout.npz").unlink()  # what is missing is no reason to refuse
    assert Folder(left).clear()
    assert [path.name for path in left.iterdir()] == ["demo.json"]
    assert not Folder(left).clear()


def link(folder: Path) -> None:
    (folder / "run").rename(folder.parent / "mine")
    (folder / "run").symlink_to(folder.parent / "mine")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: write(folder, "run/notes.txt"), "holds 'run/notes.txt', which no demo wrote"),
        (lambda folder: write(folder, "bundle/bundle.json"), "holds 'bundle/bundle.json', which no demo wrote"),
        (lambda folder: write(folder, "report.html"), "holds 'report.html', which no demo wrote"),
        (lambda folder: (folder / "bundle").mkdir(), "holds 'bundle', a folder which no demo wrote"),
        (
            lambda folder: (folder / TRAINED[1]).write_text("trained for a week"),
            "holds 'run/weights.safetensors', not as the demo wrote it: expected SHA-256 ",
        ),
        (link, "holds 'run', which no demo wrote"),
        (lambda folder: (folder / "demo.json").unlink(), "(it has no demo.json) holds 'heldout.npz', which no demo wrote"),
        (
            lambda folder: (folder / "demo.json").write_text("[]"),
            "demo.json': expected a demo's list of its files: Expected",
        ),
        (
            lambda folder: (folder / "demo.json").write_text(
                '{"format": "refar-demo", "version": 1, "files": {"../thesis.txt": "' + "0" * 64 + '"}}'
            ),
            "demo.json' lists '../thesis.txt', which no demo writes",
        ),
    ],
)
def test_a_demo_deletes_nothing_that_no_demo_wrote(left, change, said):
    write(left.parent, "thesis.txt")
    change(left)
    before = contents(left.parent)
    with refuses(FileError, str(left), said, "choose another folder with --out, or remove it yourself"):
        Folder(left).clear()
    assert contents(left.parent) == before


def test_what_comes_while_the_demo_runs_stays(left):
    folder = Folder(left)
    folder.clear()
    write(left, "report.html")
    with refuses(FileError, "holds 'report.html', which somebody else wrote while the demo ran"), folder.writing(NAMES["report"]):
        raise AssertionError("the stage has begun")
    assert (left / "report.html").read_text() == "report.html"
    with refuses(FileError, "holds 'report.html', which no demo wrote"):
        Folder(left).clear()


@pytest.mark.parametrize("folder", [".", "proj"])
def test_the_demo_leaves_what_the_readme_lets_one_write(refar, here, folder):
    """Its names, run and bundle, are those of the demo too."""
    if folder == "proj":
        shutil.copytree(here, here.parent / "proj")
        shutil.move(here.parent / "proj", here)
    before = contents(here)
    said = refar("demo", "--out", folder).sentence
    assert said.startswith(f"'{folder}' (it has no demo.json) holds 'bundle/block.onnx', which no demo wrote; ")
    assert contents(here) == before


def test_train_and_resume(refar, here):
    config = here / "run" / "config.toml"
    said = refar("train", config, "--out", "new")
    assert said.code == 0
    assert "wrote new" in said.out
    config.write_text(config.read_text().replace("steps = 2", "steps = 3"))
    assert refar("train", config, "--out", "new", "--resume").code == 0
    assert refar("check", "new", "--backends", "numpy").code == 0
