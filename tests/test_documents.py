"""What the documents on causal convolutions, autoregressive models and WaveNet's chart say, in one dimension."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import generate_with_outputs, single

import refar
from refar import Builder, Graph, models, noise, ops
from refar.analysis.facts import facts
from refar.oracle import causal1d
from refar.testing.contract.cases import generic_parameters, other_values

WAVENET = models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7)
NETTOY = models.nettoy1d(7, hidden=8, mean=3.0, std=2.0)
DILATED = models.nettoy1d_dilated(7, hidden=8, mean=3.0, std=2.0)


def draw(graph: Graph, seed: int, rows: int, length: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    return generic_parameters(graph, rng), rng.integers(0, facts(graph).types["x"].size, (rows, length))


def softmax(y_bqt: np.ndarray) -> np.ndarray:
    powers = np.exp(y_bqt - y_bqt.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def measured_offsets(graph: Graph, length: int) -> set[int]:
    """Every offset at which a change of one value of the sequence changes an output, in some row."""
    rng, kind = np.random.default_rng(0), facts(graph).types["x"]
    params, x = draw(graph, 1, 200, length)
    y, felt = refar.forward(graph, params, x), set()
    for p in range(length):
        other = x.copy()
        other[:, p] = other_values(kind, x, rng)[:, p]
        felt |= {int(t) - p for t in np.flatnonzero((refar.forward(graph, params, other) != y).any((0, 1)))}
    return felt


@pytest.mark.row("001-1")
@pytest.mark.parametrize("graph", [NETTOY, DILATED, WAVENET])
@pytest.mark.parametrize("length", [1, 2, 40])
def test_one_distribution_per_position(graph: Graph, length: int) -> None:
    params, x = draw(graph, 2, 3, length)
    p = softmax(refar.forward(graph, params, x))
    assert p.shape == (3, facts(graph).types["x"].size, length)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)
    log_p = np.log(np.take_along_axis(p, x[:, None], axis=1)).sum((1, 2))
    np.testing.assert_allclose(refar.log_prob(graph, params, x), log_p, rtol=1e-12)


@pytest.mark.row("001-2")
@pytest.mark.parametrize("graph", [NETTOY, DILATED, WAVENET])
def test_whatever_follows_changes_nothing(graph: Graph) -> None:
    """f_{t+1}(x_1..x_t, α) = f_{t+1}(x_1..x_t, β), for every t, bit by bit; f_1 is constant in x."""
    params, alpha = draw(graph, 3, 4, 40)
    y = refar.forward(graph, params, alpha)
    for t in range(40):
        beta = np.concatenate([alpha[:, :t], draw(graph, t, 4, 40)[1][:, t:]], axis=1)
        np.testing.assert_array_equal(refar.forward(graph, params, beta)[:, :, : t + 1], y[:, :, : t + 1])
    assert (y[:, :, 0] == y[0, :, 0]).all()
    assert (y[:, :, 1:] != y[:1, :, 1:]).any()


@pytest.mark.row("001-3")
@pytest.mark.parametrize("graph", [NETTOY, DILATED, WAVENET])
def test_one_pass_computes_the_whole_loss(graph: Graph) -> None:
    """Σ_t ℓ(f_t(x_1..x_{t-1}, 0..0), x_t) = Σ_t ℓ(f_t(x_1..x_T), x_t)."""
    params, x = draw(graph, 4, 2, 40)
    terms = np.zeros((2, 40))
    for t in range(40):
        known = np.where(np.arange(40) < t, x, 0)
        terms[:, t] = np.log(softmax(refar.forward(graph, params, known))[np.arange(2), x[:, t], t])
    np.testing.assert_allclose(terms.sum(axis=1), refar.log_prob(graph, params, x), rtol=1e-12)
    assert refar.nll(graph, params, x) == pytest.approx(-terms.mean(), rel=1e-12)


@pytest.mark.row("001-4")
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (3, 4)])
def test_the_present_is_hidden_by_a_strict_layer_or_by_a_shift(kernel: int, dilation: int) -> None:
    """The same function, and the same offsets; a layer that is neither sees the present."""
    strict = single(ops.Conv1d(2, kernel, dilation, strict=True), channels=3)
    plain = single(ops.Conv1d(2, kernel, dilation), channels=3)
    g = Builder()
    shifted = g.build(g.conv1d(g.delay(g.input(channels=3)), 2, kernel=kernel, dilation=dilation, name="op"))
    seen = {k * dilation for k in range(kernel)}
    assert refar.offsets(plain) == seen
    assert refar.offsets(strict) == refar.offsets(shifted) == {1 + offset for offset in seen}
    rng = np.random.default_rng(5)
    params = {name: rng.integers(-8, 9, shape).astype(float) for name, shape in facts(plain).parameters.items()}
    x = rng.integers(-8, 9, (2, 3, 17)).astype(float)
    y = refar.forward(strict, params, x)
    np.testing.assert_array_equal(refar.forward(shifted, params, x), y)
    np.testing.assert_array_equal(y[:, :, 1:], refar.forward(plain, params, x)[:, :, :-1])
    np.testing.assert_array_equal(y[:, :, 0], np.stack([params["op.bias"]] * 2))


@pytest.mark.row("001-5")
def test_signed_padding() -> None:
    x = np.array([1, 6, 3, 9, 1])
    expected = {-1: [6, 3, 9, 1, 0], 1: [0, 1, 6, 3, 9], -2: [3, 9, 1, 0, 0], 0: [1, 6, 3, 9, 1], 4: [0, 0, 0, 0, 1], 5: [0] * 5}
    for steps, shifted in expected.items():
        assert refar.forward(single(ops.Shift(steps), channels=1), {}, x[None, None])[0, 0].tolist() == shifted
    rows = np.random.default_rng(6).integers(-9, 10, (2, 3, 5))
    for length in (1, 5):
        part = rows[:, :, :length]
        padded = refar.forward(single(ops.PadChannels(2, 0), channels=3), {}, part)
        assert padded.shape == (2, 5, length)
        np.testing.assert_array_equal(padded[:, :2], 0)
        np.testing.assert_array_equal(padded[:, 2:], part)
    for steps in (-1, 1):
        np.testing.assert_array_equal(
            refar.forward(single(ops.Shift(steps), channels=3), {}, rows[:, :, :1]), np.zeros((2, 3, 1))
        )


@pytest.mark.row("001-6")
def test_nettoy_sees_the_last_five_values() -> None:
    assert measured_offsets(NETTOY, 11) == refar.offsets(NETTOY) == set(range(1, 6))


@pytest.mark.row("001-7")
def test_nettoy_with_dilation_sees_the_odd_offsets_up_to_31() -> None:
    assert measured_offsets(DILATED, 40) == refar.offsets(DILATED) == set(range(1, 32, 2))


@pytest.mark.row("001-8")
def test_standardised_values_in_and_raw_classes_out() -> None:
    """The network sees (x - mean)/std; the cross-entropy takes the integers x themselves."""
    g = Builder()
    x = g.standardize(g.input(classes=7), 3.0, 2.0, name="seen")
    graph = g.build(g.conv1d(x, 7, kernel=3, strict=True, name="logits"), ops.Categorical())
    params, x_bt = draw(graph, 7, 2, 20)
    seen = np.concatenate([np.zeros((2, 3)), (x_bt - 3.0) / 2.0], axis=1)
    taps = np.stack([seen[:, k : k + 20] for k in range(3)])
    logits = np.einsum("qk,kbt->bqt", params["logits.weight"][:, 0], taps) + params["logits.bias"][:, None]
    np.testing.assert_allclose(refar.forward(graph, params, x_bt), logits, rtol=1e-12, atol=1e-14)
    cross_entropy = -np.log(np.take_along_axis(softmax(logits), x_bt[:, None], axis=1))
    assert refar.nll(graph, params, x_bt) == pytest.approx(cross_entropy.mean(), rel=1e-13)


@pytest.mark.row("001-9")
def test_synthesis_is_one_full_pass_for_every_value() -> None:
    """The start token is 0, what the shift brings in after the normalisation, and not (0 - mean)/std."""
    params, _ = draw(NETTOY, 8, 1, 0)
    tokens = np.zeros((2, 12), np.int64)
    gumbel = noise.draw(NETTOY.head, 9, range(2), 0, 12, 7)
    for t in range(12):
        logits = refar.forward(NETTOY, params, tokens)[:, :, t]
        tokens[:, t] = (logits + gumbel[t]).argmax(axis=1)
    found, outputs = generate_with_outputs(NETTOY, params, 12, batch=2, seed=9, algorithm="slow")
    np.testing.assert_array_equal(found, tokens)
    h = np.maximum(params["conv0.bias"][:, None], 0)  # the first layer's answer to 0; before it, zeros
    for name in ("conv1", "conv2", "conv3", "conv4"):
        h = np.maximum(params[f"{name}.weight"][:, :, -1] @ h + params[f"{name}.bias"][:, None], 0)
    first = (params["conv5.weight"][:, :, 0] @ h)[:, 0] + params["conv5.bias"]
    np.testing.assert_allclose(outputs[0, :, 0], first, rtol=1e-12)


@pytest.mark.row("002-3")
@pytest.mark.parametrize(("kernels", "dilations"), [((2, 2, 2), (1, 2, 4)), ((3, 1, 4, 2), (5, 9, 2, 3)), ((7,), (1,))])
def test_the_receptive_field_is_one_more_than_the_sum_of_the_layers(kernels: tuple[int, ...], dilations: tuple[int, ...]) -> None:
    """r_i = (K_i - 1)·D_i and R = Σ r_i + 1, inferred, and measured by an impulse."""
    g = Builder()
    h = g.input(channels=1)
    for kernel, dilation in zip(kernels, dilations, strict=True):
        h = g.conv1d(h, 1, kernel=kernel, dilation=dilation, bias=False)
    graph = g.build(h)
    r = 1 + sum((kernel - 1) * dilation for kernel, dilation in zip(kernels, dilations, strict=True))
    assert refar.receptive_field(graph) == r
    impulse = np.zeros((1, 1, r + 5))
    impulse[0, 0, 2] = 1
    ones = {name: np.ones(shape) for name, shape in facts(graph).parameters.items()}
    answer = np.flatnonzero(refar.forward(graph, ones, impulse))
    assert (answer.min(), answer.max()) == (2, 2 + r - 1)
    assert set((answer - 2).tolist()) == refar.offsets(graph)


@pytest.mark.row("003-1")
@pytest.mark.parametrize("order", [1, 4])
def test_the_window_of_order_m_slides(order: int) -> None:
    """Values further back than m never change y_t, and each of the last m does."""
    graph = models.linear_ar(order)
    rng = np.random.default_rng(10)
    params, x = generic_parameters(graph, rng), rng.normal(size=(1, 1, 20))
    y = refar.forward(graph, params, x)
    for p in range(20):
        other = x.copy()
        other[:, :, p] += 1
        changed = np.flatnonzero((refar.forward(graph, params, other) != y).any((0, 1)))
        assert changed.tolist() == list(range(p + 1, min(p + order, 19) + 1))


@pytest.mark.row("003-2")
def test_after_r_steps_all_input_is_self_generated() -> None:
    """Output t of a generation with a prompt of P tokens is a function of the generated tokens alone as soon as t ≥ P + R."""
    params, prompts = draw(WAVENET, 11, 2, 6)
    r = max(refar.offsets(WAVENET))
    tokens, outputs = generate_with_outputs(WAVENET, params, 3 * r, prompt=prompts[:1], seed=12)
    others = np.concatenate([prompts[1:], tokens], axis=1)
    assert (prompts[0] != prompts[1]).any()
    replayed = refar.forward(WAVENET, params, others)[:, :, 6:]
    np.testing.assert_allclose(replayed[:, :, r:], outputs[:, :, r:], rtol=1e-12, atol=1e-13)
    assert (abs(replayed - outputs)[:, :, :r].max(axis=1) > 1e-6).any()


@pytest.mark.row("003-6")
def test_cached_states_spare_every_recomputation(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the state, each layer computes one position per token; without it, as many as the window has."""
    params, _ = draw(WAVENET, 13, 1, 0)
    computed: list[int] = []
    original = causal1d.conv1d

    def counted(windows: np.ndarray, *rest: object) -> np.ndarray:
        computed.append(windows.shape[3])
        return original(windows, *rest)

    monkeypatch.setattr(causal1d, "conv1d", counted)
    layers, tokens = sum(isinstance(node.op, ops.Conv1d) for node in WAVENET.nodes), {}
    for algorithm, most in (("fast", 1), ("slow", max(refar.offsets(WAVENET)) + 1)):
        computed.clear()
        tokens[algorithm] = refar.generate(WAVENET, params, 30, seed=14, algorithm=algorithm)
        assert len(computed) == 30 * layers
        assert max(computed) == most
    np.testing.assert_array_equal(tokens["fast"], tokens["slow"])


def convolution(kernel: int, dilation: int) -> tuple[Graph, dict[str, np.ndarray]]:
    graph = single(ops.Conv1d(2, kernel, dilation), channels=3)
    rng = np.random.default_rng(kernel * dilation)
    return graph, {name: rng.integers(-8, 9, shape).astype(float) for name, shape in facts(graph).parameters.items()}


SERIES = np.random.default_rng(15).integers(-8, 9, (2, 3, 29)).astype(float)


@pytest.mark.row("004-1")
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 3), (2, 2), (3, 4), (4, 8)])
def test_dilation_is_a_kernel_stuffed_with_zeros(kernel: int, dilation: int) -> None:
    """To (K-1)·D + 1 weights; the gradient of the kernel is the larger one's, where it is not stuffed."""
    graph, params = convolution(kernel, dilation)
    large = single(ops.Conv1d(2, (kernel - 1) * dilation + 1), channels=3)
    weight = np.zeros(facts(large).parameters["op.weight"])
    weight[:, :, ::dilation] = params["op.weight"]
    stuffed = {**params, "op.weight": weight}
    y = refar.forward(graph, params, SERIES)
    np.testing.assert_array_equal(y, refar.forward(large, stuffed, SERIES))
    dy = np.random.default_rng(16).integers(-8, 9, y.shape).astype(float)
    small, wide = (refar.backward(g, p, SERIES, dy) for g, p in ((graph, params), (large, stuffed)))
    np.testing.assert_array_equal(small["params"]["op.weight"], wide["params"]["op.weight"][:, :, ::dilation])
    np.testing.assert_array_equal(small["inputs"]["x"], wide["inputs"]["x"])


@pytest.mark.row("004-2")
@pytest.mark.parametrize("kernel", [1, 2, 5])
def test_dilation_one_is_the_ordinary_convolution(kernel: int) -> None:
    graph, params = convolution(kernel, 1)
    y = refar.forward(graph, params, SERIES)
    for b, o in np.ndindex(2, 2):
        ordinary = sum(np.convolve(SERIES[b, i], params["op.weight"][o, i, ::-1])[:29] for i in range(3))
        np.testing.assert_array_equal(y[b, o], ordinary + params["op.bias"][o])


@pytest.mark.row("004-3")
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 8), (5, 50)])
@pytest.mark.parametrize("length", [0, 1, 29])
def test_the_output_is_as_long_as_the_input(kernel: int, dilation: int, length: int) -> None:
    graph, params = convolution(kernel, dilation)
    assert refar.forward(graph, params, SERIES[:, :, :length]).shape == (2, 2, length)
