"""A conceptual network on one window is its practical graph at every t; the rows of seed 000, and 004-4."""

from __future__ import annotations

from math import prod
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers import refuses

import refar
from refar import conceptual, ops, plots
from refar.analysis.facts import facts
from refar.building.text import from_json
from refar.conceptual.strided import Conv, Dense, Flatten, Network, Pool
from refar.errors import GraphError, InputError, ParameterError
from refar.graph.graph import to_json
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.testing import check_contract


def integers(shapes: dict[str, tuple[int, ...]], rng: np.random.Generator, high: int = 3) -> dict[str, np.ndarray]:
    return {name: rng.integers(-high, high + 1, shape).astype(float) for name, shape in shapes.items()}


def sliding(x_bct: np.ndarray, size: int) -> list[np.ndarray]:
    return [x_bct[:, :, t : t + size] for t in range(x_bct.shape[2] - size + 1)]


def assert_equal_at_every_t(net: Network, rng: np.random.Generator, high: int = 3) -> None:
    """On integers, by ==: at every t ≥ R-1; under input padding at every t, with R-1 zeros before the series."""
    params, r = integers(conceptual.parameters(net), rng, high), conceptual.receptive_field(net)
    graph, graph_params = conceptual.practical(net), conceptual.practical_parameters(net, params)
    x = rng.integers(-high, high + 1, (2, net.channels, r + 5)).astype(float)
    y = np.stack([conceptual.evaluate(net, params, window) for window in sliding(x, r)], axis=2)
    np.testing.assert_array_equal(refar.forward(graph, graph_params, x)[:, :, r - 1 :], y)
    padded = np.concatenate([np.zeros((2, net.channels, r - 1)), x], axis=2)
    every = np.stack([conceptual.evaluate(net, params, window) for window in sliding(padded, r)], axis=2)
    np.testing.assert_array_equal(refar.forward(conceptual.practical(net, padding="input"), graph_params, x), every)


@pytest.mark.row("000-1")
def test_a_dense_layer_is_trained_as_a_convolution() -> None:
    """Windows [1,2,3,4] → 5, [2,3,4,5] → 6, …: the same five numbers, the same loss, and the gradient summed over windows."""
    rng = np.random.default_rng(0)
    net = Network(1, (Flatten(4), Dense(1)))
    graph, params = conceptual.practical(net), integers(conceptual.parameters(net), rng)
    conv = conceptual.practical_parameters(net, params)
    assert {name: array.size for name, array in conv.items()} == {"dense1.weight": 4, "dense1.bias": 1}
    weight, bias = params["dense1.weight"][:, 0], params["dense1.bias"][0]
    for frame in (np.arange(1.0, 9.0), rng.integers(-9, 10, 12).astype(float)):
        loss, dweight, dbias = 0.0, np.zeros(4), 0.0
        for i in range(len(frame) - 4):
            window, target = frame[i : i + 4], frame[i + 4]
            error = weight @ window + bias - target
            loss, dweight, dbias = loss + error**2, dweight + 2 * error * window, dbias + 2 * error
        x = frame[None, None]
        errors = refar.forward(graph, conv, x)[0, 0, 3:-1] - frame[4:]
        assert (errors**2).sum() == loss
        dy = np.concatenate([np.zeros(3), 2 * errors, np.zeros(1)])[None, None]
        gradient = conceptual.conceptual_parameters(net, refar.backward(graph, conv, x, dy)["params"])
        np.testing.assert_array_equal(gradient["dense1.weight"][:, 0], dweight)
        np.testing.assert_array_equal(gradient["dense1.bias"], [dbias])


STRIDED = Network(2, (Conv(3, 2, stride=2, activation="relu"), Conv(4, 3, stride=2), Pool("max", 2), Conv(2, 2)))


@pytest.mark.row("000-2")
def test_alignment_alone_makes_a_convolution_causal() -> None:
    """`valid` output i sees x[i..i+R-1]; with target x[i+R] no output sees its target or anything after it."""
    rng, r = np.random.default_rng(1), conceptual.receptive_field(STRIDED)
    params = {name: rng.normal(size=shape) for name, shape in conceptual.parameters(STRIDED).items()}
    graph, params = conceptual.practical(STRIDED), conceptual.practical_parameters(STRIDED, params)
    x = rng.normal(size=(20, 2, r + 8))
    y = refar.forward(graph, params, x)[:, :, r - 1 :]
    for p in range(x.shape[2]):
        other = x.copy()
        other[:, :, p] += 10 * rng.normal(size=(20, 2))
        changed = (refar.forward(graph, params, other)[:, :, r - 1 :] != y).any((0, 1))
        assert changed.tolist() == [i <= p <= i + r - 1 for i in range(9)]
        assert (np.flatnonzero(changed) + r > p).all(), "the target comes after what was changed"


@pytest.mark.row("000-3")
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (2, 3), (3, 2), (4, 5)])
@pytest.mark.parametrize("length", [1, 4, 23])
def test_causal_padding_is_zeros_on_the_left_then_valid(kernel: int, dilation: int, length: int) -> None:
    rng = np.random.default_rng(kernel + dilation)
    graph = conceptual.practical(Network(3, (Conv(2, kernel, dilation=dilation),)))
    params = integers(facts(graph).parameters, rng)
    x = rng.integers(-9, 10, (2, 3, length)).astype(float)
    padded = np.concatenate([np.zeros((2, 3, dilation * (kernel - 1))), x], axis=2)
    valid = np.stack([np.tensordot(w[:, :, ::dilation], params["conv0.weight"], ((1, 2), (1, 2)))
                      for w in sliding(padded, dilation * (kernel - 1) + 1)], axis=2)  # fmt: skip
    y = refar.forward(graph, params, x)
    assert y.shape[2] == length
    np.testing.assert_array_equal(y, valid + params["conv0.bias"][:, None])


@pytest.mark.row("000-4")
def test_the_first_outputs_use_only_zeros_and_the_past() -> None:
    """Output t of the whole sequence is that of x_0..x_t alone, and layer by layer that of zeros before it."""
    rng, r = np.random.default_rng(2), conceptual.receptive_field(STRIDED)
    graph = conceptual.practical(STRIDED)
    params = integers(facts(graph).parameters, rng)
    x = rng.integers(-3, 4, (2, 2, r + 3)).astype(float)
    y = refar.forward(graph, params, x)
    for t in range(r - 1):
        np.testing.assert_array_equal(refar.forward(graph, params, x[:, :, : t + 1])[:, :, -1], y[:, :, t])
    h = x
    for name, layer, dilation in zip(("conv0", "conv1", "", "conv3"), STRIDED.layers, (1, 2, 4, 4), strict=True):
        before = np.concatenate([np.zeros((2, h.shape[1], (layer.kernel - 1) * dilation)), h], axis=2)
        taps = [before[:, :, k * dilation : k * dilation + x.shape[2]] for k in range(layer.kernel)]
        if isinstance(layer, Pool):
            h = np.maximum(*taps)
        else:
            h = sum(np.einsum("oi,bit->bot", params[f"{name}.weight"][..., k], tap) for k, tap in enumerate(taps))
            h = h + params[f"{name}.bias"][:, None]
            h = np.maximum(h, 0) if layer.activation else h
    np.testing.assert_array_equal(y, h)


@pytest.mark.row("000-5")
@pytest.mark.parametrize(
    ("strides", "own", "expected", "r"),
    [
        ((2, 2, 2, 1), (1, 1, 1, 1), (1, 2, 4, 8), 16),
        ((2, 2, 1, 1), (1, 1, 1, 1), (1, 2, 4, 4), 12),
        ((2, 2, 2, 5), (1, 1, 1, 1), (1, 2, 4, 8), 16),
        ((1, 3, 1, 2), (2, 1, 5, 3), (2, 1, 15, 9), 28),
    ],
)
def test_strides_become_dilations(strides: tuple[int, ...], own: tuple[int, ...], expected: tuple[int, ...], r: int) -> None:
    layers = tuple(Conv(1, 2, stride=s, dilation=d) for s, d in zip(strides, own, strict=True))
    net = Network(1, layers)
    assert conceptual.dilations(net) == expected
    graph = conceptual.practical(net)
    assert tuple(node.op.dilation for node in graph.nodes[1:]) == expected
    assert conceptual.receptive_field(net) == conceptual.widths(net)[0] == refar.receptive_field(graph) == r
    assert r == 1 + sum(expected)
    assert_equal_at_every_t(net, np.random.default_rng(3))


def random_network(rng: np.random.Generator, top: int = 4) -> Network:
    def geometry() -> dict[str, int]:
        return {"kernel": int(rng.integers(1, 4)), "stride": int(rng.integers(1, 4)), "dilation": int(rng.integers(1, 4))}

    layers: list[conceptual.AnyLayer] = []
    for _ in range(rng.integers(1, top)):
        if rng.random() < 0.25:
            layers.append(Pool(rng.choice(["avg", "max"]).item(), **(geometry() | {"kernel": int(rng.choice([1, 2, 4]))})))
        else:
            skip = rng.choice([None, "project", "concat"])
            layers.append(Conv(int(rng.integers(1, 4)), **geometry(), activation=rng.choice([None, "relu"]), skip=skip))
    if rng.random() < 0.5:
        layers += [Flatten(int(rng.integers(1, 4))), Dense(3, "relu"), Dense(2)]
    return Network(int(rng.integers(1, 4)), tuple(layers))


@pytest.mark.row("000-6")
@pytest.mark.parametrize("seed", range(40))
def test_a_window_gives_what_the_practical_graph_gives_at_every_t(seed: int) -> None:
    """Strides, dilations, pools, skips and dense layers mixed at random, by ==."""
    rng = np.random.default_rng(seed)
    net = random_network(rng)
    assert refar.receptive_field(conceptual.practical(net)) == conceptual.receptive_field(net)
    assert_equal_at_every_t(net, rng)


@pytest.mark.row("000-7")
@pytest.mark.parametrize("pad", ["zero", "exclude"])
@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize(("kernel", "dilation", "length"), [(1, 3, 4), (2, 1, 7), (2, 3, 11), (3, 2, 2), (4, 5, 23)])
def test_dilated_pooling(kind: str, pad: str, kernel: int, dilation: int, length: int) -> None:
    """Causal, with either pad; from t = D·(K-1) on it is the `valid` one, which needs no pad."""
    rng = np.random.default_rng(kernel)
    x = rng.integers(-9, 0, (2, 3, length)).astype(float)  # below zero, where the pad shows
    graph = conceptual.practical(Network(3, (Pool(kind, kernel, dilation=dilation, pad=pad),)))
    y = refar.forward(graph, {}, x)
    assert y.shape == x.shape
    for t in range(length):
        field = [x[:, :, t - k * dilation] for k in range(kernel) if t - k * dilation >= 0]
        missing = [np.zeros((2, 3))] * (kernel - len(field)) if pad == "zero" else []
        expected = np.max(field + missing, axis=0) if kind == "max" else np.sum(field, axis=0) / len(field + missing)
        np.testing.assert_array_equal(y[:, :, t], expected)
    check_contract(graph, backends=("numpy",))


@pytest.mark.row("000-8")
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_pooling_after_a_stride_needs_dilation(kind: str) -> None:
    rng = np.random.default_rng(4)
    net = Network(2, (Conv(3, 2, stride=2), Pool(kind, 2), Conv(1, 2)))
    assert_equal_at_every_t(net, rng)
    graph, r = conceptual.practical(net), conceptual.receptive_field(net)
    undilated = from_json(to_json(graph).replace(b'"dilation": 2', b'"dilation": 1', 1))
    assert (graph["pool1"].op.dilation, undilated["pool1"].op.dilation) == (2, 1)
    params = integers(conceptual.parameters(net), rng)
    x = rng.integers(-9, 10, (2, 2, r)).astype(float)
    expected = conceptual.evaluate(net, params, x)
    graph_params = conceptual.practical_parameters(net, params)
    np.testing.assert_array_equal(refar.forward(graph, graph_params, x)[:, :, -1], expected)
    assert (refar.forward(undilated, graph_params, x)[:, :, -1] != expected).any()
    assert refar.offsets(graph) != refar.offsets(undilated), "its windows hold positions that the network does not have"


@pytest.mark.row("000-9")
def test_a_fully_connected_head_is_a_stack_of_convolutions() -> None:
    """Dense row t·32 + c is w[o,c,t]; 160 500, 50 100 and 1 010 parameters."""
    rng = np.random.default_rng(5)
    net = Network(32, (Flatten(10), Dense(500, "relu"), Dense(100, "relu"), Dense(10, "softmax")))
    params = {name: rng.normal(size=shape) / 8 for name, shape in conceptual.parameters(net).items()}
    graph, conv = conceptual.practical(net), conceptual.practical_parameters(net, params)
    kernels = [node.op for node in graph.nodes if isinstance(node.op, ops.Conv1d)]
    assert [(op.channels, op.kernel, op.dilation) for op in kernels] == [(500, 10, 1), (100, 1, 1), (10, 1, 1)]
    sizes = [sum(a.size for name, a in conv.items() if name.startswith(f"dense{i}.")) for i in (1, 2, 3)]
    assert sizes == [160_500, 50_100, 1_010]
    for t, c, o in rng.integers(0, (10, 32, 500), (50, 3)):
        assert conv["dense1.weight"][o, c, t] == params["dense1.weight"][t * 32 + c, o]
    x = rng.normal(size=(2, 32, 14))
    y = refar.forward(graph, conv, x)
    for t in range(9, 14):
        h = x[:, :, t - 9 : t + 1].swapaxes(1, 2).reshape(2, 320)
        h = np.maximum(h @ params["dense1.weight"] + params["dense1.bias"], 0)
        h = np.maximum(h @ params["dense2.weight"] + params["dense2.bias"], 0)
        h = np.exp(h @ params["dense3.weight"] + params["dense3.bias"])
        np.testing.assert_allclose(y[:, :, t], h / h.sum(1, keepdims=True), rtol=1e-12)
        np.testing.assert_allclose(y[:, :, t], conceptual.evaluate(net, params, x[:, :, t - 9 : t + 1]), rtol=1e-12)
    back = conceptual.conceptual_parameters(net, conv)
    assert all((back[name] == array).all() and back[name].shape == array.shape for name, array in params.items())


@pytest.mark.row("000-10")
def test_a_softmax_head_is_a_distribution_over_channels_at_every_t() -> None:
    rng = np.random.default_rng(6)
    net = Network(2, (Conv(4, 2, stride=2), Dense(5, "softmax")))
    params = {name: rng.normal(size=shape) for name, shape in conceptual.parameters(net).items()}
    graph, conv = conceptual.practical(net), conceptual.practical_parameters(net, params)
    x = rng.normal(size=(3, 2, 9))
    y = refar.forward(graph, conv, x)
    logits = refar.forward(msgspec.structs.replace(graph, output="dense1"), conv, x)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-15)
    for b, t in np.ndindex(3, 9):
        np.testing.assert_allclose(y[b, :, t], np.exp(logits[b, :, t]) / np.exp(logits[b, :, t]).sum(), rtol=1e-13)


@pytest.mark.row("000-11")
def test_a_residual_reaches_the_most_recent_step_of_each_field() -> None:
    net = Network(2, (Conv(2, 3, stride=2, dilation=2, skip="add"), Conv(4, 2, stride=3, skip="project"), Conv(4, 2, skip="add")))
    assert_equal_at_every_t(net, np.random.default_rng(7))
    params = {name: np.zeros(shape) for name, shape in conceptual.parameters(net).items()}
    params["conv1.project.weight"][:, :, 0] = [[1, 0], [0, 1], [2, 3], [5, 7]]
    window = np.random.default_rng(8).integers(-9, 10, (3, 2, conceptual.receptive_field(net)))
    recent = window[:, :, -1]
    residuals_alone = conceptual.evaluate(net, params, window)
    np.testing.assert_array_equal(residuals_alone, recent @ params["conv1.project.weight"][:, :, 0].T)
    with refuses(GraphError, "layer 'conv0'", "equal channels", "got 2 below and 3 here", '"project"', '"concat"'):
        Network(2, (Conv(3, 2, skip="add"),))


@pytest.mark.row("000-12")
def test_concatenation_lets_channels_differ() -> None:
    """As in DenseNet: what follows sees the outputs of all layers and the input, the most recent step of each field."""
    net = Network(2, (Conv(3, 2, stride=2, skip="concat"), Conv(4, 2, stride=2, skip="concat"), Conv(1, 2)))
    assert conceptual.channels(net) == (2, 5, 9, 1)
    assert_equal_at_every_t(net, np.random.default_rng(9))
    two = Network(2, net.layers[:2])
    params = integers(conceptual.parameters(two), np.random.default_rng(10))
    window = np.random.default_rng(11).integers(-9, 10, (2, 2, 4))
    y, weight, bias = conceptual.evaluate(two, params, window), params["conv0.weight"], params["conv0.bias"]
    np.testing.assert_array_equal(y[:, 7:], window[:, :, -1])
    np.testing.assert_array_equal(y[:, 4:7], np.einsum("oik,bik->bo", weight, window[:, :, 2:]) + bias)


@pytest.mark.row("000-13")
def test_same_padding_is_refused_and_why() -> None:
    says = ("cannot be trained in one pass", "other time steps", 'Use padding="valid"', "zeros on the left")
    with refuses(GraphError, "layer 'conv1'", *says):
        Network(1, (Conv(1, 2), Conv(1, 3, padding="same")))
    with refuses(GraphError, "layer 'pool0'", *says):
        Network(1, (Pool("max", 3, padding="same"),))
    with refuses(GraphError, "unknown field `padding`"):
        from_json(to_json(conceptual.practical(STRIDED)).replace(b'"kernel"', b'"padding": "same", "kernel"', 1))


@pytest.mark.row("000-13")
def test_same_padding_gives_one_position_another_value_in_every_window() -> None:
    """What a one-pass computation would have to share: the value above x_2, from the windows x_0..x_2 and x_1..x_3."""
    x, weight = np.array([1, 6, 3, 9]), np.array([2, 3, 5])
    first, second = (np.convolve(window, weight[::-1], mode="same") for window in (x[:3], x[1:]))
    assert (first[2], second[1]) == (2 * 6 + 3 * 3, 2 * 6 + 3 * 3 + 5 * 9)


@pytest.mark.row("004-4")
def test_windows_as_a_batch_give_the_same_for_more_memory() -> None:
    rng = np.random.default_rng(12)
    for net in (STRIDED, Network(1, (*(Conv(1, 2, stride=2),) * 5,)), random_network(rng)):
        r = conceptual.receptive_field(net)
        params, x = integers(conceptual.parameters(net), rng), rng.integers(-3, 4, (2, net.channels, r + 40)).astype(float)
        graph, conv = conceptual.practical(net), conceptual.practical_parameters(net, params)
        y = conceptual.batched(net, params, x)
        assert y.shape[2] == x.shape[2] - r + 1
        np.testing.assert_array_equal(y, refar.forward(graph, conv, x)[:, :, r - 1 :])
    halving = Network(1, (Conv(1, 2, stride=2),) * 5)
    held = conceptual.memory(halving, 1000)
    graph = conceptual.practical(halving)
    values = forward_nodes(unchecked(graph, integers(facts(graph).parameters, rng), float), {"x": np.zeros((1, 1, 1000))})
    assert held.dilated == sum(value.size for value in values.values()) == 1000 * 6
    assert held.batched == (1000 - 32 + 1) * (32 + 16 + 8 + 4 + 2 + 1)


@pytest.mark.row("004-4")
def test_strides_on_the_series_itself_give_the_wrong_length() -> None:
    """One output for every 2·2·2 positions instead of every one; those that are there are right."""
    import torch

    rng = np.random.default_rng(13)
    net = Network(1, (Conv(2, 2, stride=2), Conv(3, 2, stride=2), Conv(1, 2, stride=2)))
    params, x = integers(conceptual.parameters(net), rng), rng.integers(-3, 4, (2, 1, 37)).astype(float)
    h = torch.tensor(x)
    for i in range(3):
        h = torch.nn.functional.conv1d(h, torch.tensor(params[f"conv{i}.weight"]), torch.tensor(params[f"conv{i}.bias"]), 2)
    every = conceptual.batched(net, params, x)
    assert (h.shape[2], every.shape[2]) == (4, 30)
    np.testing.assert_array_equal(h.numpy(), every[:, :, ::8])


@pytest.mark.parametrize(
    ("build", "fragments"),
    [
        (lambda: Network(0, (Dense(1),)), ["channels ≥ 1", "got 0 and 1"]),
        (lambda: Network(1, ()), ["at least one layer", "got 1 and 0"]),
        (lambda: Network(1, (Conv(1, 0),)), ["layer 'conv0'", "`int` >= 1", "$.kernel"]),
        (lambda: Network(1, (Dense(1), Conv(1, stride=-2))), ["layer 'conv1'", "$.stride"]),
        (lambda: Network(1, (Pool("min", 2),)), ["layer 'pool0'", "'min'", "$.kind"]),
        (lambda: Network(1, (Dense(1, "gelu"),)), ["layer 'dense0'", "'gelu'", "$.activation"]),
        (lambda: Network(1, (Flatten(2), Conv(1, 2))), ["layer 'conv1'", "dense layer after a flatten", "Conv("]),
        (lambda: Network(2, (Conv(3, 2), Flatten(2))), ["layer 'flatten1'", "dense layer after a flatten", "got nothing"]),
    ],
)
def test_networks_without_a_meaning(build: object, fragments: list[str]) -> None:
    with refuses(GraphError, *fragments):
        build()


def test_windows_series_and_parameters_that_do_not_fit() -> None:
    net = Network(2, (Conv(3, 2, stride=2), Flatten(2), Dense(1)))
    params = {name: np.ones(shape) for name, shape in conceptual.parameters(net).items()}
    with refuses(InputError, "windows: expected shape (B, 2, R = 4)", "(1, 2, 5)"):
        conceptual.evaluate(net, params, np.ones((1, 2, 5)))
    with refuses(InputError, "T ≥ R = 4", "(1, 2, 3)"):
        conceptual.batched(net, params, np.ones((1, 2, 3)))
    with refuses(InputError, "at least R = 4 positions, got 3"):
        conceptual.memory(net, 3)
    with refuses(ParameterError, "expected the parameters conv0.weight, conv0.bias, dense2.weight", "got conv0.weight"):
        conceptual.evaluate(net, {"conv0.weight": np.ones((3, 2, 2))}, np.ones((1, 2, 4)))
    with refuses(ParameterError, "'dense2.weight'", "(6, 1)", "(1, 3, 2)"):
        conceptual.evaluate(net, conceptual.practical_parameters(net, params), np.ones((1, 2, 4)))


def test_the_flatten_holds_nothing_of_its_own() -> None:
    net = Network(2, (Conv(3, 2, stride=2), Flatten(2), Dense(5)))
    assert (conceptual.widths(net), prod(conceptual.channels(net))) == ((4, 2, 1, 1), 2 * 3 * 6 * 5)
    assert conceptual.memory(net, 10) == (7 * (2 * 4 + 3 * 2 + 5), 10 * (2 + 3 + 5))


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "softmax"])
def test_activations_are_those_of_the_graph(activation: str) -> None:
    rng = np.random.default_rng(14)
    net = Network(2, (Conv(3, 2, stride=2, activation=activation), Flatten(2), Dense(4, activation)))
    params = {name: rng.normal(size=shape) for name, shape in conceptual.parameters(net).items()}
    x = rng.normal(size=(2, 2, 9))
    y = refar.forward(conceptual.practical(net), conceptual.practical_parameters(net, params), x)
    np.testing.assert_allclose(y[:, :, 3:], conceptual.batched(net, params, x), rtol=1e-13)
    check_contract(conceptual.practical(net))


@pytest.mark.parametrize("seed", range(10))
def test_the_picture_shows_what_one_window_uses(seed: int, tmp_path: Path) -> None:
    net = random_network(np.random.default_rng(seed))
    shown = plots.levels(net)
    assert shown[0].used == refar.offsets(conceptual.practical(net))
    assert all(level.used <= set(level.there) for level in shown)
    assert [len(level.there) for level in shown] == [
        conceptual.widths(net)[0],
        *(n for n, layer in zip(conceptual.widths(net)[1:], net.layers, strict=True) if not isinstance(layer, Flatten)),
    ]
    if seed == 0:
        plots.save(plots.conceptual(net), tmp_path / "net.png")
        assert (tmp_path / "net.png").stat().st_size > 5000


def test_a_window_too_long_for_a_picture() -> None:
    with refuses(GraphError, "a window of 64 positions and 6 layers is too large", "`field`"):
        plots.conceptual(Network(1, (Conv(1, 2, stride=2),) * 6))
