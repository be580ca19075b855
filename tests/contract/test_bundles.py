"""check_bundle: what can be seen of a bundle where there is neither onnx nor torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import refuses, single
from hypothesis import given, settings

from refar import Graph, init, models, ops
from refar.errors import FileError
from refar.runtime import load
from refar.runtime.bundle import digest
from refar.runtime.session import Session
from refar.testing import ContractError, check_bundle, run_bundle_laws, strategies
from refar.testing.contract import laws
from refar_export import export
from refar_export.contents import files_of

FIXTURE = Path(__file__).parents[1] / "compat" / "fixtures" / "bundle"


def test_every_model(model: Graph, tmp_path: Path) -> None:
    report = check_bundle(export(model, init(model, seed=1), tmp_path / "bundle"))
    assert [line.law for line in report.lines] == list(laws.BUNDLE_LAWS)
    assert all(line.figure for line in report.lines)


@pytest.mark.parametrize("op", [ops.Conv1d(2, 3, 2), ops.Conv1d(2, 2, 3, strict=True), ops.Shift(2), ops.Activation("tanh")])
def test_operators(op: ops.AnyOp, tmp_path: Path) -> None:
    graph = single(op, channels=2)
    check_bundle(export(graph, init(graph), tmp_path / "bundle"))


@settings(max_examples=10)
@given(graph=strategies.graphs())
def test_random_graphs(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_bundle(export(graph, init(graph), tmp_path_factory.mktemp("bundle") / "bundle"))


def test_neither_onnx_nor_torch_is_needed(wavenet_bundle: Path) -> None:
    code = (
        "import sys; sys.modules.update(onnx=None, torch=None); from refar.testing import check_bundle\n"
        f"lines = {{line.law: line for line in check_bundle({str(wavenet_bundle)!r}).lines}}\n"
        "assert 'onnx is not installed' in lines['models'].figure and not lines['models'].applies and lines['oracle'].applies"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_networks_vectors_are_seen(wavenet_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Session.check_vectors
    monkeypatch.setattr(Session, "check_vectors", lambda self: {**right(self), "y": right(self)["y"] + 1e-3})
    report = run_bundle_laws(wavenet_bundle)
    assert [line.law for line in report.lines if not line.passed] == ["vectors"]
    with pytest.raises(ContractError, match=r"law 'vectors': onnxruntime float32: output of the check vectors at positions"):
        check_bundle(wavenet_bundle)


def test_a_step_that_forgets_is_seen(wavenet_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Session.step
    monkeypatch.setattr(Session, "step", lambda self, x: right(self, np.zeros_like(x)))
    report = run_bundle_laws(wavenet_bundle)
    assert {line.law for line in report.lines if not line.passed} == {"step", "block", "vectors", "oracle"}


def test_a_weight_that_is_a_little_off_is_seen(wavenet_bundle: Path, tmp_path: Path) -> None:
    """The models are those of other parameters than the ones that lie beside them: by one weight, by a thousandth."""
    session = load(wavenet_bundle)
    weights = {name: array.copy() for name, array in session.weights.items()}
    weights["head.logits.weight"].flat[0] += 0.0016
    other = files_of(session.graph, weights)
    shutil.copytree(wavenet_bundle, tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "bundle.json").read_text())
    for name in ("full.onnx", "prefill.onnx", "step.onnx", "block.onnx"):
        (tmp_path / "b" / name).write_bytes(other[name])
        manifest["files"][name] = digest(other[name])
    (tmp_path / "b" / "bundle.json").write_text(json.dumps(manifest))
    report = {line.law: line for line in run_bundle_laws(tmp_path / "b").lines}
    assert not report["oracle"].passed
    assert "from the oracle, first-order bound" in report["oracle"].message
    assert report["models"].message.startswith("full.onnx, prefill.onnx, step.onnx, block.onnx: other bytes than graph and")


def with_models_of_other_weights(source: Path, target: Path, parameter: str, *names: str) -> Path:
    """A copy of a bundle, in which the models of these names have one other weight than the one that lies beside them."""
    session = load(source)
    weights = {name: array.copy() for name, array in session.weights.items()}
    weights[parameter].flat[:] += 0.01
    other = files_of(session.graph, weights)
    shutil.copytree(source, target)
    manifest = json.loads((target / "bundle.json").read_text())
    for name in names:
        (target / name).write_bytes(other[name])
        manifest["files"][name] = digest(other[name])
    (target / "bundle.json").write_text(json.dumps(manifest))
    return target


@pytest.mark.parametrize(
    ("graph", "parameter", "name"),
    [
        (models.gated_pixelcnn(4, layers=2, hidden=4, kernel=3, first_kernel=3), "layer1.vertical.conv.weight", "row.onnx"),
        (models.gated_pixelcnn(4, layers=2, hidden=4, kernel=3, first_kernel=3), "layer1.horizontal.conv.weight", "pixel.onnx"),
        (models.gated_pixelcnn(4, layers=2, hidden=4, kernel=3, first_kernel=3), "layer1.horizontal.conv.weight", "pixels.onnx"),
        (models.wavenet(4, [1, 2], residual=4, gate=4, skip=4, condition="class:3"), "", "condition.onnx"),
    ],
)
def test_another_weight_in_any_one_model_is_seen_without_onnx(
    graph: Graph, parameter: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = init(graph, seed=1)
    parameter = parameter or next(each for each in params if "condition" in each)
    source = export(graph, params, tmp_path / "b")
    path = with_models_of_other_weights(source, tmp_path / "other", parameter, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "refar_export.contents", raising=False)
    broken = [line.law for line in run_bundle_laws(path).lines if not line.passed]
    assert "oracle" in broken


def test_shipped_models_are_judged_though_they_do_not_run(wavenet_bundle: Path, tmp_path: Path) -> None:
    path = with_models_of_other_weights(wavenet_bundle, tmp_path / "b", "head.logits.weight", "step.onnx")
    (path / "block.onnx").write_bytes(b"no model")
    report = {line.law: line for line in run_bundle_laws(path, trust="rebuild").lines}
    assert report["models"].message.startswith("step.onnx, block.onnx: other bytes than graph and parameters give")
    assert all(line.passed for law, line in report.items() if law != "models")


def test_the_models_of_version_1_are_not_judged(tmp_path: Path) -> None:
    report = {line.law: line for line in run_bundle_laws(FIXTURE).lines}
    assert not report["models"].applies
    assert "version 1" in report["models"].figure


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    with refuses(FileError, "nowhere"):
        check_bundle(tmp_path / "nowhere")
