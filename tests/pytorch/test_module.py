"""The PyTorch backend of a graph against the oracle, and as a module among modules."""

import copy
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import refar
from refar import Builder, models, ops
from refar.analysis.facts import facts
from refar.errors import GraphError, InputError, ParameterError
from refar.torch import Module, nats


def every_operator(activations=("relu", "leaky_relu", "tanh", "sigmoid"), smooth=True):
    """A graph with every operator, and constants that meet values over time; without the transcendental ones if not `smooth`."""
    g = Builder()
    x, c, v = g.input(classes=4), g.condition("speaker", classes=3), g.condition("pitch", channels=2)
    h = g.concat(g.delay(g.standardize(x, 1.0, 0.5), 2), g.embedding(x, 3), g.one_hot(c), v)
    h = g.conv1d(h, 6, kernel=3, dilation=2, strict=True)
    h = g.add(g.gate(g.conv1d(h, 12)), h) if smooth else g.multiply(h, g.slice(g.conv1d(h, 8, bias=False), 2, 8))
    h = g.multiply(h, g.conv1d(g.embedding(c, 2), 6), g.affine(h, -2.0, 3.0))
    parts = [g.add_op(ops.Activation(kind, 0.25), h) for kind in activations]
    h = g.add(g.add(*parts), g.conv1d(v, 6, bias=False))
    h = g.slice(h, 1, 5)
    return g.build(g.softmax(h) if smooth else h)


def case(graph, batch=3, length=13, seed=0, integer=False):
    """Parameters, inputs and an upstream gradient: generic, or small integers."""
    rng = np.random.default_rng(seed)
    found = facts(graph)

    def draw(shape):
        # Small enough that no softmax or gate saturates: there gradients are small differences of large numbers.
        return rng.integers(-1, 2, shape).astype(float) if integer else rng.normal(size=shape) / 2

    params = {name: draw(shape) for name, shape in found.parameters.items()}
    inputs = {}
    for name in (found.sequence, *found.conditions):
        kind = found.types[name]
        shape = (batch, *([] if kind.indexed else [kind.size]), *([length] if kind.timed else []))
        inputs[name] = rng.integers(0, kind.size, shape) if kind.indexed else draw(shape)
    return params, inputs, draw((batch, found.types[graph.output].size, length))


def run(graph, params, inputs, dy, dtype):
    """Output and gradients of the module."""
    module = Module(graph, params).to(dtype)
    tensors = {name: torch.tensor(a) if a.dtype.kind == "i" else torch.tensor(a, dtype=dtype) for name, a in inputs.items()}
    for tensor in tensors.values():
        tensor.requires_grad_(tensor.is_floating_point())
    y = module(tensors)
    assert y.dtype == dtype
    y.backward(torch.tensor(dy, dtype=dtype))
    own = {name: p.grad.numpy() for name, p in module.named_parameters()}
    return y.detach().numpy(), own, {name: t.grad.numpy() for name, t in tensors.items() if t.grad is not None}


GRAPHS = {
    "nettoy1d": (models.nettoy1d(6, hidden=4, mean=1.3, std=0.7), 6),
    "nettoy1d_dilated": (models.nettoy1d_dilated(6, hidden=4, kernel=3), 6),
    "linear_ar": (models.linear_ar(4), 1),
    "wavenet": (models.wavenet(6, [1, 2, 4], residual=4, gate=3, skip=5, kernel=3, condition="class:3"), 10),
    "wavenet_vector": (models.wavenet(6, [2, 1], residual=4, gate=3, skip=5, condition="vector:2"), 8),
    "every_operator": (every_operator(), 6),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [1, 2, 13])
@pytest.mark.parametrize("name", GRAPHS)
def test_values_and_gradients_equal_the_oracle(name, length, dtype):
    graph, layers = GRAPHS[name]
    params, inputs, dy = case(graph, length=length)
    if dtype == torch.float32:  # both sides start from the same numbers, so that only the arithmetic differs
        params, inputs, dy = (
            {k: round32(v) for k, v in d.items()} if isinstance(d, dict) else round32(d) for d in (params, inputs, dy)
        )
    y, dparams, dinputs = run(graph, params, inputs, dy, dtype)
    expected = refar.backward(graph, params, inputs, dy)
    # A layer of at most 64 products errs by about 64·u of its largest value, forward and again backward. A gradient may be a
    # small difference of large ones on its way, so all are judged against the largest of them.
    allowed = 64 * torch.finfo(dtype).eps / 2 * 2 * layers
    exact = refar.forward(graph, params, inputs)
    close("output", y, exact, allowed * np.abs(exact).max())
    largest = max(np.abs(gradient).max() for kind in expected.values() for gradient in kind.values())
    for kind, found in (("params", dparams), ("inputs", dinputs)):
        assert found.keys() == expected[kind].keys()
        for key, gradient in expected[kind].items():
            close(key, found[key], gradient, allowed * largest)


def round32(array):
    return array if array.dtype.kind == "i" else array.astype(np.float32).astype(np.float64)


def close(name, found, expected, allowed):
    assert found.shape == expected.shape, name
    error = np.abs(found - expected).max(initial=0)
    assert error <= allowed, f"{name}: differs by {error}, allowed {allowed}, largest {np.abs(expected).max()}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "graph",
    [
        models.nettoy1d(5, hidden=3, kernel=3, mean=2.0, std=0.5),
        models.nettoy1d_dilated(5, hidden=3, mean=1.0, std=1.0),
        models.linear_ar(5),
        every_operator(("relu", "leaky_relu"), smooth=False),
    ],
    ids=["nettoy1d", "nettoy1d_dilated", "linear_ar", "every_operator"],
)
def test_on_small_integers_nothing_rounds(graph, dtype):
    params, inputs, dy = case(graph, integer=True, length=9, batch=2)
    y, dparams, dinputs = run(graph, params, inputs, dy, dtype)
    expected = refar.backward(graph, params, inputs, dy)
    largest = max(np.abs(a).max() for a in [y, *expected["params"].values(), *expected["inputs"].values()])
    assert largest * 4 < 2**24, "the case is not exact in float32"
    np.testing.assert_array_equal(y, refar.forward(graph, params, inputs))
    for kind, found in (("params", dparams), ("inputs", dinputs)):
        for name, gradient in expected[kind].items():
            np.testing.assert_array_equal(found[name], gradient, err_msg=name)


def test_double_is_float64_throughout():
    graph = models.nettoy1d(6, hidden=4, mean=1 / 3, std=0.7)
    params, inputs, _ = case(graph)
    module = Module(graph, {k: v.astype(np.float32) for k, v in params.items()}).double()
    values = module.forward_nodes(torch.tensor(inputs["x"]))
    np.testing.assert_array_equal(values["standardize"].numpy(), ((inputs["x"] - 1 / 3) / 0.7)[:, None])
    assert all(value.dtype == torch.float64 for name, value in values.items() if name != "x")


def test_a_graph_without_parameters_follows_double():
    g = Builder()
    module = Module(g.build(g.affine(g.delay(g.one_hot(g.input(classes=3))), 0.1))).double()
    assert module(torch.tensor([[0, 1, 2]]))[0, 0].tolist() == [0, 0.1, 0]


def test_empty_sequences_and_batches():
    graph = every_operator()
    module = Module(graph)
    for batch, length in ((2, 0), (0, 5)):
        params, inputs, _ = case(graph, batch=batch, length=length)
        tensors = {k: torch.tensor(v) for k, v in inputs.items()}
        assert module(tensors).shape == refar.forward(graph, params, inputs).shape == (batch, 4, length)


def test_starts_from_the_initial_parameters_of_the_seed():
    graph = models.wavenet(6, [1, 2], residual=4, gate=3, skip=5)
    expected = refar.init(graph, seed=3)
    arrays = Module(graph, seed=3).arrays()
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)
    arrays["front.bias"][:] = 0
    assert Module(graph, seed=3).state_dict()["front.bias"].any()


def test_keeps_the_dtype_of_its_parameters():
    graph = models.linear_ar(2)
    params = {"ar.weight": np.full((1, 1, 2), 0.1), "ar.bias": np.zeros(1)}
    assert Module(graph, params).arrays()["ar.weight"][0, 0, 0] == 0.1
    assert Module(graph, {k: v.astype(int) for k, v in params.items()}).arrays()["ar.bias"].dtype == np.float32
    assert Module(graph, params).bfloat16().arrays()["ar.bias"].dtype == np.float32


def test_state_dict_goes_round():
    graph = models.wavenet(6, [1, 2], residual=4, gate=3, skip=5)
    one, two = Module(graph, seed=1), Module(graph, seed=2)
    assert set(one.state_dict()) == set(facts(graph).parameters)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    two.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randint(0, 6, (2, 9))
    assert one(x).equal(two(x))
    two.load_state_dict(Module(graph, seed=5).arrays())
    assert two(x).equal(Module(graph, seed=5)(x))
    assert copy.deepcopy(two)(x).equal(two(x))
    parent = nn.ModuleDict({"inner": two})
    parent.load_state_dict(parent.state_dict())


def test_nodes_may_be_called_like_methods():
    g = Builder()
    h = g.input("graph", channels=2)
    for name in ("train", "forward.state_dict", "_anchor", "double"):
        h = g.conv1d(h, 2, kernel=2, name=name)
    graph = g.build(h)
    module = Module(graph).train().double().eval()
    assert set(module.state_dict()) == set(facts(graph).parameters)
    module.load_state_dict(module.arrays())
    x = torch.randn(2, 2, 7, dtype=torch.float64)
    close("output", module(x).detach().numpy(), refar.forward(graph, module.arrays(), x.numpy()), 1e-14)


def test_a_name_that_pytorch_needs_is_refused():
    g = Builder()
    with pytest.raises(GraphError, match=r"node 'a\.training'.*keeps the name 'training'"):
        Module(g.build(g.conv1d(g.input(channels=1), 1, name="a.training")))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_as_one_graph(backend):
    torch._dynamo.reset()
    graph = every_operator()
    module = Module(graph)
    compiled = torch.compile(module, backend=backend, fullgraph=True)
    for length in (9, 7, 11):
        _, inputs, _ = case(graph, length=length)
        tensors = {k: torch.tensor(v) for k, v in inputs.items()}
        assert compiled(tensors).equal(module(tensors))
    compiled(tensors).sum().backward()


WAVENET = models.wavenet(6, [1, 2], residual=4, gate=3, skip=5, condition="class:3")
X, C = torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("graph", "x", "condition", "message"),
    [
        (WAVENET, X, None, r"condition 'condition' \(3 classes constant\) is missing"),
        (WAVENET, {}, C, r"input 'x' .* is missing"),
        (WAVENET, {"x": X, "condition": C, "z": C}, None, "input 'z': the graph has no such input, only 'x', 'condition'"),
        (WAVENET, X[0], C, r"input 'x': expected axes bt, got a tensor of shape \(5,\)"),
        (WAVENET, X, C[:, None], r"input 'condition': expected axes b, got"),
        (WAVENET, X, C[:1], "expected one batch size, got 1 for 'condition' and 2 for 'x'"),
        (WAVENET, X.float(), C, r"input 'x': expected integers, the class indices, got torch.float32"),
        (WAVENET, X.bool(), C, "expected integers"),
        (WAVENET, X + 6, C, r"input 'x': expected classes 0\.\.5, got 6"),
        (WAVENET, X - 1, C, r"input 'x': expected classes 0\.\.5, got -1"),
        (WAVENET, X.numpy(), C, "input 'x': expected a tensor with axes bt, got ndarray"),
        (models.nettoy1d(4, hidden=2), X, C, "condition: expected none, got a value"),
        (every_operator(), X, C, "condition: expected a mapping with 'speaker', 'pitch', got a value"),
        (
            models.linear_ar(2),
            torch.zeros(2, 2, 5),
            None,
            r"expected axes bct with 1 channels, got a tensor of shape \(2, 2, 5\)",
        ),
        (models.linear_ar(2), torch.zeros(2, 1, 5, dtype=torch.complex64), None, "expected real numbers, got torch.complex64"),
    ],
)
def test_inputs_that_do_not_fit(graph, x, condition, message):
    with pytest.raises(InputError, match=message):
        Module(graph)(x, condition)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ar.bias": None}, r"'ar\.bias' of shape \(1,\) is missing"),
        ({"ar.wait": np.zeros(1)}, r"'ar\.wait': the graph has no such parameter, did you mean 'ar\.weight'"),
        ({"ar.bias": np.zeros(2)}, r"'ar\.bias': expected shape \(1,\), got \(2,\)"),
        ({"ar.bias": torch.zeros(2)}, r"'ar\.bias': expected shape \(1,\), got \(2,\)"),
        ({"ar.bias": np.array([np.nan])}, "expected finite numbers, got nan"),
        ({"ar.bias": np.array([1j])}, "expected real numbers, got complex128"),
        ({"ar.bias": np.array(["a"])}, "expected real numbers"),
    ],
)
def test_parameters_that_do_not_fit(change, message):
    graph = models.linear_ar(2)
    module = Module(graph)
    given = {k: v for k, v in (module.arrays() | change).items() if v is not None}
    with pytest.raises(ParameterError, match=message):
        module.load_state_dict(given)
    with pytest.raises(ParameterError, match=message):
        Module(graph, given)


@pytest.mark.parametrize("graph", [models.nettoy1d(6, hidden=4), models.linear_ar(3, std=0.4)], ids=["categorical", "gaussian"])
def test_nats_are_those_of_the_oracle(graph):
    params, inputs, _ = case(graph)
    x = torch.tensor(inputs["x"])
    found = nats(graph.head, Module(graph, params)(x), x)
    assert found.shape == (3, 13)
    # a dozen roundings, each of at most the largest logit, which is below 100 here
    np.testing.assert_allclose(-found.sum(1).detach().numpy(), refar.log_prob(graph, params, inputs["x"]), rtol=1e-13, atol=1e-13)


def test_without_pytorch_the_error_says_what_to_install():
    script = "import sys; sys.modules['torch'] = None; import refar, refar.torch"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "BackendError: refar.torch needs PyTorch, which is not installed: pip install refar[torch]" in found.stderr
