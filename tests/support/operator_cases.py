"""Every operator on small random numbers: {name: (operator, arguments, parameters)}; class indices are of 5 classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from refar import ops

RNG = np.random.default_rng(0)
X, IMAGE, CLASSES = RNG.normal(size=(3, 6, 50)), RNG.normal(size=(2, 6, 7, 9)), RNG.integers(0, 5, (3, 50))


def weights(*shape: int) -> dict[str, Any]:
    return {"weight": RNG.normal(size=shape), "bias": RNG.normal(size=shape[0])}


CASES: dict[str, tuple[ops.AnyOp, list[Any], dict[str, Any]]] = {
    "conv1d": (ops.Conv1d(8, 3, 2), [X], weights(8, 6, 3)),
    "conv1d, groups": (ops.Conv1d(8, 3, 2, groups=2), [X], weights(8, 3, 3)),
    "conv1d of a constant": (ops.Conv1d(8), [X[:, :, 0]], weights(8, 6, 1)),
    "conv2d": (ops.Conv2d(8, (3, 5), "A", dilation=(1, 2)), [IMAGE], weights(8, 6, 3, 5)),
    "conv2d, colours": (ops.Conv2d(6, (3, 3), "B", colours=3), [IMAGE], weights(6, 6, 3, 3)),
    "relu": (ops.Activation("relu"), [X], {}),
    "leaky_relu": (ops.Activation("leaky_relu", 0.3), [X], {}),
    "tanh": (ops.Activation("tanh"), [3 * X], {}),
    "sigmoid": (ops.Activation("sigmoid"), [3 * X], {}),
    "elu": (ops.Activation("elu", alpha=0.7), [3 * X], {}),
    "elu, steep": (ops.Activation("elu", alpha=2.5), [X], {}),
    "selu": (ops.Activation("selu"), [3 * X], {}),
    "gelu": (ops.Activation("gelu"), [3 * X], {}),
    "gelu_tanh": (ops.Activation("gelu_tanh"), [3 * X], {}),
    "silu": (ops.Activation("silu"), [3 * X], {}),
    "softplus": (ops.Activation("softplus"), [3 * X], {}),
    "softsign": (ops.Activation("softsign"), [3 * X], {}),
    "clip": (ops.Activation("clip", low=-0.7, high=0.9), [X], {}),
    "hard_sigmoid": (ops.Activation("hard_sigmoid"), [3 * X], {}),
    "hard_swish": (ops.Activation("hard_swish"), [3 * X], {}),
    "mish": (ops.Activation("mish"), [3 * X], {}),
    "sin": (ops.Activation("sin"), [3 * X], {}),
    "snake": (ops.Activation("snake", alpha=0.8), [3 * X], {}),
    "snake, slow": (ops.Activation("snake", alpha=0.01), [3 * X], {}),
    "gate": (ops.Gate(), [3 * X], {}),
    "softmax": (ops.Softmax(), [4 * X], {}),
    "add": (ops.Add(), [X, X[::-1], X[:, :, 0]], {}),
    "multiply": (ops.Multiply(), [X, X[::-1], X[:, :, 0]], {}),
    "affine": (ops.Affine(0.7, -0.3), [X], {}),
    "average": (ops.Pool1d("avg", 3, "zero", 2), [X], {}),
    "average of what is there": (ops.Pool1d("avg", 3, "exclude", 2), [X, np.ones((3, 1, 50))], {}),
    "maximum": (ops.Pool1d("max", 3, "zero", 2), [X], {}),
    "embedding": (ops.Embedding(4), [CLASSES], {"weight": RNG.normal(size=(5, 4))}),
    "one_hot": (ops.OneHot(), [CLASSES], {}),
    "standardize": (ops.Standardize(1.3, 0.7), [CLASSES], {}),
    "concat": (ops.Concat(), [X, X[:, :2, 0]], {}),
    "slice": (ops.Slice(1, 3), [X], {}),
    "shift": (ops.Shift(2), [X], {}),
    "shift2d": (ops.Shift2d(1, -1), [IMAGE], {}),
    "pad_channels": (ops.PadChannels(1, 2), [X], {}),
    "position": (ops.Position(3), [IMAGE], {}),
    "ones": (ops.Ones(), [X], {}),
    "leaky_relu, steep": (ops.Activation("leaky_relu", 2.5), [X], {}),
    "maximum of what is there": (ops.Pool1d("max", 3, "exclude", 2), [X, np.ones((3, 1, 50))], {}),
    "strict": (ops.Conv1d(4, 2, 3, strict=True), [X], {"weight": RNG.normal(size=(4, 6, 2))}),
    "even side": (ops.Conv2d(4, (2, 3), "B", anchor=(1, 1), colours=2, groups=2), [IMAGE], weights(4, 3, 2, 3)),
    "no mask": (ops.Conv2d(2, (3, 3)), [IMAGE], weights(2, 6, 3, 3)),
    "a mask that hides all": (ops.Conv2d(2, (1, 1), "A"), [IMAGE], {"weight": RNG.normal(size=(2, 6, 1, 1))}),
    "shift ahead": (ops.Shift(-2), [X], {}),
    "one_hot of colours": (ops.OneHot(), [RNG.integers(0, 5, (1, 3, 4, 5))], {}),
    "embedding of colours": (ops.Embedding(2), [RNG.integers(0, 5, (1, 3, 4, 5))], {"weight": RNG.normal(size=(5, 2))}),
    "dropout": (ops.Dropout(0.5), [X], {}),
    "sum of constants": (ops.Add(), [X[:, :, 0], X[:, :, 1]], {}),
    "scale_shift": (ops.ScaleShift(), [X], weights(6)),
    "scale alone": (ops.ScaleShift(bias=False), [X], {"weight": RNG.normal(size=6)}),
    "prelu": (ops.PRelu(), [X], {"weight": RNG.normal(size=6)}),
    "layer_norm": (ops.Norm("layer", 0.1), [4 * X], weights(6)),
    "layer_norm away from 0": (ops.Norm("layer", 1e-3, bias=False), [20 * X + 50], {"weight": RNG.normal(size=6)}),
    "layer_norm that eps holds": (ops.Norm("layer", 1.0), [0.1 * X], weights(6)),
    "rms_norm": (ops.Norm("rms", 0.1, bias=False), [4 * X], {"weight": RNG.normal(size=6)}),
    "rms_norm of an image": (ops.Norm("rms", 1e-5), [20 * IMAGE], weights(6)),
}
