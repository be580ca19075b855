"""check_bundle: what can be seen of a bundle where there is neither onnx nor torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import refuses, single
from hypothesis import given, settings

from refar import Graph, init, ops
from refar.errors import FileError
from refar.runtime.session import Session
from refar.testing import ContractError, check_bundle, run_bundle_laws, strategies
from refar.testing.contract import laws
from refar_export import export


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


def test_neither_onnx_nor_torch_is_loaded(wavenet_bundle: Path) -> None:
    code = (
        "import sys; from refar.testing import check_bundle\n"
        f"check_bundle({str(wavenet_bundle)!r})\n"
        "assert not {'onnx', 'torch'} & set(sys.modules)"
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
    assert {line.law for line in report.lines if not line.passed} == {"step", "block", "vectors"}


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    with refuses(FileError, "nowhere"):
        check_bundle(tmp_path / "nowhere")
