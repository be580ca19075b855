"""NAM's ConvNet and Linear as graphs: a chain of convolutions of kernel 2, and one impulse response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from refar.importing.nam_activations import NamActivation, Spec, activation
from refar.importing.nam_config import Positive
from refar.importing.nam_model import NamModel, decoded
from refar.importing.nam_net import NamNet, NamNetwork, NamNumbers, NamPart, conv_parts, cut
from refar.importing.refusal import ImportRefused


class ConvNetConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The config of a ConvNet."""

    channels: Positive
    dilations: Annotated[list[Positive], Meta(min_length=1)]
    batchnorm: bool
    activation: Spec
    groups: Positive = 1
    in_channels: Positive = 1
    out_channels: Positive = 1


class LinearConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The config of a Linear; `implementation` says how NAM computes it, not what."""

    receptive_field: Positive
    bias: bool
    in_channels: Positive = 1
    out_channels: Positive = 1
    implementation: Any = None


@dataclass(frozen=True)
class ConvNet(NamNetwork):
    """A chain of convolutions of kernel 2, with a batch norm and an activation behind each, and a head of kernel 1."""

    config: ConvNetConfig
    function: NamActivation
    numbers: Mapping[str, NamNumbers]

    def add(self, net: NamNet, x: str, name: str) -> str:
        """Add its nodes below `name`, and return the one that holds its output."""
        for i, dilation in enumerate(self.config.dilations):
            weight, bias = self.numbers[f"blocks.{i}.conv.weight"], self.numbers.get(f"blocks.{i}.conv.bias")
            if self.config.batchnorm:
                weight, bias = self._normed(i, weight)
            x = net.conv_of(x, f"{name}blocks.{i}.conv", weight, bias, dilation=dilation, groups=self.config.groups)
            x = self.function.add(net, x, f"{name}blocks.{i}.activation", self.config.channels)
        return net.conv(x, name, self.numbers, part="head")

    def _normed(self, i: int, weight: NamNumbers) -> tuple[NamNumbers, NamNumbers]:
        """Return weight and bias of a convolution with the batch norm behind it: (y - mean) / √(var + eps) · weight + bias."""
        mean, var, scale, shift, eps = (self.numbers[f"blocks.{i}.norm.{name}"] for name in _NORM)
        scaled = scale.value / np.sqrt(var.value + eps.value)
        origin = ", ".join(each.origin for each in (weight, mean, var, scale, shift, eps))
        return NamNumbers(weight.value * scaled[:, None, None], origin), NamNumbers(shift.value - scaled * mean.value, origin)


_NORM = ("running_mean", "running_var", "weight", "bias", "eps")


def read_convnet(model: NamModel) -> ConvNet:
    """Return the ConvNet of a model. Raises ImportRefused for what does not fit."""
    place = str(model.spot.at("config"))
    config = decoded(model.config, ConvNetConfig, place)
    numbers = cut(model, list(_convnet_parts(config, place)))
    for name, each in numbers.items():
        if name.endswith("running_var") and not (each.value + numbers[name.replace("running_var", "eps")].value > 0).all():
            came = f"{each.value.min():g} in {each.origin}"
            raise ImportRefused(f"{model.spot}: {name}: expected variances above 0 with eps added, got {came}")
    function = activation(config.activation, f"{place}.activation")
    return ConvNet(config.in_channels, config.out_channels, model.rate, config, function, numbers)


def _convnet_parts(config: ConvNetConfig, place: str) -> Iterator[NamPart]:
    inputs, channels = config.in_channels, config.channels
    for i in range(len(config.dilations)):
        name, bias = f"blocks.{i}.conv", not config.batchnorm
        yield from conv_parts(name, channels, inputs, 2, groups=config.groups, bias=bias, place=place)
        if config.batchnorm:
            yield from (NamPart(f"blocks.{i}.norm.{each}", () if each == "eps" else (channels,)) for each in _NORM)
        inputs = channels
    yield from conv_parts("head", config.out_channels, channels)


@dataclass(frozen=True)
class Linear(NamNetwork):
    """Impulse responses: y_t = Σ_k h_k · x_{t-k} + bias, the first number of each being that of the present."""

    config: LinearConfig
    numbers: Mapping[str, NamNumbers]

    def add(self, net: NamNet, x: str, name: str) -> str:
        """Add its one node below `name`: an input for each output, or one of either side for all of the other."""
        inputs, outputs = self.inputs, self.outputs
        response, bias = self.numbers["linear.weight"], self.numbers.get("linear.bias")
        taps = response.value[:, ::-1]
        groups = inputs if inputs == outputs else 1
        weight = np.repeat(taps, outputs, 0)[:, None] if inputs == outputs else taps[None] if outputs == 1 else taps[:, None]
        shifts = None if bias is None else NamNumbers(np.resize(bias.value, outputs), bias.origin)
        return net.conv_of(x, f"{name}linear", NamNumbers(np.ascontiguousarray(weight), response.origin), shifts, groups=groups)


def read_linear(model: NamModel) -> Linear:
    """Return the Linear of a model. Raises ImportRefused for what does not fit."""
    place = str(model.spot.at("config"))
    config = decoded(model.config, LinearConfig, place)
    inputs, outputs = config.in_channels, config.out_channels
    if inputs != outputs and 1 not in (inputs, outputs):
        raise ImportRefused(
            f"{place}: expected as many in_channels as out_channels, or one of either, got {inputs} and {outputs}"
        )
    responses, biases = (1, 1) if inputs == outputs else (max(inputs, outputs), outputs)
    parts = [
        NamPart("linear.weight", (responses, config.receptive_field)),
        *([NamPart("linear.bias", (biases,))] if config.bias else []),
    ]
    return Linear(inputs, outputs, model.rate, config, cut(model, parts))
