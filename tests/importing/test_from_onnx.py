"""ONNX files become graphs that compute the same, and what cannot be taken is refused by its node."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from causal_modules import randomised
from causal_variants import CAUSAL
from onnx import TensorProto, helper
from onnx_files import CONV, WEIGHTS, WRITTEN, exported, node, numbers, whole, written
from refused_files import REFUSED_FILES
from torch import nn

import refar
import refar_export
from refar.errors import BackendError
from refar.importing import Imported, ImportRefused, from_onnx, from_torch, onnx_check, onnx_nodes

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
]


def taken(name: str, **more: Any) -> tuple[nn.Module, Any, dict[str, Any], Imported]:
    module, example, options = CAUSAL[name]()
    module = randomised(module)
    file = exported(module, example, options, **more)
    try:
        return module, example, options, from_onnx(file, classes=options.get("classes"))
    except ImportRefused as refused:
        if onnxruntime.__version__.startswith("1.20.") and "try a newer onnxruntime" in str(refused):
            pytest.skip("this onnxruntime cuts a single position wrongly by negative padding")
        raise


@pytest.mark.parametrize("name", CAUSAL)
def test_an_exported_module_becomes_a_graph_that_computes_the_same(name: str) -> None:
    module, example, options, got = taken(name)
    assert got.report.largest_difference < 1e-9
    assert len(got.report.checked) >= 4
    assert "onnxruntime" in " ".join(got.report.notes)
    assert set(got.report.origins) == set(got.params)
    assert refar.from_json(refar.to_json(got.graph)) == got.graph
    other = from_torch(module, example, **options)
    assert got.graph.padding == other.graph.padding
    rng = np.random.default_rng(3)
    inputs = {node.name: drawn(rng, node.op) for node in other.graph.nodes if not node.inputs}
    renamed = dict(zip([node.name for node in got.graph.nodes if not node.inputs], inputs.values(), strict=True))
    expected = refar.forward(other.graph, other.params, inputs)
    np.testing.assert_allclose(
        refar.forward(got.graph, got.params, renamed), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )


def drawn(rng: np.random.Generator, op: Any) -> np.ndarray[Any, Any]:
    if op.role == "global":
        return rng.integers(op.classes, size=2) if op.classes else rng.normal(size=(2, op.channels))
    return rng.integers(op.classes, size=(2, 25)) if op.classes else rng.normal(size=(2, op.channels, 25))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_of_another_exporter_becomes_a_graph(name: str) -> None:
    model, options = WRITTEN[name]()
    before = model.SerializeToString()
    got = from_onnx(model, **options)
    assert got.report.largest_difference < 1e-9
    assert "onnxruntime in float32 differs by" in " ".join(got.report.notes)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("name", REFUSED_FILES)
def test_what_cannot_be_taken_is_named(name: str) -> None:
    model, options, words = REFUSED_FILES[name]()
    with pytest.raises(ImportRefused) as refused:
        from_onnx(model, **options)
    assert [word for word in words if word not in str(refused.value)] == []
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
@pytest.mark.parametrize("name", ["causal_stack", "channels_last", "global_vector"])
def test_older_opsets_are_read(name: str, opset: int) -> None:
    assert taken(name, opset=opset)[-1].report.largest_difference < 1e-9


def test_a_length_that_the_file_fixes_is_freed() -> None:
    module, _, _, got = taken("locuslab_tcn", fixed=True)
    assert (30, 1) in got.report.checked
    assert [note for note in got.report.notes if "fixes its length to 30" in note]
    assert [note for note in got.report.notes if "fixes its batch to 1" in note]
    x = torch.randn(2, 2, 47)
    with torch.no_grad():
        expected = module(x).numpy()
    np.testing.assert_allclose(refar.forward(got.graph, got.params, x.numpy()), expected, rtol=1e-4, atol=1e-4)


def test_names_are_those_of_the_initialisers_or_of_the_output_and_the_report_says_from_where() -> None:
    got = taken("causal_stack")[-1]
    assert set(got.params) == {"0.Conv.weight", "0.Conv.bias", "3.weight"}
    assert got.report.origins["3.weight"] == "3.weight"
    assert got.report.origins["0.Conv.weight"].startswith("onnx::Conv_")
    got = taken("wavenet")[-1]
    assert {"front.weight", "filters.2.bias", "head.3.weight"} <= set(got.params)
    got = from_onnx(WRITTEN["as_image"]()[0])
    assert {"W.weight", "W.bias", "kernel.weight", "kernel.bias"} == set(got.params)
    assert got.report.origins["kernel.bias"] == "kernel, bias"


def test_norms_become_a_part_of_the_convolution_before() -> None:
    got = from_onnx(WRITTEN["normed_by_hand"]()[0])
    assert [n.op.__struct_config__.tag for n in got.graph.nodes] == ["input", "conv1d", "activation", "multiply", "scale_shift"]


def test_a_path_bytes_and_a_model_are_the_same(tmp_path: Path) -> None:
    model = WRITTEN["slopes"]()[0]
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    graphs = [from_onnx(given).graph for given in (model, path, str(path), path.read_bytes())]
    assert all(graph == graphs[0] for graph in graphs)


def test_weights_in_other_files(tmp_path: Path) -> None:
    model = WRITTEN["slopes"]()[0]
    path = tmp_path / "model.onnx"
    onnx.save(copy.deepcopy(model), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert from_onnx(path).graph == from_onnx(model).graph
    with pytest.raises(ImportRefused, match=r"stand in 'weights\.bin', and the bytes have no folder; give the path"):
        from_onnx(path.read_bytes())
    with pytest.raises(ImportRefused, match=r"stand in 'weights\.bin', and a model in memory"):
        from_onnx(onnx.load(path, load_external_data=False))
    (tmp_path / "weights.bin").write_bytes(b"short")
    with pytest.raises(ImportRefused, match=r"cannot be read|no valid ONNX model"):
        from_onnx(path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ImportRefused, match=r"'weights\.bin', which is missing beside it"):
        from_onnx(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx"]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"absent\.onnx: there is no such file"):
        from_onnx(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("this is no model")
    with pytest.raises(ImportRefused, match=r"text\.onnx: this is no ONNX model"):
        from_onnx(tmp_path / "text.onnx")
    with pytest.raises(ImportRefused, match="the bytes: this is no ONNX model with a graph"):
        from_onnx(b"")
    with pytest.raises(ImportRefused, match=r"expected the path of an ONNX file, its bytes or an onnx\.ModelProto, got int"):
        from_onnx(cast(Any, 3))


def test_options_are_checked() -> None:
    second = node("Conv", ["h", "W"], ["y"], pads=[1, 0])
    model = written([CONV, second], {**WEIGHTS, "W": numbers(3, 3, 2)})
    for options, words in [
        ({"axes": {"z": "BCT"}}, "'z' is no input of the file; these are x"),
        ({"axes": "BCQ"}, "a letter for each of 3 axes"),
        ({"classes": {"y": 3}}, "'y' is no input of the file"),
        ({"padding": "input"}, "padding 'input' is not that of the file"),
    ]:
        with pytest.raises(ImportRefused, match=words):
            from_onnx(model, **options)
    with pytest.raises(refar.RefarError, match="shift: expected"):
        from_onnx(model, shift=cast(Any, "left"))


def test_a_shift_and_a_head() -> None:
    model, options = WRITTEN["one_hot_classes"]()
    got = from_onnx(model, **options, head=refar.ops.Categorical(), shift="output")
    assert refar.is_strict(got.graph)
    assert refar.generate(got.graph, got.params, 5, batch=2).shape == (2, 5)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_precisions(kind: int) -> None:
    model = written([CONV, node("Tanh", ["h"], ["y"])], {}, kind=kind)
    for name, array in WEIGHTS.items():
        wide = array.astype(helper.tensor_dtype_to_np_dtype(kind))
        model.graph.initializer.append(onnx.numpy_helper.from_array(wide, name))
    model.graph.output[0].type.tensor_type.elem_type = kind
    got = from_onnx(model)
    np.testing.assert_array_equal(got.params["conv.weight"], WEIGHTS["conv.weight"].astype(helper.tensor_dtype_to_np_dtype(kind)))
    assert any("float16" in note for note in got.report.notes) == (kind == TensorProto.FLOAT16)


def test_the_whole_network_of_a_bundle_comes_back(tmp_path: Path) -> None:
    graph = refar.models.wavenet(classes=5, dilations=(1, 2), residual=4, gate=4, skip=6)
    params = refar.init(graph, seed=0)
    refar_export.export(graph, params, tmp_path / "bundle")
    got = from_onnx(tmp_path / "bundle" / "full.onnx", classes=5)
    x = np.random.default_rng(0).integers(5, size=(2, 20))
    np.testing.assert_allclose(refar.forward(got.graph, got.params, x), refar.forward(graph, params, x), rtol=1e-6, atol=1e-6)


def test_functions_of_the_file_are_put_where_they_are_called() -> None:
    body = [node("Mul", ["a", "a"], ["b"])]
    square = helper.make_function("own", "Square", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
    model = written([CONV, node("Square", ["h"], ["y"], domain="own")], WEIGHTS)
    model.functions.append(square)
    model.opset_import.append(helper.make_opsetid("own", 1))
    assert [n.op.__struct_config__.tag for n in from_onnx(model).graph.nodes] == ["input", "conv1d", "multiply"]


def test_initialisers_that_are_inputs_too() -> None:
    more = [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in WEIGHTS.items()]
    assert len(from_onnx(written([CONV], WEIGHTS, outputs=("h",), more=more)).graph.nodes) == 2


def test_a_wrong_reading_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these would be a fault of the import; the comparison with the file finds it."""
    model = written([CONV, node("LeakyRelu", ["h"], ["y"], alpha=0.3)], WEIGHTS)
    conv = onnx_nodes.NODES["Conv"]

    def late(n: Any) -> Any:
        return n.core("pad", self=conv(n), pad=[1, -1], value=0.0)

    def without_slope(n: Any) -> Any:
        return n.core("leaky_relu", self=n.operand(0), negative_slope=0.300001)

    for name, wrong in (("Conv", late), ("LeakyRelu", without_slope)):
        with monkeypatch.context() as patched:
            patched.setitem(onnx_nodes.NODES, name, wrong)
            with pytest.raises(ImportRefused, match="does not compute what the file computes"):
                from_onnx(model)
    assert from_onnx(model).report.largest_difference < 1e-9


def test_an_onnxruntime_that_disagrees_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = written([CONV], WEIGHTS, outputs=("h",))
    run = onnx_check.Single.run

    def off(single: Any, given: Any) -> Any:
        y = run(single, given)
        return None if y is None else y + 1e-3

    monkeypatch.setattr(onnx_check.Single, "run", off)
    with pytest.raises(ImportRefused, match="without its optimisations, computes the file otherwise"):
        from_onnx(model)


def test_what_onnxruntime_cannot_run_is_said() -> None:
    """It has no dilation where the padding is "same", which onnx's own implementation has."""
    same = node("Conv", ["x", "W"], ["h"], auto_pad="SAME_UPPER", dilations=[2])
    cut = node("Slice", ["h", "start", "end", "axis"], ["y"])
    before = node("Pad", ["x_", "pads"], ["x"])
    weights = {"W": numbers(3, 2, 3), "start": whole(2), "end": whole(-2), "axis": whole(2), "pads": whole(0, 0, 4, 0, 0, 0)}
    model = written([before, same, cut], weights)
    model.graph.input[0].name = "x_"
    got = from_onnx(model)
    assert got.report.largest_difference < 1e-9
    assert any("onnxruntime, which cannot run the file" in note for note in got.report.notes)


def test_an_optimisation_that_changes_the_file_is_said() -> None:
    """Onnxruntime puts zeros in front of a maximum into the maximum, which leaves them out."""
    notes = from_onnx(WRITTEN["as_column"]()[0]).report.notes
    if onnxruntime.__version__.startswith("1.31."):
        assert any("something else when it optimises" in note for note in notes)


def test_without_onnx_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any, **__: Any) -> Any:
        raise ModuleNotFoundError("No module named 'onnx'", name="onnx")

    monkeypatch.delitem(__import__("sys").modules, "refar.importing.onnx_front", raising=False)
    monkeypatch.setattr("builtins.__import__", _without("refar.importing.onnx_front", absent))
    with pytest.raises(BackendError, match=r"needs onnx, which is not installed: pip install refar\[export,runtime\]"):
        from_onnx("model.onnx")


def _without(name: str, absent: Any) -> Any:
    real = __import__

    def importing(module: str, *arguments: Any) -> Any:
        return absent() if module == name else real(module, *arguments)

    return importing
