"""Two streams in PyTorch that others wrote, on the same network as refar: wavenet_vocoder 0.1.1 and pytorch-tcn 1.2.3."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.bench.clock import NotTimedError, Way
from refar.bench.comparison import check_close, foreign
from refar.bench.over_time import Sequences

TOKENS = 40
"""Tokens of one timed call."""


def vocoder(case: Sequences, layers: int, stacks: int) -> Way:
    """Return the way of `wavenet_vocoder.WaveNet.incremental_forward` on given tokens: no sampling, the logits alone.

    The network is `refar.models.wavenet` with a front of one, whose first position sees nothing: the vocoder is given zeros
    there. It multiplies the residual stream by s = √½ in each block, which other weights undo: h of block i is s^i times refar's.
    """
    with foreign("wavenet_vocoder"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from wavenet_vocoder import WaveNet

        weights = case.session.weights
        gates, residual, kernel = weights["block0.conv.weight"].shape
        skip = len(weights["block0.skip.weight"])
        sizes = {"residual_channels": residual, "gate_channels": gates, "skip_out_channels": skip, "kernel_size": kernel}
        classes = facts(case.session.graph).types[case.session.graph.output].size
        net = WaveNet(classes, layers, stacks, **sizes, dropout=0.0, weight_normalization=False, legacy=False)
        net.make_generation_fast_()
        net.eval()
        scale = 1.0
        _put(net.first_conv, weights, "front")
        for i, layer in enumerate(net.conv_layers):
            _put(layer.conv, weights, f"block{i}.conv", weight=1 / scale)
            _put(layer.conv1x1_skip, weights, f"block{i}.skip")
            if i < layers - 1:
                _put(layer.conv1x1_out, weights, f"block{i}.residual", weight=scale, bias=scale)
            scale *= math.sqrt(0.5)
        for layer, name in zip(net.last_conv_layers[1::2], ("hidden", "logits"), strict=True):
            _put(layer, weights, f"head.{name}")
        given = torch.from_numpy(_one_hot(_tokens(case), classes))
        first = torch.zeros(case.batch, 1, classes)  # is not read; what is taken where it is left out needs 128 classes

        def call() -> Any:
            with torch.inference_mode():
                return net.incremental_forward(first, test_inputs=given, T=TOKENS, softmax=False, quantize=False)

        y_bqt = call().numpy()
    check_close(case.session.graph, y_bqt, _outputs(case))
    return Way(call, TOKENS, warm=True)


def streaming_tcn(case: Sequences) -> Way:
    """Return the way of `pytorch_tcn.TCN` with inference=True, one position a call; it streams one sequence at a time."""
    if case.batch != 1:
        raise NotTimedError("pytorch-tcn streams one sequence at a time")
    with foreign("pytorch_tcn"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from pytorch_tcn import TCN

        weights = case.session.weights
        blocks = sorted({name.partition(".")[0] for name in weights if name.startswith("block")})
        channels = [len(weights[f"{block}.conv1.weight"]) for block in blocks]
        classes, kernel = len(weights["logits.weight"]), weights["block0.conv1.weight"].shape[2]
        net = TCN(classes, channels, kernel, dropout=0.0, use_norm=None, output_projection=classes)
        net.eval()
        for block, layer in zip(blocks, net.network, strict=True):
            _put(layer.conv1, weights, f"{block}.conv1")
            _put(layer.conv2, weights, f"{block}.conv2")
            if layer.downsample is not None:
                _put(layer.downsample, weights, f"{block}.residual")
        _put(net.projection_out, weights, "logits")
        given = torch.from_numpy(_one_hot(_tokens(case), classes))

        def call() -> Any:
            with torch.inference_mode():
                net.reset_buffers()
                return torch.cat([net(given[:, :, t : t + 1], inference=True) for t in range(TOKENS)], 2)

        y_bqt = call().numpy()
    check_close(case.session.graph, y_bqt, _outputs(case))
    return Way(call, TOKENS, warm=True)


def _put(layer: Any, weights: dict[str, Array], name: str, *, weight: float = 1.0, bias: float = 1.0) -> None:
    """Write refar's parameters of a convolution into that of another library, multiplied by numbers."""
    import torch

    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights[f"{name}.weight"] * np.float32(weight)))
        layer.bias.copy_(torch.from_numpy(weights[f"{name}.bias"] * np.float32(bias)))


def _tokens(case: Sequences) -> Array:
    """Return the tokens that are given, x_bt: of position 0, which sees nothing, none is."""
    return np.random.default_rng(0).integers(0, case.found.types[case.found.sequence].size, (case.batch, TOKENS - 1))


def _one_hot(x_bt: Array, classes: int) -> Array:
    """Return zeros for the position before the first token, and then the tokens as vectors, x_bct."""
    x_bct = np.zeros((len(x_bt), classes, x_bt.shape[1] + 1), np.float32)
    np.put_along_axis(x_bct[:, :, 1:], x_bt[:, None], 1.0, axis=1)
    return x_bct


def _outputs(case: Sequences) -> Array:
    """Return refar's logits at the same positions, y_bqt, step by step."""
    stream = case.session.stream(case.batch)
    assert stream.output is not None
    return np.stack([stream.output, *(stream.step(x_b) for x_b in _tokens(case).T)], axis=2)
