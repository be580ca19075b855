"""Packages that no one here wrote, imported as they are."""

from __future__ import annotations

import importlib
from typing import Any

import peers
import pytest
import torch
from torch import nn

from refar.importing import ImportRefused, from_torch

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of pytorch-tcn, on gains and on softmax without an axis
]


def made(package: str, name: str, *arguments: Any, **options: Any) -> nn.Module:
    """Make a module of another package, with random parameters and running statistics that are not zero."""
    module: nn.Module = getattr(importlib.import_module(package), name)(*arguments, **options)
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5 + 0.01
    for buffer_name, buffer in module.named_buffers():
        if "running" in buffer_name:
            buffer.uniform_(0.5, 2.0, generator=generator)
    return module.eval()


TCNS: list[dict[str, Any]] = [
    {"kernel_size": 3},
    {"kernel_size": 3, "use_norm": "batch_norm", "use_skip_connections": True, "activation": "tanh", "output_projection": 2},
    {"kernel_size": 2, "use_norm": None, "use_gate": True, "activation": "leaky_relu"},
    {"kernel_size": 3, "use_norm": "layer_norm", "use_gate": True},
]


@pytest.mark.parametrize("options", TCNS, ids=["weight_norm", "batch_norm", "gate", "layer_norm"])
@pytest.mark.parametrize("layout", ["NCL", "NLC"])
def test_pytorch_tcn(options: dict[str, Any], layout: str) -> None:
    module = made("pytorch_tcn", "TCN", 3, [4, 4], input_shape=layout, **options)
    example = torch.randn(2, 3, 40) if layout == "NCL" else torch.randn(2, 40, 3)
    got = from_torch(module, example, axes="BCT" if layout == "NCL" else "BTC")
    assert got.report.largest_difference < 1e-9


VECTOR, TRACK = torch.randn(2, 5), torch.randn(2, 4, 40)
OPTIONS: dict[str, dict[str, Any]] = {
    "kernel_size=1": {"kernel_size": 1},
    "dilations": {"dilations": [1, 3, 2]},
    "dilation_reset": {"dilation_reset": 2},
    "dropout": {"dropout": 0.5},
    "use_norm=batch_norm": {"use_norm": "batch_norm"},
    "use_norm=None": {"use_norm": None},
    **{f"activation={name}": {"activation": name} for name in ("tanh", "leaky_relu", "sigmoid", "elu", "gelu", "selu")},
    "activation=nn.SiLU": {"activation": nn.SiLU},
    "kernel_initializer": {"kernel_initializer": "kaiming_normal"},
    "use_skip_connections": {"use_skip_connections": True},
    "input_shape=NLC": {"input_shape": "NLC"},
    "embedding of the whole, add": {"embedding_shapes": [(5,)]},
    "embedding of the whole, concat": {"embedding_shapes": [(5,)], "embedding_mode": "concat"},
    "embedding over time, add": {"embedding_shapes": [(4, None)]},
    "embedding over time, concat, gate": {"embedding_shapes": [(4, None)], "embedding_mode": "concat", "use_gate": True},
    "use_gate": {"use_gate": True},
    "output_projection": {"output_projection": 2},
    "output_activation": {"output_projection": 2, "output_activation": "tanh"},
    "all of them": {
        "use_norm": "batch_norm", "activation": "gelu", "use_skip_connections": True, "input_shape": "NLC", "use_gate": True,
        "embedding_shapes": [(5,)], "embedding_mode": "concat", "output_projection": 2, "output_activation": "sigmoid",
    },
}  # fmt: skip
"""Every option of pytorch-tcn but those that follow, by itself beside the defaults."""


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_every_option_of_pytorch_tcn(options: dict[str, Any]) -> None:
    module = made("pytorch_tcn", "TCN", 3, [4, 4, 6], **{"kernel_size": 3, **options})
    last = options.get("input_shape") == "NLC"
    example = {"x": torch.randn(2, 40, 3) if last else torch.randn(2, 3, 40)}
    if "embedding_shapes" in options:
        example["embeddings"] = VECTOR if len(options["embedding_shapes"][0]) == 1 else TRACK
    got = from_torch(module, example, axes="BTC" if last else "BCT")
    assert got.report.largest_difference < 1e-9
    assert got.report.gradient_difference < 1e-9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"causal": False}, "looks ahead"),
        ({"activation": "log_softmax"}, "log_softmax"),
        ({"output_activation": "softmax"}, "softmax over axis B"),  # nn.Softmax() takes the first axis of what has three
    ],
)
def test_options_of_pytorch_tcn_that_no_stream_has(options: dict[str, Any], words: str) -> None:
    module = made("pytorch_tcn", "TCN", 3, [4, 4], kernel_size=3, **options)
    with pytest.raises(ImportRefused, match=words):
        from_torch(module, torch.randn(2, 3, 40))


def test_pytorch_tcn_that_looks_ahead() -> None:
    module = made("pytorch_tcn", "TCN", 3, [4, 4], kernel_size=3, causal=False)
    with pytest.raises(ImportRefused, match=r"network\.0\.conv1 .*looks ahead"):
        from_torch(module, torch.randn(2, 3, 40))


@pytest.mark.parametrize("scalar", [True, False])
def test_wavenet_vocoder(scalar: bool) -> None:
    sizes = {"layers": 4, "stacks": 2, "residual_channels": 4, "gate_channels": 8, "skip_out_channels": 4, "kernel_size": 2}
    none = {"cin_channels": -1, "gin_channels": -1}
    module = made("wavenet_vocoder", "WaveNet", out_channels=6, scalar_input=scalar, **sizes, **none)
    got = from_torch(module, torch.randn(2, 1 if scalar else 6, 40))
    assert got.report.largest_difference < 1e-9


FEW = {
    "pytorch-tcn TCN, gated, embeddings",
    "wavenet-vocoder WaveNet, local condition and speakers",
    "neural-amp-modeler Linear",
}
"""Of packages that `make test-foreign` installs; `make imports` takes all."""


@pytest.mark.parametrize("peer", [p for p in peers.CAUSAL if f"{p.package} {p.name}" in FEW], ids=lambda p: p.name)
def test_a_few_of_those_in_the_table(peer: peers.Peer) -> None:
    assert from_torch(peer.made(), peer.example, **peer.options).report.largest_difference < 1e-9


@pytest.mark.parametrize("peer", [p for p in peers.REFUSED if p.package == "pytorch-tcn"], ids=lambda p: p.name)
def test_a_few_of_those_that_must_be_refused(peer: peers.Peer) -> None:
    with pytest.raises(ImportRefused) as refused:
        from_torch(peer.made(), peer.example, **peer.options)
    assert [word for word in peer.words if word not in str(refused.value)] == []
