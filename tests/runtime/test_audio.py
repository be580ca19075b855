"""Audio effects: networks that are not strict, pushed in blocks of any length from the first sample on."""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import refar
from refar import Builder, Graph
from refar.analysis.causality import receptive_field
from refar.analysis.facts import facts
from refar.oracle.bound_graph import bound_graph
from refar.oracle.whole import forward_nodes
from refar.rounding.tolerance import tolerance
from refar.runtime import load
from refar.runtime.session import Session
from refar_export import export

SAMPLES = 3000
FLUSHES = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")


def amplifier() -> Graph:
    """A TCN as amplifier models use it: kernels of 3, dilations to 512, R = 2 047."""
    g = Builder()
    x = g.input(channels=1)
    h = g.conv1d(x, 8)
    for n in range(10):
        h = g.add(g.conv1d(h, 8), g.leaky_relu(g.conv1d(h, 8, kernel=3, dilation=2**n), 0.2))
    return g.build(g.conv1d(h, 1))


def neural_amp() -> Graph:
    """A WaveNet in the manner of Neural Amp Modeler: the input mixed into every layer, all layers summed by a head."""
    g = Builder()
    x = g.input(channels=1)
    h, heads = g.conv1d(x, 8, bias=False), []
    for n in range(9):
        inner = g.tanh(g.add(g.conv1d(h, 8, kernel=3, dilation=2**n), g.conv1d(x, 8, bias=False)))
        heads.append(inner)
        h = g.add(h, g.conv1d(inner, 8)) if n < 8 else h
    return g.build(g.conv1d(g.add(*heads), 1))


EFFECTS = {"amplifier": amplifier(), "neural amp": neural_amp()}


class Effect:
    """A session, two sequences, what the oracle gives for the whole, and how far float32 may be off."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        params = {name: array.astype(np.float32) for name, array in refar.init(graph, seed=2).items()}
        self.session: Session = load(export(graph, params, folder / "b"))
        rng, t = np.random.default_rng(0), np.arange(SAMPLES)
        signal = np.sin(t * 0.05 * (1 + t / SAMPLES))[None, None] + 0.1 * rng.normal(size=(2, 1, SAMPLES))
        self.x = signal.astype(np.float32)
        net = bound_graph(graph, params)
        values = forward_nodes(net, net.cast({facts(graph).sequence: self.x}))
        self.y = values[graph.output]
        self.allowed = tolerance(graph, self.y, np.float32)


@pytest.fixture(scope="module", params=EFFECTS)
def effect(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Effect:
    return Effect(EFFECTS[request.param], tmp_path_factory.mktemp("effect"))


def test_how_far_they_look_back() -> None:
    assert receptive_field(amplifier()) == 2047
    assert receptive_field(neural_amp()) == 1023


@pytest.mark.parametrize("size", [1, 63, 64, 65, 512, 0])
def test_blocks_are_the_whole(effect: Effect, size: int) -> None:
    """Of random lengths for 0."""
    rng, stream, outputs, at = np.random.default_rng(size), effect.session.stream(2), [], 0
    while at < SAMPLES:
        length = size or int(rng.integers(1, 400))
        outputs.append(stream.push(effect.x[:, :, at : at + length]))
        at += length
    off = np.abs(np.concatenate(outputs, axis=2) - effect.y)[:, 0]
    assert (off <= effect.allowed).all(), f"{(off / effect.allowed).max():.2g} of the bound"


@pytest.mark.parametrize("threads", [1, 2])
def test_denormal_numbers_are_zero_in_every_model(threads: int) -> None:
    """In threads of onnxruntime too; the mode of the thread that loads and calls stays as it was."""
    g = Builder()
    graph = g.build(g.conv1d(g.conv1d(g.input(channels=1), 1, kernel=1, bias=False), 1, kernel=2, bias=False))
    ones = {name: np.ones_like(array) for name, array in refar.init(graph).items()}
    smallest = np.finfo(np.float32).tiny
    with tempfile.TemporaryDirectory() as folder:
        session = load(export(graph, ones, Path(folder) / "b"), threads=threads)
    assert 0 < np.float32(1e-20) * np.float32(1e-20) < smallest
    x = np.full((4, 1, 50_000), 1e-20, np.float32) * np.float32(1e-20)
    stream = session.stream(prompt=x)
    for y in (session.forward(x), stream.output, stream.push(x[..., :9])):
        assert y is not None
        assert not y.any() or not FLUSHES


def test_what_has_become_too_quiet_is_zero() -> None:
    """Numbers below 1.2e-38 take a processor ten times as long. The mode is NumPy's own again when a call returns."""
    g = Builder()
    graph = g.build(
        g.conv1d(g.tanh(g.conv1d(g.input(channels=1), 4, kernel=2, bias=False), name="inner"), 1, kernel=3, bias=False)
    )
    with tempfile.TemporaryDirectory() as folder:
        stream = load(export(graph, refar.init(graph), Path(folder) / "b")).stream()
    smallest = np.finfo(np.float32).tiny
    for size in (1, 4):
        stream.push(np.full((1, 1, 4), 1e-20, np.float32) * np.float32(1e-20))
        y = stream.push(np.full((1, 1, size), 1e-20, np.float32) * np.float32(1e-20))
        inner = np.abs(stream.state["inner"])
        if FLUSHES:
            assert not y.any()
            assert ((inner == 0) | (inner >= smallest)).all()
        assert 0 < np.float32(1e-20) * np.float32(1e-20) < smallest
