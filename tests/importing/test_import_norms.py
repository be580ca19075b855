"""Norms, slopes and scales of channels in other people's modules: the forms that are taken, and the reasons where one is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from causal_modules import randomised
from onnx.defs import onnx_opset_version
from onnx_files import node, written
from torch import Tensor, nn

import refar.torch
from refar import Builder
from refar.importing import Imported, ImportRefused, from_onnx, from_torch
from refar.importing.torch_check import doubled
from refar.importing.torch_gradients import carried

CHANNELS = 4


class Behind(nn.Module):
    """A function of the module and of what its convolution gives."""

    def __init__(self, function: Callable[[Behind, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.batch_norm = nn.Conv1d(3, CHANNELS, 1), nn.BatchNorm1d(CHANNELS)
        self.scale, self.shift = nn.Parameter(torch.ones(CHANNELS, 1)), nn.Parameter(torch.zeros(CHANNELS, 1))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.conv(x))


def taken(function: Callable[[Behind, Tensor], Tensor]) -> Imported:
    return from_torch(randomised(Behind(function)), torch.randn(2, 3, 20))


def operators(function: Callable[[Behind, Tensor], Tensor]) -> list[str]:
    """The operators behind the input and the first convolution."""
    return [node.op.__struct_config__.tag for node in taken(function).graph.nodes[2:]]


def test_numbers_that_undo_each_other_leave_a_value_to_all_its_readers() -> None:
    def beside(m: Behind, h: Tensor) -> Tensor:
        return m.batch_norm((h + 1) - 1) + torch.tanh(h)

    def twice(m: Behind, h: Tensor) -> Tensor:
        return m.batch_norm(((h * 2) * 0.5 + 1) - 1) * torch.tanh((h - 3) + 3)

    def alone(m: Behind, h: Tensor) -> Tensor:
        return m.batch_norm((h + 1) - 1)

    assert operators(beside) == ["scale_shift", "activation", "add"]
    assert operators(twice) == ["scale_shift", "activation", "multiply"]
    assert operators(alone) == []


def mean(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True)


def conv_tasnet(m: Behind, h: Tensor) -> Tensor:
    var = torch.var(h, dim=1, keepdim=True, unbiased=False)
    return m.scale * (h - mean(h)) / torch.pow(var + 1e-8, 0.5) + m.shift


def both_at_once(_: Behind, h: Tensor) -> Tensor:
    var, middle = torch.var_mean(h, 1, keepdim=True, unbiased=False)
    return (h - middle) * torch.rsqrt(var + 1e-5)


def minus_the_mean_first(_: Behind, h: Tensor) -> Tensor:
    d = -mean(h) + h
    return d / torch.sqrt(d.pow(2).sum(1, keepdim=True) / CHANNELS + 1e-5 + 1e-6)


WRITTEN_OUT: dict[str, tuple[Callable[[Behind, Tensor], Tensor], list[str]]] = {
    "conv_tasnet": (conv_tasnet, ["norm"]),
    "both_at_once": (both_at_once, ["norm"]),
    "minus_the_mean_first": (minus_the_mean_first, ["norm"]),
    "1 over a root": (lambda m, h: h * (1 / torch.sqrt(mean(h**2) + 1e-6)), ["norm"]),
    "2 over a root": (lambda m, h: h * (2 / torch.sqrt(mean(h**2) + 1e-6)), ["norm", "affine"]),
    "a root of half": (lambda m, h: h / (torch.sqrt(mean(h**2) + 1e-6) / 2), ["norm", "affine"]),
    "scaled before": (lambda m, h: (m.scale * h) * torch.rsqrt(mean(h * h) + 1e-6), ["norm"]),
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_norms_written_out_are_norms(name: str) -> None:
    function, expected = WRITTEN_OUT[name]
    assert sorted(operators(function)) == sorted(expected)


OTHERS: dict[str, Callable[[Behind, Tensor], Tensor]] = {
    "of the scaled value": lambda m, h: h / torch.sqrt(mean((m.scale * h) ** 2) + 1e-5),
    "shifted before": lambda m, h: (h + 0.5) / torch.sqrt(mean(h**2) + 1e-5),
    "one channel less": lambda m, h: h / torch.sqrt(h.pow(2).sum(1, keepdim=True) / (CHANNELS - 1) + 1e-5),
    "a number of roots": lambda m, h: h / (2 * torch.rsqrt(mean(h**2) + 1e-5)),
    "times nothing": lambda m, h: h / (0 * torch.sqrt(mean(h**2) + 1e-5)),
    "scales of the root": lambda m, h: h * (m.scale * torch.rsqrt(mean(h**2) + 1e-5)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_roots_are_refused_by_the_form_that_is_taken(name: str) -> None:
    with pytest.raises(ImportRefused, match=r"write d / sqrt|sqrt in|refar has no operator for sqrt"):
        taken(OTHERS[name])


@pytest.mark.parametrize("layer", [nn.Softmax(-1), nn.LayerNorm(1)], ids=["softmax", "layer norm"])
def test_what_is_the_same_for_every_input_is_refused_by_that(layer: nn.Module) -> None:
    """One channel divided by all of them is 1, and less its own mean 0: no output reads anything."""

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.layer = nn.Conv1d(2, 1, 1), layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.conv(x).transpose(1, 2)).transpose(1, 2)

    with pytest.raises(ImportRefused, match="the same for every input"):
        from_torch(randomised(Last()), torch.randn(2, 2, 20))


FIRST, LAST = ("batch", CHANNELS, "time"), ("batch", "time", CHANNELS)


@pytest.mark.parametrize("shape", [(1,), (CHANNELS,), ()])
@pytest.mark.parametrize("opset", [n for n in (18, 23) if n <= onnx_opset_version()])  # older onnx has no RMSNormalization
def test_a_norm_of_a_file_is_over_its_axes_whatever_the_shape_of_its_scale(shape: tuple[int, ...], opset: int) -> None:
    kind = "RMSNormalization" if opset == 23 else "LayerNormalization"
    weight = np.random.default_rng(0).normal(size=shape)
    for axis in (-1, 2):
        got = from_onnx(written([node(kind, ["x", "w"], ["y"], axis=axis)], {"w": weight}, x=LAST, opset=opset))
        (scale,) = got.params.values()
        np.testing.assert_array_equal(scale, np.full(CHANNELS, weight.astype(np.float32)))
    for axes, axis, over in ((LAST, 1, "T, C"), (FIRST, 1, "C, T"), (FIRST, -1, "T")):
        with pytest.raises(ImportRefused, match=f"over the axes {over}:"):
            from_onnx(written([node(kind, ["x", "w"], ["y"], axis=axis)], {"w": weight}, x=axes, opset=opset))


def test_a_second_output_that_is_read_is_named() -> None:
    nodes = [node("LayerNormalization", ["x", "w"], ["z", "mu"]), node("Add", ["z", "mu"], ["y"])]
    with pytest.raises(ImportRefused, match=r"LayerNormalization .* its output 'mu' is read"):
        from_onnx(written(nodes, {"w": np.ones(CHANNELS)}, x=LAST))


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        (FIRST, (CHANNELS, 1)),
        (FIRST, (1, CHANNELS, 1)),
        (FIRST, (1,)),
        (FIRST, ()),
        (LAST, (CHANNELS,)),
        (LAST, (1, 1, CHANNELS)),
    ],
)
def test_slopes_of_a_file_stand_along_its_channels(axes: tuple[str | int, ...], shape: tuple[int, ...]) -> None:
    slope = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    got = from_onnx(written([node("PRelu", ["x", "w"], ["y"])], {"w": slope}, x=axes))
    x = np.random.default_rng(1).normal(size=(2, CHANNELS, 9))
    given = x.transpose(0, 2, 1) if axes == LAST else x
    y = np.where(given > 0, given, slope * given)
    np.testing.assert_allclose(refar.forward(got.graph, got.params, x), y.transpose(0, 2, 1) if axes == LAST else y, rtol=1e-6)


def test_slopes_along_time_or_of_another_number_are_refused() -> None:
    for shape, words in (((CHANNELS,), "slopes of the shape"), ((3, 1), "for 4 channels")):
        with pytest.raises(ImportRefused, match=words):
            from_onnx(written([node("PRelu", ["x", "w"], ["y"])], {"w": np.ones(shape)}, x=FIRST))


def test_one_slope_for_all_channels_is_said_and_its_gradient_is_the_sum() -> None:
    module = randomised(nn.Sequential(nn.Conv1d(3, CHANNELS, 1), nn.PReLU(), nn.Conv1d(CHANNELS, 1, 1)))
    got = from_torch(module, torch.randn(2, 3, 20))
    np.testing.assert_array_equal(got.params["1.weight"], np.full(CHANNELS, module[1].weight.item()))
    assert "1.weight is one slope for 4 channels" in " ".join(got.report.notes)
    known = carried(doubled(module), got.graph, got.params, got.report.origins)
    assert set(known) == {"0.weight", "0.bias", "1.weight", "2.weight", "2.bias"}
    g = Builder()
    h = g.prelu(g.conv1d(g.input(channels=3), CHANNELS, name="0"), name="1")
    by_hand = refar.torch.parameters(module, g.build(g.conv1d(h, 1, name="2")))
    for name, array in got.params.items():
        np.testing.assert_array_equal(by_hand[name], array)
