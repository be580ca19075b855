"""Neural Amp Modeler's networks once more, by loops over the numbers of a file in their order; it shares no code with refar.

`play` computes what a model gives for a signal x_ct: with `warm` after zeros enough that its state has settled, else from
a state of zeros. `filled` draws the weights of a model that has none, as many as `play` then reads.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def prelu(x: Array, negative_slope: float = 0.01, negative_slopes: Any = None) -> Array:
    slopes = np.full(len(x), negative_slope) if negative_slopes is None else np.array(negative_slopes)
    return np.where(x > 0, x, slopes.astype(np.float32).astype(np.float64)[:, None] * x)


FUNCTIONS: dict[str, Any] = {
    "Tanh": np.tanh,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "ReLU": lambda x: np.where(x > 0, x, 0.0),
    "LeakyReLU": lambda x, negative_slope=0.01: np.where(x > 0, x, negative_slope * x),
    "PReLU": prelu,
    "SiLU": lambda x: x / (1 + np.exp(-x)),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Softsigmoid": lambda x: (1 + x / (1 + np.abs(x))) / 2,
    "Hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "Hardtanh": lambda x, min_val=-1.0, max_val=1.0: np.clip(x, min_val, max_val),
    "LeakyHardtanh": lambda x, min_val=-1.0, max_val=1.0, min_slope=0.01, max_slope=0.01: np.where(
        x < min_val, (x - min_val) * min_slope + min_val, np.where(x > max_val, (x - max_val) * max_slope + max_val, x)
    ),
}


class Row:
    """The numbers of a file, read from the front; one that is `drawn` makes them up on the way."""

    def __init__(self, numbers: list[float], drawn: np.random.Generator | None = None) -> None:
        self.numbers, self.at, self.drawn = numbers, 0, drawn

    def take(self, *shape: int, least: float = -0.7) -> Array:
        count = math.prod(shape)
        if self.drawn is not None:
            self.numbers += np.float32(self.drawn.uniform(least, 0.7, count)).tolist()
        values = self.numbers[self.at : self.at + count]
        assert len(values) == count
        self.at += count
        return np.array(values).reshape(shape)

    def conv(self, full: tuple[int, int], kept: tuple[int, int], kernel: int = 1, groups: int = 1, bias: bool = True) -> Any:
        """Outputs and inputs of the file, and how many of each are kept."""
        weight = self.take(full[0], full[1] // groups, kernel)[: kept[0], : kept[1] // groups]
        return weight, self.take(full[0])[: kept[0]] if bias else np.zeros(kept[0]), groups


def convolve(x: Array, conv: Any, dilation: int = 1) -> Array:
    weight, bias, groups = conv
    y = np.zeros((len(weight), x.shape[1])) + bias[:, None]
    for o in range(len(weight)):
        first = o // (len(weight) // groups) * weight.shape[1]
        for i in range(weight.shape[1]):
            for k in range(weight.shape[2]):
                late = (weight.shape[2] - 1 - k) * dilation
                if late < x.shape[1]:
                    y[o, late:] += weight[o, i, k] * x[first + i, : x.shape[1] - late]
    return y


def apply(spec: Any, x: Array) -> Array:
    options = {"type": spec} if isinstance(spec, str) else dict(spec)
    return np.asarray(FUNCTIONS[options.pop("type")](x, **options))


def each(given: Any, i: int) -> Any:
    return given[i] if isinstance(given, list) else given


def film(row: Row, spec: Any, size: tuple[int, int], condition: tuple[int, int]) -> Any:
    if not spec or not spec.get("active", True):
        return None
    many = 2 if spec.get("shift", True) else 1
    return row.conv((many * size[0], condition[0]), (many * size[1], condition[1]), 1, spec.get("groups", 1)), many == 2


def modulate(x: Array, film: Any, condition: Array) -> Array:
    if film is None:
        return x
    made = convolve(condition, film[0])
    return made[: len(x)] * x + made[len(x) :] if film[1] else made * x


def layer(row: Row, full: Any, kept: Any, j: int, x: Array, condition: Array) -> tuple[Array, Array]:
    mode = each(full.get("gating_mode", "gated" if full.get("gated") else "none"), j)
    many = 1 if mode == "none" else 2
    channels, width = (
        (full["channels"], kept["channels"]),
        (full.get("bottleneck", full["channels"]), kept.get("bottleneck", kept["channels"])),
    )
    both, c = (many * width[0], many * width[1]), (len(condition), len(condition))
    kernel = each(full.get("kernel_sizes", full.get("kernel_size")), j)
    conv = row.conv((both[0], channels[0]), (both[1], channels[1]), kernel, full.get("groups_input", 1))
    mixin = row.conv((both[0], c[0]), (both[1], c[1]), 1, full.get("groups_input_mixin", 1), False)
    one, head = full.get("layer1x1", {"active": True, "groups": 1}), full.get("head1x1", {"active": False})
    onward = row.conv((channels[0], width[0]), (channels[1], width[1]), 1, one["groups"]) if one["active"] else None
    skip = (head["out_channels"],) * 2 if head["active"] else width
    headward = row.conv((skip[0], width[0]), (skip[1], width[1]), 1, head["groups"]) if head["active"] else None
    sizes = {
        "conv_pre_film": channels, "conv_post_film": both, "input_mixin_pre_film": c, "input_mixin_post_film": both,
        "activation_pre_film": both, "activation_post_film": width, "layer1x1_post_film": channels, "head1x1_post_film": skip,
    }  # fmt: skip
    films = {name: film(row, full.get(name), size, c) for name, size in sizes.items()}

    z = modulate(
        convolve(modulate(x, films["conv_pre_film"], condition), conv, full["dilations"][j]), films["conv_post_film"], condition
    )
    m = modulate(
        convolve(modulate(condition, films["input_mixin_pre_film"], condition), mixin), films["input_mixin_post_film"], condition
    )
    z = modulate(z + m, films["activation_pre_film"], condition)
    a, f = z[: width[1]], each(full["activation"], j)
    if mode == "none":
        a = apply(f, a)
    else:
        g = apply(each(full.get("secondary_activation", "Sigmoid"), j), z[width[1] :])
        a = apply(f, a) * g if mode == "gated" else apply(f, a) * g + a * (1 - g)
    a = modulate(a, films["activation_post_film"], condition)
    y = a if onward is None else modulate(convolve(a, onward), films["layer1x1_post_film"], condition)
    h = a if headward is None else modulate(convolve(a, headward), films["head1x1_post_film"], condition)
    return x + y, h


def wavenet(model: Any, row: Row, x: Array, kept: Any = None) -> Array:
    """`kept` has the layers as they are after the channels were cut."""
    config = model["config"]
    kept = kept or config["layers"]
    condition = x if config.get("condition_dsp") is None else run(config["condition_dsp"], x)
    value, head = x, None
    for full, cut in zip(config["layers"], kept, strict=True):
        value = convolve(
            value, row.conv((full["channels"], full["input_size"]), (cut["channels"], cut["input_size"]), bias=False)
        )
        for j in range(len(full["dilations"])):
            value, skip = layer(row, full, cut, j, value, condition)
            head = skip if head is None else head + skip
        assert head is not None
        out, kept_out = (
            a.get("head") or {"out_channels": a["head_size"], "kernel_size": 1, "bias": a["head_bias"]} for a in (full, cut)
        )
        rows = (
            full["head1x1"]["out_channels"] if full.get("head1x1", {}).get("active") else full.get("bottleneck", full["channels"])
        )
        conv = row.conv((out["out_channels"], rows), (kept_out["out_channels"], len(head)), out["kernel_size"], 1, out["bias"])
        head = convolve(head, conv, out.get("head_dilation", 1))
    post, convs = config.get("head"), []
    channels = len(head)
    for i, kernel in enumerate(post["kernel_sizes"] if post else []):
        outputs = post["out_channels"] if i == len(post["kernel_sizes"]) - 1 else post["channels"]
        convs.append(row.conv((outputs, channels), (outputs, channels), kernel))
        channels = outputs
    head = head * row.take()
    for conv in convs:
        head = convolve(apply(post["activation"], head), conv)
    return head


def convnet(model: Any, row: Row, x: Array) -> Array:
    config = model["config"]
    channels, norm = config["channels"], config["batchnorm"]
    for dilation in config["dilations"]:
        x = convolve(x, row.conv((channels, len(x)), (channels, len(x)), 2, config.get("groups", 1), not norm), dilation)
        if norm:
            mean, var = row.take(channels)[:, None], row.take(channels, least=0.1)[:, None]
            scale, shift = row.take(channels)[:, None], row.take(channels)[:, None]
            x = (x - mean) / np.sqrt(var + row.take(least=0.01)) * scale + shift
        x = apply(config["activation"], x)
    outputs = config.get("out_channels", 1)
    return convolve(x, row.conv((outputs, channels), (outputs, channels)))


def linear(model: Any, row: Row, x: Array) -> Array:
    config = model["config"]
    inputs, outputs = config.get("in_channels", 1), config.get("out_channels", 1)
    responses = row.take(1 if inputs == outputs else max(inputs, outputs), config["receptive_field"])
    bias = row.take(1 if inputs == outputs else outputs) if config["bias"] else np.zeros(1)
    y = np.zeros((outputs, x.shape[1]))
    for i in range(max(inputs, outputs)):
        for k, number in enumerate(responses[i % len(responses)]):
            if k < x.shape[1]:
                y[i % outputs, k:] += number * x[i % inputs, : x.shape[1] - k]
    return y + np.resize(bias, outputs)[:, None]


def run(model: Any, x: Array, kept: Any = None, drawn: np.random.Generator | None = None) -> Array:
    """What a model gives, all values before the first being zero at every layer."""
    if model["architecture"] == "SlimmableContainer":
        return run(model["config"]["submodels"][-1]["model"], x)
    if model["architecture"] == "Sequential":
        for part in model["config"]["models"]:
            x = run(part, x)
        return x
    row = Row(model["weights"], drawn)
    if model["architecture"] == "WaveNet":
        y = wavenet(model, row, x, kept)
    else:
        y = {"ConvNet": convnet, "Linear": linear}[model["architecture"]](model, row, x)
    assert row.at == len(row.numbers)
    return y


def play(model: Any, x: Array, warm: int = 0, kept: Any = None) -> Array:
    """What a model gives for x after `warm` zeros."""
    return run(model, np.concatenate([np.zeros((len(x), warm)), x], 1), kept)[:, warm:]


def filled(architecture: str, config: dict[str, Any], seed: int = 0, **more: Any) -> dict[str, Any]:
    """A whole model with random weights."""
    model = {
        "version": "0.7.0",
        "architecture": architecture,
        "config": copy.deepcopy(config),
        "weights": [],
        "sample_rate": 48000,
    }
    run(model, np.zeros((config.get("in_channels", 1), 1)), drawn=np.random.default_rng(seed))
    return model | more
