"""Bundles in float16: half the bytes, the same graphs, and outputs within the bound of the rounding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from helpers import refuses
from hypothesis import given, settings
from onnx import TensorProto, numpy_helper

import refar
from refar import Builder, Graph, models
from refar.errors import FileError, InputError, ParameterError
from refar.runtime import load
from refar.runtime.bundle import digest
from refar.testing import check_bundle, run_bundle_laws, strategies
from refar_export import export, float16
from refar_export.build import build
from refar_export.export import files_of


def test_every_law_holds(streamed: Graph, tmp_path: Path) -> None:
    report = check_bundle(export(streamed, refar.init(streamed, seed=1), tmp_path / "bundle", dtype="float16", verify=True))
    assert [line.law for line in report.lines][-1] == "precision"
    assert all(line.applies for line in report.lines[-3:])


def test_every_law_holds_of_images(image_model: Graph, tmp_path: Path) -> None:
    report = check_bundle(export(image_model, refar.init(image_model, seed=1), tmp_path / "bundle", dtype="float16"))
    assert report.lines[-1].applies


@settings(max_examples=10)
@given(graph=strategies.graphs())
def test_every_law_holds_of_random_networks(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_bundle(export(graph, refar.init(graph), tmp_path_factory.mktemp("half") / "bundle", dtype="float16"))


def test_its_files_are_half_as_large(tmp_path: Path) -> None:
    graph = models.wavenet(64, [1, 2, 4, 8], residual=64, gate=64, skip=64)
    params = refar.init(graph)
    wide, half = export(graph, params, tmp_path / "wide"), export(graph, params, tmp_path / "half", dtype="float16")
    for name in ("full.onnx", "prefill.onnx", "step.onnx", "block.onnx", "weights.safetensors"):
        assert (half / name).stat().st_size < 0.6 * (wide / name).stat().st_size, name


def test_parameters_are_those_of_float16(tmp_path: Path) -> None:
    graph = models.wavenet(5, [1, 2])
    params = refar.init(graph, seed=2)
    session = load(export(graph, params, tmp_path / "bundle", dtype="float16"))
    assert session.manifest.dtype == "float16"
    for name, array in session.weights.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, params[name].astype(np.float32).astype(np.float16))
    stored = safetensors.numpy.load_file(tmp_path / "bundle" / "weights.safetensors")
    assert {array.dtype for array in stored.values()} == {np.dtype(np.float16)}


def test_models_hold_the_same_numbers_in_fewer_bytes() -> None:
    """Those that float16 does not hold, such as the table of a standardised input, stay in float32."""
    graph = models.nettoy1d(128, hidden=16, mean=3.1, std=2.7)
    model = build(graph, float16.rounded({n: a.astype(np.float32) for n, a in refar.init(graph).items()}), "step")
    half = float16.stored(model)
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in half.graph.initializer}
    cast = {node.output[0]: node.input[0] for node in half.graph.node if node.name == f"Cast:{node.output[0]}"}
    assert len(cast) >= 3
    assert before.keys() == {*cast, *after} - {*cast.values()}
    for name, array in before.items():
        np.testing.assert_array_equal(after[cast.get(name, name)], array)
    table = next(name for name, array in before.items() if array.shape == (128, 1))
    assert table not in cast
    assert [v.type for v in half.graph.input] == [v.type for v in model.graph.input]
    assert TensorProto.FLOAT16 not in [value.type.tensor_type.elem_type for value in half.graph.output]


@pytest.mark.parametrize("name", ["wavenet", "pixelcnn"])
def test_it_is_made_anew_byte_for_byte(name: str, tmp_path: Path) -> None:
    graph = models.wavenet(5, [1, 2]) if name == "wavenet" else models.pixelcnn(4, kernel=3)
    path = export(graph, refar.init(graph), tmp_path / "bundle", dtype="float16")
    made = load(path, trust="rebuild")._opened.bundle.made
    assert made is not None
    assert [file for file in made if file.endswith(".onnx") and made[file] != (path / file).read_bytes()] == []
    report = {line.law: line for line in run_bundle_laws(path, trust="rebuild").lines}
    assert report["oracle"].passed
    assert "what the parameters were before rounding is not known" in report["precision"].figure


def test_generating_needs_no_other_call(tmp_path: Path) -> None:
    """The network in float16 is the float32 network of the rounded parameters: the same tokens."""
    graph = models.wavenet(7, [1, 2, 4], condition="class:3")
    params = refar.init(graph, seed=3)
    session = load(export(graph, params, tmp_path / "half", dtype="float16"))
    wide = load(export(graph, session.weights, tmp_path / "wide"))
    options = {"batch": 2, "condition": [0, 2], "seed": 4}
    np.testing.assert_array_equal(session.generate(30, **options), wide.generate(30, **options))


def test_a_coarser_rounding_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right, graph = float16.rounded, models.wavenet(5, [1, 2])

    def coarse(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: (array.view(np.int32) & ~0xFFFFF).view(np.float32) for name, array in right(weights).items()}

    monkeypatch.setattr(float16, "rounded", coarse)
    report = run_bundle_laws(export(graph, refar.init(graph), tmp_path / "bundle", dtype="float16"))
    broken = [line for line in report.lines if not line.passed]
    assert [line.law for line in broken] == ["precision"]
    assert "from the network before its parameters were rounded to float16, first-order bound" in broken[0].message


def test_only_a_bundle_in_float16_has_the_law(wavenet_bundle: Path) -> None:
    assert "precision" not in [line.law for line in run_bundle_laws(wavenet_bundle).lines]


@pytest.mark.parametrize(("number", "held"), [(65504, 65504), (-65519, -65504), (2**-24, 2**-24), (2**-25, 0), (1e-30, 0)])
def test_the_ends_of_the_range(number: float, held: float) -> None:
    assert float16.rounded({"w": np.array([number], np.float32)})["w"].tolist() == [held]


def test_what_float16_does_not_hold_is_refused_by_name(tmp_path: Path) -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.input(channels=1), 2, name="amplify"))
    params = {"amplify.weight": np.array([[[1.0]], [[-65520.0]]]), "amplify.bias": np.zeros(2)}
    said = (
        "parameter 'amplify.weight': expected numbers that float16 holds, at most 65504, got -65520 at index (1, 0, 0); "
        "export in float32"
    )
    with refuses(ParameterError, said):
        export(graph, params, tmp_path / "bundle", dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_another_dtype_is_refused(tmp_path: Path) -> None:
    graph = models.linear_ar(2)
    with refuses(InputError, "dtype: expected one of float32, float16, got 'bfloat16'"):
        export(graph, refar.init(graph), tmp_path / "bundle", dtype="bfloat16")


def test_parameters_in_another_dtype_than_bundle_json_says_are_refused(tmp_path: Path) -> None:
    graph = models.linear_ar(2)
    path = export(graph, refar.init(graph), tmp_path / "bundle", dtype="float16")
    wide = files_of(graph, {name: array.astype(np.float32) for name, array in refar.init(graph).items()})
    manifest = json.loads((path / "bundle.json").read_text())
    manifest["files"]["weights.safetensors"] = digest(wide["weights.safetensors"])
    (path / "bundle.json").write_text(json.dumps(manifest))
    (path / "weights.safetensors").write_bytes(wide["weights.safetensors"])
    with refuses(FileError, "weights.safetensors: 'ar.", "expected float16, got float32"):
        load(path)
