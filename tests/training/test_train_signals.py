"""Training on a signal whose spread changes: a learnt scale learns it, and a mixture learns two values at once."""

import numpy as np
import pytest

import refar
from refar import data
from refar.runtime import load
from refar.torch import train
from refar.training.config import load_config, parse_config
from refar.training.runs import load_run, read_tensors, write_tensors
from refar_export import export

CONFIG = """
[model]
name = "wavenet"
signal = 1
head = "{head}"
dilations = [1, 2]
residual = 8
gate = 8
skip = 12
[data]
path = "signal.npz"
[train]
steps = 150
batch = 16
learning_rate = 1e-2
gradient_clip = 1.0
validate_every = 50
seed = 3
threads = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Noise that is quiet after a positive value and loud after a negative one, and jumps to ±1 with small noise."""
    folder = tmp_path_factory.mktemp("signals")
    rng = np.random.default_rng(0)
    spread = np.zeros((128, 1, 40), np.float32)
    for t in range(1, 40):
        spread[..., t] = np.where(spread[..., t - 1] > 0, 0.05, 0.8) * rng.normal(size=(128, 1))
    jumps = np.where(rng.random((128, 1, 40)) < 0.5, -1, 1) + 0.05 * rng.normal(size=(128, 1, 40))
    np.savez(folder / "spread.npz", x=spread)
    np.savez(folder / "jumps.npz", x=jumps.astype(np.float32))
    return folder


def trained(folder, tmp_path, source, head):
    """A run, and its best nats per value on the held-out split."""
    text = CONFIG.format(head=head).replace("signal.npz", str(folder / source))
    (tmp_path / "config.toml").write_text(text)
    run = tmp_path / head.replace(":", "_")
    return run, train(load_config(tmp_path / "config.toml"), run, progress=False).best_nats


def test_a_learnt_scale_is_worth_its_nats(folder, tmp_path):
    """Half the values have a spread of 0.05, half of 0.8: one spread σ for all costs ½·log(σ²/(0.05·0.8)) more, some 0.8 nats."""
    _, fixed = trained(folder, tmp_path, "spread.npz", "gaussian:0.57")
    run, learnt = trained(folder, tmp_path, "spread.npz", "learnt_gaussian")
    assert learnt < fixed - 0.5
    graph, params, config = load_run(run)
    valid = data.load(config.data.source).valid
    assert refar.nll(graph, params, valid.x) == pytest.approx(learnt, abs=1e-4)
    session = load(export(graph, params, tmp_path / "bundle"))
    assert -session.score(valid.x).sum() / valid.x.size == pytest.approx(learnt, abs=1e-4)
    x = session.generate(400, batch=8, seed=1)
    assert np.std(x[..., 1:][x[..., :-1] > 0]) < 0.3 < 0.5 < np.std(x[..., 1:][x[..., :-1] < 0])


def test_a_mixture_is_worth_its_nats(folder, tmp_path):
    """One Gaussian with a spread of 1 costs ½·log 2πe = 1.42; two of 0.05 with equal weights log 2 + ½·log(2πe·0.05²) = -0.88."""
    _, one = trained(folder, tmp_path, "jumps.npz", "learnt_gaussian")
    run, several = trained(folder, tmp_path, "jumps.npz", "mixture_gaussians:5")
    assert several < -0.8 < 1.4 < one
    graph, params, _ = load_run(run)
    x = refar.generate(graph, params, 200, batch=4, seed=2)
    assert 0.35 < (x > 0).mean() < 0.65
    assert np.abs(np.abs(x) - 1).mean() < 0.2


def test_a_run_whose_nats_were_per_position_goes_on_per_value(tmp_path):
    """Resume a run of refar 0.1.0: its best validation stays the best, converted to nats per value."""
    np.savez(tmp_path / "two.npz", x=np.random.default_rng(0).normal(size=(40, 2, 12)))
    text = '[model]\nname = "wavenet"\nsignal = 2\ndilations = [1]\nresidual = 4\nskip = 4\n[data]\npath = "two.npz"\n'
    config = parse_config(text + "[train]\nsteps = 8\nbatch = 8\nvalidate_every = 2\nthreads = 1\n", tmp_path)
    train(config, tmp_path / "whole", progress=False)
    run = tmp_path / "parts"
    train(config, run, progress=False, until=5)
    for kind, path in (("checkpoint", run / "checkpoint.safetensors"), ("weights", run / "weights.safetensors")):
        arrays, info = read_tensors(path, kind)
        del info["nats"]
        figures = info.get("counters", info)
        for name in {"best_nats", "loss_sum", "valid_nats"} & figures.keys():
            figures[name] *= 2
        write_tensors(path, kind, arrays, info)
    train(config, run, progress=False, resume=True)
    whole, parts = (read_tensors(path / "checkpoint.safetensors", "checkpoint") for path in (tmp_path / "whole", run))
    assert {**parts[1]["counters"], "seconds": 0} == {**whole[1]["counters"], "seconds": 0}
    for name, array in whole[0].items():
        np.testing.assert_array_equal(parts[0][name], array, err_msg=name)
