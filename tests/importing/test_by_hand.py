"""A module's parameters for a graph that was written by hand: right mappings are taken, wrong ones found by the outputs."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from causal_modules import CausalConv1d, randomised
from causal_variants import CAUSAL
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import refar.torch
from refar import Builder, Graph, init, models
from refar.errors import InputError, ParameterError
from refar.importing.torch_reference import Reference

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


class Gated(nn.Module):
    """A gated block between two layers, of which the last is dense."""

    def __init__(self, last: bool = False) -> None:
        super().__init__()
        self.front = CausalConv1d(1, 4, 2)
        self.filter, self.gate = (CausalConv1d(4, 4, 3, dilation=2) for _ in range(2))
        self.out = nn.Linear(4, 2)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        h = self.front(x.transpose(1, 2) if self.last else x)
        h = torch.tanh(self.filter(h)) * torch.sigmoid(self.gate(h))
        y: Tensor = self.out(h.transpose(1, 2))
        return y if self.last else y.transpose(1, 2)


def graph(delay: int = 0, padding: Any = "layer") -> Graph:
    g = Builder()
    h = g.conv1d(g.input(channels=1), 4, kernel=2, name="front")
    f, k = (g.conv1d(h, 4, kernel=3, dilation=2, name=name) for name in ("filter", "gate"))
    y = g.conv1d(g.multiply(g.tanh(f), g.sigmoid(k)), 2, name="head")
    return g.build(g.delay(y, delay) if delay else y, padding=padding)


NAMES = {"head": "out"}


def plain(module: Gated) -> Gated:
    return module


def normed(module: Gated) -> Gated:
    weight_norm(module.filter)
    parametrizations.weight_norm(module.gate, dim=1)
    return module


def otherwise_made(module: Gated) -> Gated:
    spectral_norm(module.filter)
    parametrizations.orthogonal(module.gate)
    prune.random_unstructured(module.front, "weight", 0.4)
    module(torch.randn(3, 1, 9))
    return module


@pytest.mark.parametrize("made", [plain, normed, otherwise_made])
@pytest.mark.parametrize("seed", [0, 1])
def test_trained_parameters_come_under_the_graph_s_names(made: Callable[[Gated], Gated], seed: int) -> None:
    module = randomised(made(randomised(Gated(), seed)), seed)
    before = copy.deepcopy(module.state_dict())
    params = refar.torch.parameters(module, graph(), NAMES)
    assert list(params) == list(init(graph()))
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in before.items())
    x = torch.randn(2, 1, 11)
    with torch.no_grad():
        y = module(x).numpy()
    np.testing.assert_allclose(refar.forward(graph(), params, x.numpy()), y, rtol=1e-4, atol=1e-4)
    again = copy.deepcopy(module)
    assert torch.equal(again(x), module(x))


def test_a_filter_exchanged_with_a_gate_is_found_and_named() -> None:
    exchanged = NAMES | {"filter": "gate", "gate": "filter"}
    with pytest.raises(ParameterError, match=r"the graph .*'filter' and 'gate' exchanged they agree$"):
        refar.torch.parameters(randomised(Gated()), graph(), exchanged)
    with pytest.raises(ParameterError, match=r"only in the module: 'filter.weight'"):
        refar.torch.parameters(randomised(Gated()), graph(), NAMES | {"filter": "gate"})


@pytest.mark.parametrize("wrong", [graph(delay=2), graph(padding="input")])
def test_another_graph_with_the_same_parameters_is_refused(wrong: Graph) -> None:
    with pytest.raises(ParameterError, match="Gated does not compute what the graph computes") as refused:
        refar.torch.parameters(randomised(Gated()), wrong, NAMES)
    assert "exchanged" not in str(refused.value)


def test_axes_may_stand_in_another_order_and_one_later_may_the_graph_be() -> None:
    refar.torch.parameters(randomised(Gated(last=True)), graph(), NAMES)
    refar.torch.parameters(randomised(Gated(last=True)), refar.strictify(graph(), at="output"), NAMES)
    refar.torch.parameters(randomised(Gated(last=True)), refar.strictify(graph(), at="input"), NAMES)


def test_a_mode_or_a_state_that_changes_the_outputs_is_refused() -> None:
    module = randomised(Gated())
    refar.torch.parameters(module.train(), graph(), NAMES)  # nothing in it depends on the mode
    module.front = nn.Sequential(module.front, nn.Dropout(0.5))
    names = NAMES | {"front": "front.0"}
    with pytest.raises(ParameterError, match=r"is in training mode.*\.eval\(\)"):
        refar.torch.parameters(module.train(), graph(), names)
    refar.torch.parameters(module.eval(), graph(), names)


class Whole(Gated):
    """One that takes no sequence shorter than its receptive field, or, with a limit, none above it."""

    limit = 100

    def forward(self, x: Tensor) -> Tensor:
        assert 6 <= x.shape[-1] < self.limit
        return super().forward(x)


def test_a_module_may_need_whole_windows_but_has_to_take_any_length_above() -> None:
    module = randomised(Whole())
    refar.torch.parameters(module, graph(), NAMES)
    module.limit = 8
    with pytest.raises(ParameterError, match="fails: AssertionError"):
        refar.torch.parameters(module, graph(), NAMES)


def test_weights_that_show_nothing_are_refused() -> None:
    module = randomised(Gated())
    nn.init.zeros_(module.front.weight)
    with pytest.raises(ParameterError, match="the same for every input"):
        refar.torch.parameters(module, graph(), NAMES)


def test_a_channel_that_is_zero_throughout_agrees_with_itself() -> None:
    module = randomised(nn.Sequential(CausalConv1d(1, 3, 2), nn.ReLU()))
    module[0].bias.data[1] = -100.0
    got = refar.from_torch(module, torch.randn(2, 1, 20))
    assert Reference(module, got.graph, got.params).largest_difference < 1e-9


def test_what_is_given_is_checked() -> None:
    given: Any = {}
    with pytest.raises(InputError, match=r"expected a torch.nn.Module, got dict"):
        refar.torch.parameters(given, graph())
    with pytest.raises(ParameterError, match=r"only in the graph: 'head.weight'"):
        refar.torch.parameters(randomised(Gated()), graph())


def test_parameters_may_be_shared_unused_or_buffers() -> None:
    module = randomised(Gated())
    module.gate = module.filter
    module.spare = nn.Conv1d(3, 3, 3)
    bias = module.out.bias.detach()
    del module.out.bias
    module.out.register_buffer("bias", bias)
    names = NAMES | {"head.bias": "out.bias"}
    params = refar.torch.parameters(module, graph(), names, ignore=["spare"])
    assert (params["filter.weight"] == params["gate.weight"]).all()


OWN = {
    "wavenet": lambda: models.wavenet(7, [1, 2], residual=4, gate=4, skip=4, condition="class:3"),
    "two_conditions": lambda: models.wavenet(7, [1, 2], residual=4, gate=4, skip=4, condition="class:3", local="vector:2"),
    "tcn": lambda: models.tcn(signal=2, channels=[4, 4]),
    "pixelcnn": lambda: models.pixelcnn(5, hidden=4, kernel=3),
    "colours": lambda: models.masked_pixelcnn(4, channels=3, layers=1, hidden=6, first_kernel=3, condition="class:3"),
    "image_and_map": lambda: models.pixelcnn(5, hidden=4, kernel=3, condition="class:3", local="vector:2"),
}


@pytest.mark.parametrize("name", OWN)
def test_refar_s_own_modules_are_modules_too(name: str) -> None:
    made = OWN[name]()
    module = refar.torch.Module(made, seed=1)
    params = refar.torch.parameters(module, made)
    assert all((params[name] == array).all() for name, array in module.arrays().items())


@pytest.mark.parametrize(("name", "shift"), list(zip(CAUSAL, itertools.cycle(["none", "input", "output", "input"]))))
def test_how_a_module_is_called_is_found(name: str, shift: Any) -> None:
    module, example, options = CAUSAL[name]()
    module = randomised(module)
    got = refar.from_torch(module, example, **options, shift=shift)
    assert Reference(module, got.graph, got.params).largest_difference < 1e-9


@pytest.mark.parametrize("name", ["causal_stack", "conditions", "embedded_text"])
def test_a_weight_that_is_off_by_a_millionth_is_found(name: str) -> None:
    module, example, options = CAUSAL[name]()
    module = randomised(module)
    got = refar.from_torch(module, example, **options)
    for parameter in [name for name in got.params if name.endswith("weight")][:2]:
        moved = got.params | {parameter: got.params[parameter] * (1 + 1e-6)}
        with pytest.raises(ParameterError, match="does not compute what the graph computes"):
            Reference(module, got.graph, moved)
