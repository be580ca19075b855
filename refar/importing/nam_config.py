"""The config of NAM's WaveNet: the fields of a file, checked, with what they leave out filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from refar.importing.nam_activations import NamActivation, Spec, activation
from refar.importing.nam_model import decoded
from refar.importing.refusal import ImportRefused
from refar.ops import LARGEST

Positive = Annotated[int, Meta(ge=1, le=LARGEST)]
Mode = Literal["none", "gated", "blended"]

FILMS = (
    "conv_pre_film", "conv_post_film", "input_mixin_pre_film", "input_mixin_post_film",
    "activation_pre_film", "activation_post_film", "layer1x1_post_film", "head1x1_post_film",
)  # fmt: skip
"""The places of a layer at which the condition may scale and shift its values, in the order of the file's numbers."""


class Film(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether and how the condition scales a value, and shifts it too."""

    active: bool = True
    shift: bool = True
    groups: Positive = 1


class Layer1x1(Struct, frozen=True, forbid_unknown_fields=True):
    """The convolution of kernel 1 between a layer's activation and the next layer."""

    active: bool
    groups: Positive = 1


class Head1x1(Struct, frozen=True, forbid_unknown_fields=True):
    """The convolution of kernel 1 between a layer's activation and the sum that becomes the head."""

    active: bool
    out_channels: Positive
    groups: Positive = 1


class ArrayHead(Struct, frozen=True, forbid_unknown_fields=True):
    """The convolution behind the sum of all layers of an array."""

    out_channels: Positive
    kernel_size: Positive
    bias: bool
    head_dilation: Positive = 1


class PostHead(Struct, frozen=True, forbid_unknown_fields=True):
    """Convolutions behind the last array, with an activation before each."""

    channels: Positive
    out_channels: Positive
    kernel_sizes: Annotated[list[Positive], Meta(min_length=1)]
    activation: Spec
    in_channels: Positive | None = None


class SlimOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """The channels to which an array may be cut; `boosting` and `init_strategy` are of its training."""

    allowed_channels: Annotated[list[Positive], Meta(min_length=1)] | None = None
    boosting: Any = None
    init_strategy: Any = None


class Slimmable(Struct, frozen=True, forbid_unknown_fields=True):
    """That an array may be cut to fewer channels, and how."""

    method: Literal["slice_channels_uniform", ""] = ""
    kwargs: SlimOptions = SlimOptions()


@dataclass(frozen=True)
class NamLayer:
    """What differs from layer to layer of an array."""

    kernel: int
    dilation: int
    mode: Mode
    function: NamActivation
    gate: NamActivation | None


class LayerArray(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry of `layers`: layers that follow each other with the same channels, and the head that sums them up."""

    input_size: Positive
    condition_size: Positive
    channels: Positive
    dilations: Annotated[list[Positive], Meta(min_length=1)]
    activation: Spec | list[Spec]
    kernel_size: Positive | list[Positive] | None = None
    kernel_sizes: Positive | list[Positive] | None = None
    bottleneck: Positive | None = None
    gating_mode: Mode | list[Mode] | None = None
    gated: bool = False
    secondary_activation: Any = None
    head: ArrayHead | None = None
    head_size: Positive | None = None
    head_bias: bool | None = None
    groups_input: Positive = 1
    groups_input_mixin: Positive = 1
    layer1x1: Layer1x1 = Layer1x1(True)
    head1x1: Head1x1 | None = None
    slimmable: Slimmable | None = None
    conv_pre_film: Film | bool | None = None
    conv_post_film: Film | bool | None = None
    input_mixin_pre_film: Film | bool | None = None
    input_mixin_post_film: Film | bool | None = None
    activation_pre_film: Film | bool | None = None
    activation_post_film: Film | bool | None = None
    layer1x1_post_film: Film | bool | None = None
    head1x1_post_film: Film | bool | None = None

    @property
    def width(self) -> int:
        """How many channels a layer has behind its activation."""
        return self.channels if self.bottleneck is None else self.bottleneck

    @property
    def skip(self) -> int:
        """How many channels a layer adds to the sum that becomes the head."""
        return self.head1x1.out_channels if self.head1x1 is not None and self.head1x1.active else self.width

    @property
    def out(self) -> ArrayHead:
        """The convolution behind the sum; files before version 0.7 have its channels and bias alone."""
        return self.head or ArrayHead(self.head_size or 1, 1, bool(self.head_bias))

    def films(self) -> dict[str, Film]:
        """The places at which the condition scales and shifts."""
        given = {name: getattr(self, name) for name in FILMS}
        return {name: film for name, film in given.items() if isinstance(film, Film) and film.active}


class WaveNetConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole config. `head_scale` stands here and as the last of the weights, which is the one that counts."""

    layers: Annotated[list[LayerArray], Meta(min_length=1)]
    head_scale: float
    head: PostHead | None = None
    in_channels: Positive = 1
    condition_dsp: Any = None


def read_config(raw: Any, place: str) -> WaveNetConfig:
    """Return the config of a WaveNet. Raises ImportRefused naming the field, what was expected, and what came."""
    config = decoded(raw, WaveNetConfig, place)
    inputs = config.in_channels
    for i, array in enumerate(config.layers):
        where = f"{place}.layers[{i}]"
        _require_array(array, where)
        if array.input_size != inputs:
            raise ImportRefused(f"{where}.input_size: expected {inputs}, the channels that come in, got {array.input_size}")
        if i and config.layers[i - 1].out.out_channels != array.skip:
            came = config.layers[i - 1].out.out_channels
            raise ImportRefused(
                f"{where}: expected {array.skip} channels of the head before it, to which its layers add, got {came}"
            )
        inputs = array.channels
    last = config.layers[-1].out.out_channels
    if config.head is not None and config.head.in_channels not in (None, last):
        raise ImportRefused(
            f"{place}.head.in_channels: expected {last}, what the last array gives, got {config.head.in_channels}"
        )
    return config


def _require_array(array: LayerArray, where: str) -> None:
    if array.head is None and (array.head_size is None or array.head_bias is None):
        raise ImportRefused(
            f"{where}: expected a head with out_channels, kernel_size and bias, or head_size and head_bias; got neither"
        )
    if (array.kernel_size is None) == (array.kernel_sizes is None):
        came = "neither" if array.kernel_size is None else "both"
        raise ImportRefused(f"{where}: expected kernel_size or kernel_sizes, got {came}")
    for name in FILMS:
        if getattr(array, name) is True:
            raise ImportRefused(f"{where}.{name}: expected an object with active, shift and groups, or false, got true")
    films = array.films()
    if "head1x1_post_film" in films and not (array.head1x1 and array.head1x1.active):
        raise ImportRefused(f"{where}.head1x1_post_film: expected head1x1 to be active beside it, got none")
    if "layer1x1_post_film" in films and not array.layer1x1.active:
        raise ImportRefused(f"{where}.layer1x1_post_film: expected layer1x1 to be active beside it, got none")
    if not array.layer1x1.active and array.width != array.channels:
        came = f"{array.width} and {array.channels}"
        raise ImportRefused(f"{where}: expected bottleneck to be channels where layer1x1 is not active, got {came}")


def layers_of(array: LayerArray, where: str) -> list[NamLayer]:
    """Return the layers of an array. Raises ImportRefused for lists that have not one entry for each dilation."""
    count = len(array.dilations)
    kernels = _each(array.kernel_sizes if array.kernel_size is None else array.kernel_size, count, f"{where}.kernel_sizes")
    functions = _each(array.activation, count, f"{where}.activation")
    old: Mode = "gated" if array.gated else "none"
    modes = _each(old if array.gating_mode is None else array.gating_mode, count, f"{where}.gating_mode")
    gates = [None] * count
    if any(mode != "none" for mode in modes):
        gates = _each(array.secondary_activation or "Sigmoid", count, f"{where}.secondary_activation")
    return [
        NamLayer(
            kernel,
            dilation,
            mode,
            activation(function, f"{where}.activation"),
            None if mode == "none" else activation(gate, f"{where}.secondary_activation"),
        )
        for kernel, dilation, mode, function, gate in zip(kernels, array.dilations, modes, functions, gates, strict=True)
    ]


def _each(given: Any, count: int, where: str) -> list[Any]:
    """One value for each layer: a list has them, and anything else holds for all."""
    if not isinstance(given, list):
        return [given] * count
    if len(given) != count:
        raise ImportRefused(f"{where}: expected one entry for each of {count} dilations, got {len(given)}")
    return given


def slimmed(arrays: list[LayerArray], size: float, where: str) -> list[LayerArray]:
    """Return the arrays cut to the channels that NAM takes for a size from 0 to 1.

    Raises ImportRefused for a file of one size, and for one that NAM does not cut.
    """
    if not any(array.slimmable is not None and array.slimmable.method for array in arrays):
        raise ImportRefused(f"{where}: size: expected a file of several sizes, got one whose layers are not slimmable")
    channels = [_allowed(array, size, f"{where}.layers[{i}]") for i, array in enumerate(arrays)]
    made = []
    for i, array in enumerate(arrays):
        width = max(1, array.width * channels[i] // array.channels) if array.layer1x1.active else channels[i]
        outputs = array.out.out_channels if i == len(arrays) - 1 else channels[i + 1]
        made.append(
            structs.replace(
                array,
                channels=channels[i],
                bottleneck=width,
                input_size=channels[i - 1] if i else array.input_size,
                head=structs.replace(array.out, out_channels=outputs),
            )
        )
    return made


def _allowed(array: LayerArray, size: float, where: str) -> int:
    """The channels of an array for a size; an array that is not slimmable keeps its own."""
    groups = [array.groups_input, array.groups_input_mixin, array.layer1x1.groups]
    groups += [array.head1x1.groups] if array.head1x1 else []
    if any(n > 1 for n in groups) or array.out.kernel_size > 1:
        raise ImportRefused(f"{where}: NAM cuts no array with groups or a head of kernel > 1 to fewer channels; leave size out")
    if array.slimmable is None or not array.slimmable.method:
        return array.channels
    allowed = array.slimmable.kwargs.allowed_channels or list(range(1, array.channels + 1))
    if sorted(set(allowed)) != allowed or allowed[-1] != array.channels:
        expected = f"rising numbers up to {array.channels}"
        raise ImportRefused(f"{where}.slimmable.kwargs.allowed_channels: expected {expected}, got {allowed}")
    return allowed[min(int(size * len(allowed)), len(allowed) - 1)]
