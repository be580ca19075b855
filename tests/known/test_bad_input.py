"""What `check_function` and `check_module` are given and cannot use: one sentence about it, and no error of others."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import refuses
from torch import Tensor, nn
from torch.nn import functional as F

from refar import Builder
from refar.errors import InputError
from refar.testing import ContractError, check_function, check_module

G = Builder()
GRAPH = G.build(G.conv1d(G.input(channels=2), 4, kernel=2, name="conv"))


class Net(nn.Module):
    def __init__(self, conv: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = conv or nn.Conv1d(2, 4, 2)

    def forward(self, x: Tensor) -> Any:
        return self.conv(F.pad(x, (1, 0)))


class Fails(Net):
    """Raises KeyError at a call, counted from 0."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        if self.calls > self.at:
            raise KeyError("layer")
        return super().forward(x)


class FailsBackward(Net):
    def forward(self, x: Tensor) -> Any:
        y = super().forward(x)
        if y.requires_grad:
            y.register_hook(lambda gradient: gradient.missing)
        return y


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (lambda: Net(nn.LazyConv1d(4, 2)), "'conv.weight' has no shape, got a lazy one, Net: call it once on an example first"),
        (lambda: Net().to("meta"), "'conv.weight' has no numbers: it is on the device meta"),
    ],
)
def test_modules_without_weights(module: Any, said: str) -> None:
    with refuses(InputError, f"module: {said}"):
        check_module(module(), GRAPH)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Fails(0), r"Fails raises KeyError: 'layer', on inputs of \(3, 2, 2\)"),
        (Fails(4), "Fails on .*: KeyError instead of a value: 'layer'"),
        (FailsBackward(), "the gradient of FailsBackward raises AttributeError"),
    ],
)
def test_modules_that_raise(module: nn.Module, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        check_module(module, GRAPH)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"output": lambda result: result.logits}, "output: expected what picks one output of a Tensor, got <function"),
        ({"inputs": lambda x: x.missing}, "inputs: expected what makes the module's arguments, and it raises AttributeError"),
        ({"inputs": 3}, "inputs: expected a function of the graph's inputs, got int"),
        ({"names": 3}, "names: expected a mapping {graph's name: module's name}, got 3"),
        ({"names": {"conv": 3}}, "names: expected a mapping {graph's name: module's name}, got {'conv': 3}"),
        ({"ignore": "conv"}, "ignore: expected names of submodules or parameters, like ['head'], got 'conv'"),
        ({"ignore": 3}, "ignore: expected names of submodules or parameters, like ['head'], got 3"),
        ({"seed": "a"}, "seed: expected an integer ≥ 0, got 'a'"),
        ({"seed": -1}, "seed: expected an integer ≥ 0, got -1"),
    ],
)
def test_options_of_check_module(options: dict[str, Any], said: str) -> None:
    with refuses(InputError, said):
        check_module(Net(), GRAPH, **options)


@pytest.mark.parametrize(
    ("operator", "options", "said"),
    [
        ("causal_conv1d", {"sizes": [{"dilation": "a"}]}, "sizes: causal_conv1d cannot be computed with dilation=a: "),
        ("causal_conv1d", {"sizes": [{"dilation": 0}]}, "sizes: causal_conv1d cannot be computed with dilation=0: "),
        (
            "causal_conv1d",
            {"sizes": [{"dilation": -2, "t": 9}]},
            "causal_conv1d cannot be computed with dilation=-2, t=9",
        ),
        ("causal_conv1d", {"sizes": [{"groups": 2.5}]}, "sizes: causal_conv1d cannot be computed with groups=2.5: "),
        ("causal_conv1d", {"sizes": [{"strict": "no"}]}, "sizes: causal_conv1d cannot be computed with strict=no: "),
        ("masked_conv2d", {"sizes": [{"kernel": 3}]}, "sizes: masked_conv2d cannot be computed with kernel=3: "),
        ("masked_conv2d", {"sizes": [{"mask": "Q"}]}, "sizes: masked_conv2d cannot be computed with mask=Q: "),
        ("causal_pool1d", {"sizes": [{"kind": "median"}]}, "sizes: causal_pool1d cannot be computed with kind=median: "),
        (
            "sample_categorical",
            {"sizes": [{"temperature": "a"}]},
            "cannot be computed with temperature=a",
        ),
        ("causal_conv1d", {"seed": "a"}, "seed: expected an integer ≥ 0, got 'a'"),
        ("causal_conv1d", {"only": 3}, "only: expected a mapping like {'strict': False}, got 3"),
        ("causal_conv1d", {"dtypes": 3}, "dtypes: expected some of float32, float64, got 3"),
        ("causal_conv1d", {"dtypes": [["float32"]]}, "dtypes: expected some of float32, float64, got [['float32']]"),
    ],
)
def test_options_of_check_function(operator: str, options: dict[str, Any], said: str) -> None:
    with refuses(InputError, said):
        check_function(lambda *arrays, **attributes: arrays[0], operator, **options)
