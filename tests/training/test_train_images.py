"""Training of networks over images: it learns, and what a mask hides stays where it is."""

import json

import numpy as np
import pytest
import torch

import refar
from refar import data, models
from refar.analysis.facts import facts
from refar.analysis.masks import mask_oihw
from refar.torch import Module, train
from refar.torch.losses import nats
from refar.training.config import parse_config
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
