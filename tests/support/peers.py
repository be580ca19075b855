"""Modules of packages that no one here wrote, run unmodified, with random numbers in every parameter and running statistic.

`CAUSAL` lists those to import, and `REFUSED` those that must be refused, with words that the refusal must say.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn


class Lacking(Exception):
    """A package, or one that it needs, is not installed."""


def part(name: str) -> ModuleType:
    """Import a module of a package without its packages' own `__init__`, which may need much that the module does not."""
    first, *below = name.split(".")[:-1]
    if first not in sys.modules and importlib.util.find_spec(first) is None:
        raise Lacking(f"{first} is not installed")
    if first not in sys.modules:
        _stand_in(first, importlib.util.find_spec(first).submodule_search_locations[0])
    for count in range(len(below)):
        package = ".".join((first, *below[: count + 1]))
        if package not in sys.modules:
            _stand_in(package, str(Path(sys.modules[first].__path__[0]).joinpath(*below[: count + 1])))
    return whole(name)


def _stand_in(package: str, folder: str) -> None:
    """Put an empty package in the place of one, so that its modules can be imported."""
    made = ModuleType(package)
    made.__path__ = [folder]
    sys.modules[package] = made


def whole(name: str) -> ModuleType:
    """Import a module with all of its package."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Lacking(f"{name} needs {error.name}, which is not installed") from error
    except OSError as error:  # a library in C++ that was built for another version of PyTorch
        raise Lacking(f"{name}: {error}") from error


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and running statistic random numbers that are not zero, and return the module in eval mode.

    Weights are normal numbers over the root of how many of them meet in a sum, so that values neither vanish nor grow.
    """
    generator = torch.Generator().manual_seed(seed)
    slopes = {id(each.weight) for each in module.modules() if isinstance(each, nn.PReLU)}
    for parameter in module.parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        terms = parameter[0].numel() if parameter.ndim > 1 else 4
        drawn = drawn / max(terms, 1) ** 0.5 + 0.01 * drawn.sign()
        parameter.data = drawn.abs() if id(parameter) in slopes else drawn
    for name, buffer in module.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 2.0, generator=generator)
    return module.eval()


@dataclass(frozen=True)
class Peer:
    """A module of a package: how it is made, an example, options of `from_torch`, and the `lines` it needs beside the call."""

    package: str
    name: str
    make: Callable[[], nn.Module]
    example: Any
    options: dict[str, Any] = field(default_factory=dict)
    lines: int = 0
    words: tuple[str, ...] = ()

    def made(self) -> nn.Module:
        """Return the module with random numbers. Raises Lacking if the package is not installed."""
        return randomised(self.make())


class First(nn.Module):
    """A module that returns several values, of which the first is meant."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[0]


class BaseNet(nn.Module):
    """The network of gluonts' WaveNet, which its own `forward` calls for a loss."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.base_net(x)[0]


WRAPPER = 6
"""Lines of a module that calls another one, as above."""


def signal(channels: int, length: int = 64) -> Tensor:
    return torch.randn(2, channels, length)


def rows(channels: int, length: int = 64) -> Tensor:
    """Channels last."""
    return torch.randn(2, length, channels)


def tcn(layout: str = "NCL", **options: Any) -> Callable[[], nn.Module]:
    return lambda: whole("pytorch_tcn").TCN(3, [4, 4, 4], input_shape=layout, **options)


def vocoder(**options: Any) -> Callable[[], nn.Module]:
    sizes = {"layers": 6, "stacks": 2, "residual_channels": 6, "gate_channels": 8, "skip_out_channels": 6}
    return lambda: whole("wavenet_vocoder").WaveNet(**{**sizes, "cin_channels": -1, "gin_channels": -1, **options})


def nam_wavenet() -> nn.Module:
    array = {
        "input_size": 1, "condition_size": 1, "channels": 4, "kernel_size": 3, "dilations": [1, 2, 4], "activation": "Tanh",
        "head": {"out_channels": 1, "kernel_size": 1, "bias": True},
    }  # fmt: skip
    made: nn.Module = whole("nam.models.wavenet").WaveNet.init_from_config({"layers_configs": [array], "head_scale": 0.25})
    return made


def nam(kind: str, **options: Any) -> Callable[[], nn.Module]:
    name = {"ConvNet": "conv_net", "Linear": "linear"}[kind]
    return lambda: getattr(whole(f"nam.models.{name}"), kind)(**options)


def darts_blocks(weight_norm: bool) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        block = whole("darts.models.forecasting.tcn_model")._ResidualBlock
        return nn.Sequential(*(block(4, 3, 2, 0.1, weight_norm, i, 3, 2, 3) for i in range(3)))

    return make


def neuralforecast(name: str, *arguments: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(part("neuralforecast.common._modules"), name)(*arguments)


def braindecode_convs() -> nn.Module:
    conv = part("braindecode.modules.convolution").CausalConv1d
    return nn.Sequential(conv(3, 4, 5, dilation=2), nn.ELU(), nn.BatchNorm1d(4), conv(4, 2, 3))


def speechbrain_convs(**options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        conv = part("speechbrain.nnet.CNN").Conv1d
        return nn.Sequential(
            conv(4, 3, in_channels=2, dilation=2, **options), nn.LeakyReLU(), conv(2, 2, in_channels=4, **options)
        )

    return make


def cached_convs(mode: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        cc = whole("cached_conv")
        first = cc.Conv1d(2, 4, 3, dilation=2, padding=cc.get_padding(3, dilation=2, mode=mode))
        return cc.CachedSequential(first, nn.LeakyReLU(0.2), cc.Conv1d(4, 3, 5, padding=cc.get_padding(5, mode=mode)))

    return make


def asteroid(name: str, *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        whole("asteroid_filterbanks")
        made: nn.Module = getattr(part("asteroid.masknn.convolutional"), name)(*arguments, **options)
        return made

    return make


def gluonts_wavenet() -> nn.Module:
    make = part("gluonts.torch.model.wavenet.module").WaveNet
    return BaseNet(make(4, [0.1, 0.2, 0.3], num_residual_channels=4, num_skip_channels=5, dilation_depth=3, num_stacks=2))


def gluonts_layer() -> nn.Module:
    return First(part("gluonts.torch.model.wavenet.module").CausalDilatedResidualLayer(3, 4, 2, 3, True))


def encodec(name: str, *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        part("encodec.modules")
        kind = getattr(whole("encodec.modules.seanet"), name)
        return kind(*arguments, **{"pad_mode": "constant", "causal": True, **options})

    return make


def of(module: str, name: str, *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
    """A class of a module that is imported by itself."""
    return lambda: getattr(part(module), name)(*arguments, **options)


def effect(name: str, **options: Any) -> Callable[[], nn.Module]:
    """A network of pyneuralfx for one signal; `name` ends in TCN or GCN."""
    sizes = {"n_inp": 1, "n_output": 1, "sample_rate": 8000, "n_blocks": 3, "kernel_size": 3, "n_channels": 4}
    module = f"pyneuralfx.models.cnn.{name[-3:].lower()}"
    return lambda: getattr(part(module), name)(**sizes, **options)


def espnet_convolution() -> nn.Module:
    return First(part("espnet2.asr_transducer.encoder.modules.convolution").ConformerConvolution(4, 5, causal=True))


LAST = {"axes": "BTC"}
MIXTURE = {"out_channels": 6, "scalar_input": True}
LOCAL = {"out_channels": 9, "cin_channels": 5, "gin_channels": 3, "n_speakers": 4, "kernel_size": 2}
SPOKEN = {"x": signal(9), "c": signal(5), "g": torch.tensor([0, 1])}
CONTROLLED = {"x": signal(1), "c": torch.randn(2, 2)}
MIMI = {
    "channels": 1,
    "dimension": 3,
    "n_filters": 4,
    "n_residual_layers": 2,
    "ratios": [],
    "causal": True,
    "pad_mode": "constant",
}
FLAT = {"n_filters": 4, "dimension": 3, "ratios": [], "lstm": 0, "n_residual_layers": 2}

CAUSAL: tuple[Peer, ...] = (
    Peer("pytorch-tcn", "TCN", tcn(kernel_size=3), signal(3)),
    Peer("pytorch-tcn", "TCN, NLC, batch norm, skips", tcn("NLC", kernel_size=3, use_norm="batch_norm", use_skip_connections=True,
                                                           activation="gelu", output_projection=2), rows(3), LAST),
    Peer("pytorch-tcn", "TCN, gated, layer norm, embeddings", tcn(kernel_size=2, use_norm="layer_norm", use_gate=True,
                                                                  embedding_shapes=[(5,)], embedding_mode="concat"),
         {"x": signal(3), "embeddings": torch.randn(2, 5)}),
    Peer("wavenet-vocoder", "WaveNet, mixture of logistics", vocoder(**MIXTURE), signal(1)),
    Peer("wavenet-vocoder", "WaveNet, classes", vocoder(out_channels=9, kernel_size=2), signal(9)),
    Peer("wavenet-vocoder", "WaveNet, local condition and speakers", vocoder(**LOCAL), SPOKEN, {"classes": {"g": 4}}),
    Peer("neural-amp-modeler", "WaveNet", nam_wavenet, torch.randn(2, 64)),
    Peer("neural-amp-modeler", "ConvNet", nam("ConvNet", channels=4, dilations=[1, 2, 4], batchnorm=True, activation="ReLU"),
         torch.randn(2, 64)),
    Peer("neural-amp-modeler", "Linear", nam("Linear", receptive_field=9, bias=True), torch.randn(2, 64)),
    Peer("darts", "blocks of _TCNModule", darts_blocks(False), signal(2)),
    Peer("darts", "blocks of _TCNModule, weight norm", darts_blocks(True), signal(2)),
    Peer("neuralforecast", "TemporalConvolutionEncoder, ReLU",
         neuralforecast("TemporalConvolutionEncoder", 3, 4, 2, [1, 2, 4]), rows(3), LAST),
    Peer("neuralforecast", "TemporalConvolutionEncoder, SELU",
         neuralforecast("TemporalConvolutionEncoder", 3, 4, 3, [1, 2], "SELU"), rows(3), LAST),
    Peer("neuralforecast", "CausalConv1d, PReLU", neuralforecast("CausalConv1d", 3, 4, 3, 4, 2, "PReLU"), signal(3)),
    Peer("braindecode", "CausalConv1d", braindecode_convs, signal(3)),
    Peer("speechbrain", "Conv1d, causal", speechbrain_convs(padding="causal", padding_mode="constant"), rows(2), LAST),
    Peer("speechbrain", "Conv1d, causal, weight norm, channels first",
         speechbrain_convs(padding="causal", padding_mode="constant", weight_norm=True, skip_transpose=True), signal(2)),
    Peer("cached-conv", "Conv1d, causal", cached_convs("causal"), signal(2)),
    Peer("asteroid", "Conv1DBlock, causal, batch norm",
         asteroid("Conv1DBlock", 3, 6, 0, 3, 8, 4, norm_type="bN", causal=True), signal(3)),
    Peer("asteroid", "TDConvNet, causal, one source",
         asteroid("TDConvNet", 3, 1, n_blocks=2, n_repeats=2, bn_chan=4, hid_chan=5, skip_chan=4, norm_type="bN", causal=True),
         signal(3)),
    Peer("asteroid", "TDConvNet, causal, without skips",
         asteroid("TDConvNet", 3, 1, n_blocks=3, n_repeats=1, bn_chan=4, hid_chan=5, skip_chan=0, norm_type="bN", causal=True,
                  mask_act="sigmoid"), signal(3)),
    Peer("gluonts", "WaveNet.base_net", gluonts_wavenet, signal(4), lines=WRAPPER),
    Peer("gluonts", "CausalDilatedResidualLayer", gluonts_layer, signal(3), lines=WRAPPER),
    Peer("encodec", "SEANetResnetBlock, causal, zeros", encodec("SEANetResnetBlock", 4, [3, 1], [2, 1]), signal(4)),
    Peer("encodec", "SEANetEncoder without strides", encodec("SEANetEncoder", **FLAT), signal(1)),
    Peer("encodec", "SEANetDecoder without strides", encodec("SEANetDecoder", **FLAT, norm="none"), signal(3)),
    Peer("pyneuralfx", "ConcatTCN", effect("ConcatTCN", n_cond=2), CONTROLLED),
    Peer("pyneuralfx", "FiLMTCN", effect("FiLMTCN", n_cond=2), CONTROLLED),
    Peer("pyneuralfx", "FiLMGCN", effect("FiLMGCN", n_cond=2), CONTROLLED),
    Peer("espnet", "WaveNet", of("espnet.nets.pytorch_backend.wavenet", "WaveNet", 9, 3, 4, 5, 3, 2, 2),
         {"x": torch.randint(9, (2, 64)), "h": signal(3)}, {"classes": 9}),
    Peer("espnet", "ConformerConvolution, causal", espnet_convolution, rows(4), LAST, lines=WRAPPER),
    Peer("moshi", "StreamingConv1d", of("moshi.modules.conv", "StreamingConv1d", 2, 3, 5, dilation=2, causal=True), signal(2)),
    Peer("moshi", "SEANetEncoder without strides", of("moshi.modules.seanet", "SEANetEncoder", **MIMI), signal(1)),
    Peer("moshi", "SEANetDecoder without strides", of("moshi.modules.seanet", "SEANetDecoder", **MIMI), signal(3)),
)  # fmt: skip

REFUSED: tuple[Peer, ...] = (
    Peer("pyneuralfx", "HyperTCN", effect("HyperTCN", n_cond=2), CONTROLLED, words=("parts or mixes", "blocks.0.conv1")),
    Peer("moshi", "SEANetEncoder, strides", of("moshi.modules.seanet", "SEANetEncoder", **{**MIMI, "ratios": [4, 2]}), signal(1),
         words=("multiple of stride", "must take any length")),
    Peer("pytorch-tcn", "TCN, looking ahead", tcn(kernel_size=3, causal=False), signal(3), words=("looks ahead",)),
    Peer("speechbrain", "Conv1d, same", speechbrain_convs(padding="same", padding_mode="constant"), rows(2), LAST,
         words=("looks ahead",)),
    Peer("speechbrain", "Conv1d, reflected", speechbrain_convs(padding="same"), rows(2), LAST, words=("pad", "reflect")),
    Peer("cached-conv", "Conv1d, centered", cached_convs("centered"), signal(2), words=("looks ahead",)),
    Peer("cached-conv", "Conv1d, anticausal", cached_convs("anticausal"), signal(2), words=("looks ahead",)),
    Peer("asteroid", "TDConvNet, global norm, causal",
         asteroid("TDConvNet", 3, 1, n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=5, skip_chan=4, causal=True), signal(3),
         words=("torch.export cannot trace", "norms.py")),
    Peer("asteroid", "TDConvNet, symmetric",
         asteroid("TDConvNet", 3, 1, n_blocks=2, n_repeats=1, bn_chan=4, hid_chan=5, skip_chan=4, norm_type="bN"), signal(3),
         words=("looks ahead",)),
    Peer("encodec", "SEANetEncoder, strides", encodec("SEANetEncoder", n_filters=4, dimension=3, ratios=[2], lstm=0), signal(1),
         words=("changes with the length", "stride")),
    Peer("encodec", "SEANetEncoder, reflected", encodec("SEANetEncoder", **FLAT, pad_mode="reflect"), signal(1),
         words=("reflect",)),
    Peer("encodec", "SEANetEncoder, LSTM", encodec("SEANetEncoder", **{**FLAT, "lstm": 1}), signal(1), words=("lstm",)),
    Peer("denoiser", "Demucs, causal", of("denoiser.demucs", "Demucs", hidden=4, depth=2), signal(1, 256), words=("length",)),
    Peer("descript-audio-codec", "Snake1d behind WNConv1d, symmetric",
         lambda: nn.Sequential(part("dac.nn.layers").WNConv1d(2, 4, 3, padding=1), part("dac.nn.layers").Snake1d(4)), signal(2),
         words=("looks ahead",)),
)  # fmt: skip
