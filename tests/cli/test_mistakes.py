"""A user's mistakes: one clear sentence each, exit code 2, no traceback, and nothing written."""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import refar as library
from refar import data
from refar.cli.files import read_array
from refar.errors import FileError

GENERATE = ["generate", "bundle", "-n", 4, "-o", "x.npy"]


def files(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


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
    for name in ("folder", "folder.png", "folder.npy"):
        (folder / name).mkdir()
    (folder / "folder" / "none" / "run").mkdir(parents=True)
    for name in ("site/bundle.json", "parcel/demo.json"):
        (folder / name).parent.mkdir()
        (folder / name).write_text('{"name": "site"}')
    shutil.copytree(folder / "bundle", folder / "mixed")
    (folder / "mixed" / "thesis.txt").write_text("years of work")
    for name in ("run", "bundle"):
        shutil.copytree(folder / name, folder / "proj" / name)
    write_graph(folder / "huge.json", ("y", {"type": "conv1d", "channels": 10**20}, "x"))
    write_graph(folder / "far.json", ("y", {"type": "conv1d", "channels": 2, "kernel": 2, "dilation": 10**18}, "x"))
    write_graph(folder / "wide.json", ("y", {"type": "conv1d", "channels": 2, "kernel": 10**12}, "x"))
    config = '[model]\nname = "nettoy1d"\nclasses = 17\n[data]\nname = "digits"\n[train]\n'
    (folder / "cos.toml").write_text(config + 'schedule = "cos"\n')
    (folder / "batch.toml").write_text(config + "batch = 9999\n")
    (folder / "digit.toml").write_text(config.replace("17", '"5"'))
    (folder / "inf.csv").write_text("1,inf\n")
    (folder / "far.csv").write_text("1,1e300\n")
    few = np.arange(12).reshape(3, 4)
    np.save(folder / "few.npy", few)
    np.save(folder / "none.npy", few[:0])
    np.save(folder / "point.npy", np.array(3))
    np.save(folder / "fake.npy", few)
    (folder / "fake.npy").rename(folder / "fake.npz")
    (folder / "damaged.npy").write_bytes((folder / "few.npy").read_bytes().replace(b"(3, 4)", b"(3, 4"))
    np.savez_compressed(folder / "damaged.npz", x=np.arange(4000).reshape(40, 100) % 7)
    damaged = bytearray((folder / "damaged.npz").read_bytes())
    damaged[80:120] = bytes(40)
    (folder / "damaged.npz").write_bytes(damaged)
    with zipfile.ZipFile(folder / "words.npz", "w") as archive:
        archive.writestr("x", "hello")
    np.savez(folder / "split.npz", x=few, valid_x=few)
    np.savez(folder / "rows.npz", x=few, condition=np.arange(5))
    np.savez(folder / "labels.npz", x=few, condition=np.arange(3) + 10)
    np.savez(folder / "short.npz", x=few[:, :0], condition=np.arange(3))
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
    (["inspect", "nettoy1d", "--plot", "text.json/x.png"], "'text.json/x.png' cannot be written: Not a directory"),
    (["inspect", "nettoy1d", "--plot", "folder.png"], "'folder.png' is a folder; expected the name of a file"),
    (["inspect", "huge.json"], "huge.json"),
    (["inspect", "far.json"], "far.json"),
    (["inspect", "wide.json"], "wide.json"),
    (["train", "nothing.toml"], "No such file"),
    (["train", "bad.toml"], "did you mean `steps`?"),
    (["train", "bundle/bundle.json"], "not TOML"),
    (["train", "cos.toml"], "cos.toml: train.schedule: expected 'constant' or 'cosine', got 'cos'"),
    (["train", "digit.toml"], "option 'classes': Expected `int`, got '5'"),
    (["train", "batch.toml", "--out", "new"], "train.batch: expected at most the 1300 training sequences of 'digits', got 9999"),
    (["train", "run/config.toml", "--out", "run"], "holds a run already"),
    (["train", "run/config.toml", "--out", "bundle"], "holds 'block.onnx', which no training wrote"),
    (["train", "run/config.toml", "--out", "text.json/run"], "cannot be written: Not a directory"),
    (["train", "run/config.toml", "--out", "new", "--resume"], "expected a run to resume"),
    (["export", "run/config.toml", "-o", "new"], "is a file; expected the folder of a run"),
    (["check", "nettoy1d", "--provider", "tpu"], "expected one of cpu, cuda, got 'tpu'"),
    (["check", "nettoy1d", "--provider", "cuda", "--backends", "torch"], "onnx is not among --backends torch"),
    (["check", "nettoy1d", "--json", "text.json/x.json"], "cannot be written: Not a directory"),
    (["check", "nettoy1d", "--json", "folder"], "'folder' is a folder"),
    (["check", "nettoy1d", "--backends", "numpy,jax"], "got 'jax'"),
    (["check", "bundle", "--provider", "tpu"], "expected one of cpu, cuda"),
    (["export", "bundle", "-o", "x"], "is a bundle already"),
    (["export", "rum", "-o", "x"], "did you mean 'run'?"),
    (["export", "run", "-o", "bundle"], "is there already"),
    (["export", "run", "-o", "folder", "--force"], "is no bundle"),
    (["export", "run", "-o", "site", "--force"], "bundle 'site': bundle.json is damaged"),
    (["export", "run", "-o", "mixed", "--force"], "bundle 'mixed' holds 'thesis.txt', which no export wrote"),
    (["generate", "run", "-n", 4, "-o", "x.npy"], "refar export run -o BUNDLE"),
    (["generate", "nettoy1d", "-n", 4, "-o", "x.npy"], "is a built-in model"),
    (["generate", "bundel", "-n", 4, "-o", "x.npy"], "did you mean 'bundle'?"),
    (GENERATE, "condition 'condition' is missing; give a class from 0 to 9, as in --condition 3"),
    ([*GENERATE, "--condition", 10], "expected classes 0..9, got 10"),
    ([*GENERATE, "--condition", "-1"], "expected classes 0..9, got -1"),
    ([*GENERATE, "--condition", "three"], "expected classes such as 3 or 0,1,2"),
    ([*GENERATE, "--condition", "speaker=3"], "no such condition, only condition"),
    ([*GENERATE, "--condition", 3, "--condition", 4], "given twice"),
    ([*GENERATE, "--condition", "1,2", "--batch", 3], "expected 1 or 3 rows, got 2"),
    ([*GENERATE, "--condition", 3, "--batch", -1], "--batch: expected an integer ≥ 1, got -1"),
    ([*GENERATE, "--condition", 3, "--batch", 0], "--batch: expected an integer ≥ 1, got 0"),
    ([*GENERATE, "--condition", 3, "--temperature", -1], "expected a finite number ≥ 0, got -1"),
    ([*GENERATE, "--condition", 3, "--temperature", "nan"], "expected a finite number ≥ 0, got nan"),
    ([*GENERATE, "--condition", 3, "--top-k", 0], "top_k: expected an integer from 1 to 17"),
    ([*GENERATE, "--condition", 3, "--top-k", 18], "top_k: expected an integer from 1 to 17, got 18"),
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
    ([*GENERATE, "--condition", 3, "--prompt", "point.npy"], "'prompt': expected axes bt, got an array of shape ()"),
    ([*GENERATE, "--condition", 3, "--prompt", "damaged.npy"], "'damaged.npy' holds no array"),
    ([*GENERATE, "--condition", 3, "--prompt", "inf.csv"], "prompt 'inf.csv': expected finite numbers, got inf"),
    ([*GENERATE, "--condition", "inf.csv"], "condition 'inf.csv': expected finite numbers, got inf"),
    ([*GENERATE, "--condition", 3, "--prompt", "far.csv"], "expected integers, the class indices, got float64"),
    ([*GENERATE, "--condition", "9" * 30], "expected classes such as 3 or 0,1,2"),
    ([*GENERATE, "--condition", 3, "--shape", "2x2"], "only a picture has a size, and 'x.npy' is none"),
    (
        ["generate", "bundle", "-n", 4, "--condition", 3, "--prompt", "point.npy", "--shape", "2x2", "-o", "x.png"],
        "'prompt': expected axes bt, got an array of shape ()",
    ),
    (["generate", "bundle", "-n", -1, "--condition", 3, "-o", "x.npy"], "n: expected an integer from 0 to 2147483647, got -1"),
    (["generate", "bundle", "-n", 4, "--condition", 3, "-o", "x.txt"], "expected a name that ends in .npy, .csv, .png"),
    (["generate", "bundle", "-n", 4, "--condition", 3, "-o", "text.json/x.npy"], "cannot be written: Not a directory"),
    (["generate", "nothing", "-n", 4, "-o", "/proc/x.npy"], "'/proc/x.npy' cannot be written"),
    (["generate", "bundle", "-n", 4, "--condition", 3, "-o", "x.png"], "pictures of 8x8 need 64 tokens each, got 4"),
    (["generate", "bundle", "-n", 4, "--condition", 3, "--shape", "2", "-o", "x.png"], "expected HEIGHTxWIDTH"),
    (["score", "bundle", "digit"], "did you mean 'digits'?"),
    (["score", "bundle", "digits:tset"], "expected one of the splits train, valid, test"),
    (["score", "bundle", "broken.npz"], "cannot be read as .npz"),
    (["score", "bundle", "other.npz"], "data 'other.npz': the array 'x' is missing; it holds y"),
    (["score", "bundle", "fake.npz"], "data 'fake.npz' cannot be read as .npz: it is no whole ZIP archive"),
    (["score", "bundle", "damaged.npz"], "data 'damaged.npz' cannot be read as .npz"),
    (["score", "bundle", "words.npz"], "data 'words.npz': 'x' is no array"),
    (["score", "bundle", "split.npz"], "data 'split.npz': array 'valid_x' is not known; expected x, condition"),
    (["score", "bundle", "rows.npz"], "data 'rows.npz': 'condition' has 5 rows, 'x' has 3"),
    (["score", "bundle", "few.npy", "--condition", "0,1"], "condition 'condition': expected 1 or 3 rows, got 2"),
    (["score", "bundle", "few.npy", "--condition", "0,1,2,3,4"], "condition 'condition': expected 1 or 3 rows, got 5"),
    (["score", "bundle", "few.npy"], "condition 'condition' is missing; give a class from 0 to 9, as in --condition 3"),
    (["score", "bundle", "none.npy", "--condition", 1], "data 'none.npy': expected at least one value, got shape (0, 4)"),
    (["score", "bundle", "digits", "-o", "text.json/p.npy"], "cannot be written: Not a directory"),
    (["classify", "bundle", "none.npy"], "data 'none.npy': expected at least one value, got shape (0, 4)"),
    (["classify", "bundle", "short.npz"], "data 'short.npz': expected at least one value, got shape (3, 0)"),
    (["classify", "bundle", "labels.npz"], "input 'condition': expected classes 0..9, got 10"),
    (["classify", "bundle", "point.npy"], "input 'x': expected axes bt, got an array of shape ()"),
    (["classify", "bundle", "digits", "-o", "folder.npy"], "'folder.npy' is a folder"),
    (["score", "bundle", "large.npy", "--condition", 1], "expected classes 0..16, got 17"),
    (["classify", "bundle", "large.npy"], "expected classes 0..16, got 17"),
    (["classify", "bundle", "digits", "--progressive", "65"], "observed: expected integers from 0 to the length 64, got [65]"),
    (["classify", "bundle", "digits", "--progressive", "-1"], "observed: expected integers from 0 to the length 64, got [-1]"),
    (["classify", "bundle", "digits", "--progressive", "8,half"], "--progressive 8,half: expected whole numbers"),
    (["classify", "bundle", "nothing.npy"], "neither a file nor a data set"),
    (["demo", "--steps", 0], "expected a number ≥ 1"),
    (["demo", "--out", "run"], "'run' (it has no demo.json) holds '.lock', which no demo wrote"),
    (["demo", "--out", "proj"], "'proj' (it has no demo.json) holds 'bundle/block.onnx', which no demo wrote"),
    (["demo", "--out", "site"], "'site' (it has no demo.json) holds 'bundle.json', which no demo wrote"),
    (["demo", "--out", "parcel"], "'parcel/demo.json': expected a demo's list of its files: Object contains unknown field"),
    (["demo", "--out", "folder/none"], "'folder/none' (it has no demo.json) holds 'run', a folder which no demo wrote"),
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


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_check_of_a_bundle_without_its_vectors(refar, here, damage):
    path = here / "bundle" / "check.safetensors"
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-9])
    assert "bundle 'bundle': check.safetensors" in refar("check", "bundle").sentence


@pytest.mark.parametrize(("name", "text"), [("graph.json", "{}"), ("config.toml", "train = 3")])
def test_damaged_run(refar, here, name, text):
    (here / "run" / name).write_text(text)
    assert f"run/{name}" in refar("inspect", "run").sentence


def test_damaged_arrays_never_end_in_a_traceback(here):
    """Bytes set to random values one file after the other: an array or a sentence."""
    rng = np.random.default_rng(0)
    np.save("a.npy", np.arange(12.0).reshape(3, 4))
    np.savez_compressed("a.npz", x=np.arange(400).reshape(20, 20) % 7)
    readers = {"a.npy": lambda path: read_array(path, "data"), "a.npz": lambda path: data.read_npz(path, ("x",))}
    for name, read in readers.items():
        whole = (here / name).read_bytes()
        for _ in range(300):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), 3):
                damaged[place] = rng.integers(256)
            (here / name).write_bytes(damaged)
            with contextlib.suppress(FileError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(here / name)


def test_altered_bundle(refar, here):
    path = here / "bundle" / "step.onnx"
    altered = bytearray(path.read_bytes())
    altered[len(altered) // 2] ^= 1
    path.write_bytes(altered)
    assert "step.onnx is not what was exported" in refar(*GENERATE, "--condition", 3).sentence


def test_graph_that_sees_the_present(refar, here):
    from refar_export import export

    write(here)
    graph = library.load("open.json")
    export(graph, library.init(graph), "open")
    np.save("x.npy", np.zeros((1, 4), int))
    generate = ["generate", "open", "-n", 4, "-o", "y.npy"]
    for command in (generate, [*generate, "--condition", 3], ["score", "open", "x.npy"]):
        assert "needs a strict graph" in refar(*command).sentence
    graph = library.models.wavenet(4, [1], residual=2, gate=2, skip=2)
    export(graph, library.init(graph), "strict")
    said = refar("generate", "strict", "-n", 4, "-o", "y.npy", "--condition", 3).sentence
    assert "--condition 3: the graph has no condition" in said
    assert not (here / "y.npy").exists()


def test_failure_while_writing_leaves_nothing(refar, here, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "x.npy")

    monkeypatch.setattr(np, "save", full)
    before = files(here)
    assert refar(*GENERATE, "--condition", 3).sentence == "'x.npy' cannot be written: No space left on device"
    assert files(here) == before
