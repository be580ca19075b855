"""Dropout is identity wherever a network is read; only training masks, by (seed, step, node, row of the batch)."""

import json

import numpy as np
import pytest
import torch
from small_run import TEXT, change

import refar
from refar import Builder, models, ops
from refar.errors import GraphError
from refar.runtime import load
from refar.torch import Module, train
from refar.torch.dropping import draw_masks
from refar.training.config import parse_config
from refar.training.runs import load_run
from refar_export import export


def network(rate=0.4, last=False, classes=4):
    """A strict network with dropouts on the input, on a condition, and in the middle; and on the output, if `last`."""
    g = Builder()
    x, c = g.input(classes=classes), g.condition(classes=2)
    h = g.dropout(g.embedding(x, 6, name="embed"), rate, name="first")
    c = g.dropout(g.embedding(c, 6, name="speaker"), rate, name="constant")
    h = g.add(g.conv1d(h, 6, kernel=2, strict=True, name="conv"), c)
    y = g.conv1d(g.dropout(g.relu(h), rate, name="second"), classes, name="logits")
    return g.build(g.dropout(y, rate, name="last") if last else y, ops.Categorical())


def test_it_is_identity_in_every_reading(tmp_path):
    graph = network(last=True)
    module = Module(graph, seed=1).train()
    rng = np.random.default_rng(0)
    x, c = rng.integers(0, 4, (3, 9)), np.array([0, 1, 1])
    y = refar.forward(graph, module.arrays(), x, c)
    np.testing.assert_allclose(module(torch.from_numpy(x), torch.from_numpy(c)).detach(), y, rtol=1e-5, atol=1e-6)
    export(graph, module.arrays(), tmp_path / "bundle")
    session = load(tmp_path / "bundle")
    np.testing.assert_allclose(session.forward(x, c), y, rtol=1e-5, atol=1e-6)
    steps = [session.prefill(x[:, :1], c), *(session.step(x[:, t]) for t in range(1, 8))]
    np.testing.assert_allclose(np.stack(steps, axis=-1), y[:, :, 1:], rtol=1e-5, atol=1e-6)


def test_a_bundle_has_nothing_of_it(tmp_path):
    g = Builder()
    h = g.conv1d(g.embedding(g.input(classes=4), 6, name="embed"), 6, kernel=2, strict=True, name="conv")
    plain = g.build(g.conv1d(g.relu(h), 4, name="logits"), ops.Categorical())
    g = Builder()
    h = g.conv1d(g.dropout(g.embedding(g.input(classes=4), 6, name="embed"), 0.5), 6, kernel=2, strict=True, name="conv")
    dropped = g.build(g.conv1d(g.dropout(g.relu(h), 0.5), 4, name="logits"), ops.Categorical())
    params = refar.init(plain, 0)
    sizes = []
    for name, graph in (("plain", plain), ("dropped", dropped)):
        import onnx

        export(graph, params, tmp_path / name)
        sizes.append(
            [len(onnx.load(tmp_path / name / f"{kind}.onnx").graph.node) for kind in ("full", "step", "block", "prefill")]
        )
    assert sizes[0] == sizes[1]


def test_masks_depend_on_seed_step_node_and_row_alone():
    graph, x = network(), np.zeros((5, 9), int)
    masks = draw_masks(graph, x, 3, 7, range(5))
    assert {name: mask.shape for name, mask in masks.items()} == {"first": (5, 6, 9), "constant": (5, 6), "second": (5, 6, 9)}
    part = draw_masks(graph, x[:2], 3, 7, range(2, 4))
    for name, mask in masks.items():
        np.testing.assert_array_equal(part[name], mask[2:4])
        assert (draw_masks(graph, x, 4, 7, range(5))[name] != mask).any()
        assert (draw_masks(graph, x, 3, 8, range(5))[name] != mask).any()
        assert (mask[0] != mask[1]).any()
    assert (masks["first"] != masks["second"]).any()


def test_masks_keep_the_mean():
    graph = network(rate=0.3)
    mask = draw_masks(graph, np.zeros((40, 1000), int), 0, 0, range(40))["first"]
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.7)}
    assert mask.mean() == pytest.approx(1, abs=5 * np.sqrt(0.3 / 0.7 / mask.size))
    assert draw_masks(network(rate=0.0), np.zeros((2, 3), int), 0, 0, range(2))["first"].min() == 1


def test_a_masked_pass_is_the_product_by_hand():
    graph = network()
    module = Module(graph, seed=1).double()
    x, c = np.random.default_rng(0).integers(0, 4, (3, 9)), np.array([0, 1, 1])
    masks = draw_masks(graph, x, 0, 0, range(3))
    p = module.arrays()
    h = p["embed.weight"][x].transpose(0, 2, 1) * masks["first"]
    before = np.concatenate([np.zeros((3, 6, 2)), h], axis=2)
    h = np.einsum("oik,bitk->bot", p["conv.weight"], np.stack([before[:, :, :9], before[:, :, 1:10]], axis=3))
    h = h + p["conv.bias"][:, None] + (p["speaker.weight"][c] * masks["constant"])[:, :, None]
    expected = (
        np.einsum("oi,bit->bot", p["logits.weight"][:, :, 0], np.maximum(h, 0) * masks["second"]) + p["logits.bias"][:, None]
    )
    dropped = {name: torch.from_numpy(mask) for name, mask in masks.items()}
    found = module(torch.from_numpy(x), torch.from_numpy(c), dropped).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.fixture
def dropping(config, tmp_path):
    refar.save(network(), tmp_path / "net.json")
    text = TEXT[TEXT.index("[data]") :]
    return parse_config(f'[model]\ngraph = "net.json"\n{text}', tmp_path)


def test_training_with_it_goes_on_bit_for_bit(dropping, tmp_path):
    for name, config in (("whole", dropping), ("accumulated", change(dropping, accumulate=3))):
        train(config, tmp_path / name, progress=False)
    train(dropping, tmp_path / "parts", progress=False, until=7)
    train(dropping, tmp_path / "parts", progress=False, resume=True)
    whole, parts, accumulated = (load_run(tmp_path / name).params for name in ("whole", "parts", "accumulated"))
    for name, array in whole.items():
        np.testing.assert_array_equal(parts[name], array)
        np.testing.assert_allclose(accumulated[name], array, atol=1e-4)
    refar.save(network(rate=0.0), tmp_path / "net.json")
    train(dropping, tmp_path / "none", progress=False)
    assert (load_run(tmp_path / "none").params["conv.weight"] != whole["conv.weight"]).any()


def test_validation_drops_nothing(dropping, tmp_path):
    train(dropping, tmp_path / "run", progress=False)
    graph, params, _ = load_run(tmp_path / "run")
    valid = refar.data.load(tmp_path / "my.npz").valid
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert min(line["valid_nats"] for line in lines) == pytest.approx(
        refar.nll(graph, params, valid.x, valid.condition), abs=1e-5
    )


def test_what_is_refused(dropping, tmp_path):
    with pytest.raises(GraphError, match=r"loss\.horizon: a network with a dropout, here 'first', cannot be unrolled"):
        train(
            parse_config(f'[loss]\nhorizon = 2\n[model]\ngraph = "net.json"\n{TEXT[TEXT.index("[data]") :]}', tmp_path),
            tmp_path / "run",
        )
    for rate in (-0.1, 1.0, "half"):
        g = Builder()
        x = g.input(channels=1)
        with pytest.raises(GraphError, match=r"node 'dropout.*rate: Expected `float`"):
            g.dropout(x, rate)


def test_models_have_it_on_request():
    assert models.wavenet(4, [1, 2]) == models.wavenet(4, [1, 2], dropout=0.0)
    names = [node.name for node in models.wavenet(4, [1, 2], dropout=0.2).nodes if isinstance(node.op, ops.Dropout)]
    assert names == ["block0.dropout", "block1.dropout"]
