"""Right code that nobody here bent to fit, in JAX and Keras and of two other projects. Run by `pytest -m foreign`."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from refar import models
from refar.testing import check_causality, check_function, check_loss, check_streaming

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Array = np.ndarray
UNGROUPED = {"strict": False, "groups": 1}
DENSE = {"strict": False, "groups": 1, "dilation": 1}


def jax() -> Any:
    return importlib.import_module("jax")


def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return importlib.import_module("keras")


def biased(y: Any, b: Any) -> Any:
    return y if b is None else y + b[:, None]


# convolutions


def jax_general(x: Array, w: Array, b: Array | None = None, *, dilation: int, groups: int, strict: bool) -> Any:
    pad = [((w.shape[2] - 1) * dilation + strict, -int(strict))]
    return biased(jax().lax.conv_general_dilated(x, w, (1,), pad, rhs_dilation=(dilation,), feature_group_count=groups), b)


def channels_last(x: Any, w: Any, dilation: int) -> Any:
    pad, numbers = [((w.shape[2] - 1) * dilation, 0)], ("NHC", "HIO", "NHC")
    moved = x.swapaxes(1, 2), w.transpose(2, 1, 0)
    y = jax().lax.conv_general_dilated(*moved, (1,), pad, rhs_dilation=(dilation,), dimension_numbers=numbers)
    return y.swapaxes(1, 2)


@cache
def compiled(f: Callable[..., Any], *static: str) -> Callable[..., Any]:
    return jax().jit(f, static_argnames=static)


def jax_compiled(x: Array, w: Array, b: Array | None = None, *, dilation: int) -> Any:
    return biased(compiled(channels_last, "dilation")(x, w, dilation=dilation), b)


def jax_shifts(x: Array, w: Array, b: Array | None = None, *, dilation: int) -> Any:
    jnp, last = jax().numpy, w.shape[2] - 1
    padded = jnp.pad(x, ((0, 0), (0, 0), (last * dilation, 0)))
    windows = jnp.stack([padded[..., k * dilation : k * dilation + x.shape[2]] for k in range(last + 1)], -1)
    return biased(jnp.einsum("bitk,oik->bot", windows, w), b)


def jax_convolve(x: Array, w: Array, b: Array | None = None) -> Any:
    jnp = jax().numpy
    if not x.shape[2]:
        return jnp.zeros((len(x), len(w), 0), x.dtype)
    one = lambda row, kernel: jnp.convolve(row, kernel[::-1])[: x.shape[2]]  # noqa: E731
    over_inputs = jax().vmap(one, (0, 0))
    over_outputs = jax().vmap(over_inputs, (None, 0))
    return biased(jax().vmap(over_outputs, (0, None))(x, w).sum(2), b)


def scan(x: Any, w: Any) -> Any:
    jnp = jax().numpy

    def one(window: Any, now: Any) -> Any:
        window = jnp.concatenate([window[..., 1:], now[..., None]], -1)
        return window, jnp.einsum("bik,oik->bo", window, w)

    _, y = jax().lax.scan(one, jnp.zeros((*x.shape[:2], w.shape[2]), x.dtype), jnp.moveaxis(x, 2, 0))
    return jnp.moveaxis(y, 0, 2)


def jax_scan(x: Array, w: Array, b: Array | None = None) -> Any:
    return biased(compiled(scan)(x, w), b)


CONVOLUTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any] | None]] = {
    "conv_general_dilated": (jax_general, None),
    "channels last, compiled": (jax_compiled, UNGROUPED),
    "shifts and einsum": (jax_shifts, UNGROUPED),
    "jnp.convolve under vmap": (jax_convolve, DENSE),
    "a scan over positions": (jax_scan, DENSE),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_in_jax(name: str) -> None:
    """The examples look at a gradient."""
    f, only = CONVOLUTIONS[name]
    check_function(f, "causal_conv1d", dtypes=["float32"], only=only, sizes=({"t": 129},))


# other operators


def jax_max_pool(x: Array, *, kind: str, kernel: int, dilation: int, pad: str) -> Any:
    padded = jax().numpy.pad(x, ((0, 0), (0, 0), ((kernel - 1) * dilation, 0)))
    return jax().lax.reduce_window(padded, -np.inf, jax().lax.max, (1, 1, kernel), (1, 1, 1), "VALID", None, (1, 1, dilation))


def jax_cross_entropy(y: Array, x: Array) -> Any:
    return -jax().numpy.take_along_axis(jax().nn.log_softmax(y, axis=1), x[:, None], axis=1)[:, 0]


def jax_activation(x: Array, *, kind: str, slope: float = 0.01) -> Any:
    nn = jax().nn
    return nn.leaky_relu(x, slope) if kind == "leaky_relu" else getattr(nn, kind)(x)


def jax_gate(x: Array) -> Any:
    a, b = jax().numpy.split(x, 2, axis=1)
    return jax().numpy.tanh(a) * jax().nn.sigmoid(b)


def keras_softmax(x: Array) -> Any:
    return keras().ops.softmax(x, axis=1)


def keras_gate(x: Array) -> Any:
    ops = keras().ops
    a, b = ops.split(x, 2, axis=1)
    return ops.tanh(a) * ops.sigmoid(b)


OTHERS: dict[str, tuple[Callable[..., Any], str, dict[str, Any] | None]] = {
    "jax.nn.softmax": (lambda x: jax().nn.softmax(x, axis=1), "softmax", None),
    "jax.nn.log_softmax": (lambda x: jax().nn.log_softmax(x, axis=1), "log_softmax", None),
    "reduce_window": (jax_max_pool, "causal_pool1d", {"kind": "max", "pad": "zero"}),
    "log_softmax and take_along_axis": (jax_cross_entropy, "cross_entropy", None),
    "activations of jax.nn": (jax_activation, "activation", None),
    "the gate in JAX": (jax_gate, "gate", None),
    "jnp.take": (lambda x, w: jax().numpy.take(w, x, axis=0).swapaxes(1, 2), "embedding", None),
    "keras.ops.softmax": (keras_softmax, "softmax", None),
    "the gate in Keras": (keras_gate, "gate", None),
}


@pytest.mark.parametrize("name", OTHERS)
def test_operators(name: str) -> None:
    f, operator, only = OTHERS[name]
    convert = keras().ops.convert_to_tensor if "eras" in name else None
    check_function(f, operator, dtypes=["float32"], only=only, convert=convert, sizes=())


# networks


def keras_network(*layers: Any) -> Callable[[Array], Array]:
    model = keras().Sequential([keras().Input((None, 3)), *layers])
    return lambda x: keras().ops.convert_to_numpy(model(x.transpose(0, 2, 1))).transpose(0, 2, 1)


def test_causal_layers_in_keras() -> None:
    layers = keras().layers
    convolutions = [layers.Conv1D(5, 2, padding="causal", dilation_rate=d, activation="relu") for d in (1, 2, 4)]
    check_causality(keras_network(*convolutions), shape=(8, 3, 30), reach=8, strict=False)
    separable = [layers.ZeroPadding1D((4, 0)), layers.SeparableConv1D(4, 3, dilation_rate=2)]
    check_causality(keras_network(*separable), shape=(8, 3, 30), reach={0, 2, 4})
    pooled = [layers.ZeroPadding1D((2, 0)), layers.AveragePooling1D(3, 1)]
    check_causality(keras_network(*pooled), shape=(8, 3, 30), reach=3)
    check_causality(keras_network(layers.GRU(4, return_sequences=True)), shape=(4, 3, 12), reach=12)


def test_a_recurrent_cell_of_keras_step_by_step() -> None:
    cell = keras().layers.GRUCell(4)
    whole = keras_network(keras().layers.RNN(cell, return_sequences=True))

    def step(state: Any, x: Array) -> Any:
        y, after = cell(keras().ops.convert_to_tensor(x), [state])
        return y, after[0]

    with torch.no_grad():
        check_streaming(whole, step, shape=(3, 3, 20), initial_state=lambda rows: torch.zeros(rows, 4))


def test_the_loss_of_keras() -> None:
    net = models.wavenet(classes=5, dilations=[1, 2], residual=4, gate=4, skip=4)
    loss = keras().losses.SparseCategoricalCrossentropy(from_logits=True)
    check_loss(lambda y, x: loss(x, y.transpose(1, 2)), net, convert=torch.from_numpy)


def made(package: str, name: str, *arguments: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(package), name)(*arguments, **options).eval()


@pytest.mark.parametrize("options", [{}, {"use_skip_connections": True}, {"use_gate": True}], ids=["plain", "skips", "gates"])
def test_pytorch_tcn(options: dict[str, Any]) -> None:
    """Two convolutions of three taps in each block, with dilations 1, 2 and 4."""
    net = made("pytorch_tcn", "TCN", 3, [4, 4, 4], kernel_size=3, **options)
    with torch.no_grad():
        check_causality(net, shape=(16, 3, 45), reach=1 + 2 * 2 * 7)


class Streamed:
    """A TCN of pytorch-tcn, which keeps the past of one sequence."""

    def __init__(self) -> None:
        self.net = made("pytorch_tcn", "TCN", 3, [4, 4], kernel_size=3)

    def reset(self) -> None:
        self.net.reset_buffers()

    def block(self, x: Array) -> torch.Tensor:
        return self.net(torch.from_numpy(x), inference=True)


def test_pytorch_tcn_in_chunks() -> None:
    with torch.no_grad():
        check_streaming(Streamed().net, Streamed, shape=(1, 3, 40), block=4)


SIZES = {"layers": 4, "stacks": 2, "residual_channels": 4, "gate_channels": 8, "skip_out_channels": 4, "kernel_size": 2}


def test_wavenet_vocoder() -> None:
    """Two stacks of dilations 1 and 2."""
    net = made("wavenet_vocoder", "WaveNet", 6, **SIZES, scalar_input=True, cin_channels=-1, gin_channels=-1)
    with torch.no_grad():
        check_causality(net, shape=(16, 1, 30), reach=7, strict=False)
