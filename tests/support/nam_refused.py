"""Files of Neural Amp Modeler that are none, or do not fit together, and what is said of each."""

from __future__ import annotations

import copy
import json
from typing import Any

from nam_by_hand import filled
from nam_variants import VARIANTS, array, wavenet


def changed(model: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A copy with fields of the first array changed; one that is ... is taken out."""
    made = copy.deepcopy(model)
    for name, value in fields.items():
        made["config"]["layers"][0][name] = value
        if value is ...:
            del made["config"]["layers"][0][name]
    return made


A1, NEW = VARIANTS["A1"], wavenet(array())
LSTM = {"version": "0.5.4", "architecture": "LSTM", "config": {"input_size": 1}, "weights": [0.0] * 70}
REFUSED: dict[str, tuple[Any, str]] = {
    "no JSON": ("{version: 1}", r"AMP\.nam: expected JSON, as a \.nam file is: .* in line 1, column 2"),
    "cut off": (json.dumps(A1)[:-40], r"expected JSON.*line 1"),
    "deep": ("[" * 100_000, "too deep"),
    "a list": ([], "expected a model, an object with version, .* got a list"),
    "no version": ({k: v for k, v in A1.items() if k != "version"}, "version is missing"),
    "newer": (A1 | {"version": "0.8.0"}, "version: expected one from '0.5.0' to '0.7', .* got '0.8.0'"),
    "older": (A1 | {"version": "0.4.9"}, "got '0.4.9'"),
    "odd version": (A1 | {"version": "seven"}, "got 'seven'"),
    "version as a number": (A1 | {"version": 0.7}, "got 0.7"),
    "unknown": (A1 | {"architecture": "Wavenet"}, "architecture: expected one of WaveNet, ConvNet, .* got 'Wavenet'"),
    "no name": (A1 | {"architecture": None}, "architecture: expected a name, got null"),
    "config": (A1 | {"config": [1]}, "config: expected an object, got a list"),
    "LSTM": (LSTM, "'LSTM' is not taken: a recurrent network"),
    "packed": (A1 | {"architecture": "PackedWaveNet"}, "several networks in one set of weights"),
    "too few": (A1 | {"weights": A1["weights"][:-1]}, r"weights: expected (\d+) numbers, got \d+; they end in 'head_scale'"),
    "far too few": (A1 | {"weights": A1["weights"][:40]}, r"got 40; they end in 'arrays.0.layers.0.layer1x1.weight', .*36"),
    "too many": (A1 | {"weights": [*A1["weights"], 0.5, 0.5]}, "; 2 are left over after the last part, 'head_scale'"),
    "no weights": ({k: v for k, v in A1.items() if k != "weights"}, "got 0; they end in 'arrays.0.rechannel.weight'"),
    "weights": (A1 | {"weights": "0.1"}, "weights: expected a list of numbers, got a text"),
    "nan": (A1 | {"weights": [float("nan"), *A1["weights"][1:]]}, r"weights\[0\]: expected a finite number of float32, got nan"),
    "a text among them": (A1 | {"weights": [*A1["weights"][:3], "x"]}, r"weights\[3\]: .* got 'x'"),
    "too large": (A1 | {"weights": [1e39, *A1["weights"][1:]]}, r"weights\[0\]: .* got 1e\+39"),
    "rate": (A1 | {"sample_rate": "48k"}, "sample_rate: expected a number above 0, got '48k'"),
    "unknown field": (changed(A1, head_1x1=True), r"config\.layers\[0\]: object contains unknown field `head_1x1`"),
    "missing field": (changed(A1, channels=...), r"config\.layers\[0\]: object missing required field `channels`"),
    "kind of field": (changed(A1, channels="3"), r"config\.layers\[0\]\.channels: expected `int`, got `str`"),
    "below 1": (changed(A1, dilations=[1, 0, 4]), r"dilations\[1\]: expected `int` >= 1, got 0"),
    "no layers": (A1 | {"config": {"layers": [], "head_scale": 1.0}}, r"config\.layers: expected `array` of length >= 1"),
    "activation": (changed(A1, activation="Softmax"), r"layers\[0\]\.activation: refar has no operator for .*'Softmax'"),
    "quotient": (changed(A1, activation="Fasttanh"), r"layers\[0\]\.activation: Fasttanh is a quotient near tanh.* 'Tanh' there"),
    "option": (changed(A1, activation={"type": "Tanh", "slope": 1}), "Tanh has no option 'slope'; it has none"),
    "value of an option": (changed(A1, activation={"type": "PReLU", "negative_slope": "x"}), "negative_slope: expected finite"),
    "option that is nan": (changed(A1, activation={"type": "Hardtanh", "max_val": float("nan")}), "finite numbers, got nan"),
    "slopes": (changed(A1, activation={"type": "PReLU", "negative_slopes": [0.1, 0.2]}), "one for each of 3 channels, got 2"),
    "no activation": (changed(A1, activation={"name": "Tanh"}), "expected the name of an activation"),
    "gate": (changed(NEW, gating_mode="gated", secondary_activation="GLU"), "secondary_activation: refar has no .*'GLU'"),
    "mode": (changed(NEW, gating_mode="glu"), "gating_mode: invalid enum value 'glu'"),
    "modes": (changed(NEW, gating_mode=["none"]), "gating_mode: expected one entry for each of 2 dilations, got 1"),
    "kernels": (changed(NEW, kernel_sizes=[3], kernel_size=None), "kernel_sizes: expected one entry for each of 2"),
    "both kernels": (changed(NEW, kernel_sizes=[3, 3]), "expected kernel_size or kernel_sizes, got both"),
    "no head": (changed(NEW, head=None), "expected a head with out_channels, kernel_size and bias, or head_size and head_bias"),
    "input": (changed(NEW, input_size=2), "input_size: expected 1, the channels that come in, got 2"),
    "condition": (changed(NEW, condition_size=3), "condition_size: expected 1, the channels of the condition, got 3"),
    "heads": (changed(A1, head_size=3), "expected 2 channels of the head before it, to which its layers add, got 3"),
    "groups": (changed(NEW, groups_input=2), "arrays.0.layers.0.conv: expected groups that divide 3 inputs and 3 outputs, got 2"),
    "film true": (changed(NEW, conv_pre_film=True), "conv_pre_film: expected an object with active, shift and groups, or false"),
    "film of no head1x1": (changed(NEW, head1x1_post_film={"active": True}), "head1x1_post_film: expected head1x1 to be active"),
    "film of no layer1x1": (
        changed(NEW, layer1x1_post_film={"active": True}, layer1x1={"active": False, "groups": 1}),
        "layer1x1_post_film: expected layer1x1 to be active",
    ),
    "bottleneck": (
        changed(NEW, bottleneck=2, layer1x1={"active": False, "groups": 1}),
        "expected bottleneck to be channels where layer1x1 is not active, got 2 and 3",
    ),
    "condition is no model": (NEW | {"config": NEW["config"] | {"condition_dsp": 3}}, "config.condition_dsp: expected a model"),
    "condition of another rate": (
        VARIANTS["condition"] | {"sample_rate": 44100},
        "config.condition_dsp.sample_rate: expected 44100, that of the model around it, got 48000",
    ),
    "recurrent condition": (NEW | {"config": NEW["config"] | {"condition_dsp": LSTM}}, "config.condition_dsp: .*recurrent"),
    "container": (VARIANTS["container"] | {"weights": [1.0]}, "weights: expected none of a SlimmableContainer, got 1"),
    "chain": (
        filled("Sequential", {"models": [filled("Linear", {"receptive_field": 2, "bias": False, "out_channels": 2})] * 2}),
        r"config.models\[1\]: expected a model that takes the 2 channels of the one before it, got one of 1",
    ),
    "empty chain": ({"version": "0.7.0", "architecture": "Sequential", "config": {}, "weights": []}, "expected a list of models"),
    "variance": (
        VARIANTS["convnet with batch norm"] | {"weights": [-1.0] * len(VARIANTS["convnet with batch norm"]["weights"])},
        "running_var: expected variances above 0 with eps added, got -1",
    ),
    "linear": (
        {"version": "0.5.4", "architecture": "Linear", "weights": [1.0], "config": {"receptive_field": 3, "bias": True}},
        r"weights: expected 4 numbers, got 1; they end in 'linear.weight', the numbers 0 to 2",
    ),
}  # fmt: skip
