"""Small .nam files, one for each thing that a file may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from nam_by_hand import FUNCTIONS, filled

FILMS = (
    "conv_pre_film", "conv_post_film", "input_mixin_pre_film", "input_mixin_post_film", "activation_pre_film",
    "activation_post_film", "layer1x1_post_film", "head1x1_post_film",
)  # fmt: skip


def array(**more: Any) -> dict[str, Any]:
    """One array as files have it since version 0.7."""
    made = {
        "input_size": 1, "condition_size": 1, "channels": 3, "kernel_size": 3, "dilations": [1, 2], "activation": "Tanh",
        "head": {"out_channels": 1, "kernel_size": 1, "bias": True},
    }  # fmt: skip
    return made | more


def wavenet(*arrays: dict[str, Any], seed: int = 0, **more: Any) -> dict[str, Any]:
    """A WaveNet of these arrays."""
    return filled("WaveNet", {"layers": list(arrays), "head": None, "head_scale": 0.02, **more}, seed)


def old(**more: Any) -> dict[str, Any]:
    """One array as files had it before."""
    made = {
        "input_size": 1, "condition_size": 1, "head_size": 2, "channels": 3, "kernel_size": 3, "dilations": [1, 2, 4],
        "activation": "Tanh", "gated": False, "head_bias": False,
    }  # fmt: skip
    return made | more


def head1x1(out: int, groups: int = 1) -> dict[str, Any]:
    return {"active": True, "out_channels": out, "groups": groups}


def film(name: str, shift: bool, **more: Any) -> dict[str, Any]:
    """One place at which the condition scales, in a network in which every place is there."""
    return wavenet(array(head1x1=head1x1(4), bottleneck=2, **{name: {"active": True, "shift": shift, "groups": 1}}, **more))


SECOND = old(input_size=3, head_size=1, channels=2, dilations=[8], head_bias=True)
MODES = {"gating_mode": ["gated", "blended", "none"], "secondary_activation": ["Sigmoid", "Tanh", None], "dilations": [1, 2, 3]}
ALL_FILMS = {name: {"active": True, "shift": i % 2 == 0, "groups": 1 + i % 2} for i, name in enumerate(FILMS)}
CONDITION = wavenet(array(head={"out_channels": 4, "kernel_size": 2, "bias": True}), seed=3)
WIDE = {"condition_size": 4, "channels": 4, "head1x1": head1x1(2), "bottleneck": 2}
SLIM = {"slimmable": {"method": "slice_channels_uniform", "kwargs": {"allowed_channels": [1, 2, 4]}}, "channels": 4}
PRELU = {"type": "PReLU", "negative_slopes": [0.1, 0.5, -0.2]}
POST = {"channels": 3, "out_channels": 2, "kernel_sizes": [3, 2], "activation": "ReLU"}

VARIANTS: dict[str, dict[str, Any]] = {
    "A1": wavenet(old(), SECOND),
    "A1, gated": wavenet(old(gated=True), old(input_size=3, head_size=1, channels=2, gated=True)),
    "A2": wavenet(
        array(
            channels=4,
            bottleneck=4,
            kernel_sizes=[6, 6, 15],
            kernel_size=None,
            dilations=[1, 3, 2],
            activation=[{"type": "LeakyReLU", "negative_slope": 0.01}] * 3,
            head={"out_channels": 1, "kernel_size": 16, "bias": True},
            head1x1={"active": False, "out_channels": 1, "groups": 1},
            gating_mode=["none"] * 3,
            secondary_activation=[None] * 3,
            slimmable=None,
            **{name: {"active": False, "shift": True, "groups": 1} for name in FILMS},
        )
    ),
    "gated": wavenet(array(gating_mode="gated", activation="ReLU")),
    "gated, tanh and sigmoid": wavenet(array(gating_mode="gated", secondary_activation="Sigmoid")),
    "gated, the other way round": wavenet(array(gating_mode="gated", activation="Sigmoid", secondary_activation="Tanh")),
    "blended": wavenet(array(gating_mode="blended", secondary_activation={"type": "Sigmoid"})),
    "a mode for each layer": wavenet(array(**MODES, activation=["Tanh", "ReLU", {"type": "LeakyReLU", "negative_slope": 0.2}])),
    "bottleneck": wavenet(array(bottleneck=2)),
    "wide bottleneck": wavenet(array(bottleneck=5, gating_mode="gated")),
    "head1x1": wavenet(array(head1x1=head1x1(4))),
    "no layer1x1": wavenet(array(layer1x1={"active": False, "groups": 1})),
    "no layer1x1, gated": wavenet(array(layer1x1={"active": False, "groups": 1}, gating_mode="gated")),
    "groups": wavenet(
        array(
            channels=4,
            condition_size=4,
            groups_input=2,
            groups_input_mixin=4,
            head1x1=head1x1(6, 2),
            layer1x1={"active": True, "groups": 4},
        ),
        condition_dsp=CONDITION,
    ),
    "kernel for each layer": wavenet(array(kernel_sizes=[2, 5], kernel_size=None)),
    "kernel 1": wavenet(array(kernel_size=1)),
    "head of kernel 3": wavenet(array(head={"out_channels": 1, "kernel_size": 3, "bias": False})),
    "dilated head": wavenet(array(head={"out_channels": 1, "kernel_size": 3, "bias": True, "head_dilation": 4})),
    "head behind": wavenet(array(head={"out_channels": 2, "kernel_size": 2, "bias": True}), head=POST),
    "head behind, of one": wavenet(array(), head=POST | {"kernel_sizes": [1], "in_channels": 1}),
    "condition": wavenet(array(condition_size=4), condition_dsp=CONDITION),
    "condition by a ConvNet": wavenet(
        array(condition_size=2),
        condition_dsp=filled(
            "ConvNet", {"channels": 3, "dilations": [1, 4], "batchnorm": True, "activation": "ReLU", "out_channels": 2}
        ),
    ),
    "two arrays with heads": wavenet(
        array(head={"out_channels": 2, "kernel_size": 3, "bias": True}, head1x1=head1x1(5)), array(input_size=3, channels=2)
    ),
    "two channels": wavenet(
        array(input_size=2, condition_size=2, head={"out_channels": 3, "kernel_size": 1, "bias": True}), in_channels=2
    ),
    "one layer": wavenet(array(dilations=[3], kernel_size=2)),
    "all films": wavenet(array(**WIDE, **ALL_FILMS), condition_dsp=CONDITION),
    "all films, gated": wavenet(array(**WIDE, **ALL_FILMS, gating_mode="gated"), condition_dsp=CONDITION),
    **{f"{name}, {'shift' if shift else 'no shift'}": film(name, shift) for name in FILMS for shift in (True, False)},
    **{
        f"{name}, {mode}": film(name, True, gating_mode=mode, activation="ReLU")
        for name in FILMS
        for mode in ("gated", "blended")
    },
    **{f"activation {name}": wavenet(array(activation=name)) for name in FUNCTIONS},
    "slopes of channels": wavenet(
        array(activation=PRELU, gating_mode=["none", "gated"], secondary_activation={"type": "PReLU", "negative_slope": 0.3})
    ),
    "leaks": wavenet(
        array(
            activation={"type": "LeakyHardtanh", "min_val": -0.1, "max_val": 0.2, "min_slope": 0.3, "max_slope": 1.5},
            gating_mode="blended",
            secondary_activation={"type": "Hardtanh", "min_val": 0.0, "max_val": 0.5},
        )
    ),
    "slimmable": wavenet(array(**SLIM)),
    "container": filled(
        "SlimmableContainer",
        {"submodels": [{"max_value": 0.5, "model": wavenet(array())}, {"max_value": 1.0, "model": wavenet(array(channels=5))}]},
    ),
    "sequential": filled(
        "Sequential",
        {"models": [wavenet(array()), filled("Linear", {"receptive_field": 5, "bias": True}), wavenet(old(), SECOND, seed=7)]},
    ),
    "convnet": filled("ConvNet", {"channels": 4, "dilations": [1, 2, 4], "batchnorm": False, "activation": "Tanh"}),
    "convnet with batch norm": filled(
        "ConvNet",
        {"channels": 4, "dilations": [1, 2], "batchnorm": True, "activation": "ReLU", "groups": 2, "in_channels": 2},
    ),
    "linear": filled("Linear", {"receptive_field": 12, "bias": False}),
    "linear, one to two": filled("Linear", {"receptive_field": 6, "bias": True, "out_channels": 2}),
    "linear, two to one": filled("Linear", {"receptive_field": 6, "bias": True, "in_channels": 2, "implementation": "fft"}),
    "linear, two to two": filled("Linear", {"receptive_field": 6, "bias": True, "in_channels": 2, "out_channels": 2}),
}  # fmt: skip
"""One model for each thing that a file may hold. Groups of films follow the channels of the condition."""


def drawn(seed: int) -> dict[str, Any]:
    """A WaveNet in which everything is drawn: one to three arrays, with or without a condition and a head behind."""
    rng = np.random.default_rng(seed)

    def one(*among: Any) -> Any:
        return among[rng.integers(len(among))]

    condition = one(None, CONDITION)
    wide = 1 if condition is None else 4
    arrays: list[dict[str, Any]] = []
    for i in range(rng.integers(1, 4)):
        layers, channels, width = int(rng.integers(1, 4)), one(2, 4), one(2, 4)
        skip = head1x1(one(2, 4, 6), one(1, 2)) if one(True, False) else {"active": False, "out_channels": 1, "groups": 1}
        onward = width != channels or one(True, True, False)
        films = {
            name: {"active": True, "shift": one(True, False), "groups": one(1, min(2, wide))}
            for name in FILMS
            if one(True, False)
        }
        films = {name: value for name, value in films.items() if name != "layer1x1_post_film" or onward}
        films = {name: value for name, value in films.items() if name != "head1x1_post_film" or skip["active"]}
        if i:
            arrays[-1]["head"]["out_channels"] = skip["out_channels"] if skip["active"] else width
        arrays.append(
            array(
                input_size=arrays[-1]["channels"] if i else 1,
                condition_size=wide,
                channels=channels,
                bottleneck=width,
                kernel_size=None,
                kernel_sizes=rng.integers(1, 5, layers).tolist(),
                dilations=rng.integers(1, 5, layers).tolist(),
                activation=[one("Tanh", "ReLU", {"type": "LeakyReLU", "negative_slope": 0.3}, "Hardtanh") for _ in range(layers)],
                gating_mode=[one("none", "gated", "blended") for _ in range(layers)],
                secondary_activation=[one("Sigmoid", "Tanh", "PReLU") for _ in range(layers)],
                groups_input=one(1, 2),
                groups_input_mixin=one(1, min(2, wide)),
                head1x1=skip,
                layer1x1={"active": onward, "groups": one(1, 2) if onward else 1},
                head={"out_channels": one(1, 2), "kernel_size": one(1, 3), "bias": one(True, False), "head_dilation": one(1, 2)},
                **films,
            )
        )
    more = {"head": one(None, POST), "condition_dsp": condition}
    return wavenet(*arrays, seed=seed, **more)
