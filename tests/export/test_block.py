"""block.onnx in a bundle: its ports, its bytes, its place in the manifest, and every mistake in it seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import refuses
from stream_graphs import conditioned, delays, pools

import refar
from refar import Builder, Graph, models
from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.errors import BackendError, FileError, GraphError
from refar.runtime import bundle, load
from refar.runtime.session import Session
from refar.runtime.stepper import Stepper
from refar.testing import run_bundle_laws
from refar.testing.contract.cases import generic_parameters
from refar_export import build as building
from refar_export import export
from refar_export.build import build
from refar_export.lower import LAST, Emitter
from refar_export.verify import verify


def test_a_bundle_with_blocks_agrees_with_the_oracle(streamed: Graph, tmp_path: Path) -> None:
    params = generic_parameters(streamed, np.random.default_rng(0))
    comparisons = verify(export(streamed, params, tmp_path / "b", block=True, verify=True))
    assert [c.what for c in comparisons[:4]] == ["full", "prefill", "step", "block"]
    for comparison in comparisons:
        assert comparison.difference <= comparison.allowed, str(comparison)
    (state,) = [c.what for c in comparisons[4:]]
    assert state in {f"state of {name} after blocks" for name in facts(streamed).schedule(leading=is_strict(streamed)).cache}


@pytest.mark.parametrize("kernel", [1, 2, 8, 17, 25, 60])
@pytest.mark.parametrize("strict", [False, True])
def test_blocks_of_any_reach_are_verified(tmp_path: Path, kernel: int, strict: bool) -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.input(channels=1), 1, kernel=kernel, strict=strict))
    results = verify(export(graph, refar.init(graph), tmp_path / "b", block=True))
    assert all(c.difference <= c.allowed for c in results), [str(c) for c in results]


def test_the_same_bytes_twice_and_nothing_else_changes(streamed: Graph, tmp_path: Path) -> None:
    params = refar.init(streamed)
    first, second = (export(streamed, params, tmp_path / name, block=True) for name in "ab")
    without = export(streamed, params, tmp_path / "c")
    assert {file.name for file in first.iterdir()} == {file.name for file in without.iterdir()} | {"block.onnx"}
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name
        if file.name not in ("block.onnx", "bundle.json"):
            assert file.read_bytes() == (without / file.name).read_bytes(), file.name
    manifests = [json.loads((path / "bundle.json").read_text()) for path in (first, without)]
    assert len(manifests[0]["files"].pop("block.onnx")) == 64
    assert manifests[0] == manifests[1]


def test_ports(streamed: Graph) -> None:
    model = build(streamed, refar.init(streamed), "block")
    found, state = facts(streamed), facts(streamed).schedule(leading=is_strict(streamed)).cache

    def sizes(values: Any) -> dict[str, list[Any]]:
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    lengths = {"b": "batch_size", "t": "sequence_length"}
    kinds = {name: found.types[name] for name in (found.sequence, *found.conditions)}
    ports = {name: [lengths.get(axis, kind.channels) for axis in kind.axes] for name, kind in kinds.items()}
    carried = {name: ["batch_size", found.types[name].size, kept] for name, kept in state.items()}
    assert sizes(model.graph.input) == ports | {f"past.{name}": shape for name, shape in carried.items()}
    assert sizes(model.graph.output) == {
        "output": ["batch_size", found.types[streamed.output].size, "sequence_length"],
        **{f"present.{name}": shape for name, shape in carried.items()},
    }


def test_the_contract_of_every_file(streamed: Graph) -> None:
    params = refar.init(streamed)
    model = build(streamed, params, "block")
    assert model.ir_version == 10
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
    assert not any(node.op_type in {"Loop", "Scan", "If"} or "Random" in node.op_type for node in model.graph.node)
    assert {entry.key: entry.value for entry in model.metadata_props}["refar.kind"] == "block"
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert all(np.array_equal(np.sort(stored[name].ravel()), np.sort(value.ravel())) for name, value in params.items())


def test_only_a_graph_that_is_run_position_by_position_has_blocks(tmp_path: Path) -> None:
    g = Builder()
    ahead = g.build(g.delay(g.input(channels=1), -1))
    g = Builder()
    valid = g.build(g.conv1d(g.input(channels=1), 1, kernel=2), padding="valid")
    for graph in (ahead, valid, models.pixelcnn(4, kernel=3, hidden=3)):
        with refuses(GraphError, "block.onnx needs a graph that is run position by position"):
            export(graph, refar.init(graph), tmp_path / "b", block=True)
        assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = models.linear_ar(3)
    return export(graph, refar.init(graph), tmp_path_factory.mktemp("b") / "b", block=True)


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_file_is_refused(blocks: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(blocks, tmp_path / "b")
    file = tmp_path / "b" / "block.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x55
    file.unlink() if damage == "missing" else file.write_bytes(data[:50] if damage == "truncated" else data)
    with pytest.raises(FileError, match=r"block\.onnx (cannot be read|is not what was exported)"):
        load(tmp_path / "b")


def test_a_file_of_another_kind_is_refused(blocks: Path, tmp_path: Path) -> None:
    shutil.copytree(blocks, tmp_path / "b")
    manifest = json.loads((blocks / "bundle.json").read_text())
    shutil.copy(blocks / "step.onnx", tmp_path / "b" / "block.onnx")
    manifest["files"]["block.onnx"] = manifest["files"]["step.onnx"]
    (tmp_path / "b" / "bundle.json").write_text(json.dumps(manifest))
    with refuses(FileError, "block.onnx: expected inputs ['past.x', 'x'], got ['past.x', 'start', 'x']"):
        load(tmp_path / "b")


def test_a_manifest_that_names_a_block_of_what_has_none(blocks: Path, tmp_path: Path) -> None:
    image = models.pixelcnn(4, kernel=3, hidden=3)
    path = export(image, refar.init(image), tmp_path / "b")
    manifest = json.loads((path / "bundle.json").read_text())
    manifest["files"]["block.onnx"] = "0" * 64
    (path / "bundle.json").write_text(json.dumps(manifest))
    with refuses(FileError, "expected digests of check.safetensors, full.onnx, got block.onnx, check.safetensors, full.onnx"):
        bundle.read_manifest(path)


Emit = Callable[..., str]
Change = Callable[[Emitter, Emit, str, tuple[str, ...], dict[str, Any]], str]


def mistaken(change: Change) -> Callable[[pytest.MonkeyPatch], None]:
    """Every ONNX node of the block graph, and of no other, is emitted by change(emitter, right, operator, inputs, attributes)."""

    def put_in(patch: pytest.MonkeyPatch) -> None:
        right = building._block

        def wrong(e: Emitter, graph: Graph) -> list[str]:
            emit = e.emit
            patch.setattr(e, "emit", lambda kind, *inputs, **attributes: change(e, emit, kind, inputs, attributes))
            return right(e, graph)

        patch.setattr(building, "_block", wrong)

    return put_in


def taps_reversed(e: Emitter, emit: Emit, kind: str, inputs: tuple[str, ...], attributes: dict[str, Any]) -> str:
    if kind == "Conv":
        e.initializer(inputs[1], e.params[inputs[1]][..., ::-1].copy())
    return emit(kind, *inputs, **attributes)


def without_bias(e: Emitter, emit: Emit, kind: str, inputs: tuple[str, ...], attributes: dict[str, Any]) -> str:
    return emit(kind, *(inputs[:2] if kind == "Conv" else inputs), **attributes)


def past_last(e: Emitter, emit: Emit, kind: str, inputs: tuple[str, ...], attributes: dict[str, Any]) -> str:
    return emit(kind, *(inputs[::-1] if kind == "Concat" and inputs[0].startswith("past.") else inputs), **attributes)


def one_off(by: int) -> Change:
    """What a node reads of the past, this much later; where nothing is later, as it was."""

    def change(e: Emitter, emit: Emit, kind: str, inputs: tuple[str, ...], attributes: dict[str, Any]) -> str:
        if kind == "Slice" and e.initializers[inputs[3]] == [2] and "outputs" not in attributes:
            begin, end = (int(e.initializers[name][0]) for name in inputs[1:3])
            end = 0 if end == LAST else end
            if begin + by >= 0 >= end + by:
                e.initializer(inputs[1], np.array([begin + by]))
                e.initializer(inputs[2], np.array([end + by or LAST]))
        return emit(kind, *inputs, **attributes)

    return change


def present(change: Callable[[Emitter, Emit, str, str, int], str]) -> Change:
    """What is in present.<node>, by change(emitter, right, node, past and new values, how many are kept)."""

    def changed(e: Emitter, emit: Emit, kind: str, inputs: tuple[str, ...], attributes: dict[str, Any]) -> str:
        name = attributes.get("outputs", ("",))[0]
        if not name.startswith("present."):
            return emit(kind, *inputs, **attributes)
        return change(e, emit, name, inputs[0], -int(e.initializers[inputs[1]][0]))

    return changed


def cut(begin: Callable[[int], int], end: Callable[[int], int]) -> Change:
    """present.<node> from and up to these places, of how many are kept."""
    return present(
        lambda e, emit, name, values, kept: emit(
            "Slice", values, e.constant([begin(kept)]), e.constant([end(kept)]), e.constant([2]), outputs=[name]
        )
    )


def the_turn_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = Stepper.block

    def wrong(self: Stepper, session: Any, fresh: dict[str, np.ndarray]) -> np.ndarray:
        y = right(self, session, fresh)
        self._turn = 1 - self._turn
        return y

    patch.setattr(Stepper, "block", wrong)


MISTAKES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "taps in the wrong order": mistaken(taps_reversed),
    "bias dropped": mistaken(without_bias),
    "the past behind the present": mistaken(past_last),
    "one position too early": mistaken(one_off(-1)),
    "one position too late": mistaken(one_off(1)),
    "the state as it came": mistaken(
        present(lambda e, emit, name, *_: emit("Identity", name.replace("present.", "past."), outputs=[name]))
    ),
    "the state of the wrong end": mistaken(cut(lambda kept: 0, lambda kept: kept)),
    "the state one position old": mistaken(cut(lambda kept: -kept - 1, lambda kept: -1)),
    "the state turned round": mistaken(
        present(lambda e, emit, name, values, kept: emit(
            "Slice", values, *map(e.constant, ([-1], [-kept - 1], [2], [-1])), outputs=[name]))
    ),
    "the turn of the buffers forgotten": the_turn_forgotten,
}  # fmt: skip


@pytest.mark.parametrize("graph", [conditioned(strict=True), delays(), pools(strict=True), pools(strict=False)])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_seen(mistake: str, graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the exporter's own check and, where there is neither onnx nor the oracle's parameters, by `check_bundle`."""
    params = generic_parameters(graph, np.random.default_rng(5))
    MISTAKES[mistake](monkeypatch)
    with pytest.raises(BackendError, match=r"\[✓\] step.*\n.*\[x\]|block\.onnx: expected finite outputs"):
        export(graph, params, tmp_path / "b", block=True, verify=True)
    report = run_bundle_laws(export(graph, params, tmp_path / "b", block=True))
    assert [line.law for line in report.lines if not line.passed] == ["block"], str(report)


def test_a_state_that_is_read_much_later_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pushed into a long queue comes out of it only after more tokens than are checked."""
    graph = models.wavenet(4, [1, 64], residual=3, gate=3, skip=3)
    MISTAKES["the state turned round"](monkeypatch)
    path = export(graph, generic_parameters(graph, np.random.default_rng(6)), tmp_path / "b", block=True)
    assert [c.what for c in verify(path) if c.difference > c.allowed][-1:] == ["state of block0.out after blocks"]


def test_conditions_of_the_positions_before_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = conditioned(strict=True)
    path = export(graph, generic_parameters(graph, np.random.default_rng(7)), tmp_path / "b", block=True)
    right = Session.block
    monkeypatch.setattr(Session, "block", lambda self, x, c: right(self, x, {n: np.roll(a, 1, -1) for n, a in c.items()}))
    assert "block" in [c.what for c in verify(path) if c.difference > c.allowed]
