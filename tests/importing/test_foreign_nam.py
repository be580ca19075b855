"""What NAM's own trainer computes, and the files that it writes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nam_variants import FILMS, POST

import refar

pytestmark = [pytest.mark.foreign, pytest.mark.filterwarnings("ignore")]


def array(**more: Any) -> dict[str, Any]:
    """One array as the trainer takes it."""
    made = {
        "input_size": 1, "condition_size": 1, "channels": 4, "kernel_size": 3, "dilations": [1, 2, 4], "activation": "Tanh",
        "head": {"out_channels": 1, "kernel_size": 1, "bias": True},
    }  # fmt: skip
    return made | more


GATED = {"name": "PairMultiply", "primary": "Tanh", "secondary": "Sigmoid"}
BLENDED = {"name": "PairBlend", "primary": "ReLU", "secondary": "Sigmoid"}
ONE = {"film_params": {"layer1x1_post_film": {"active": True, "shift": True, "groups": 1}}}
EVERY = {
    "film_params": {name: {"active": True, "shift": i % 2 == 0, "groups": 1} for i, name in enumerate(FILMS)},
    "head_1x1_config": {"active": True, "out_channels": 3, "groups": 1},
}
OFF = {"layer_1x1_config": {"active": False, "groups": 1}}
WAVENETS: dict[str, dict[str, Any]] = {
    "standard": {"layers_configs": [array(head={"out_channels": 2, "kernel_size": 1, "bias": False}),
                                    array(input_size=4, channels=2, dilations=[8])]},
    "gated": {"layers_configs": [array(activation=GATED)]},
    "blended, bottleneck": {"layers_configs": [array(activation=BLENDED, bottleneck=2, kernel_sizes=[2, 5, 3])]},
    "no layer1x1": {"layers_configs": [array(**OFF)]},
    "no layer1x1, gated": {"layers_configs": [array(**OFF, activation=GATED)]},
    "layer1x1_post_film": {"layers_configs": [array(**ONE)]},
    "layer1x1_post_film, gated": {"layers_configs": [array(**ONE, activation=GATED)]},
    "every film": {"layers_configs": [array(**EVERY)]},
    "every film, gated": {"layers_configs": [array(**EVERY, activation=GATED, bottleneck=2)]},
    "hard tanh": {"layers_configs": [array(activation={"name": "Hardtanh", "min_val": -0.2, "max_val": 0.4})]},
    "leaky hard tanh": {"layers_configs": [array(activation={"name": "LeakyHardtanh", "min_val": -0.1, "max_slope": 0.3})]},
    "slopes": {"layers_configs": [array(activation={"name": "PReLU", "num_parameters": 4})]},
    "head of kernel 16": {"layers_configs": [array(head={"out_channels": 1, "kernel_size": 16, "bias": True})]},
    "head behind": {
        "layers_configs": [array(head={"out_channels": 2, "kernel_size": 2, "bias": True})],
        "head": POST | {"out_channels": 1},
    },
    "condition": {
        "layers_configs": [array(condition_size=3)],
        "condition_dsp": {
            "name": "WaveNet",
            "config": {"layers_configs": [array(head={"out_channels": 3, "kernel_size": 2, "bias": True})], "head_scale": 0.5},
        },
    },
}  # fmt: skip


def exported(net: Any, folder: Path) -> Path:
    """Write the file of a net with random weights."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 2.0, generator=generator)
    path = folder / "AMP.nam"
    path.write_text(json.dumps(net.eval()._get_export_dict()), encoding="utf-8")
    return path


def require_the_same(net: Any, folder: Path) -> None:
    """Hold the file of a net against the net in float64, which begins with zeros as long as its receptive field."""
    got = refar.from_nam(exported(net, folder))
    x = np.random.default_rng(0).normal(size=(2, 1, 300))
    with torch.no_grad():
        y = net.double()(torch.from_numpy(x[:, 0]), pad_start=True).numpy()
    assert got.report.receptive_field <= net.receptive_field  # which adds up what a condition does not pass through
    assert got.metadata["sample_rate"] == "48000"
    largest = np.abs(y).max()
    # The trainer keeps head_scale and the numbers of activations in more digits than a file's float32.
    assert np.abs(refar.forward(got.graph, got.params, x)[:, 0] - y).max() <= 1e-6 * largest


@pytest.mark.parametrize("name", WAVENETS)
def test_wavenets_of_the_trainer(name: str, tmp_path: Path) -> None:
    wavenet = importlib.import_module("nam.models.wavenet").WaveNet
    require_the_same(wavenet.init_from_config({"head_scale": 0.25, "sample_rate": 48000} | WAVENETS[name]), tmp_path)


@pytest.mark.parametrize("batchnorm", [False, True])
def test_convnets_of_the_trainer(batchnorm: bool, tmp_path: Path) -> None:
    convnet = importlib.import_module("nam.models.conv_net").ConvNet
    net = convnet(channels=4, dilations=[1, 2, 4], batchnorm=batchnorm, activation="ReLU", sample_rate=48000)
    require_the_same(net, tmp_path)


def test_linear_is_read_as_core_reads_it_and_not_as_the_trainer_writes_it(tmp_path: Path) -> None:
    net = importlib.import_module("nam.models.linear").Linear(receptive_field=5, sample_rate=48000)
    got = refar.from_nam(exported(net, tmp_path))
    written = net._net.weight.detach().numpy()
    np.testing.assert_array_equal(got.params["linear.weight"], written[..., ::-1])
