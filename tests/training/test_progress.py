"""What a training computes and shows on the way: learning rates, losses, progress."""

import re

import pytest
from small_run import change

import refar
from refar import data
from refar.torch import Module, mean_nats, train
from refar.training.schedule import learning_rate


def test_learning_rates(config):
    options = config.train
    assert [learning_rate(change(config, schedule="constant").train, s) for s in range(6)] == pytest.approx(
        [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01]
    )
    assert learning_rate(options, 10) == pytest.approx(0.005)
    assert 0 < learning_rate(options, 19) < 1e-4


def test_mean_nats_is_the_oracle_s(config):
    split = data.load(config.data.source).train
    module = Module(config.graph, seed=1).double()
    expected = refar.nll(config.graph, module.arrays(), split.x, split.condition)
    assert mean_nats(module, split, 7) == pytest.approx(expected, rel=1e-13)


def test_progress_off_a_terminal_is_plain_lines(config, tmp_path, capsys):
    train(config, tmp_path / "run")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines[:-1]] == ["step 5/20", "step 10/20", "step 15/20", "step 20/20"]
    assert re.fullmatch(r"trained 20 steps; best \d\.\d{4} at step 20, kept", lines[-1])


def test_no_bar_where_plain_text_is_wanted(config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    train(config, tmp_path / "run")
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.startswith("step 5/20")


def test_progress_on_a_terminal_is_a_bar(config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    train(config, tmp_path / "run")
    assert "20/20" in capsys.readouterr().err
