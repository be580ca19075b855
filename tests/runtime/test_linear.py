"""Blocks of one length over linear memory: window.onnx, what it may read when, and the way into it and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stream_actions import LEVELS, optimised
from stream_graphs import GRAPHS

import refar
from refar import Builder, Graph
from refar.analysis.facts import facts
from refar.analysis.linear import Window, windows
from refar.analysis.slots import state_layout
from refar.errors import BackendError
from refar.rounding.tolerance import tolerance
from refar.runtime import load
from refar.runtime.stream import Stream
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar_export import export, window_graph
from refar_export.build import build

BLOCKS = 19  # more than the memory has room for


def filters(kernel: int = 3) -> Graph:
    """Convolutions of different dilations on one node."""
    g = Builder()
    h = g.conv1d(g.input(channels=2), 3, name="h")
    wide = g.conv1d(h, 4, kernel=kernel, dilation=2, name="wide")
    return g.build(g.add(g.tanh(wide), g.conv1d(h, 4, kernel=2, dilation=3)))


def followed(stream: Stream, inputs: dict[str, np.ndarray], begin: int, length: int, blocks: int) -> np.ndarray:
    """The outputs of so many blocks from a position on."""
    found = facts(stream._opened.graph)
    outputs = []
    for at in range(begin, begin + blocks * length, length):
        later = slice(at + found.strict, at + found.strict + length)
        local = {name: inputs[name][..., later] for name in found.conditions if found.types[name].timed}
        outputs.append(stream.push(inputs[found.sequence][..., at : at + length], local or None))
    return np.concatenate(outputs, axis=2)


def begun(graph: Graph, folder: Path, level: str = LEVELS[-1], spare: int = 0) -> tuple[Stream, dict[str, np.ndarray], Any]:
    """A stream of two sequences after one token, the inputs of many more, and the oracle's outputs."""
    rng = np.random.default_rng(4)
    params = {name: array.astype(np.float32) for name, array in generic_parameters(graph, rng).items()}
    with optimised(level):
        session = load(export(graph, params, folder / "b", spare=spare))
    inputs = generic_inputs(graph, rng, 2, 160)
    timed = {name: facts(graph).types[name].timed for name in inputs}
    begin = {name: array[..., : 1 + facts(graph).strict] if timed[name] else array for name, array in inputs.items()}
    prompt = inputs[facts(graph).sequence][..., :1]
    given = {name: begin[name] for name in facts(graph).conditions}
    return session.stream(condition=given or None, prompt=prompt), inputs, refar.forward(graph, params, inputs)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [*GRAPHS, "filters", "long filters"])
def test_blocks_of_one_length_are_the_whole(name: str, level: str, tmp_path: Path) -> None:
    """Shorter and longer than what the network looks back, past the end of the memory."""
    graph = {**GRAPHS, "filters": filters(), "long filters": filters(7)}[name]
    stream, inputs, y = begun(graph, tmp_path, level)
    allowed, strict = tolerance(graph, y, np.float32), facts(graph).strict
    first = facts(graph).first_position
    for length, blocks in ((2, BLOCKS), (7, BLOCKS - 4)):
        one = stream.fork()
        found = followed(one, inputs, 1, length, blocks)
        expected = y[:, :, 1 + strict : 1 + strict + blocks * length]
        ready = max(0, first - 1 - strict)
        assert np.abs(found - expected)[:, :, ready:].max() <= allowed
        assert one._visits._is_linear


def test_whatever_else_is_done_finds_the_state_in_slots(tmp_path: Path) -> None:
    stream, inputs, y = begun(filters(), tmp_path, spare=3)
    allowed = tolerance(filters(), y, np.float32)

    def same(found: np.ndarray, begin: int) -> None:
        assert np.abs(found - y[:, :, begin : begin + found.shape[2]]).max() <= allowed

    same(followed(stream, inputs, 1, 4, 5), 1)
    stream.rewind(3)
    same(followed(stream, inputs, 18, 3, 1), 18)
    same(followed(stream, inputs, 21, 4, 4), 21)
    both = stream.take([1, 0]).join(stream.fork())
    assert both.state["h"].shape[0] == 4
    state = stream.state
    same(followed(stream, inputs, 37, 4, 4), 37)
    same(followed(stream, inputs, 53, 5, 4), 53)
    stream.step(inputs[facts(filters()).sequence][..., 73])
    same(followed(stream, inputs, 74, 5, 2), 74)
    stream.state = state
    same(followed(stream, inputs, 37, 4, 4), 37)
    stream.save(tmp_path / "stream")
    same(followed(load(tmp_path / "b").load_stream(tmp_path / "stream"), inputs, 53, 5, 4), 53)


def test_which_windows_there_are() -> None:
    """One for each age, or one for all of them where there are many."""
    found = facts(filters())
    assert windows(found, state_layout(found)) == {("h", age): Window("h", age) for age in (4, 3, 2)}
    found = facts(filters(7))
    assert set(windows(found, state_layout(found)).values()) == {Window("h", 12, whole=True)}


def test_a_window_that_could_be_read_too_early_is_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delay reads the past alone: nothing but the order that is put in makes it wait."""
    g = Builder()
    h = g.conv1d(g.input(channels=2), 2)
    graph = g.build(g.add(g.tanh(g.delay(h, 2)), h))
    build(graph, refar.init(graph), "window")
    monkeypatch.setattr(window_graph, "_order", lambda *_: None)
    with pytest.raises(BackendError, match=r"window\.onnx: Tanh:.* may read past\..* before present\..* is written"):
        build(graph, refar.init(graph), "window")
