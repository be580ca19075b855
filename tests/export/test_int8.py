"""Bundles in int8: every model computes the same network, bit for bit, and each product is that of the definition."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import refuses
from hypothesis import given, settings

import refar
from refar import Builder, Graph, models
from refar.analysis.facts import facts
from refar.analysis.int8_products import int8_products
from refar.errors import BackendError, FileError, GraphError, InputError
from refar.runtime import load
from refar.runtime.session import Session
from refar.testing import check_bundle, run_bundle_laws, strategies
from refar.testing.contract.cases import generic_inputs
from refar_export import calibration, export, int8

Arrays = dict[str, np.ndarray[Any, Any]]


def examples(graph: Graph, rows: int = 6, length: int = 40) -> Arrays:
    return generic_inputs(graph, np.random.default_rng(0), rows, length)


def exported(graph: Graph, path: Path, **options: Any) -> Path:
    return export(graph, refar.init(graph, seed=1), path, quantize="int8", calibration=examples(graph), **options)


WAVENET = models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7, condition="class:3")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(WAVENET, tmp_path_factory.mktemp("int8") / "bundle")


def test_every_law_holds(model: Graph, tmp_path: Path) -> None:
    report = check_bundle(exported(model, tmp_path / "bundle", verify=True))
    assert [line.law for line in report.lines][-3:] == ["models", "products", "loss"]
    assert all(line.applies for line in report.lines)


@settings(max_examples=25)
@given(graph=strategies.graphs())
def test_every_law_holds_of_random_networks(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Those that int8 knows; padding "valid" among them."""
    try:
        int8_products(facts(graph))
    except GraphError:
        return
    check_bundle(exported(graph, tmp_path_factory.mktemp("int8") / "bundle"))


def test_steps_and_blocks_are_the_whole_pass_bit_for_bit(model: Graph, tmp_path: Path) -> None:
    session, given = load(exported(model, tmp_path / "bundle")), examples(model, 3, 30)
    x, strict = given.pop(facts(model).sequence), int(facts(model).strict)
    conditions = {name: array.astype(np.float32) if array.dtype == float else array for name, array in given.items()}
    x = x if x.dtype == np.int64 else x.astype(np.float32)
    whole, stream = session.forward(x, conditions or None), session.stream(prompt=x[..., :5], condition=conditions or None)
    assert stream.output is not None
    outputs = [
        stream.output[:, :, None],
        stream.step(x[..., 5])[:, :, None],
        stream.push(x[..., 6:10]),
        stream.push(x[..., 10:-1]),
    ]
    found = np.concatenate(outputs, axis=2)
    np.testing.assert_array_equal(found, whole[:, :, 4 + strict :][:, :, : found.shape[2]])


def test_models_are_smaller_and_multiply_integers(tmp_path: Path) -> None:
    graph = models.wavenet(64, [1, 2, 4, 8], residual=64, gate=64, skip=64)
    path, wide = exported(graph, tmp_path / "int8"), export(graph, refar.init(graph), tmp_path / "wide")
    for name in ("full.onnx", "prefill.onnx", "step.onnx", "block.onnx"):
        kinds = [node.op_type for node in onnx.load(path / name).graph.node]
        assert kinds.count("MatMulInteger") == len(load(path).manifest.int8)
        assert not {"Conv", "Gemm", "ConvInteger"} & set(kinds)
        assert (path / name).stat().st_size < 0.5 * (wide / name).stat().st_size


def test_generating_needs_no_other_call(bundle: Path) -> None:
    session = load(bundle)
    tokens = session.generate(20, batch=2, condition=[0, 2], seed=4)
    log_p = session.score(tokens, [0, 2])
    drawn, each = session.generate(20, batch=2, condition=[0, 2], seed=4, log_prob=True)
    np.testing.assert_array_equal(tokens, drawn)
    np.testing.assert_allclose(each.sum(axis=1), log_p, rtol=1e-6)


def test_a_stream_in_float32_does_not_go_on_in_int8(bundle: Path, tmp_path: Path) -> None:
    wide = load(export(WAVENET, refar.init(WAVENET, seed=1), tmp_path / "wide"))
    wide.stream(1, condition=0).save(tmp_path / "stream.safetensors")
    with refuses(FileError, "stream.safetensors"):
        load(bundle).load_stream(tmp_path / "stream.safetensors")
    session = load(bundle)
    session.stream(1, condition=0).save(tmp_path / "other.safetensors")
    assert load(bundle, trust="rebuild").load_stream(tmp_path / "other.safetensors").batch == 1


def test_it_is_made_anew_byte_for_byte(bundle: Path, tmp_path: Path) -> None:
    made = load(bundle, trust="rebuild")._opened.bundle.made
    assert made is not None
    assert [file for file in made if file.endswith(".onnx") and made[file] != (bundle / file).read_bytes()] == []
    again = exported(WAVENET, tmp_path / "again")
    assert [file.name for file in bundle.iterdir() if file.read_bytes() != (again / file.name).read_bytes()] == []
    report = {line.law: line for line in run_bundle_laws(bundle, trust="rebuild").lines}
    assert report["products"].passed
    assert "calibration data are not read then" in report["loss"].figure


def test_scales_hold_the_range_and_zero_exactly() -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.relu(g.conv1d(g.input(channels=1), 1, name="a")), 1, name="b"))
    params = {"a.weight": np.full((1, 1, 1), 2.0), "a.bias": np.zeros(1), "b.weight": np.ones((1, 1, 1)), "b.bias": np.zeros(1)}
    x = np.array([[[-1.0, 0.5, 4.1]], [[1.0, 1.0, 0.0]]])
    found = calibration.input_scales(graph, {name: array.astype(np.float32) for name, array in params.items()}, {"x": x})
    assert found["a"] == (float(np.float32(5.1 / 255)), 50)
    assert found["b"] == (float(np.float32(8.2 / 255)), 0)
    none = calibration.input_scales(graph, {name: array.astype(np.float32) for name, array in params.items()}, {"x": 0 * x})
    assert none["a"] == (1.0, 0)


def test_some_calibration_data_are_kept() -> None:
    inputs = {"x": np.zeros((500, 100), np.int64), "condition": np.arange(500) % 3}
    kept = calibration.kept(WAVENET, inputs)
    assert {name: array.shape for name, array in kept.items()} == {"calibration.x": (40, 100), "calibration.condition": (40,)}
    long = calibration.kept(WAVENET, {"x": np.zeros((2, 20000), np.int64), "condition": np.arange(2)})
    assert long["calibration.x"].shape == (1, 2**12)


def test_onnx_is_needed_to_look_at_nodes_alone(bundle: Path) -> None:
    code = (
        "import sys; sys.modules.update(onnx=None, torch=None); from refar.testing import check_bundle\n"
        f"lines = {{line.law: line for line in check_bundle({str(bundle)!r}).lines}}\n"
        "assert 'onnx is not installed' in lines['products'].figure and not lines['products'].applies and lines['loss'].applies"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def wrong_zero(right: Any) -> Any:
    return lambda model, scales: right(model, {name: at._replace(zero=at.zero ^ 1) for name, at in scales.items()})


def wrong_rounding(right: Any) -> Any:
    return lambda weight: (np.trunc(weight / right(weight)[1][:, None]).astype(np.int8), right(weight)[1])


@pytest.mark.parametrize(("name", "mistake"), [("stored", wrong_zero), ("quantized_weight", wrong_rounding)])
def test_mistakes_are_seen(name: str, mistake: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, name, mistake(getattr(int8, name)))
    report = run_bundle_laws(exported(WAVENET, tmp_path / "bundle"))
    broken = [line for line in report.lines if not line.passed]
    assert "products" in [line.law for line in broken]
    assert "(conv1d in int8) at" in next(line.message for line in broken if line.law == "products")


def test_outputs_far_from_float32_are_seen(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Session.forward
    monkeypatch.setattr(Session, "forward", lambda self, *given: right(self, *given) * np.float32(0.9))
    report = {line.law: line for line in run_bundle_laws(bundle).lines}
    assert "distance from float32: expected at most" in report["loss"].message


def test_an_export_whose_models_disagree_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Session.step
    monkeypatch.setattr(Session, "step", lambda self, *given: right(self, *given) + 1)
    with refuses(BackendError, "[x] step: largest difference 1"):
        exported(WAVENET, tmp_path / "bundle", verify=True)
    assert list(tmp_path.iterdir()) == []


def edit(path: Path, change: Callable[[dict[str, Any]], object], tmp_path: Path) -> Path:
    (tmp_path / "edited").mkdir()
    for file in path.iterdir():
        (tmp_path / "edited" / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((path / "bundle.json").read_text())
    change(manifest)
    (tmp_path / "edited" / "bundle.json").write_text(json.dumps(manifest))
    return tmp_path / "edited"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["int8"].pop("front"), "int8: expected scales of front, "),
        (lambda d: d["int8"].update(other=[1.0, 0]), "other and float32"),
        (
            lambda d: d["int8"].update(front=[0.0, 0]),
            "int8: front: expected a positive number of float32 and a zero point 0..255, got 0",
        ),
        (lambda d: d["int8"].update(front=[0.1, 0]), "got 0.1, 0"),
        (lambda d: d["int8"].update(front=[0.5, 256]), "got 0.5, 256"),
        (lambda d: d["int8"].update(front=[0.5]), "bundle.json is damaged"),
        (lambda d: d.update(dtype="float16"), "and float16"),
    ],
)
def test_scales_that_cannot_be_are_refused(bundle: Path, change: Any, said: str, tmp_path: Path) -> None:
    with refuses(FileError, said):
        load(edit(bundle, change, tmp_path))


def test_only_a_bundle_in_int8_names_it(wavenet_bundle: Path, bundle: Path) -> None:
    assert "int8" not in json.loads((wavenet_bundle / "bundle.json").read_text())
    assert set(json.loads((bundle / "bundle.json").read_text())["int8"]) == {
        node.name for node in WAVENET.nodes if node.name in load(bundle).manifest.int8
    }


def grouped() -> Graph:
    g = Builder()
    return g.build(g.conv1d(g.input(channels=4), 4, groups=2, name="apart"))


def padded() -> Graph:
    g = Builder()
    return g.build(g.conv1d(g.input(channels=4), 4, kernel=2, name="op"), padding="input")


def without() -> Graph:
    g = Builder()
    return g.build(g.tanh(g.input(channels=4)))


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (grouped(), "node 'apart' (conv1d): int8 knows convolutions in one group, got groups=2"),
        (padded(), "int8 knows the paddings 'layer' and 'valid'; expected one of them, got padding 'input'"),
        (without(), "int8 is for convolutions over time, of which this network has none"),
        (models.pixelcnn(4, kernel=3), "int8 knows convolutions over time; expected conv1d, got one over images"),
    ],
)
def test_networks_that_it_does_not_know_are_refused(graph: Graph, said: str, tmp_path: Path) -> None:
    with refuses(GraphError, said):
        export(graph, refar.init(graph), tmp_path / "bundle", quantize="int8", calibration=np.zeros((1, 4, 8)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quantize": "int4"}, "quantize: expected 'int8' or None, got 'int4'"),
        ({"quantize": "int8"}, "calibration: expected sequences such as the network will meet, from which int8 takes its scales"),
        ({"calibration": np.zeros((1, 8), int)}, "calibration: expected quantize='int8' with it, got None"),
        ({"quantize": "int8", "calibration": {"x": np.full((1, 8), 5), "condition": [0]}}, "calibration: "),
        ({"quantize": "int8", "calibration": {"x": np.zeros((1, 3, 8)), "condition": [0]}}, "calibration: "),
        ({"quantize": "int8", "calibration": {"x": np.zeros((1, 8), int), "condition": [3]}}, "calibration: "),
        ({"quantize": "int8", "calibration": np.zeros((1, 8), int)}, "calibration: "),
        (
            {"quantize": "int8", "calibration": {"x": np.zeros((0, 8), int), "condition": [0]}},
            "calibration: expected at least one",
        ),
        (
            {"quantize": "int8", "dtype": "float16", "calibration": {"x": np.zeros((1, 8), int), "condition": [0]}},
            "quantize: int8 goes with dtype 'float32', in which all else is computed; got 'float16'",
        ),
    ],
)
def test_data_that_do_not_fit_are_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with refuses(InputError, said):
        export(WAVENET, refar.init(WAVENET), tmp_path / "bundle", **options)
    assert list(tmp_path.iterdir()) == []
