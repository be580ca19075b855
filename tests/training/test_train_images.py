"""Training of networks over images: it learns, and what a mask hides stays where it is."""

import json

import numpy as np
import pytest
import torch

import refar
from refar import Builder, data, models, ops
from refar.analysis.facts import facts
from refar.analysis.masks import mask_oihw
from refar.data import Dataset, Split
from refar.data.batches import batch
from refar.torch import Module, train
from refar.torch.feeding import feeding
from refar.torch.losses import nats
from refar.torch.ranks import Ranks
from refar.training.config import TrainConfig, parse_config
from refar.training.loss_config import LossConfig
from refar.training.runs import load_run

SMALL = {
    "pixelcnn": {"kernel": 3, "hidden": 4},
    "masked_pixelcnn": {"layers": 1, "hidden": 6, "kernel": 3, "first_kernel": 3},
    "gated_pixelcnn": {"layers": 2, "hidden": 6, "kernel": 3, "first_kernel": 3},
}


def stripes(path, colours=2):
    """Images of diagonal stripes in 3 values; the condition says where they begin, and each colour is one further."""
    n, row, column = np.arange(60)[:, None, None, None], np.arange(4)[:, None], np.arange(5)
    x = (n + row + column + np.arange(colours)[:, None, None]) % 3
    np.savez(path, x=x, condition=n[:, 0, 0, 0] % 3)


def config(folder, name, **train_options):
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in SMALL[name].items())
    options = {"steps": 160, "batch": 16, "learning_rate": 2e-2, "validate_every": 20, "threads": 1, **train_options}
    return parse_config(
        f'[model]\nname = "{name}"\nclasses = 3\nchannels = 2\ncondition = "class:3"\n{text}[data]\npath = "my.npz"\n[train]\n'
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items()),
        folder,
    )


@pytest.mark.row("003-5")
@pytest.mark.parametrize("name", SMALL)
def test_a_network_learns_images(tmp_path, name):
    stripes(tmp_path / "my.npz")
    result = train(config(tmp_path, name), tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert result.best_nats < 0.1 < 0.4 < lines[0]["train_nats"]
    graph, params, _ = load_run(tmp_path / "run")
    valid = data.load(tmp_path / "my.npz").valid
    assert refar.nll(graph, params, valid.x, valid.condition) == pytest.approx(result.best_nats, abs=1e-5)


@pytest.mark.parametrize("augment", ["none", "shift"])
def test_digits_as_images(tmp_path, augment):
    options = {"augment": augment, "steps": 40, "batch": 32, "learning_rate": 2e-2, "threads": 1}
    text = '[model]\nname = "pixelcnn"\nclasses = 17\nhidden = 8\nposition = 3\n[data]\nname = "digits"\n[train]\n'
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
    result = train(parse_config(text), tmp_path / "whole", progress=False)
    assert result.best_nats < 1.9, "equal chances have 2.83, the grey values on their own 2.07"
    train(parse_config(text), tmp_path / "parts", progress=False, until=17)
    train(parse_config(text), tmp_path / "parts", progress=False, resume=True)
    weights = [load_run(tmp_path / run).params for run in ("whole", "parts")]
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name])


@pytest.mark.parametrize("over_time", [False, True])
def test_what_is_beside_each_pixel_moves_with_it(over_time):
    """x is what its condition says, in classes and in numbers; the condition of the whole picture stays."""
    g = Builder()
    if over_time:
        conditions = {"word": g.condition("word", classes=5, local=True), "map": g.condition("map", channels=2, local=True)}
        h = g.add(g.embedding(conditions["word"], 4), g.conv1d(conditions["map"], 4))
        h = g.add(h, g.conv1d(g.embedding(g.input(classes=5), 4), 4, kernel=2, strict=True), g.condition("who", channels=4))
        graph = g.build(g.conv1d(h, 5), ops.Categorical())
    else:
        graph = models.masked_pixelcnn(5, local="vector:2", **SMALL["masked_pixelcnn"])
    name = "map" if over_time else facts(graph).conditions[0]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, (12, 1, 4, 6))
    maps = np.concatenate([x, 2 * x], axis=1).astype(float)
    given = (
        {name: maps.reshape(12, 2, 24), "word": x.reshape(12, 24), "who": rng.normal(size=(12, 4))} if over_time else {name: maps}
    )
    split = Split(x.reshape(12, 24) if over_time else x, given)
    data = Dataset("mine", split, split, split, 5, shape=(4, 6))
    options = TrainConfig(steps=1, batch=12, augment="shift")
    with feeding(graph, LossConfig(), data, options, Ranks(), range(1)) as feed:
        made = feed.take().work.examples
    assert (made.x != batch(split, 0, 0, 12).x).any()
    flat = made.x.reshape(12, 1, 24)
    np.testing.assert_array_equal(made.conditions[name].reshape(12, 2, 24), np.concatenate([flat, 2 * flat], axis=1))
    if over_time:
        np.testing.assert_array_equal(made.conditions["word"], made.x)
        np.testing.assert_array_equal(made.conditions["who"], batch(split, 0, 0, 12).conditions["who"])


@pytest.mark.parametrize("name", ["masked_pixelcnn", "gated_pixelcnn"])
def test_what_a_mask_hides_never_moves(name):
    """Given as whatever, it is held as 0; its gradient is exactly 0, and AdamW with weight decay and momentum leaves it there."""
    graph = models.by_name(name, {"classes": 3, "channels": 3, **SMALL[name]})
    rng = np.random.default_rng(0)
    params = {key: rng.normal(size=shape) + 3 for key, shape in facts(graph).parameters.items()}
    masks = {f"{n.name}.weight": mask_oihw(n.op, params[f"{n.name}.weight"].shape) for n in graph.nodes if hasattr(n.op, "mask")}
    hidden = {key: ~mask for key, mask in masks.items() if not mask.all()}
    assert len(hidden) > 4
    x = rng.integers(0, 3, (4, 3, 5, 6))
    for module in (Module(graph, params), Module(graph)):
        module.load_state_dict(params)
        start = {key: p.detach().clone() for key, p in module.named_parameters()}
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.3)
        for _ in range(5):
            optimizer.zero_grad()
            nats(graph.head, module(torch.from_numpy(x)), torch.from_numpy(x)).mean().backward()
            for key, p in module.named_parameters():
                assert p.grad is not None
                if key in hidden:
                    assert (p.grad[torch.from_numpy(hidden[key])] == 0).all()
            optimizer.step()
        for key, p in module.named_parameters():
            kept = torch.from_numpy(hidden[key]) if key in hidden else torch.zeros_like(p, dtype=torch.bool)
            assert (p[kept] == 0).all(), key
            assert (p[~kept] != start[key][~kept]).all(), f"{key}: what is seen moves"
        y = refar.forward(graph, module.arrays(), x)
        spoilt = {key: np.where(hidden.get(key, False), 9.0, array) for key, array in module.arrays().items()}
        np.testing.assert_array_equal(refar.forward(graph, spoilt, x), y)


@pytest.mark.row("003-7")
def test_an_encoder_is_trained_through_the_latent():
    """The decoder's half of an autoencoder: what the encoder writes conditions every pixel, and the loss reaches its weights."""
    torch.manual_seed(0)
    graph = models.gated_pixelcnn(2, condition="vector:1", **SMALL["gated_pixelcnn"])
    decoder, encoder = Module(graph), torch.nn.Linear(12, 1)
    x = torch.zeros(8, 1, 3, 4, dtype=torch.int64)
    x[::2] = 1  # images of one value: only the latent can tell the first pixel
    optimizer = torch.optim.Adam([*decoder.parameters(), *encoder.parameters()], lr=2e-2)
    first = []
    for _ in range(100):
        optimizer.zero_grad()
        each = nats(graph.head, decoder(x, encoder(x.flatten(1).float())), x)
        each.mean().backward()
        assert encoder.weight.grad.abs().max() > 0
        first.append(each[:, 0].mean().item())
        optimizer.step()
    assert first[-1] < 0.1 < np.log(2) / 2 < first[0]
