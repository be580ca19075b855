"""A user's mistakes: one clear sentence each, exit code 2, no traceback, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import refar as library

GENERATE = ["generate", "bundle", "-n", 4, "-o", "x.npy"]


def files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def write_graph(path: Path, *nodes: tuple[str, dict[str, object], str]) -> None:
    x = {"name": "x", "op": {"type": "input", "classes": 4}}
    rest = [{"name": name, "op": op, "inputs": [source]} for name, op, source in nodes]
    path.write_text(json.dumps({"format": "refar-graph", "version": 1, "nodes": [x, *rest], "output": "y"}))


def write(folder: Path) -> None:
    """Files with something wrong in them."""
    gate = {"type": "gate"}
    write_graph(folder / "operator.json", ("y", {"type": "conv3d"}, "x"))
    write_graph(folder / "field.json", ("y", {"type": "conv1d", "channels": 2, "colour": 1}, "x"))
    write_graph(folder / "cycle.json", ("a", gate, "y"), ("y", gate, "a"))
    (folder / "text.json").write_text("hello")
    (folder / "bad.toml").write_text('[model]\nname = "wavenet"\n[data]\nname = "digits"\n[train]\nstep = 3\n')
    (folder / "notes.npy").write_text("hello")
    (folder / "empty.npy").write_bytes(b"")
    (folder / "words.csv").write_text("a,b\n")
    (folder / "empty.csv").write_text("")
    (folder / "broken.npz").write_text("hello")
    (folder / "folder").mkdir()
    np.save(folder / "objects.npy", np.array([None, {}], object))
    np.save(folder / "text.npy", np.array(["a"]))
    np.save(folder / "large.npy", np.array([[3, 17]]))
    np.save(folder / "float.npy", np.array([[0.5]]))
    np.savez(folder / "other.npz", y=np.zeros(3))
    g = library.Builder()
    library.save(g.build(g.conv1d(g.one_hot(g.input(classes=3)), 3, kernel=2), library.ops.Categorical()), folder / "open.json")


MISTAKES = [
    (["inspect", "nettoy"], "did you mean 'nettoy1d'?"),
    (["inspect", "wavenet:dilation=1"], "did you mean 'dilations'?"),
    (["inspect", "wavenet:dilations=1,x"], "option 'dilations'"),
    (["inspect", "wavenet:16"], "expected options as in 'wavenet:name=value,…', got '16'"),
    (["inspect", "wavenet:gate=1,gate=2"], "'gate' is given twice"),
    (["inspect", "linear_ar"], "needs the option 'order'"),
    (["inspect", "operator.json"], "conv3d"),
    (["inspect", "field.json"], "colour"),
    (["inspect", "cycle.json"], "cycle: a ← y ← a"),
    (["inspect", "text.json"], "'text.json': graph JSON: not JSON"),
    (["inspect", "nothing.json"], "there is no such file or folder"),
    (["inspect", "open.jso"], "did you mean 'open.json'?"),
    (["inspect", "folder"], "is a folder without bundle.json or config.toml"),
    (["inspect", "nettoy1d", "--plot", "x.gif"], "expected a name that ends in .png"),
    (["inspect", "nettoy1d", "--plot", "nowhere/x.png"], "there is no folder 'nowhere'"),
    (["train", "nothing.toml"], "No such file"),
    (["train", "bad.toml"], "did you mean `steps`?"),
    (["train", "bundle/bundle.json"], "not TOML"),
    (["train", "run/config.toml", "--out", "run"], "holds a run already"),
    (["train", "run/config.toml", "--out", "new", "--resume"], "expected a run to resume"),
    (["check", "nettoy1d", "--provider", "cuda"], "--provider is for bundles"),
    (["check", "nettoy1d", "--backends", "numpy,jax"], "got 'jax'"),
    (["check", "bundle", "--provider", "tpu"], "expected one of cpu, cuda"),
    (["export", "bundle", "-o", "x"], "is a bundle already"),
    (["export", "rum", "-o", "x"], "did you mean 'run'?"),
    (["export", "run", "-o", "bundle"], "is there already"),
    (["export", "run", "-o", "folder", "--force"], "is no bundle"),
    (["generate", "run", "-n", 4, "-o", "x.npy"], "refar export run -o BUNDLE"),
    (["generate", "nettoy1d", "-n", 4, "-o", "x.npy"], "is a built-in model"),
    (["generate", "bundel", "-n", 4, "-o", "x.npy"], "did you mean 'bundle'?"),
    (GENERATE, "condition 'condition' (10 classes constant) is missing"),
    ([*GENERATE, "--condition", 10], "expected classes 0..9, got 10"),
    ([*GENERATE, "--condition", "-1"], "expected classes 0..9, got -1"),
    ([*GENERATE, "--condition", "three"], "expected classes such as 3 or 0,1,2"),
    ([*GENERATE, "--condition", "speaker=3"], "no such condition, only condition"),
    ([*GENERATE, "--condition", 3, "--condition", 4], "given twice"),
    ([*GENERATE, "--condition", "1,2", "--batch", 3], "expected 1 or 3 rows, got 2"),
    ([*GENERATE, "--condition", 3, "--batch", -1], "batch: expected a number of rows ≥ 0, got -1"),
    ([*GENERATE, "--condition", 3, "--temperature", -1], "expected a finite number ≥ 0, got -1"),
    ([*GENERATE, "--condition", 3, "--temperature", "nan"], "expected a finite number ≥ 0, got nan"),
    ([*GENERATE, "--condition", 3, "--seed", -1], "seed: expected an integer"),
    ([*GENERATE, "--condition", 3, "--provider", "tpu"], "expected one of cpu, cuda, got 'tpu'"),
    ([*GENERATE, "--condition", 3, "--prompt", "nothing.csv"], "there is no such file"),
    ([*GENERATE, "--condition", 3, "--prompt", "text.json"], "expected a name that ends in .npy, .csv"),
    ([*GENERATE, "--condition", 3, "--prompt", "notes.npy"], "'notes.npy' holds no array"),
    ([*GENERATE, "--condition", 3, "--prompt", "empty.npy"], "'empty.npy' holds no array"),
    ([*GENERATE, "--condition", 3, "--prompt", "objects.npy"], "'objects.npy' holds no array"),
    ([*GENERATE, "--condition", 3, "--prompt", "text.npy"], "expected an array of numbers"),
    ([*GENERATE, "--condition", 3, "--prompt", "words.csv"], "'words.csv' holds no array"),
    ([*GENERATE, "--condition", 3, "--prompt", "empty.csv"], "'empty.csv' holds no array"),
    ([*GENERATE, "--condition", 3, "--prompt", "large.npy"], "expected classes 0..16, got 17"),
    ([*GENERATE, "--condition", 3, "--prompt", "float.npy"], "expected integers"),
    (["generate", "bundle", "-n", -1, "--condition", 3, "-o", "x.npy"], "n: expected a number of tokens ≥ 0, got -1"),
    (["generate", "bundle", "-n", 4, "--condition", 3, "-o", "x.txt"], "expected a name that ends in .npy, .csv, .png"),
    (["generate", "bundle", "-n", 4, "--condition", 3, "-o", "nowhere/x.npy"], "there is no folder 'nowhere'"),
    (["generate", "bundle", "-n", 4, "--condition", 3, "-o", "x.png"], "pictures of 8x8 need 64 tokens each, got 4"),
    (["generate", "bundle", "-n", 4, "--condition", 3, "--shape", "2", "-o", "x.png"], "expected HEIGHTxWIDTH"),
    (["score", "bundle", "digit"], "did you mean 'digits'?"),
    (["score", "bundle", "digits:tset"], "expected one of the splits train, valid, test"),
    (["score", "bundle", "broken.npz"], "cannot be read as .npz"),
    (["score", "bundle", "other.npz"], "expected the arrays x and, if there is one, condition; got y"),
    (["score", "bundle", "large.npy"], "condition 'condition' (10 classes constant) is missing"),
    (["score", "bundle", "large.npy", "--condition", 1], "expected classes 0..16, got 17"),
    (["classify", "bundle", "large.npy"], "expected classes 0..16, got 17"),
    (["classify", "bundle", "nothing.npy"], "neither a file nor a data set"),
    (["demo", "--steps", 0], "expected a number ≥ 1"),
    (["demo", "--out", "run"], "which no demo wrote"),
    (["demo", "--out", "text.json"], "is a file"),
]


@pytest.mark.parametrize(("arguments", "says"), MISTAKES, ids=[" ".join(map(str, arguments)) for arguments, _ in MISTAKES])
def test_mistake(refar, here, arguments, says):
    write(here)
    before = files(here)
    assert says in refar(*arguments).sentence
    assert files(here) == before


@pytest.mark.parametrize("name", ["full.onnx", "step.onnx", "bundle.json"])
@pytest.mark.parametrize("command", [["generate", "-n", 4, "--condition", 3, "-o", "x.npy"], ["check"], ["score", "digits"]])
def test_damaged_bundle(refar, here, command, name):
    path = here / "bundle" / name
    path.write_bytes(path.read_bytes()[:-20])
    before = files(here)
    assert name in refar(command[0], "bundle", *command[1:]).sentence
    assert files(here) == before


def test_altered_bundle(refar, here):
    path = here / "bundle" / "step.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "step.onnx is not what was exported" in refar(*GENERATE, "--condition", 3).sentence


def test_graph_that_sees_the_present(refar, here):
    from refar_export import export

    write(here)
    graph = library.load("open.json")
    export(graph, library.init(graph), "open")
    np.save("x.npy", np.zeros((1, 4), int))
    for command in (["generate", "open", "-n", 4, "-o", "y.npy"], ["score", "open", "x.npy"]):
        assert "needs a strict graph" in refar(*command).sentence
    assert (
        "--condition 3: the graph has no condition"
        in refar("generate", "open", "-n", 4, "-o", "y.npy", "--condition", 3).sentence
    )
    assert not (here / "y.npy").exists()


def test_failure_while_writing_leaves_nothing(refar, here, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "x.npy")

    monkeypatch.setattr(np, "save", full)
    before = files(here)
    assert refar(*GENERATE, "--condition", 3).sentence == "'x.npy': No space left on device"
    assert files(here) == before
