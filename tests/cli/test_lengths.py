"""Sequences of different lengths and pairs, from the data to the figures of `score`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import refar as r
import refar_export
from refar import models, runtime
from refar.data.described import DataConfig
from refar.data.npz import read_dataset
from refar.errors import InputError
from refar.oracle import losses
from refar.training.runs import load_run

MODEL = '[model]\nname = "wavenet"\ndilations = [1, 2]\nresidual = 4\nskip = 4\ncondition = "class:2"\n'
CONFIG = MODEL + '[data]\npath = "words.npz"\n[train]\nsteps = 2\nbatch = 4\nthreads = 1\n'


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """A file of sequences padded with what is no class."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 13, 40)
    x = np.where(np.arange(12) < lengths[:, None], rng.integers(0, 4, (40, 12)), -1)
    arrays = {"x": x, "condition": rng.integers(0, 2, 40), "lengths": lengths}
    np.savez("words.npz", **arrays)
    Path("words.toml").write_text(CONFIG)
    return arrays


def test_padding_is_no_class_and_is_not_scored(refar, words):
    """Compare the nats of the log with those of `score`, for a part and for a whole file."""
    assert refar("train", "words.toml", "--out", "run").code == 0
    run = load_run("run")
    assert run.config.model["classes"] == 4
    logged = json.loads(Path("run/log.jsonl").read_text().splitlines()[-1])["valid_nats"]
    said = refar("score", "run", "data:valid")
    assert f"per dimension  {logged:.4f} nats" in said.out
    x = np.maximum(words["x"], 0)
    log_p = -losses.nats(run.graph.head, r.forward(run.graph, run.params, x, words["condition"]), x)
    real = np.arange(12) < words["lengths"][:, None]
    said = refar("score", "run", "words.npz", "-o", "log_p.npy")
    assert f"{-log_p[real].mean():.4f} nats" in said.out
    assert "of 2 to 12 dimensions" in said.out
    np.testing.assert_allclose(np.load("log_p.npy"), np.where(real, log_p, 0).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    "arguments", [("classify", "b", "words.npz"), ("complete", "b", "words.npz", "--observed", 3, "-o", "o.csv")]
)
def test_what_takes_sequences_of_one_length_says_so(refar, words, arguments):
    graph = models.wavenet(classes=4, dilations=[1, 2], residual=4, skip=4, condition="class:2")
    refar_export.export(graph, r.init(graph), "b", verify=False)
    said = refar(*arguments)
    assert said.code == 2, said
    assert f"{arguments[0]} takes sequences of one length, but by 'lengths' sequence 0 has" in said.err


def test_the_log_and_score_divide_by_the_same_number(refar, words):
    """Of a signal of two channels, a value of each."""
    lengths = words["lengths"].astype(np.uint8)
    np.savez("words.npz", x=np.random.default_rng(0).normal(size=(40, 2, 12)), lengths=lengths)
    model = '[model]\nname = "wavenet"\nsignal = 2\nhead = "learnt_gaussian"\ndilations = [1]\nresidual = 4\nskip = 4\n'
    Path("two.toml").write_text(model + CONFIG.removeprefix(MODEL))
    assert refar("train", "two.toml", "--out", "two").code == 0
    logged = json.loads(Path("two/log.jsonl").read_text().splitlines()[-1])["valid_nats"]
    assert f"per dimension  {logged:.4f} nats" in refar("score", "two", "data:valid").out


def test_of_pairs_nats_are_not_defined(refar, words):
    graph = models.linear_ar(2)
    refar_export.export(graph, r.init(graph), "b", verify=False)
    np.savez("pairs.npz", x=np.zeros((4, 1, 6)), target=np.zeros((4, 1, 6)))
    said = refar("score", "b", "pairs.npz")
    assert said.code == 2, said
    assert "pairs of x and 'target', of which nats are not defined" in said.err


def test_a_session_refuses_lengths_that_are_none(words):
    graph = models.linear_ar(2)
    session = runtime.load(refar_export.export(graph, r.init(graph), "b", verify=False))
    x = np.zeros((2, 1, 6))
    np.testing.assert_allclose(session.score(x, lengths=[6, 0]), [session.score(x)[0], 0])
    for lengths in ([6], [7, 1], [-1, 2], [1.5, 2.0]):
        with pytest.raises(InputError, match="lengths: expected 2 integers from 0 to 6"):
            session.score(x, lengths=lengths)


@pytest.mark.parametrize("padding", [-1, 255, np.nan])
def test_padding_may_be_anything(tmp_path, padding):
    rng = np.random.default_rng(0)
    lengths, real = np.full(12, 3), np.arange(5) < 3
    tokens = np.where(real, rng.integers(0, 4, (12, 5)), 0 if np.isnan(padding) else padding)
    signal = np.where(real, rng.normal(size=(12, 2, 5)), padding)
    for x in (tokens, signal):
        arrays = {"x": x, "condition_word": tokens, "condition_pitch": signal, "condition_who": rng.normal(size=(12, 5))}
        np.savez(tmp_path / "own.npz", **arrays, lengths=lengths)
        data = read_dataset(DataConfig(path="own.npz"), tmp_path / "own.npz")
        for split in (data.train, data.valid, data.test):
            for array in (split.x, split.conditions["word"], split.conditions["pitch"]):
                assert not array[..., 3:].any()
            assert split.conditions["who"].all()
        assert data.classes_of["word"] == tokens[:, :3].max() + 1
