"""[encoder]: a module of one's own that is trained with its decoder, kept in the run, and exported beside it."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from refar import data, models
from refar.cli.app import app
from refar.errors import BackendError, FileError, GraphError, InputError
from refar.runtime import load
from refar.runtime.bundle import OPSET
from refar.torch import encoder_model, mean_nats, train
from refar.torch.starting import new_network
from refar.training.config import parse_config, to_toml
from refar.training.runs import load_encoder, load_run

MODULE = """
import torch
from torch import nn

class Encoder(nn.Module):
    def __init__(self, width, channels):
        super().__init__()
        self.embed = nn.Embedding(17, 4)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(256, width), nn.BatchNorm1d(width), nn.Dropout(0.2),
                                    nn.Linear(width, channels))
    def forward(self, x):
        return self.layers(self.embed(x))

def pixels(width=8, channels=6):
    return Encoder(width, channels)

def linear(size=3, channels=6):
    return nn.Linear(size, channels)

def no_module():
    return 3

flag = True
"""
TEXT = """
[model]
name = "wavenet"
classes = 17
dilations = [1, 2, 4]
residual = 6
gate = 6
skip = 8
condition = "vector:6"
[encoder]
factory = "encoders:pixels"
width = 12
[data]
name = "digits"
[train]
steps = 12
batch = 32
learning_rate = 1e-2
ema = 0.5
validate_every = 4
checkpoint_every = 5
threads = 1
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "encoders.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "encoders", raising=False)
    yield
    sys.modules.pop("encoders", None)


def config(*edits):
    text = TEXT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return parse_config(text)


def test_inspect_of_a_config_knows_what_the_encoder_makes(tmp_path):
    (tmp_path / "own.toml").write_text(TEXT)
    result = CliRunner().invoke(app, ["inspect", "own.toml"])
    assert result.exit_code == 0, result.output
    assert "times through the training sequences" in result.output


@pytest.mark.row("003-7")
def test_trained_together_resumed_and_exported(tmp_path):
    """Its dropout and its batch statistics resume too; the bundle's encoder.onnx makes the condition that its decoder takes."""
    whole = train(config(), "whole", progress=False)
    train(config(), "parts", progress=False, until=7)
    train(config(), "parts", progress=False, resume=True)
    for name in ("weights.safetensors", "config.toml"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["valid_nats"] < lines[0]["valid_nats"]
    assert parse_config(to_toml(config())) == config()

    result = CliRunner().invoke(app, ["export", "whole", "-o", "bundle"])
    assert result.exit_code == 0, result.output
    assert "encoder.onnx makes 'condition' of 'x' and agrees with PyTorch" in result.output
    session, valid = load("bundle"), data.load("digits").valid
    z = session.encode(valid.x)
    assert z.shape == (137, 6)
    nats = -float(session.score(valid.x, z).sum()) / valid.x.size
    assert nats == pytest.approx(whole.best_nats, rel=1e-5)
    changed = -float(session.score(valid.x, z[::-1].copy()).sum()) / valid.x.size
    assert changed != pytest.approx(nats, rel=1e-5), "the decoder reads its condition"
    assert session.generate(64, batch=3, condition=session.encode(valid.x[:3])).shape == (3, 64)
    assert "encoder.onnx" in json.loads((tmp_path / "bundle" / "bundle.json").read_text())["files"]
    assert CliRunner().invoke(app, ["check", "bundle"]).exit_code == 0
    asked = CliRunner().invoke(app, ["complete", "bundle", "data:valid", "--observed", "4", "-o", "x.npy"])
    assert "condition 'condition' is missing; give 6 numbers, as in --condition 0.5,0.5,0.5" in str(asked.exception)
    for what in ("whole", "bundle"):
        scored = CliRunner().invoke(app, ["score", what, "data:valid"])
        assert f"{whole.best_nats:.4f} nats" in scored.output, scored.output


def test_another_array_may_be_read():
    rng = np.random.default_rng(0)
    arrays = {"condition_face": rng.normal(size=(40, 3)), "condition_word": rng.integers(0, 2, 40)}
    np.savez("my.npz", x=rng.integers(0, 17, (40, 8)), **arrays)
    from refar import Builder, ops, save

    g = Builder()
    word, face = g.embedding(g.condition("word", classes=2), 4), g.conv1d(g.condition("z", channels=6), 4)
    h = g.add(g.conv1d(g.one_hot(g.input(classes=17)), 4, strict=True), word, face)
    save(g.build(g.conv1d(h, 17), ops.Categorical()), "net.json")
    model = TEXT[TEXT.index("[model]") : TEXT.index("[encoder]")]
    changed = config(
        (model, '[model]\ngraph = "net.json"\n'), ("pixels", "linear"), ("width = 12", 'reads = "face"'),
        ('name = "digits"', 'path = "my.npz"'), ("batch = 32", "batch = 16"),
    )  # fmt: skip
    trained = train(changed, "run", progress=False)
    scored = CliRunner().invoke(app, ["score", "run", "data:valid"])
    assert f"{trained.best_nats:.4f} nats" in scored.output, scored.output
    described, arrays = load_encoder("run")
    assert (described.condition, described.reads, described.dtype, described.shape) == ("z", "face", "float32", (3,))
    assert arrays.keys() == {"weight", "bias"}
    assert not [name for name in load_run("run").params if "encoder" in name]
    assert CliRunner().invoke(app, ["export", "run", "-o", "bundle"]).exit_code == 0
    face = rng.normal(size=(5, 3)).astype(np.float32)
    wanted = face @ arrays["weight"].T + arrays["bias"]
    np.testing.assert_allclose(load("bundle").encode(face), wanted, atol=1e-5)
    with pytest.raises(InputError, match=r"encode: expected 'face' as float32 \(B, 3\), got int64 \(2, 3\)"):
        load("bundle").encode(np.zeros((2, 3), int))


@pytest.mark.parametrize(
    ("edits", "error", "message"),
    [
        ([('"encoders:pixels"', "3")], InputError, "encoder: expected `factory`"),
        ([("encoders:pixels", "encoders")], InputError, "encoder.factory: expected 'package.module:function', got 'encoders'"),
        ([("encoders:pixels", "encodres:pixels")], BackendError, "encoder.factory: 'encodres' cannot be imported from"),
        (
            [("encoders:pixels", "encoders:pixles")],
            InputError,
            "has no function 'pixles', did you mean 'pixels'",
        ),
        ([("encoders:pixels", "encoders:flag")], InputError, "has no function 'flag'"),
        ([("width = 12", "depth = 12")], InputError, "does not take these options: .*depth"),
        ([("encoders:pixels", "encoders:no_module"), ("width = 12", "")], InputError, "to return a torch.nn.Module, got int"),
        ([("width = 12", "channels = 5")], InputError, r"to return real numbers \(2, 6\), got torch.float32 \(2, 5\)"),
        ([("encoders:pixels", "encoders:linear"), ("width = 12", "")], InputError, "fails on torch.int64 .*RuntimeError"),
        (
            [("width = 12", 'reads = "face"')],
            InputError,
            r"reads: expected an array of data 'digits' \('x', 'condition'\)",
        ),
        ([("vector:6", "class:10")], GraphError, "expected a graph with one vector as its condition.* 'condition' .10 classes"),
        ([("width = 12", 'condition = "face"')], InputError, "the graph has no condition 'face'"),
    ],
)
def test_what_is_refused_before_training(tmp_path, edits, error, message):
    with pytest.raises(error, match=message):
        train(config(*edits), "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_exported_or_resumed():
    train(config(), "run", progress=False, until=4)
    with pytest.raises(InputError, match=r"encoder: expected .*'width': 12.*, as the run began"):
        train(config(("width = 12", "width = 13")), "run", progress=False, resume=True)
    assert encoder_model("run", OPSET).encoder.shape == (64,)
    Path("encoders.py").write_text(MODULE.replace("nn.BatchNorm1d(width), ", "nn.Tanh(), nn.Tanh(), "))
    sys.modules.pop("encoders")
    importlib.invalidate_caches()
    with pytest.raises(FileError, match="its encoder does not fit what 'encoders:pixels' makes now"):
        encoder_model("run", OPSET)


def test_a_bundle_without_one(tmp_path):
    import refar
    from refar_export import export

    graph = models.nettoy1d(4, hidden=3)
    export(graph, refar.init(graph), "bundle")
    with pytest.raises(GraphError, match=r"has no encoder\.onnx; one comes from a run with"):
        load("bundle").encode(np.zeros((1, 3)))


def test_validation_does_not_cut_what_an_encoder_reads(tmp_path):
    """Its sequences stay whole however few values may be held at a time."""
    digits = data.load("digits")
    made = new_network(config(), config().completed(digits).graph, digits)
    few = digits.valid[:5]
    assert mean_nats(made, few, values=64) == pytest.approx(mean_nats(made, few), rel=1e-6)


def test_samples_of_a_network_with_an_encoder(tmp_path):
    text = TEXT.replace("validate_every = 4", "validate_every = 4\nsamples_every = 6")
    (tmp_path / "own.toml").write_text(text)
    result = CliRunner().invoke(app, ["train", "own.toml", "--out", "run"])
    assert result.exit_code == 0, result.output
    names = ["step-0000006.png", "step-0000012.png"]
    assert sorted(path.name for path in (tmp_path / "run" / "samples").iterdir()) == names


def test_what_an_encoder_makes_goes_before_what_the_data_say():
    rng = np.random.default_rng(0)
    arrays = {"condition_a": rng.normal(size=(40, 6)), "condition_condition": rng.normal(size=(40, 6))}
    np.savez("my.npz", x=rng.integers(0, 17, (40, 8)), **arrays)
    changed = config(
        ("pixels", "linear"), ("width = 12", 'size = 6\nreads = "a"'), ('name = "digits"', 'path = "my.npz"'),
        ("batch = 32", "batch = 16"),
    )  # fmt: skip
    trained = train(changed, "run", progress=False)
    scored = CliRunner().invoke(app, ["score", "run", "data:valid"])
    assert f"{trained.best_nats:.4f} nats" in scored.output, scored.output


def test_an_encoder_does_not_read_what_it_makes():
    rng = np.random.default_rng(0)
    np.savez("my.npz", x=rng.integers(0, 17, (40, 8)), condition=rng.normal(size=(40, 6)))
    changed = config(
        ("pixels", "linear"), ("width = 12", 'size = 6\nreads = "condition"'), ('name = "digits"', 'path = "my.npz"'),
        ("batch = 32", "batch = 16"),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"reads: 'condition' is the condition that the encoder makes; call the array"):
        train(changed, "run", progress=False)
