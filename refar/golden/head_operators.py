"""What refar's NumPy makes of the golden operators that are no node of a graph: losses, samplers, quantisers, noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refar import noise, ops, quantize
from refar.arguments.arrays import Arrays
from refar.golden.node_operators import Attributes
from refar.oracle import gumbel, losses

Compute = Callable[[Attributes, Arrays, np.dtype], Arrays]

HEADS: dict[str, Callable[[Attributes], ops.AnyHead]] = {
    "cross_entropy": lambda a: ops.Categorical(),
    "gaussian": lambda a: ops.Gaussian(a["std"]),
    "mixture_logistics": lambda a: ops.MixtureLogistics(a["components"], a["classes"]),
    "sample_categorical": lambda a: ops.Categorical(),
    "sample_mixture_logistics": lambda a: ops.MixtureLogistics(a["components"], a["classes"]),
    "sample_gaussian": lambda a: ops.Gaussian(a["std"]),
    **dict.fromkeys(("learnt_gaussian", "sample_learnt_gaussian"), lambda a: ops.LearntGaussian(a["floor"])),
    **dict.fromkeys(
        ("mixture_gaussians", "sample_mixture_gaussians"), lambda a: ops.MixtureGaussians(a["components"], a["floor"])
    ),
}
"""The head whose loss or sampler an operator is, by its name."""


def _nats(name: str) -> Compute:
    def compute(a: Attributes, arrays: Arrays, dtype: np.dtype) -> Arrays:
        head, y, x = HEADS[name](a), arrays["y"], arrays["x"]
        found = {"nats": losses.nats(head, y, x)}
        return found | ({"gradient.y": losses.nats_backward(head, y, x, arrays["dnats"])} if "dnats" in arrays else {})

    return compute


def _sample(name: str) -> Compute:
    def compute(a: Attributes, arrays: Arrays, dtype: np.dtype) -> Arrays:
        x = noise.sample(HEADS[name](a), arrays["y"], arrays["noise"], a["temperature"], a.get("top_k"))
        return {"x": x if x.dtype == np.int64 else x.astype(dtype)}

    return compute


def _encode(quantizer: Any) -> Compute:
    return lambda a, arrays, dtype: {"q": quantizer(a["classes"]).encode(arrays["x"])}


def _decode(quantizer: Any) -> Compute:
    return lambda a, arrays, dtype: {"x": quantizer(a["classes"]).decode(arrays["q"]).astype(dtype)}


def _log_softmax(a: Attributes, arrays: Arrays, dtype: np.dtype) -> Arrays:
    y = losses.log_softmax(arrays["x"])
    if (dy := arrays.get("dy")) is None:
        return {"y": y}
    return {"y": y, "gradient.x": dy - np.exp(y) * dy.sum(axis=1, keepdims=True)}


def _gumbel_softmax(a: Attributes, arrays: Arrays, dtype: np.dtype) -> Arrays:
    logits, draws, t = arrays["logits"], arrays["noise"], a["temperature"]
    y = gumbel.gumbel_softmax(logits, draws, t, hard=a["hard"])
    if (dy := arrays.get("dy")) is None:
        return {"y": y}
    return {"y": y, "gradient.logits": gumbel.gumbel_softmax_backward(logits, draws, t, dy)}


def _inverse_cdf(a: Attributes, arrays: Arrays, dtype: np.dtype) -> Arrays:
    p, u = arrays["p"], arrays["u"]
    last = p.shape[1] - 1 - np.argmax(p[:, ::-1] > 0, axis=1)
    return {"x": np.minimum((np.cumsum(p, axis=1) <= u[:, None]).sum(axis=1), last)}


COMPUTE: dict[str, Compute] = {
    "log_softmax": _log_softmax,
    **{name: _sample(name) if name.startswith("sample_") else _nats(name) for name in HEADS},
    "mu_law_encode": _encode(quantize.mu_law),
    "mu_law_decode": _decode(quantize.mu_law),
    "linear_encode": _encode(quantize.linear),
    "linear_decode": _decode(quantize.linear),
    "inverse_cdf": _inverse_cdf,
    "uniform": lambda a, arrays, dtype: {"u": noise.uniform(**a)},
    "gumbel_noise": lambda a, arrays, dtype: {"n": -np.log(-np.log(arrays["u"]))},
    "gumbel_softmax": _gumbel_softmax,
}
"""Result and gradients by an operator's name, {name: array} as in `Case.expected`, in the dtype of the arrays given."""
