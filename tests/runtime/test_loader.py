"""Bundles from elsewhere: what is read, what is refused, and what is never opened."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
from helpers import refuses
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import refar
from refar import Builder, Graph, models
from refar.errors import BackendError, FileError, GraphError, InputError
from refar.runtime import bundle as bundles
from refar.runtime import bundle_files as files
from refar.runtime import load
from refar.runtime.model_header import Header, read_header
from refar_export import export

FIXTURE = Path(__file__).parents[1] / "compat" / "fixtures" / "bundle"


@pytest.fixture
def bundle(wavenet_bundle: Path, tmp_path: Path) -> Path:
    """A bundle of its own, to be damaged."""
    return Path(shutil.copytree(wavenet_bundle, tmp_path / "b"))


def replaced(folder: Path, name: str, data: bytes) -> None:
    """Put other bytes into a file, and their digest into bundle.json."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"][name] = bundles.digest(data)
    (folder / "bundle.json").write_text(json.dumps(manifest))


def edited(folder: Path, name: str, change: Callable[[onnx.ModelProto], object]) -> None:
    model = onnx.load(folder / name)
    change(model)
    replaced(folder, name, model.SerializeToString())


def test_a_rebuild_opens_no_shipped_model(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in bundle.glob("*.onnx"):
        path.write_bytes(b"a program")
    right, read = files.read_regular, list[str]()

    def spied(path: Path, *rest: Any) -> bytes:
        read.append(path.name)
        return right(path, *rest)

    monkeypatch.setattr(files, "read_regular", spied)
    session = load(bundle, trust="rebuild")
    assert set(read) == {"bundle.json", "weights.safetensors"}
    assert session.generate(5, condition=1).shape == (1, 5)
    assert session.check_vectors().keys() >= {"x", "y"}
    with refuses(FileError, "full.onnx is not what was exported"):
        load(bundle)
    with refuses(InputError, "trust: expected 'models' or 'rebuild', got 'yes'"):
        load(bundle, trust="yes")  # type: ignore[arg-type]


def test_a_rebuild_gives_the_same_tokens(wavenet_bundle: Path) -> None:
    tokens = load(wavenet_bundle).generate(20, condition=2, seed=3)
    np.testing.assert_array_equal(load(wavenet_bundle, trust="rebuild").generate(20, condition=2, seed=3), tokens)


def test_version_1_is_made_anew_from_its_own_models_only_where_they_are_trusted(tmp_path: Path) -> None:
    assert load(FIXTURE).manifest.version == 2
    with refuses(FileError, "is one of version 1", "which are not to be opened", "refar export RUN -o BUNDLE"):
        load(FIXTURE, trust="rebuild")
    program = f"import sys; sys.modules['onnx'] = None\nfrom refar.runtime import load\nload({str(FIXTURE)!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "is one of version 1: its models are made anew, which needs onnx: pip install 'refar[export]'" in done.stderr
    folder = Path(shutil.copytree(FIXTURE, tmp_path / "b"))
    (tmp_path / "secret.bin").write_bytes(bytes(10**5))

    def outside(model: onnx.ModelProto) -> None:
        tensor = next(each for each in model.graph.initializer if each.name.endswith(".weight"))
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secret.bin")

    edited(folder, "full.onnx", outside)
    with refuses(FileError, "full.onnx is damaged: expected the parameter", "in the model itself, in float32"):
        load(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
@pytest.mark.parametrize("name", ["bundle.json", "step.onnx", "weights.safetensors"])
def test_pipes_and_folders_are_not_read(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    with refuses(FileError, f"{name} cannot be read: it is no regular file"):
        load(bundle)
    (bundle / name).unlink()
    (bundle / name).mkdir()
    handles = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(3):
        with refuses(FileError, f"{name} cannot be read"):
            load(bundle)
    assert not handles or len(os.listdir("/proc/self/fd")) == handles


def test_sizes_are_bounded_before_anything_is_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (bundle / "full.onnx").open("r+b") as file:
        file.truncate(2**33)  # sparse
    with refuses(FileError, "full.onnx: expected at most", f"got {2**33}"):
        load(bundle)
    monkeypatch.setattr(files, "_MOST_JSON", 1000)
    with refuses(FileError, "bundle.json: expected at most 1000 bytes"):
        load(bundle)


def test_a_saved_stream_is_read_in_the_memory_that_it_needs(wavenet_bundle: Path, tmp_path: Path) -> None:
    session = load(wavenet_bundle)
    session.stream(1, 0).save(tmp_path / "stream")
    tracemalloc.start()
    session.load_stream(tmp_path / "stream")
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()
    data = bytearray((tmp_path / "stream").read_bytes())
    data[-3] ^= 1
    (tmp_path / "stream").write_bytes(data)
    with refuses(FileError, "is damaged: its values are not those that were saved"):
        session.load_stream(tmp_path / "stream")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"opset": 18, "opset": 18', "it holds the key 'opset' twice in one object"),
        ('"opset": 18, "\\u001b[31m": 1', "unknown field `\\x1b[31m`"),
        ('"opset": 1e999', "is damaged"),
    ],
)
def test_the_text_of_a_manifest(bundle: Path, text: str, said: str) -> None:
    path = bundle / "bundle.json"
    path.write_text(path.read_text().replace('"opset": 18', text))
    with pytest.raises(FileError) as caught:
        load(bundle)
    assert said in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert str(caught.value).count("bundle.json") == 1


def test_keys_twice_are_found_in_no_time(bundle: Path) -> None:
    many = ", ".join(f'"k{n}": 0' for n in range(50_000))
    (bundle / "bundle.json").write_text(f'{{{many}, "k0": 1}}')
    with refuses(FileError, "it holds the key 'k0' twice"):
        load(bundle)


def test_bytes_that_are_no_text(bundle: Path) -> None:
    (bundle / "bundle.json").write_bytes(b'{"format": "\xff"}')
    with refuses(FileError, "bundle.json is damaged", "utf-8"):
        load(bundle)
    with refuses(FileError, "there is no such bundle"):
        load("a\0b")


def test_what_is_no_bundle(tmp_path: Path) -> None:
    with refuses(FileError, "nowhere': there is no such bundle"):
        load(tmp_path / "nowhere")
    with refuses(FileError, "is a folder without bundle.json; expected a bundle"):
        load(tmp_path)
    (tmp_path / "config.toml").write_text("")
    with refuses(FileError, "is a run, not a bundle; write one with: refar export"):
        load(tmp_path)
    with refuses(FileError, "config.toml' is a file; expected the folder of a bundle"):
        load(tmp_path / "config.toml")


def weights(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    arrays = safetensors.numpy.load_file(folder / "weights.safetensors")
    change(arrays)
    replaced(folder, "weights.safetensors", safetensors.numpy.save(arrays))


@pytest.mark.parametrize("trust", ["models", "rebuild"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.update({"head.logits.bias": w["head.logits.bias"] * np.float32("nan")}), "expected finite numbers, got nan"),
        (lambda w: w.update({"head.logits.bias": w["head.logits.bias"].astype(np.float64)}), "expected float32, got float64"),
        (lambda w: w.update({"head.logits.bias": w["head.logits.bias"].astype(np.uint8)}), "expected float32, got uint8"),
        (lambda w: w.update({"head.logits.bias": np.zeros(3, np.float32)}), "expected shape (5,), got (3,)"),
        (lambda w: w.pop("head.logits.bias"), "is missing"),
        (lambda w: w.update(other=np.zeros(1, np.float32)), "no such parameter"),
    ],
)
def test_parameters_that_do_not_fit(bundle: Path, trust: Any, change: Callable[[Any], object], said: str) -> None:
    weights(bundle, change)
    with refuses(FileError, "weights.safetensors", said):
        load(bundle, trust=trust)


def port(model: onnx.ModelProto, name: str) -> Any:
    return next(value for value in [*model.graph.input, *model.graph.output] if value.name == name)


@pytest.mark.parametrize("file", ["full.onnx", "prefill.onnx", "condition.onnx", "step.onnx", "block.onnx"])
def test_a_model_of_another_graph_or_kind_or_with_other_ports(bundle: Path, file: str) -> None:
    whole = (bundle / file).read_bytes()

    def metadata(key: str, value: str) -> Callable[[onnx.ModelProto], object]:
        return lambda model: next(e for e in model.metadata_props if e.key == key).__setattr__("value", value)

    first = onnx.load(bundle / file).graph.input[0].name
    for change, said in [
        (metadata("refar.graph_sha256", "0"), "was exported from another graph"),
        (metadata("refar.kind", "other"), "refar.kind: expected"),
        (metadata("refar.format", "refar-bundle 9"), "refar.format: expected 'refar-bundle 2', got 'refar-bundle 9'"),
        (lambda m: m.graph.input.add(name="\x1b[31m", type=m.graph.input[0].type), "expected inputs"),
        (lambda m: port(m, first).type.tensor_type.shape.dim.add(dim_value=3), "expected tensor"),
    ]:
        (bundle / file).write_bytes(whole)
        edited(bundle, file, change)
        with pytest.raises(FileError) as caught:
            load(bundle)
        assert f"bundle {str(bundle)!r}: {file}" in str(caught.value)
        assert said in str(caught.value) or "does not load in onnxruntime" in str(caught.value)
        assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: setattr(m, "ir_version", 9), "got IR 9, opset 18, producer 'refar' 'refar-bundle 2'"),
        (lambda m: setattr(m.opset_import[0], "version", 19), "got IR 10, opset 19, producer"),
        (lambda m: m.opset_import.add(domain="com.microsoft", version=1), "opset 18, opset 1 of com.microsoft"),
        (lambda m: setattr(m, "producer_name", "other\x1b"), "producer"),
        (lambda m: m.metadata_props.add(key="refar.more", value="x"), "refar.more: expected None, got 'x'"),
        (lambda m: setattr(next(e for e in m.metadata_props if e.key == "refar.graph"), "value", "{}"), "refar.graph: expected"),
    ],
)
def test_a_model_of_other_versions_or_metadata(bundle: Path, change: Callable[[Any], object], said: str) -> None:
    edited(bundle, "step.onnx", change)
    with pytest.raises(FileError) as caught:
        load(bundle)
    assert said in str(caught.value)
    assert "step.onnx" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_model_with_a_field_that_nobody_knows(bundle: Path) -> None:
    """onnxruntime reads over it; refar reads no such file."""
    group = bytes([100 << 3 & 127 | 3 | 128, 100 << 3 >> 7, 100 << 3 & 127 | 4 | 128, 100 << 3 >> 7])
    replaced(bundle, "step.onnx", (bundle / "step.onnx").read_bytes() + group)
    with refuses(FileError, "step.onnx is damaged: a field of the unknown wire type 3"):
        load(bundle)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_model_have_no_header(data: bytes) -> None:
    """Any bytes are read, or refused with a ValueError."""
    with contextlib.suppress(ValueError):
        assert isinstance(read_header(data), Header)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x0b", "unknown wire type 3"),
        (b"\x12\x05abc", "longer than the file"),
        (b"\x08\xff", "ends with the file"),
        (b"\x08" + b"\xff" * 11, "more than 64 bits"),
        (b"\x42\x02\x08\x01", "no domain with a version"),
    ],
)
def test_what_is_no_header(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_header(data)
    assert read_header(b"\x09" + b"x" * 8 + b"\x0d" + b"x" * 4) == Header(0, "", "", {})  # fields of fixed width are passed over


def test_what_is_no_model(bundle: Path) -> None:
    replaced(bundle, "step.onnx", b"no model")
    with refuses(FileError, "step.onnx does not load in onnxruntime"):
        load(bundle)


def test_an_output_of_another_shape_is_seen(bundle: Path) -> None:
    def twice(model: onnx.ModelProto) -> None:
        last = next(node for node in model.graph.node if "output" in node.output)
        last.output[0] = "before"
        model.graph.node.append(onnx.helper.make_node("Concat", ["before", "before"], ["output"], axis=0))

    edited(bundle, "block.onnx", twice)
    stream = load(bundle).stream(1, 0)
    with refuses(BackendError, "block.onnx: onnxruntime", "could not run it"):
        stream.push([[0, 1, 2]])


def test_what_the_manifest_does_not_name_is_not_opened(bundle: Path) -> None:
    (bundle / "notes.onnx").write_bytes(b"not mine")
    assert load(bundle).generate(2, condition=0).shape == (1, 2)


def test_a_graph_of_too_many_nodes_is_refused_before_it_is_analysed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MOST_NODES", 5)
    for trust in ("models", "rebuild"):
        with refuses(FileError, "bundle.json: it has", "nodes; expected at most 5"):
            load(bundle, trust=trust)
    graph = models.wavenet(classes=4, dilations=[1, 2])
    with refuses(GraphError, "nodes; expected at most 5"):
        export(graph, refar.init(graph), bundle.parent / "other")


def wide() -> Graph:
    g = Builder()
    h = g.pad_channels(g.shift2d(g.image(channels=1), down=1), 0, 2**20 - 1)
    return g.build(g.slice(g.add(h, g.shift2d(h, right=1)), 0, 1))


def test_costs_are_bounded_before_they_are_paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    g = Builder()
    long = g.build(g.conv1d(g.input(channels=2), 1, kernel=3, dilation=40))
    monkeypatch.setattr(bundles, "MOST_STATE", 100)
    with refuses(GraphError, "a stream would keep 160 numbers for each sequence; expected at most 100"):
        export(long, refar.init(long), tmp_path / "long")
    monkeypatch.undo()
    path = export(long, refar.init(long), tmp_path / "long")
    monkeypatch.setattr(bundles, "MOST_STATE", 100)
    with refuses(FileError, "a stream would keep 160 numbers"):
        load(path)
    small = models.pixelcnn(4, kernel=3, hidden=3)
    path = export(small, refar.init(small), tmp_path / "image")
    manifest = json.loads((path / "bundle.json").read_text())
    manifest["graph"] = json.loads(refar.to_json(wide()))
    (path / "bundle.json").write_text(json.dumps(manifest))
    with refuses(FileError, "its nodes have", "channels together; expected at most 2097152"):
        load(path)


def test_any_node_may_be_called_clock(tmp_path: Path) -> None:
    for name, other in (("clock", "h"), ("x", "clock")):
        g = Builder()
        graph = g.build(g.conv1d(g.input(name, channels=1), 1, kernel=2, name=other))
        session = load(export(graph, refar.init(graph), tmp_path / name, verify=True))
        assert session.stream().push(np.zeros((1, 1, 3))).shape == (1, 1, 3)
    padded = replace(graph, padding="input")
    export(padded, refar.init(padded), tmp_path / "padded", verify=True)
