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

from refar import Graph, init, ops
from refar.errors import FileError
from refar.runtime import load
from refar.runtime.bundle import digest
from refar.runtime.session import Session
from refar.testing import ContractError, check_bundle, run_bundle_laws, strategies
from refar.testing.contract import laws
from refar_export import export
from refar_export.contents import files_of


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


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    with refuses(FileError, "nowhere"):
        check_bundle(tmp_path / "nowhere")
