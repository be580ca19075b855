"""What is seen of a training: its curves, samples on the way, TensorBoard, and what it is going to do."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from refar import Builder, data, forward, ops, save
from refar.oracle.pairs import error_to_signal, mean_square
from refar.training.runs import load_run

TEXT = """
[model]
{model}
[data]
{data}
[train]
steps = 6
batch = 4
validate_every = 2
samples_every = 3
threads = 1
"""
WAVENET = 'name = "wavenet"\nclasses = 17\ndilations = [1, 2]\nresidual = 4\ngate = 4\nskip = 4\ncondition = "class:10"'


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(model=WAVENET, data='name = "digits"', **options):
        more = "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items())
        (tmp_path / "config.toml").write_text(TEXT.format(model=model, data=data) + more)

    return write


def test_curves(refar, config, tmp_path):
    config()
    refar("train", "config.toml", "--out", "run")
    for name in ("a.svg", "a.png", "a.pdf"):
        said = refar("plot", "run", "-o", name)
        assert re.search(rf"wrote {name}: 3 validations; best \d\.\d{{4}} at step 6", said.out), said
        assert (tmp_path / name).stat().st_size > 1000
    with (tmp_path / "run/log.jsonl").open("a") as file:
        file.write('{"step":8,"train_na')
    assert refar("plot", "run", "-o", "a.svg").code == 0, "a line that is being written is not read"


def test_what_has_no_curves(refar, config, tmp_path):
    config()
    refar("train", "config.toml", "--out", "run")
    (tmp_path / "run/log.jsonl").write_text("")
    assert "has no validation in its log yet" in refar("plot", "run", "-o", "a.svg").sentence
    (tmp_path / "run/log.jsonl").write_text("mine\n")
    assert "line 1: expected a JSON object with the field `step`" in refar("plot", "run", "-o", "a.svg").sentence
    assert "expected a name that ends in .svg, .png, .pdf" in refar("plot", "run", "-o", "a.txt").sentence
    assert "there is no such run" in refar("plot", "ran", "-o", "a.svg").sentence
    assert not (tmp_path / "a.svg").exists()


def test_samples_of_pictures_on_the_way(refar, config, tmp_path):
    config()
    refar("train", "config.toml", "--out", "run")
    names = ["step-0000003.png", "step-0000006.png"]
    assert sorted(path.name for path in (tmp_path / "run/samples").iterdir()) == names
    assert all((tmp_path / "run/samples" / name).read_bytes().startswith(b"\x89PNG") for name in names)
    (tmp_path / "run/samples/step-0000009.png").write_text("of a future that was cut away")
    refar("train", "config.toml", "--out", "run", "--resume")
    assert sorted(path.name for path in (tmp_path / "run/samples").iterdir()) == names


@pytest.mark.parametrize("kind", ["signal", "classes", "image of numbers"])
def test_samples_of_other_sequences(refar, config, tmp_path, kind):
    rng = np.random.default_rng(0)
    arrays = {
        "signal": rng.normal(size=(30, 1, 20)),
        "classes": rng.integers(0, 4, (30, 20)),
        "image of numbers": rng.normal(size=(30, 1, 4, 4)),
    }
    np.savez(tmp_path / "my.npz", x=arrays[kind])
    models = {
        "signal": 'name = "linear_ar"\norder = 2',
        "classes": 'name = "tcn"\nclasses = 4\nchannels = [4]\ndropout = 0.1',
        "image of numbers": 'graph = "net.json"',
    }
    g = Builder()
    graph = g.build(g.conv2d(g.image(channels=1), 1, kernel=3, mask="A"), ops.Gaussian(1.0))
    save(graph, tmp_path / "net.json")
    config(models[kind], 'path = "my.npz"')
    said = refar("train", "config.toml", "--out", "run")
    assert said.code == 0, said
    suffix = "npy" if kind == "image of numbers" else "png"
    names = [f"step-0000003.{suffix}", f"step-0000006.{suffix}"]
    assert sorted(path.name for path in (tmp_path / "run/samples").iterdir()) == names


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what TensorBoard imports
def test_tensorboard_by_option(refar, config, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config(tensorboard=True)
    assert refar("train", "config.toml", "--out", "run").code == 0
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    found = [(event.step, event.value) for event in events.Scalars("valid/nats")]
    assert found == [(line["step"], pytest.approx(line["valid_nats"], rel=1e-6)) for line in lines]


def test_tensorboard_is_missed_before_training(refar, config, tmp_path, monkeypatch):
    monkeypatch.setattr("refar.torch.board.find_spec", lambda name: None)
    config(tensorboard=True)
    assert "train.tensorboard needs tensorboard, which is not installed: pip install refar[tensorboard]" in (
        refar("train", "config.toml", "--out", "run").sentence
    )
    assert not (tmp_path / "run").exists()


def test_what_a_training_is_going_to_do(refar, config):
    config()
    said = " ".join(refar("inspect", "config.toml").out.split())
    for words in (
        "block1.conv",
        "digits: 1 300 train, 137 valid, 360 test; each 64 of 17 classes",
        "64 positions",
        "6 of 4 sequences",
    ):
        assert words in said
    config(WAVENET.replace("17", "9"))
    assert "expects 9 classes over time, got 17 classes" in refar("inspect", "config.toml").sentence
    config(batchs=3)
    assert "train: unknown field `batchs`; did you mean `batch`?" in refar("inspect", "config.toml").sentence


def test_pairs_are_scored(refar, config, tmp_path):
    """Mean square and error to signal of the test part, those of the oracle, by the run and by the bundle."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1, 30)).astype(np.float32)
    np.savez(tmp_path / "my.npz", x=x, target=np.tanh(2 * x), lengths=rng.integers(5, 31, 40))
    g = Builder()
    save(g.build(g.tanh(g.conv1d(g.input(channels=1), 1, kernel=2))), tmp_path / "net.json")
    config('graph = "net.json"', 'path = "my.npz"\n[loss]\nkind = "mse"')
    assert "train.samples_every: expected 0 with the loss 'mse'" in refar("train", "config.toml", "--out", "run").err
    text = (tmp_path / "config.toml").read_text()
    (tmp_path / "config.toml").write_text(text.replace("samples_every = 3\n", ""))
    assert refar("train", "config.toml", "--out", "run").code == 0
    assert refar("export", "run", "-o", "bundle").code == 0
    said = refar("score", "bundle", "data:test", "-o", "esr.npy")
    assert said.code == 0, said
    assert refar("score", "run", "data:test").out in said.out
    test = data.load("my.npz").test
    y = forward(*load_run("run")[:2], test.x.astype(np.float64))
    counted = np.arange(30) < test.lengths[:, None]
    said_mse = float(said.out.partition("mean square")[2].split()[0])
    assert said_mse == pytest.approx(mean_square(y, test.target, counted).mean(), rel=1e-5)
    np.testing.assert_allclose(np.load("esr.npy"), error_to_signal(y, test.target.astype(float), counted), rtol=1e-5)


def test_inspect_refuses_what_training_refuses(refar, config, tmp_path):
    lines = "\n".join(f"{np.sin(t / 3):.6f}" for t in range(400))
    (tmp_path / "s.csv").write_text(f"v\n{lines}\n")
    config('name = "linear_ar"\norder = 70', 'path = "s.csv"\nwindow = 64')
    trained, inspected = refar("train", "config.toml", "--out", "run"), refar("inspect", "config.toml")
    assert "looks back, got 64 positions" in inspected.err
    assert trained.err == inspected.err
    config('name = "linear_ar"\norder = 7', 'path = "s.csv"\nwindow = 64')
    assert "257 train; each 1 x 64; 1 valid, 1 test; each 1 x 40 of real numbers" in refar("inspect", "config.toml").out
