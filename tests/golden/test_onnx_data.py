"""Golden cases as ONNX backend test data, run as another runtime's own runner would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from refar.golden import Case
from refar.golden.case import UNITS
from refar.golden.compare import allowed
from refar.golden.node_operators import FUNCTIONS
from refar.golden.vectors import read
from refar_export import testdata

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Case], list[str]]:
    folder, cases = tmp_path_factory.mktemp("data"), read(GOLDEN)
    return folder, cases, testdata.write(folder, cases)


def test_every_operator_with_a_graph_and_every_network_is_there(written: tuple[Path, list[Case], list[str]]) -> None:
    _, cases, names = written
    said = {case.operator for case in cases for name in names if name == name_of(case)}
    assert said == {
        "causal_conv1d", "masked_conv2d", "causal_pool1d", "shift1d", "shift2d", "gate", "softmax", "activation", "one_hot",
        "embedding", "standardize", "positional_encoding", "network", "layer_norm", "rms_norm", "prelu", *FUNCTIONS,
    }  # fmt: skip
    left_out = [case.id for case in cases if case.operator in said and name_of(case) not in names]
    assert left_out == ["masked_conv2d/3x3-B-channels-no-multiple-of-the-colours"]


def test_onnxruntime_gives_what_is_expected(written: tuple[Path, list[Case], list[str]]) -> None:
    folder, cases, names = written
    by_name = {name_of(case): case for case in cases}
    for name in names:
        data = folder / name / "test_data_set_0"
        session = onnxruntime.InferenceSession(folder / name / "model.onnx", providers=["CPUExecutionProvider"])
        feeds = {}
        for path in sorted(data.glob("input_*.pb")):
            tensor = onnx.load_tensor(path)
            feeds[tensor.name] = numpy_helper.to_array(tensor)
        assert list(feeds) == [each.name for each in session.get_inputs()], name
        (y,) = session.run(None, feeds)
        stored = onnx.load_tensor(data / "output_0.pb")
        assert stored.name == session.get_outputs()[0].name
        expected = numpy_helper.to_array(stored)
        assert expected.dtype == np.float32
        case = by_name[name]
        off = np.abs(y.astype(np.float64) - expected)
        # what is stored was rounded to float32 once more
        most = allowed(case, "y", UNITS["float32"]) + (np.spacing(np.abs(expected)) / 2 if "y" in case.bound else 0)
        assert (off <= most).all(), f"{name}: {off.max()} of {most.max()}"


def test_the_same_bytes_twice(written: tuple[Path, list[Case], list[str]], tmp_path: Path) -> None:
    folder, cases, _ = written
    few = [case for case in cases if case.operator in ("gate", "causal_pool1d")]
    for name in testdata.write(tmp_path, few):
        for file in ("model.onnx", "test_data_set_0/input_0.pb", "test_data_set_0/output_0.pb"):
            assert (tmp_path / name / file).read_bytes() == (folder / name / file).read_bytes()


def name_of(case: Case) -> str:
    return "test_refar_" + case.id.replace("/", "_").replace("-", "_")
