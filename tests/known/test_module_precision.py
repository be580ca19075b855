"""check_module: modules in half precision, of TorchScript, with sparse gradients, with several outputs, and at great lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import refuses
from torch import Tensor, nn
from torch.nn import functional as F

from refar import Builder, Graph, ops
from refar.errors import InputError
from refar.oracle.bound_graph import unchecked
from refar.rounding import half
from refar.testing import ContractError, check_module
from refar.testing.contract.cases import generic_inputs, generic_parameters

CHANNELS, KERNEL = 6, 3


class Causal(nn.Module):
    def __init__(self, given: int, made: int, kernel: int, dilation: int, missing: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv1d(given, made, kernel, dilation=dilation)
        self.pad = (kernel - 1) * dilation
        self.missing = missing

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (self.pad - self.missing, self.missing)))
        return y


def network(layers: int, missing: int = 0) -> nn.Sequential:
    """A stack of causal convolutions with tanh between; `missing` zeros of the last are on the wrong side."""
    parts: list[nn.Module] = [Causal(3, CHANNELS, KERNEL, 1), nn.Tanh()]
    for n in range(1, layers):
        parts += [Causal(CHANNELS, CHANNELS, KERNEL, 2**n, missing if n == layers - 1 else 0), nn.Tanh()]
    return nn.Sequential(*parts[:-1])


def graph_of(layers: int) -> Graph:
    g = Builder()
    h = g.input(channels=3)
    for n in range(layers):
        h = g.conv1d(g.tanh(h) if n else h, CHANNELS, kernel=KERNEL, dilation=2**n, name=f"{2 * n}.conv")
    return g.build(h)


class Lowered(nn.Module):
    """A network that is computed in half precision: under autocast, with float32 given back or not."""

    def __init__(self, inner: nn.Module, dtype: torch.dtype, back: bool = False) -> None:
        super().__init__()
        self.inner, self.half, self.back = inner, dtype, back

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=self.half):
            y: Tensor = self.inner(x)
        return y.float() if self.back else y


def prefixed(layers: int) -> dict[str, str]:
    return {f"{2 * n}.conv": f"inner.{2 * n}.conv" for n in range(layers)}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_half_precision_is_judged_by_itself(layers: int, dtype: torch.dtype) -> None:
    for seed in range(4):
        for back in (False, True):
            report = check_module(
                Lowered(network(layers), dtype, back), graph_of(layers), names=prefixed(layers), dtype="float32", seed=seed
            )
            assert f"computes in {str(dtype).removeprefix('torch.')}" in str(report)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layers", [2, 4])
def test_what_is_wrong_in_half_precision_is_still_refused(layers: int, dtype: torch.dtype) -> None:
    for seed in range(4):
        wrong = Lowered(network(layers, missing=1), dtype)
        with pytest.raises(ContractError, match="output"):
            check_module(wrong, graph_of(layers), names=prefixed(layers), dtype="float32", seed=seed)


class Single(nn.Module):
    """Logits in float32, as many models return them, of a network in whatever precision."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y.float()


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_outputs_in_float32_are_judged_by_float32(layers: int) -> None:
    for seed in range(2):
        report = check_module(Single(network(layers)), graph_of(layers), names=prefixed(layers), seed=seed)
        assert "returns float32: may be off by" in str(report)
        for wrong in (Single(network(layers, missing=1)), Single(nn.Sequential(*network(layers), Scaled(1 + 1e-4)))):
            if layers > 1:
                with pytest.raises(ContractError, match="output"):
                    check_module(wrong, graph_of(layers), names=prefixed(layers), seed=seed)


class Scaled(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


class AtTheEnd(nn.Module):
    def __init__(self, inner: nn.Module, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.end = inner, end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.inner(x))


def test_a_batch_of_one_is_tried() -> None:
    """A squeeze loses the axis of rows where there is one row."""
    options: dict[str, Any] = {"graph": graph_of(2), "names": prefixed(2)}
    check_module(AtTheEnd(network(2), lambda y: y[:, None].squeeze(1)), **options)
    for seed, end in enumerate((lambda y: y.squeeze(0), lambda y: y if len(y) > 1 else y[0])):
        with pytest.raises(ContractError, match=r"expected \(1, 6, \d+\) for a batch of one row and \d+ positions, got"):
            check_module(AtTheEnd(network(2), end), **options, seed=seed)
    with pytest.raises(ContractError, match="output"):
        check_module(AtTheEnd(network(2), lambda y: y if len(y) > 1 else y * (1 + 1e-9)), **options)


def test_a_precision_that_shows_nothing_is_no_pass() -> None:
    """A sum of large numbers that cancel: rounding to eight bits leaves nothing of it."""
    graph = graph_of(2)
    params = generic_parameters(graph, np.random.default_rng(0))
    params["2.conv.weight"] = np.where(np.arange(CHANNELS)[:, None] % 2, 1.0, -1.0)[None] * np.ones((CHANNELS, 1, KERNEL)) * 1e3
    params["0.conv.weight"] = np.broadcast_to(params["0.conv.weight"][:1], (CHANNELS, 3, KERNEL)) * 1e-3
    params["0.conv.bias"] = np.full(CHANNELS, 3.0)
    params["2.conv.bias"] = np.zeros(CHANNELS)
    with pytest.raises(ContractError, match="this precision cannot show whether it is right"):
        check_module(Lowered(network(2), torch.bfloat16), graph, names=prefixed(2), params=params, dtype="float32")


def test_rounding_to_half_precision() -> None:
    numbers = np.random.default_rng(0).normal(size=1000)
    for name, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        expected = torch.from_numpy(numbers).to(dtype).double().numpy()
        np.testing.assert_array_equal(half.rounded(numbers, name), expected)


@pytest.mark.parametrize("layers", [1, 3, 6])
def test_the_tolerance_of_half_precision_is_near_what_it_does(layers: int) -> None:
    """PyTorch's own network in bfloat16 uses more than a hundredth of what is allowed, and not all."""
    graph = graph_of(layers)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        params, inputs = generic_parameters(graph, rng), generic_inputs(graph, rng, 3, 40)
        module = network(layers)
        with torch.no_grad():
            for name, array in params.items():
                module.get_parameter(name).copy_(torch.from_numpy(array))
        x = torch.from_numpy(inputs["x"])
        with torch.no_grad():
            right = module.double()(x)
            off = (module.bfloat16()(x.bfloat16()).double() - right).abs().max() / right.abs().max()
        allowed = half.relative_tolerance(graph, unchecked(graph, params).params, inputs, "bfloat16")
        assert 0.01 * allowed < float(off) < allowed


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "compiled", [torch.jit.script, lambda m: torch.jit.trace(m, torch.randn(2, 3, 20))], ids=["script", "trace"]
)
def test_torchscript_is_judged_in_float64(compiled: Callable[[nn.Module], nn.Module]) -> None:
    check_module(compiled(network(2)), graph_of(2))
    with pytest.raises(ContractError, match="output"):
        check_module(compiled(network(2, missing=1)), graph_of(2))


def test_sparse_gradients_are_gradients() -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.embedding(g.input(classes=5), 3, name="0"), 5, strict=True, name="1.conv"), ops.Categorical())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.conv = nn.Embedding(5, 3, sparse=True), nn.Conv1d(3, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.table(x).transpose(1, 2)
            y: Tensor = self.conv(F.pad(h, (1, 0))[..., :-1])
            return y

    check_module(Net(), graph, names={"0": "table", "1.conv": "conv"})


class Several(nn.Module):
    def __init__(self, give: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.give = network(2), give

    def forward(self, x: Tensor) -> Any:
        return self.give(self.inner(x), x.mean())


@pytest.mark.parametrize(
    ("give", "output"),
    [
        (lambda y, loss: (y, loss), 0),
        (lambda y, loss: [loss, y], -1),
        (lambda y, loss: {"logits": y, "loss": loss}, "logits"),
        (lambda y, loss: {"out": (loss, y)}, lambda result: result["out"][1]),
    ],
)
def test_one_of_several_outputs(give: Callable[[Tensor, Tensor], Any], output: Any) -> None:
    check_module(Several(give), graph_of(2), names=prefixed(2), output=output)


def test_several_outputs_of_which_none_is_chosen() -> None:
    with pytest.raises(ContractError, match="expected a tensor, got tuple; say with output=0 which of them"):
        check_module(Several(lambda y, loss: (y, loss)), graph_of(2), names=prefixed(2))
    with refuses(InputError, "output: expected what picks one output of a dict, got 'y'"):
        check_module(Several(lambda y, loss: {"logits": y}), graph_of(2), names=prefixed(2), output="y")


class Forgets(nn.Module):
    """Right at fewer positions than `tile`; beyond, each tile begins with zeros."""

    def __init__(self, tile: int) -> None:
        super().__init__()
        self.inner, self.tile = network(2), tile

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.inner(part) for part in x.split(self.tile, dim=2)], dim=2)


@pytest.mark.parametrize("tile", [33, 64, 65, 128, 256])
def test_what_happens_beyond_a_tile_is_seen(tile: int) -> None:
    with pytest.raises(ContractError, match="output"):
        check_module(Forgets(tile), graph_of(2), names=prefixed(2))


def test_a_length_of_ones_own() -> None:
    check_module(Forgets(1000), graph_of(2), names=prefixed(2), length=999)
    with pytest.raises(ContractError, match="output"):
        check_module(Forgets(1000), graph_of(2), names=prefixed(2), length=1001)
    with refuses(InputError, "length"):
        check_module(Forgets(1000), graph_of(2), names=prefixed(2), length=0)


class Cached(nn.Module):
    """Makes its kernel when it is built, and never again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, CHANNELS, KERNEL)
        self.kernel = self.conv.weight.detach().clone() * 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(F.pad(x, (KERNEL - 1, 0)), self.kernel.to(x.dtype) / 2, self.conv.bias)


class Powers(nn.Module):
    """Dilations by the number of the layer, whatever was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Causal(3 if n == 0 else CHANNELS, CHANNELS, KERNEL, 2**n) for n in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for n, layer in enumerate(self.layers):
            x = layer(x.tanh() if n else x)
        return x


def spaced() -> Graph:
    g = Builder()
    h = g.input(channels=3)
    for n, dilation in enumerate((1, 3, 9)):
        h = g.conv1d(g.tanh(h) if n else h, CHANNELS, kernel=KERNEL, dilation=dilation, name=f"layers.{n}.conv")
    return g.build(h)


def test_causes_are_named_that_reproduce_the_outputs() -> None:
    g = Builder()
    one = g.build(g.conv1d(g.input(channels=3), CHANNELS, kernel=KERNEL, name="conv"))
    with pytest.raises(ContractError, match="likely cause: weights from before"):
        check_module(Cached(), one)
    with pytest.raises(ContractError, match="likely cause: dilations 1, 2, 4, … by the number of the layer"):
        check_module(Powers(), spaced())


def test_an_epsilon_in_a_logarithm_is_named() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(3, CHANNELS, KERNEL)

        def forward(self, x: Tensor) -> Tensor:
            return (self.conv(F.pad(x, (KERNEL - 1, 0))).softmax(1) + 1e-6).log()

    g = Builder()
    one = g.build(g.conv1d(g.input(channels=3), CHANNELS, kernel=KERNEL, name="conv"))
    with pytest.raises(ContractError, match="likely cause: the logarithm of a softmax and 1e-06 at the end"):
        check_module(Net(), one)


def test_weights_that_are_rounded_are_named() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(3, CHANNELS, KERNEL)

        def forward(self, x: Tensor) -> Tensor:
            conv = self.conv
            w, b = (p.bfloat16().to(x.dtype) for p in (conv.weight, conv.bias))
            return F.conv1d(F.pad(x, (KERNEL - 1, 0)), w, b)

    g = Builder()
    one = g.build(g.conv1d(g.input(channels=3), CHANNELS, kernel=KERNEL, name="conv"))
    with pytest.raises(ContractError, match="likely cause: weights rounded to bfloat16"):
        check_module(Net(), one)


def test_without_padding_the_layer_that_differs_is_named() -> None:
    """The first layer is right, with outputs that begin later; the second forgets its bias."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv1d(3, CHANNELS, KERNEL), nn.Conv1d(CHANNELS, 4, KERNEL, dilation=2)
            self.third = nn.Conv1d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.third(torch.sin(self.second(self.first(x).tanh())))

    g = Builder()
    h = g.tanh(g.conv1d(g.input(channels=3), CHANNELS, kernel=KERNEL, name="first"))
    h = g.conv1d(h, 4, kernel=KERNEL, dilation=2, name="second")
    graph = g.build(g.conv1d(g.sigmoid(h), 4, name="third"), padding="valid")
    with pytest.raises(ContractError, match=r"the first node that differs is 'third' .*up to 'second' they agree"):
        check_module(Net(), graph)
