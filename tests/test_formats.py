"""What readers say of a file that a later refar wrote, and of a misspelt one; see docs/formats.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from helpers import refuses

import refar
from refar import Builder, ops
from refar.conceptual import text as strided
from refar.errors import FileError, GraphError, InputError, is_newer
from refar.runtime import load
from refar.runtime.bundle_files import read_manifest
from refar.torch import train
from refar.training.config import load_config
from refar.training.runs import load_run, read_tensors, write_tensors
from refar_export import export

FIXTURES = Path(__file__).parent / "compat" / "fixtures"
NEWER = "written by a newer refar: upgrade refar to read it"
MAYBE = "was the file written by a newer refar? Then upgrade refar to read it"
Change = Callable[[dict[str, Any]], object]


def rewrite(path: Path, change: Change) -> Path:
    raw = json.loads(path.read_text(encoding="utf-8"))
    change(raw)
    path.write_text(json.dumps(raw), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (lambda d: d.update(version=2), ["$.version: Invalid enum value 2; this refar reads version 1; ", NEWER]),
        (lambda d: d.update(nodes=[{"kind": "later"}], version=3), ["value 3; this refar reads version 1", NEWER]),
        (
            lambda d: d.update(clock="pixel"),
            ["unknown field `clock`; the fields are format, version, nodes, output", f"; or {MAYBE}"],
        ),
        (
            lambda d: d.update(paddin="layer"),
            ["unknown field `paddin`; the fields are format,", f"did you mean 'padding'? Or {MAYBE}"],
        ),
        (
            lambda d: d["nodes"][0]["op"].update(type="conv3d"),
            ["$.nodes[0].op.type: Invalid value 'conv3d'; the operators", MAYBE],
        ),
    ],
)
def test_a_graph(tmp_path: Path, change: Change, fragments: list[str]) -> None:
    path = rewrite(Path(shutil.copy(FIXTURES / "graph.json", tmp_path)), change)
    with refuses(GraphError, str(path), *fragments):
        refar.load(path)


@pytest.mark.parametrize("version", [0, True, "2", None])
def test_what_is_no_later_version_is_not_called_newer(tmp_path: Path, version: object) -> None:
    path = rewrite(Path(shutil.copy(FIXTURES / "graph.json", tmp_path)), lambda d: d.update(version=version))
    with pytest.raises(GraphError, match=r"\$\.version") as caught:
        refar.load(path)
    assert "newer" not in str(caught.value)


def test_a_builder_speaks_of_no_file() -> None:
    g = Builder()
    with pytest.raises(GraphError) as caught:
        g.build(g.conv1d(g.input(channels=1), 2, kernel=0), ops.Gaussian())
    assert "newer" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (lambda d: d.update(version=3), ["bundle.json: version 3; this refar reads version 2", NEWER]),
        (lambda d: d.update(rate=16000, version=3), ["bundle.json: version 3; this refar reads version 2", NEWER]),
        (lambda d: d.update(rate=16000), ["unknown field `rate`; this refar reads version 2 without it", NEWER]),
        (lambda d: d.update(dtype="bfloat16"), ["'bfloat16'", "`$.dtype`", NEWER]),
        (lambda d: d["graph"].update(version=2), ["graph: version 2; this refar reads version 1", NEWER]),
        (lambda d: d["graph"]["nodes"][0].update(clock=1), ["unknown field `clock` - at `$.graph.nodes[0]`", NEWER]),
        (lambda d: d["graph"]["nodes"][1]["op"].update(type="conv3d"), ["'conv3d'", "`$.graph.nodes[1].op.type`", NEWER]),
        (
            lambda d: d["files"].update({"sample.onnx": "0" * 64}),
            ["file 'sample.onnx'; this refar reads", NEWER],
        ),
        (lambda d: d.update(version=0), ["is damaged: Invalid enum value 0"]),
        (lambda d: d.update(format="other", version=2), ["is damaged: Invalid enum value 'other'"]),
        (lambda d: d.pop("opset"), ["is damaged: Object missing required field `opset`"]),
    ],
)
def test_a_bundle(tmp_path: Path, change: Change, fragments: list[str]) -> None:
    folder = export(refar.load(FIXTURES / "graph.json"), refar.init(refar.load(FIXTURES / "graph.json")), tmp_path / "bundle")
    rewrite(folder / "bundle.json", change)
    with refuses(FileError, f"bundle {str(folder)!r}: bundle.json", *fragments):
        read_manifest(folder)


def test_a_bundle_that_holds_no_object(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("[1]", encoding="utf-8")
    with refuses(FileError, "bundle.json is damaged: Expected `object`, got `array`"):
        read_manifest(tmp_path)


def test_a_conceptual_network(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    text = '{"format": "refar-conceptual", "version": 1, "channels": 1, "layers": [{"type": "conv", "channels": 2}]}'
    for old, new, fragments in [
        ('"version": 1', '"version": 2, "later": 3', ["version: Invalid enum value 2; this refar reads version 1; ", NEWER]),
        ('"layers"', '"later": 3, "layers"', ["unknown field `later`; the fields are format, version, channels, layers", MAYBE]),
        ('"conv"', '"conv", "kernal": 2', ["layers[0]: ", "`kernal`; the fields are", "did you mean 'kernel'? Or ", MAYBE]),
        ('"conv"', '"later"', ["'later'; the layers are conv, pool, flatten, dense", MAYBE]),
    ]:
        path.write_text(text.replace(old, new), encoding="utf-8")
        with refuses(GraphError, str(path), *fragments):
            strided.load(path)


def test_a_config(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for field, fragments in {
        "stepz": ["train: unknown field `stepz`; did you mean `steps`? Or ", MAYBE],
        "later": ["train: unknown field `later`; the fields are steps, batch", f"; or {MAYBE}"],
    }.items():
        path.write_text(f'[model]\nname = "wavenet"\n[data]\nname = "digits"\n[train]\n{field} = 3\n', encoding="utf-8")
        with refuses(InputError, str(path), *fragments):
            load_config(path)


def test_the_tensors_of_a_run(tmp_path: Path) -> None:
    """A later version, in a file that is otherwise as it should be."""
    run = Path(shutil.copytree(FIXTURES / "run", tmp_path / "run"))
    path = run / "weights.safetensors"
    data = path.read_bytes()
    assert data.count(rb"\"version\":1") == 1
    path.write_bytes(data.replace(rb"\"version\":1", rb"\"version\":2"))
    with refuses(FileError, str(path), "version 2; this refar reads version 1", NEWER):
        load_run(run)
    path.write_bytes(data.replace(rb"\"version\":1", rb"\"version\":0"))
    with refuses(FileError, str(path), "expected 'refar-weights' version 1, got 'refar-weights' version 0"):
        load_run(run)


@pytest.mark.parametrize("part", ["counters", "train"])
def test_a_checkpoint_with_a_field_of_a_later_refar(tmp_path: Path, part: str) -> None:
    run = Path(shutil.copytree(FIXTURES / "run", tmp_path / "run"))
    shutil.copy(FIXTURES / "my.npz", tmp_path)
    config = run / "config.toml"
    config.write_text(config.read_text().replace("/data/my.npz", (tmp_path / "my.npz").as_posix()), encoding="utf-8")
    arrays, info = read_tensors(run / "checkpoint.safetensors", "checkpoint")
    info[part]["later"] = 1
    write_tensors(run / "checkpoint.safetensors", "checkpoint", arrays, info)
    with refuses(FileError, "checkpoint.safetensors", "unknown field `later`; this refar reads version 1 without it", NEWER):
        train(config, run, resume=True, progress=False)


def test_a_saved_stream(tmp_path: Path) -> None:
    graph, path = refar.load(FIXTURES / "linear_ar.json"), tmp_path / "stream"
    session = load(export(graph, refar.init(graph), tmp_path / "bundle"))
    session.stream().save(path)
    with safetensors.safe_open(path, "numpy") as opened:
        metadata = opened.metadata()
    tensors = safetensors.numpy.load_file(path)
    for named, fragments in [
        ({"format": "refar-stream 2"}, [f"stream {str(path)!r}: version 2; this refar reads version 1; the file was {NEWER}"]),
        ({"format": "refar-stream 12", "later": "3"}, ["version 12; this refar reads version 1; ", NEWER]),
        ({"format": "refar-stream 0"}, ["is no stream: expected the format 'refar-stream 1', got 'refar-stream 0'"]),
        ({"format": "refar-streams 2"}, ["is no stream: expected the format 'refar-stream 1', got 'refar-streams 2'"]),
        ({"format": f"refar-stream {'9' * 5000}"}, ["is no stream: expected the format 'refar-stream 1', got 'refar-stream 99"]),
    ]:
        safetensors.numpy.save_file(tensors, path, metadata | named)
        with refuses(FileError, str(path), *fragments):
            session.load_stream(path)


def test_what_a_later_refar_may_add_to_the_head_of_a_tensor_file_is_passed_over(tmp_path: Path) -> None:
    write_tensors(tmp_path / "w", "weights", {"a": np.ones(2)}, {"graph": "g", "later": 3})
    assert read_tensors(tmp_path / "w", "weights")[1] == {"graph": "g", "later": 3}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"format": "f", "version": 3}, True),
        ({"format": "f", "version": 2}, False),
        ({"format": "g", "version": 3}, False),
        ({"format": "f"}, False),
        ({"format": "f", "version": 3.0}, False),
        (["format", "version"], False),
    ],
)
def test_newer_is_the_same_format_and_a_higher_number(raw: object, expected: bool) -> None:
    assert is_newer(raw, "f", 2) == expected
