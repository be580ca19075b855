"""Causal modules become graphs that compute the same, and what cannot be taken is refused by its name."""

from __future__ import annotations

import copy
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from causal_modules import CausalConv1d, randomised
from causal_variants import CAUSAL, Levels
from helpers import refuses
from refused_modules import REFUSED, Wrapped
from torch import nn

import refar
from refar.errors import InputError
from refar.importing import Imported, ImportRefused, from_torch
from refar_export import export

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


def imported(name: str, **more: Any) -> tuple[nn.Module, Imported]:
    module, example, options = CAUSAL[name]()
    module = randomised(module)
    return module, from_torch(module, example, **options, **more)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_module_becomes_a_graph_that_agrees(name: str) -> None:
    _, got = imported(name)
    assert got.report.largest_difference < 1e-9
    assert got.report.gradient_difference < 1e-9
    assert len(got.report.checked) >= 4
    assert set(got.report.origins) == set(got.params)
    assert refar.from_json(refar.to_json(got.graph)) == got.graph


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_named(name: str) -> None:
    module, example, options, words = REFUSED[name]()
    was_training = module.training and name == "training"
    module = randomised(module).train(was_training)
    with pytest.raises(ImportRefused) as refused:
        from_torch(module, example, **options)
    assert [word for word in words if word not in str(refused.value)] == []
    assert len(str(refused.value).splitlines()) == 1


def test_names_are_those_of_the_module_and_the_report_says_from_where() -> None:
    module, got = imported("locuslab_tcn")
    assert {"0.net.0.weight", "0.downsample.bias", "1.net.4.weight", "2.weight"} <= set(got.params)
    assert got.report.origins["0.net.0.weight"] == "0.net.0.weight_v, 0.net.0.weight_g, 0.net.0.bias"
    conv = module[0].conv1
    weight = torch._weight_norm(conv.weight_v.double(), conv.weight_g.double()).detach().numpy()
    np.testing.assert_allclose(got.params["0.net.0.weight"], weight, rtol=1e-12)
    graph, params, report = got
    assert (graph, params, report) == (got.graph, got.params, got.report)


def test_batch_norm_becomes_a_part_of_the_convolution_before_it() -> None:
    module, got = imported("causal_stack")
    assert [node.op.__struct_config__.tag for node in got.graph.nodes] == [
        "input",
        "conv1d",
        "activation",
        "conv1d",
        "activation",
    ]
    assert "1.running_var" in got.report.origins["0.weight"]
    module[0].weight.data.zero_()
    y = refar.forward(got.graph, got.params, np.zeros((1, 2, 9)))
    with torch.no_grad():
        np.testing.assert_allclose(y, module(torch.zeros(1, 2, 9)).numpy(), rtol=1e-5, atol=1e-6)


def test_every_function_of_an_element_has_its_own_operator() -> None:
    kinds = [node.op.kind for node in imported("activated")[1].graph.nodes if isinstance(node.op, refar.ops.Activation)]
    assert set(kinds) == set(get_args(refar.ops.FunctionName)) - {"tanh", "sigmoid", "snake"}
    assert kinds.count("softplus") == 2
    for layer, words in [
        (nn.CELU(0.5), "celu with an alpha of 0.5"),
        (nn.Softplus(1, 3), "threshold of 3"),
        (nn.ELU(-1.0), "alpha of -1"),
    ]:
        with pytest.raises(ImportRefused, match=words):
            from_torch(nn.Sequential(CausalConv1d(1, 2, 2), layer).eval(), torch.randn(1, 1, 20))


def test_paddings_are_told_apart() -> None:
    assert imported("input_padded")[1].graph.padding == "input"
    assert imported("causal_stack")[1].graph.padding == "layer"
    got = imported("valid_wavenet")[1]
    assert got.graph.padding == "input"
    assert "no outputs for the first 7 positions" in got.report.notes[0]
    assert imported("valid_wavenet", padding="valid")[1].graph.padding == "valid"
    with pytest.raises(ImportRefused, match=r"padding 'layer' is not that of the module: .*not zero"):
        imported("input_padded", padding="layer")


def test_padding_that_is_neither_is_refused() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv1d(1, 2, 2), CausalConv1d(2, 1, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(torch.relu(self.one(nn.functional.pad(x, (3, 0)))))[..., 2:]

    with pytest.raises(ImportRefused, match="neither zero at every layer nor zero at the input alone"):
        from_torch(randomised(Mixed()), torch.randn(2, 1, 20))


@pytest.mark.parametrize("at", ["input", "output"])
def test_a_shift_makes_the_graph_strict(at: Any) -> None:
    module, got = imported("wavenet", shift=at, head=refar.ops.Categorical())
    assert refar.is_strict(got.graph)
    x = np.random.default_rng(0).integers(9, size=(2, 15))
    assert refar.generate(got.graph, got.params, 5, batch=2).shape == (2, 5)
    if at == "output":
        with torch.no_grad():
            y = module(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(refar.forward(got.graph, got.params, x)[..., 1:], y[..., :-1], rtol=1e-4, atol=1e-4)


def test_a_strict_module_is_returned_as_it_is() -> None:
    _, plain = imported("levels")
    assert refar.is_strict(plain.graph)
    assert imported("levels", shift="output")[1].graph == plain.graph


def test_the_module_is_left_as_it_was() -> None:
    module = randomised(Levels()).half()
    before = copy.deepcopy(module.state_dict())
    got = from_torch(module, torch.zeros(2, 12, dtype=torch.int64), classes=8)
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    assert any("float16" in note for note in got.report.notes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_imported_as_they_are_and_said(dtype: torch.dtype) -> None:
    module = randomised(nn.Sequential(CausalConv1d(2, 2, 2))).to(dtype)
    got = from_torch(module, torch.randn(2, 2, 12))
    assert (got.params["0.weight"] == module[0].weight.detach().double().numpy()).all()
    assert bool(got.report.notes) is (dtype != torch.float64)
    assert all(str(dtype).removeprefix("torch.") in note for note in got.report.notes)


def test_names_that_a_bundle_keeps_for_its_ports(tmp_path: Path) -> None:
    layers = {"past": CausalConv1d(2, 2, 2), "length": nn.Tanh(), "output": nn.Conv1d(2, 1, 1)}
    module = randomised(nn.Sequential(OrderedDict(layers)))
    got = from_torch(module, torch.randn(2, 2, 12))
    assert set(got.params) == {"past_.weight", "past_.bias", "output_.weight", "output_.bias"}
    assert got.report.origins["output_.weight"] == "output.weight, output.bias"
    export(got.graph, got.params, tmp_path / "bundle", verify=module)


class Tied(nn.Module):
    """A weight that two convolutions share, and a table that is the weight of the last layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(7, 3), nn.Linear(3, 7, bias=False)
        self.a, self.b = CausalConv1d(3, 3, 2), CausalConv1d(3, 3, 2)
        self.out.weight, self.b.weight = self.embed.weight, self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.out(self.b(torch.tanh(self.a(self.embed(x).transpose(1, 2)))).transpose(1, 2))
        return y


def test_shared_parameters_are_copied_under_each_name_and_said() -> None:
    got = from_torch(randomised(Tied()), torch.zeros(2, 12, dtype=torch.int64), classes=7)
    said = [note for note in got.report.notes if "used more than once, and copied under each name" in note]
    assert [note.split()[0].rpartition(".")[2] for note in said] == ["weight", "weight"]
    equal = [(one, other) for one in got.params for other in got.params if one < other]
    equal = [pair for pair in equal if np.array_equal(*(got.params[name].squeeze() for name in pair))]
    assert len(equal) == 2


class Locked(nn.Module):
    """A module that copy.deepcopy cannot copy."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lock = CausalConv1d(2, 2, 2), threading.Lock()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return y


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Locked(), "cannot be copied, and refar looks at a copy: TypeError: cannot pickle"),
    ],
)
def test_modules_without_copies_are_refused(module: nn.Module, words: str) -> None:
    with pytest.raises(ImportRefused, match=re.escape(words)):
        from_torch(module.eval(), torch.randn(2, 2, 12))


@pytest.mark.parametrize("name", ["0.bias", "2.weight"])
def test_the_gradient_of_a_parameter_is_held_against_the_module_s(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*given: Any) -> Any:
        found = refar.backward(*given)
        found["params"][name] = found["params"][name] * (1 + 1e-8)
        return found

    module = randomised(nn.Sequential(CausalConv1d(2, 3, 2), nn.Tanh(), CausalConv1d(3, 2, 2)))
    assert 0 < from_torch(module, torch.randn(2, 2, 12)).report.gradient_difference < 1e-9
    monkeypatch.setattr("refar.importing.torch_check.backward", wrong)
    with pytest.raises(ImportRefused, match=f"gradient of {name} at length 1"):
        from_torch(module, torch.randn(2, 2, 12))


@pytest.mark.parametrize("normed", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_a_weight_that_equals_its_direction_has_another_gradient(normed: Any) -> None:
    module = nn.Sequential(normed(nn.Conv1d(1, 3, 1)), CausalConv1d(3, 2, 2)).eval()  # of one number: w = v at first, dw/dv = 0
    assert from_torch(module, torch.randn(2, 1, 12)).report.gradient_difference < 1e-9


class Shifted(nn.Module):
    """A number is added to all channels, which softmax does not feel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.shift = CausalConv1d(2, 3, 2), nn.Conv1d(2, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.conv(x) + self.shift(x)).softmax(1)


def test_a_gradient_that_is_nothing_but_rounding_is_no_fault() -> None:
    assert from_torch(randomised(Shifted()), torch.randn(2, 2, 12)).report.gradient_difference < 1e-9


CLASSES = "it takes the example itself; input was drawn from the whole numbers below classes=50"
FAILING: dict[str, tuple[nn.Module, Any, dict[str, Any], str]] = {
    "channels": (nn.Conv1d(3, 4, 1), torch.randn(1, 5, 40), {}, "but got 5 channels instead; it fails on the example too"),
    "inputs": (nn.Conv1d(3, 4, 1), (torch.randn(2, 3, 9), torch.randn(2, 3)), {}, "at length 9 .*; it fails on the example too"),
    "classes": (nn.Embedding(4, 3), torch.zeros(1, 20, dtype=torch.int64), {"classes": 50}, f"IndexError: .*; {CLASSES}"),
    "norm": (nn.LayerNorm(20), torch.randn(2, 1, 20), {}, "at length 21 .*; it takes length 20, but must take any length"),
    "dense": (nn.Linear(7, 7), torch.randn(1, 2, 7), {}, "at length 8 .*; it takes length 7, but must take any length"),
    "batch": (Wrapped(lambda y: y.reshape(1, 3, 12)), torch.randn(1, 3, 12), {}, "takes a batch of 1, but must take any number"),
}


@pytest.mark.parametrize("name", FAILING)
def test_why_a_module_fails_is_said_where_a_run_without_that_works(name: str) -> None:
    module, example, options, said = FAILING[name]
    with pytest.raises(ImportRefused, match=said) as caught:
        from_torch(module.eval(), example, **options)
    assert ("must take any length" in str(caught.value)) == ("any length" in said)


def test_what_has_no_numbers_and_what_is_no_option() -> None:
    module, signal = nn.Sequential(CausalConv1d(2, 2, 2)).eval(), torch.randn(2, 2, 12)
    for options, words in (
        ({"axes": 3}, "axes: expected letters like 'BTC', or {input: letters}, got 3"),
        ({"axes": {"input": 3}}, "axes: expected letters like 'BTC', or {input: letters}, got {'input': 3}"),
        ({"classes": "4"}, "classes: expected an integer ≥ 1, got '4'"),
        ({"classes": {"input": 0}}, "classes: expected an integer ≥ 1, got 0"),
    ):
        with refuses(InputError, words):
            from_torch(module, signal, **options)
    for given, example, words in (
        (nn.Sequential(nn.LazyConv1d(2, 1)).eval(), signal, "'0.weight' has no shape yet, as in a lazy module"),
        (nn.Sequential(nn.Conv1d(2, 2, 1)).eval().to("meta"), signal, "'0.weight' has no numbers: it is on the device meta"),
        (module, signal.to("meta"), "example: input: expected a tensor with numbers, got one on the device meta"),
    ):
        with refuses(ImportRefused, words):
            from_torch(given, example)


def test_what_is_given_is_checked() -> None:
    module, signal = randomised(nn.Sequential(CausalConv1d(2, 2, 2))), torch.randn(2, 2, 12)
    for arguments, options, words in [
        ((signal, signal), {}, "expected a torch.nn.Module, got Tensor"),
        ((module, "x"), {}, "expected a torch.Tensor, got str"),
        ((module, ()), {}, "got none"),
        ((module, torch.zeros(2, 12, dtype=torch.int64)), {}, "how many classes"),
        ((module, signal), {"axes": "BCQ"}, "a letter for each of 3 axes"),
        ((module, signal), {"axes": {"z": "BCT"}}, "'z' is no input of the example"),
        ((module, torch.randn(2, 3, 12)), {}, r"fails in 0 \(CausalConv1d\) at length 12"),
        ((module, torch.randn(2)), {}, "expected a sequence of shape"),
    ]:
        with pytest.raises(ImportRefused, match=words):
            from_torch(*arguments, **options)
    with pytest.raises(refar.RefarError, match="shift: expected"):
        from_torch(module, signal, shift="left")
    module[0].weight.data[0, 0, 0] = float("nan")
    with pytest.raises(ImportRefused, match="not finite"):
        from_torch(module, signal)


class Written(nn.Module):
    """Class indices as one-hots by hand, and numbers that need no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = CausalConv1d(7, 4, 2)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x % 7).unsqueeze(2)
        hot = torch.zeros(x.shape[0], x.shape[1], 7).scatter_(2, x, 1)
        with torch.no_grad():
            scale = (self.scale * 2).view(1, -1, 1)
        with torch.autocast("cpu", enabled=False):
            y = self.conv(hot.transpose(1, 2))
        state = torch.zeros(y.shape[0], 4, 1)
        state[:] = torch.where(state > 0, y[..., -1:], state)  # which nobody reads
        return torch.tanh(y) * scale


def test_one_hots_by_hand_and_calls_that_no_output_needs() -> None:
    got = from_torch(randomised(Written()), torch.zeros(2, 20, dtype=torch.int64), classes=7)
    assert got.report.largest_difference < 1e-9
    assert got.report.gradient_difference < 1e-9  # what is computed without gradients are fixed numbers
    with pytest.raises(ImportRefused, match="remainder"):
        from_torch(randomised(Written()), torch.zeros(2, 20, dtype=torch.int64), classes=8)


class Held(nn.Module):
    """A gate of which the gradient is held back."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.how = CausalConv1d(2, 2, 2), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "detach":
            return torch.sigmoid(self.conv(x)).detach() * self.conv(x)
        with torch.no_grad():
            gate = torch.sigmoid(self.conv(x))
        return gate * self.conv(x)


@pytest.mark.parametrize("how", ["detach", "no_grad"])
def test_a_module_that_holds_gradients_back(how: str) -> None:
    got = from_torch(randomised(Held(how)), torch.randn(2, 2, 12))
    assert got.report.largest_difference < 1e-9
    assert np.isnan(got.report.gradient_difference)
