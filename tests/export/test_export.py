"""What `export` writes: the files, their ports, their bytes, and nothing when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from helpers import refuses

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.analysis.slots import state_layout
from refar.errors import BackendError, FileError, GraphError, ParameterError
from refar_export import export
from refar_export.build import build
from refar_export.in_place import unordered
from refar_export.verify import verify

BUNDLE = ["block.onnx", "check.safetensors", "full.onnx", "prefill.onnx", "step.onnx", "weights.safetensors", "window.onnx"]


def test_a_bundle_agrees_with_the_oracle(model: Graph, tmp_path: Path) -> None:
    path = export(model, refar.init(model, seed=2), tmp_path / "bundle", verify=True)
    comparisons = verify(path)
    assert [c.what for c in comparisons[:5]] == ["full", "prefill", "step", "block", "window"]
    for comparison in comparisons:
        assert comparison.difference <= comparison.allowed, str(comparison)


def test_exporting_twice_gives_the_same_bytes(model: Graph, tmp_path: Path) -> None:
    params = refar.init(model)
    first, second = export(model, params, tmp_path / "a"), export(model, params, tmp_path / "b")
    for file in sorted(first.iterdir()):
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name


RELEASE = """
import sys
import refar

refar.__version__ = sys.argv[1]  # before anything that could have taken it is imported
from refar import models
from refar.config import parse_config
from refar.golden.vectors import read
from refar.torch.loop import train
from refar_export import export, testdata

model = 'model={name="wavenet", classes=17, dilations=[1, 2], residual=4, gate=4, skip=4}'
train(parse_config(f'{model}\\ndata.name="digits"\\ntrain={{steps=2, batch=8, threads=1}}'), "run", progress=False)
for name, graph in {"wavenet": models.wavenet(5, [1, 2], condition="class:3"), "image": models.pixelcnn(4, kernel=3)}.items():
    export(graph, refar.init(graph), name, metadata={"data": "digits"})
testdata.write("golden", [case for case in read(sys.argv[2]) if case.operator == "gate"])
"""
GOLDEN = str(Path(__file__).parents[2] / "golden")
TIMED = ("run/checkpoint.safetensors", "run/log.jsonl")  # they hold seconds


def test_a_release_changes_no_byte(tmp_path: Path) -> None:
    releases = ("98.76.54", "12.34.56")
    found = []
    for release in releases:
        (tmp_path / release).mkdir()
        subprocess.run([sys.executable, "-c", RELEASE, release, GOLDEN], cwd=tmp_path / release, check=True)
        files = {str(p.relative_to(tmp_path / release)): p.read_bytes() for p in (tmp_path / release).rglob("*") if p.is_file()}
        assert not [name for name, data in files.items() if release.encode() in data]
        found.append(files)
    assert {"run/weights.safetensors", "wavenet/bundle.json", "wavenet/block.onnx", "image/full.onnx"} < found[0].keys()
    assert found[0].keys() == found[1].keys()
    assert [name for name in found[0] if found[0][name] != found[1][name] and name not in TIMED] == []


def test_a_bundle_says_its_format(wavenet_bundle: Path) -> None:
    assert json.loads((wavenet_bundle / "bundle.json").read_text())["refar"] == "refar-bundle 2"
    for path in wavenet_bundle.glob("*.onnx"):
        model = onnx.load(path)
        assert (model.producer_name, model.producer_version) == ("refar", "refar-bundle 2")


@pytest.mark.parametrize("kind", ["full", "prefill", "step", "block", "window"])
def test_models_keep_the_contract(model: Graph, kind: str) -> None:
    proto = build(model, refar.init(model), kind)  # type: ignore[arg-type]
    assert proto.ir_version == 10
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert {node.domain for node in proto.graph.node} == {""}
    assert not any(node.op_type in {"Loop", "Scan", "If"} or "Random" in node.op_type for node in proto.graph.node)
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    for node in proto.graph.node:
        for attribute in node.attribute:
            assert attribute.name != "auto_pad"
            if attribute.name == "pads":
                assert min(attribute.ints) >= 0
    names = {value.name for value in proto.graph.input}
    assert not names & {value.name for value in proto.graph.output}
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert refar.from_json(metadata["refar.graph"]) == model
    assert not unordered(proto)
    layout = state_layout(facts(model))
    if kind == "step":
        state = [f"past.{tensor}" for tensor in layout.tensors]
        assert names == {facts(model).sequence, *(f"fixed.{n}" for n in layout.fixed), *state, "past.clock"}


def test_every_parameter_is_in_full_and_prefill_under_its_name(model: Graph) -> None:
    params = refar.init(model)
    for kind in ("full", "prefill"):
        stored = {t.name: onnx.numpy_helper.to_array(t) for t in build(model, params, kind).graph.initializer}  # type: ignore[arg-type]
        for name, value in params.items():
            if name.endswith(".bias") or value.ndim == 3:
                assert np.array_equal(np.sort(stored[name].ravel()), np.sort(value.ravel())), (kind, name)


def test_an_unshifted_graph_is_exported_too(tmp_path: Path) -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.input(channels=2), 3, kernel=3, dilation=2))
    assert all(c.difference <= c.allowed for c in verify(export(graph, refar.init(graph), tmp_path / "b")))


@pytest.mark.parametrize("kernel", [1, 2, 8, 17, 21, 25, 60])
@pytest.mark.parametrize("strict", [False, True])
def test_bundles_of_any_reach_are_verified(tmp_path: Path, kernel: int, strict: bool) -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.input(channels=1), 1, kernel=kernel, strict=strict))
    results = verify(export(graph, refar.init(graph), tmp_path / "b"))
    assert all(c.difference <= c.allowed for c in results), [str(c) for c in results]


def test_a_wrong_dilation_far_back_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = models.wavenet(4, [1, 128], residual=3, gate=3, skip=3)
    other = refar.from_json(refar.to_json(graph).replace(b'"dilation": 128', b'"dilation": 100'))
    monkeypatch.setattr("refar_export.vectors.forward", lambda _, params, x: refar.forward(other, params, x))
    with pytest.raises(BackendError, match=r"\[x\] full"):
        export(graph, refar.init(graph), tmp_path / "b", verify=True)


def test_a_bundle_is_not_overwritten_unasked(wavenet_bundle: Path) -> None:
    graph = models.linear_ar(2)
    before = {file.name: file.read_bytes() for file in wavenet_bundle.iterdir()}
    with pytest.raises(FileError, match="exists already"):
        export(graph, refar.init(graph), wavenet_bundle)
    assert before == {file.name: file.read_bytes() for file in wavenet_bundle.iterdir()}


def test_overwriting_replaces_the_whole_bundle_and_nothing_else(tmp_path: Path) -> None:
    graph = models.linear_ar(2)
    path = export(graph, refar.init(graph), tmp_path / "b")
    export(graph, refar.init(graph, seed=1), path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileError, match="is no bundle"):
        export(graph, refar.init(graph), tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def add(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("years of work")

    return change


def link(folder: Path) -> None:
    (folder / "full.onnx").rename(folder.parent / "mine.onnx")
    (folder / "full.onnx").symlink_to(folder.parent / "mine.onnx")


def nest(folder: Path) -> None:
    (folder / "full.onnx").unlink()
    add("full.onnx/mine.txt")(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add("index.html"), "holds 'index.html', which no export wrote"),
        (add(".git"), "holds '.git', which no export wrote"),
        (add("row.onnx"), "holds 'row.onnx', which no export wrote"),
        (add("images/logo.svg"), "holds 'images/logo.svg', which no export wrote"),
        (lambda folder: (folder / "images").mkdir(), "holds 'images', a folder which no export wrote"),
        (nest, "holds 'full.onnx/mine.txt', which no export wrote"),
        (link, "holds 'full.onnx', a link or the like: expected the file that the export wrote"),
        (add("full.onnx"), "holds 'full.onnx', not as the export wrote it: expected SHA-256 "),
        (add("bundle.json"), "bundle.json is damaged"),
        (
            lambda folder: (folder / "bundle.json").write_text('{"name": "site"}'),
            "bundle.json is damaged: Object contains",
        ),
    ],
)
def test_overwriting_deletes_nothing_that_no_export_wrote(tmp_path: Path, change: Callable[[Path], object], said: str) -> None:
    graph = models.linear_ar(2)
    path = export(graph, refar.init(graph), tmp_path / "b")
    change(path)
    before = {file: file.read_bytes() if file.is_file() else None for file in tmp_path.rglob("*")}
    with refuses(FileError, f"bundle {str(path)!r}", said, f"so {str(path)!r} is not replaced"):
        export(graph, refar.init(graph, seed=1), path, overwrite=True)
    assert {file: file.read_bytes() if file.is_file() else None for file in tmp_path.rglob("*")} == before


def test_what_is_left_of_a_bundle_may_be_overwritten(tmp_path: Path) -> None:
    graph = models.linear_ar(2)
    path = export(graph, refar.init(graph), tmp_path / "b")
    (path / "full.onnx").unlink()
    export(graph, refar.init(graph), path, overwrite=True)
    assert sorted(p.name for p in path.iterdir()) == sorted(["bundle.json", *BUNDLE])


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_comes_while_the_bundle_is_checked_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool) -> None:
    def slow(_: Path) -> None:
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "b" / "thesis.txt").write_text("years of work")

    graph = models.linear_ar(2)
    if overwrite:
        export(graph, refar.init(graph), tmp_path / "b")
    monkeypatch.setattr("refar_export.verify.require", slow)
    with refuses(FileError, "holds 'thesis.txt'" if overwrite else "exists already"):
        export(graph, refar.init(graph), tmp_path / "b", verify=True, overwrite=overwrite)
    assert (tmp_path / "b" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("moment", [1, 2])
def test_an_interrupt_while_the_folders_change_places_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    graph = models.linear_ar(2)
    path = export(graph, refar.init(graph), tmp_path / "b")
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    calls = iter([False] * (moment - 1) + [True])

    def rename(self: Path, to: Path, rename: Callable[[Path, Path], Path] = Path.rename) -> Path:
        if next(calls, False):
            raise KeyboardInterrupt
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        export(graph, refar.init(graph, seed=1), path, overwrite=True)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("ar.bias"), "parameter 'ar.bias' of shape \\(1,\\) is missing"),
        (lambda p: p.update(extra=np.zeros(1)), "no such parameter"),
        (lambda p: p.update({"ar.bias": np.zeros(2)}), "expected shape \\(1,\\), got \\(2,\\)"),
        (lambda p: p.update({"ar.bias": np.array([np.nan])}), "expected finite numbers, got nan"),
        (lambda p: p.update({"ar.bias": np.array(["x"])}), "expected real numbers, got <U1"),
    ],
)
def test_parameters_that_do_not_fit_leave_nothing_behind(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    graph = models.linear_ar(2)
    params = refar.init(graph)
    change(params)
    with pytest.raises(ParameterError, match=message):
        export(graph, params, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_numbers_that_float32_cannot_hold_are_refused(tmp_path: Path) -> None:
    graph = models.linear_ar(2)
    params = {name: value.astype(np.float64) for name, value in refar.init(graph).items()} | {"ar.bias": np.array([1e300])}
    with pytest.raises(ParameterError, match=r"'ar.bias': expected finite numbers, got inf"):
        export(graph, params, tmp_path / "b")


def test_a_bundle_that_disagrees_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from refar_export import lower

    monkeypatch.setattr(lower, "window_sequence", lambda e, x, offset, before: x)
    graph = models.nettoy1d(4, hidden=3)
    with pytest.raises(BackendError, match=r"\[x\] full"):
        export(graph, refar.init(graph), tmp_path / "b", verify=True)
    assert list(tmp_path.iterdir()) == []


def test_nodes_that_the_output_does_not_need_are_left_out(tmp_path: Path) -> None:
    def nodes(surplus: bool) -> Graph:
        g = Builder()
        h = g.conv1d(g.input(channels=2), 3, kernel=2, dilation=2, name="layer.0")
        y = g.conv1d(h, 2, name="out")
        if surplus:
            g.conv1d(h, 5, kernel=801, name="layer.1")
        document = {"format": "refar-graph", "version": 1, "nodes": g.nodes, "output": y}
        return refar.from_json(msgspec.json.encode(document))

    params = refar.init(nodes(True))
    own = {name: params[name] for name in refar.init(nodes(False))}
    some = export(nodes(True), params, tmp_path / "some", verify=True)
    few = export(nodes(False), own, tmp_path / "few", verify=True)
    for file in sorted(few.iterdir()):
        assert file.read_bytes() == (some / file.name).read_bytes(), file.name


def test_names_that_collide_with_ports_are_refused() -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.input("past", channels=1), 1, strict=True), ops.Gaussian())
    with pytest.raises(GraphError, match=r"'past': names that begin with past"):
        build(graph, refar.init(graph), "full")


def test_a_link_to_a_bundle_is_not_replaced(tmp_path: Path) -> None:
    graph = models.linear_ar(2)
    path = export(graph, refar.init(graph), tmp_path / "b")
    (tmp_path / "link").symlink_to(path)
    with refuses(FileError, "is a link", repr(str(path))):
        export(graph, refar.init(graph), tmp_path / "link", overwrite=True)


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    graph = models.wavenet(4, [1], residual=2, gate=2, skip=2)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileError, match=r"/b' cannot be written: No space left on device"):
        export(graph, refar.init(graph), tmp_path / "b")
    assert not list(tmp_path.iterdir())
