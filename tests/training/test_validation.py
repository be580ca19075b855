"""Validation in pieces gives what the whole gives, and needs no more memory than its bound says."""

import weakref

import numpy as np
import pytest
import torch

from refar import Builder, models, ops
from refar.analysis.facts import facts
from refar.data import Split
from refar.torch import Module, mean_nats
from refar.torch.validate import pieces, sizes
from refar.torch.work import Work

WAVENET = models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7)


def data(rng, rows, length, **more):
    return Split(rng.integers(0, 5, (rows, length)), **more)


@pytest.mark.parametrize("values", [1, 100, 300, 10**9])
@pytest.mark.parametrize("graph", [WAVENET, models.nettoy1d(5, hidden=8, mean=2.0, std=1.0)], ids=["layer", "nettoy"])
def test_pieces_of_sequences_give_the_loss_of_the_whole(graph, values):
    split = data(np.random.default_rng(0), 7, 60)
    module = Module(graph, seed=1).double()
    assert mean_nats(module, split, values=values) == pytest.approx(mean_nats(module, split, 7), rel=1e-13)


def test_conditions_over_time_are_cut_too():
    graph = models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7, condition="class:3", local="vector:2")
    rng = np.random.default_rng(0)
    split = data(rng, 3, 60, conditions={"local": rng.normal(size=(3, 2, 60)), "condition": np.arange(3)})
    module = Module(graph, seed=1).double()
    assert mean_nats(module, split, values=200) == pytest.approx(mean_nats(module, split), rel=1e-13)


def test_signals_and_images_too():
    rng = np.random.default_rng(0)
    signal = Module(models.linear_ar(3), seed=1).double()
    split = Split(rng.normal(size=(5, 1, 40)))
    assert mean_nats(signal, split, values=7) == pytest.approx(mean_nats(signal, split), rel=1e-13)
    image = Module(models.pixelcnn(5, hidden=4, kernel=3), seed=1).double()
    split = Split(rng.integers(0, 5, (5, 1, 6, 7)))
    assert mean_nats(image, split, values=7) == pytest.approx(mean_nats(image, split), rel=1e-13)


def cut(graph, split, values):
    """The pieces, each with how many of its first positions do not count."""
    rows, length = sizes(graph, split, 256, values)
    for first in range(0, len(split), rows):
        for piece in pieces(graph, Work(split[first : first + rows]), length):
            yield piece.examples, 0 if piece.mask is None else int((~piece.mask[0]).sum())


@pytest.mark.parametrize(("rows", "length", "values"), [(40, 50, 4000), (3, 5000, 4000), (9, 64, 10**6)])
def test_no_piece_has_more_values_than_allowed(rows, length, values):
    widest = max(kind.channels for kind in facts(WAVENET).types.values())
    split = data(np.random.default_rng(0), rows, length)
    counted = np.zeros((rows, length), int)
    row = start = 0
    for piece, context in cut(WAVENET, split, values):
        count, positions = piece.x.shape
        assert count * (positions - context) * widest <= values
        assert context == min(start, facts(WAVENET).left_context)
        np.testing.assert_array_equal(piece.x, split.x[row : row + count, start - context : start - context + positions])
        counted[row : row + count, start : start - context + positions] += 1
        start += positions - context
        if start == length:
            row, start = row + count, 0
    assert (counted == 1).all()


def test_a_network_that_looks_ahead_is_not_cut():
    g = Builder()
    h = g.one_hot(g.input(classes=5))
    graph = g.build(g.conv1d(g.delay(h, -2), 5), ops.Categorical())
    split = data(np.random.default_rng(0), 2, 30)
    assert [(piece.x.shape, context) for piece, context in cut(graph, split, 1)] == [((1, 30), 0)] * 2


def test_values_that_nobody_reads_any_more_are_let_go(monkeypatch):
    """Of 30 layers only two are there at once."""
    g = Builder()
    h = g.input(channels=1)
    for _ in range(30):
        h = g.relu(h)
    module, x = Module(g.build(h)), torch.zeros(1, 1, 8)
    found, alive, relu = [], [], torch.nn.functional.relu

    def watched(value):
        result = relu(value)
        found.append(weakref.ref(result))
        alive.append(sum(reference() is not None for reference in found))
        return result

    monkeypatch.setattr(torch.nn.functional, "relu", watched)
    module(x)
    assert max(alive) == 2
    assert len(module.forward_nodes(x)) == 31
    assert max(alive) == 30
