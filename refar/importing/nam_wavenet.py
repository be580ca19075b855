"""NAM's WaveNet as a graph: arrays of layers with skips, gates, conditions that scale and shift, and heads.

A layer of input x, with the condition c, computes z = conv(x) + mixin(c), a = activation(z), gives head1x1(a) to the sum that
becomes the head of its array, and x + layer1x1(a) to the next layer. The condition is the network's input, or what another
network makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refar.arguments.arrays import Array
from refar.importing.nam_activations import activation
from refar.importing.nam_config import LayerArray, Mode, NamLayer, WaveNetConfig, layers_of, read_config, slimmed
from refar.importing.nam_model import NamModel
from refar.importing.nam_net import NamNet, NamNetwork, NamNumbers, NamPart, conv_parts, cut
from refar.importing.refusal import ImportRefused

Opener = Callable[[NamModel], NamNetwork]


@dataclass(frozen=True)
class WaveNet(NamNetwork):
    """A WaveNet of a file. `arrays` are those of the config, or cut to fewer channels; `condition` makes c out of the input."""

    config: WaveNetConfig
    arrays: list[LayerArray]
    numbers: Mapping[str, NamNumbers]
    condition: NamNetwork | None
    place: str

    @cached_property
    def layers(self) -> list[list[NamLayer]]:
        """The layers of every array."""
        return [layers_of(array, f"{self.place}.layers[{i}]") for i, array in enumerate(self.arrays)]

    def add(self, net: NamNet, x: str, name: str) -> str:
        """Add its nodes below `name`, and return the one that holds its output."""
        net.notes += self._notes(name)
        condition = x if self.condition is None else self.condition.add(net, x, f"{name}condition_dsp.")
        value, head = x, None
        for i, array in enumerate(self.arrays):
            last = i == len(self.arrays) - 1
            made = _ArrayNodes(net, self.numbers, name, f"arrays.{i}", array, condition)
            value, head = made.add(value, head, self.layers[i], last)
        assert head is not None  # there is at least one array
        head = net.builder.affine(head, float(self.numbers["head_scale"].value), name=f"{name}head_scale")
        return head if self.config.head is None else self._post_head(net, head, name)

    def _notes(self, name: str) -> list[str]:
        """What a reader of the file may not expect."""
        notes = []
        for i, (array, layers) in enumerate(zip(self.arrays, self.layers, strict=True)):
            at = f"{name}arrays.{i}"
            if not array.layer1x1.active:
                notes.append(f"{at}: without layer1x1 a layer gives x + a to the next, as in NAM's trainer; NAM Core gives x")
            if "layer1x1_post_film" in array.films() and any(layer.mode != "blended" for layer in layers):
                notes.append(f"{at}: layer1x1_post_film counts, as in NAM's trainer; NAM Core ignored it before its #322")
        dead = f"arrays.{len(self.arrays) - 1}.layers.{len(self.layers[-1]) - 1}.layer1x1"
        count = sum(each.value.size for part, each in self.numbers.items() if part.startswith(dead))
        if count:
            notes.append(f"{name}{dead}: {count} weights that no output depends on were left out")
        return notes

    def _post_head(self, net: NamNet, head: str, name: str) -> str:
        assert self.config.head is not None
        function = activation(self.config.head.activation, f"{self.place}.head.activation")
        for i in range(len(self.config.head.kernel_sizes)):
            inputs = self.numbers[f"head.{i}.conv.weight"].value.shape[1]
            head = function.add(net, head, f"{name}head.{i}.activation", inputs)
            head = net.conv(head, name, self.numbers, part=f"head.{i}.conv")
        return head


@dataclass(frozen=True)
class _ArrayNodes:
    """Adds the nodes of one array: `part` begins the names of its numbers, `name` those of the whole network."""

    net: NamNet
    numbers: Mapping[str, NamNumbers]
    name: str
    part: str
    array: LayerArray
    condition: str

    def add(self, x: str, head: str | None, layers: list[NamLayer], last: bool) -> tuple[str, str]:
        """Return what the last layer gives to the next array, and the head; of the `last` array nothing reads the first."""
        x = self._conv(x, f"{self.part}.rechannel")
        skips = [] if head is None else [head]
        for i, layer in enumerate(layers):
            stem = f"{self.part}.layers.{i}"
            active = self._activated(x, stem, layer)
            skips.append(self._skip(active, stem))
            if not (last and i == len(layers) - 1):
                x = self._next(x, active, stem)
        total = skips[0] if len(skips) == 1 else self.net.builder.add(*skips, name=f"{self.name}{self.part}.skips")
        return x, self._conv(total, f"{self.part}.head", dilation=self.array.out.head_dilation)

    def _activated(self, x: str, stem: str, layer: NamLayer) -> str:
        build, array, c = self.net.builder, self.array, self.condition
        z = self._conv(self._film(x, stem, "conv_pre_film"), f"{stem}.conv", layer.dilation, array.groups_input)
        z = self._film(z, stem, "conv_post_film")
        mixed = self._conv(self._film(c, stem, "input_mixin_pre_film"), f"{stem}.input_mixin", 1, array.groups_input_mixin)
        mixed = self._film(mixed, stem, "input_mixin_post_film")
        z = self._film(build.add(z, mixed, name=f"{self.name}{stem}.sum"), stem, "activation_pre_film")
        return self._film(self._gated(z, f"{self.name}{stem}", layer), stem, "activation_post_film")

    def _gated(self, z: str, stem: str, layer: NamLayer) -> str:
        """The activation; where there is a gate it is of the second half of the channels: f(z)·g, or f(z)·g + z·(1 - g)."""
        build, width = self.net.builder, self.array.width
        if layer.gate is None:
            return layer.function.add(self.net, z, f"{stem}.activation", width)
        if layer.mode == "gated" and (layer.function.name, layer.gate.name) == ("Tanh", "Sigmoid"):
            return build.gate(z, name=f"{stem}.gate")
        first = build.slice(z, 0, width, name=f"{stem}.first")
        second = build.slice(z, width, 2 * width, name=f"{stem}.second")
        active = layer.function.add(self.net, first, f"{stem}.activation", width)
        gate = layer.gate.add(self.net, second, f"{stem}.secondary_activation", width)
        opened = build.multiply(active, gate, name=f"{stem}.gated")
        if layer.mode == "gated":
            return opened
        rest = build.multiply(first, build.affine(gate, -1.0, 1.0, name=f"{stem}.rest"), name=f"{stem}.passed")
        return build.add(opened, rest, name=f"{stem}.blended")

    def _skip(self, active: str, stem: str) -> str:
        if f"{stem}.head1x1.weight" not in self.numbers:
            return active
        assert self.array.head1x1 is not None
        value = self._conv(active, f"{stem}.head1x1", 1, self.array.head1x1.groups)
        return self._film(value, stem, "head1x1_post_film")

    def _next(self, x: str, active: str, stem: str) -> str:
        if self.array.layer1x1.active:
            active = self._conv(active, f"{stem}.layer1x1", 1, self.array.layer1x1.groups)
            active = self._film(active, stem, "layer1x1_post_film")
        return self.net.builder.add(x, active, name=f"{self.name}{stem}.residual")

    def _film(self, x: str, stem: str, film: str) -> str:
        """x · scale + shift, each a convolution of the condition with kernel 1; x itself where the film is not active."""
        given = self.array.films().get(film)
        if given is None:
            return x
        build, name = self.net.builder, f"{self.name}{stem}.{film}"
        weight, bias = (self.numbers[f"{stem}.{film}.{last}"] for last in ("weight", "bias"))
        weight = NamNumbers(_ungrouped(weight.value, given.groups), weight.origin)
        size = len(bias.value) // (2 if given.shift else 1)
        first, second = slice(0, size), slice(size, 2 * size)
        scale = self.net.conv_of(self.condition, f"{name}.scale", weight.part(first), bias.part(first))
        scaled = build.multiply(x, scale, name=f"{name}.scaled")
        if not given.shift:
            return scaled
        shift = self.net.conv_of(self.condition, f"{name}.shift", weight.part(second), bias.part(second))
        return build.add(scaled, shift, name=f"{name}.shifted")

    def _conv(self, x: str, part: str, dilation: int = 1, groups: int = 1) -> str:
        return self.net.conv(x, self.name, self.numbers, part=part, dilation=dilation, groups=groups)


def _ungrouped(weight_oik: Array, groups: int) -> Array:
    """The weight of the convolution of one group that is the same, with zeros between the groups."""
    outputs, inputs, kernel = weight_oik.shape
    whole = np.zeros((groups, outputs // groups, groups, inputs, kernel))
    for g in range(groups):
        whole[g, :, g] = weight_oik.reshape(groups, -1, inputs, kernel)[g]
    return whole.reshape(outputs, groups * inputs, kernel)


def read_wavenet(model: NamModel, size: float | None, inner: Opener) -> WaveNet:
    """Return the WaveNet of a model; `inner` opens the one of its condition. Raises ImportRefused for what does not fit."""
    place = str(model.spot.at("config"))
    config = read_config(model.config, place)
    condition = None
    channels = config.in_channels
    if config.condition_dsp is not None:
        condition = inner(model.inner(config.condition_dsp, "condition_dsp"))
        if condition.inputs != channels:
            raise ImportRefused(f"{place}.condition_dsp: expected one of {channels} input channels, got {condition.inputs}")
        channels = condition.outputs
    for i, array in enumerate(config.layers):
        if array.condition_size != channels:
            came = array.condition_size
            raise ImportRefused(
                f"{place}.layers[{i}].condition_size: expected {channels}, the channels of the condition, got {came}"
            )
    numbers = cut(model, list(_parts(config, config.layers, place)))
    arrays = config.layers
    if size is not None:
        arrays = slimmed(config.layers, size, place)
        shapes = {part.name: part.shape for part in _parts(config, arrays, place)}
        numbers = {name: each.part(*map(slice, shapes[name])) for name, each in numbers.items()}
    outputs = arrays[-1].out.out_channels if config.head is None else config.head.out_channels
    return WaveNet(config.in_channels, outputs, model.rate, config, arrays, numbers, condition, place)


def _parts(config: WaveNetConfig, arrays: list[LayerArray], place: str) -> Iterator[NamPart]:
    """The file's numbers in their order."""
    for i, array in enumerate(arrays):
        name, where = f"arrays.{i}", f"{place}.layers[{i}]"
        yield from conv_parts(f"{name}.rechannel", array.channels, array.input_size, bias=False)
        for j, layer in enumerate(layers_of(array, where)):
            yield from _layer_parts(f"{name}.layers.{j}", array, layer, where)
        head = array.out
        yield from conv_parts(f"{name}.head", head.out_channels, array.skip, head.kernel_size, bias=head.bias)
    if config.head is not None:
        inputs, kernels = arrays[-1].out.out_channels, config.head.kernel_sizes
        for i, kernel in enumerate(kernels):
            outputs = config.head.out_channels if i == len(kernels) - 1 else config.head.channels
            yield from conv_parts(f"head.{i}.conv", outputs, inputs, kernel)
            inputs = outputs
    yield NamPart("head_scale", ())


def _layer_parts(name: str, array: LayerArray, layer: NamLayer, where: str) -> Iterator[NamPart]:
    both, c = _doubled(array.width, layer.mode), array.condition_size
    sizes = {
        "conv_pre_film": array.channels, "conv_post_film": both, "input_mixin_pre_film": c, "input_mixin_post_film": both,
        "activation_pre_film": both, "activation_post_film": array.width, "layer1x1_post_film": array.channels,
        "head1x1_post_film": array.skip,
    }  # fmt: skip
    yield from conv_parts(f"{name}.conv", both, array.channels, layer.kernel, groups=array.groups_input, place=where)
    yield from conv_parts(f"{name}.input_mixin", both, c, groups=array.groups_input_mixin, bias=False, place=where)
    if array.layer1x1.active:
        yield from conv_parts(f"{name}.layer1x1", array.channels, array.width, groups=array.layer1x1.groups, place=where)
    if array.head1x1 is not None and array.head1x1.active:
        yield from conv_parts(f"{name}.head1x1", array.skip, array.width, groups=array.head1x1.groups, place=where)
    for film, given in array.films().items():
        outputs = (2 if given.shift else 1) * sizes[film]
        yield from conv_parts(f"{name}.{film}", outputs, c, groups=given.groups, place=where)


def _doubled(width: int, mode: Mode) -> int:
    return width if mode == "none" else 2 * width
