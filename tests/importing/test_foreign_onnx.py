"""Files of exporters that no one here wrote: those of Keras, and torch's newer one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from causal_modules import randomised
from causal_variants import CAUSAL

import refar
from refar.importing import from_onnx

pytestmark = [pytest.mark.foreign, pytest.mark.filterwarnings("ignore")]  # what Keras and torch warn each other of


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def residual_tcn(keras: Any) -> Any:
    """Causal convolutions with batch norm, dropout and a residual connection, channels last."""
    layers = keras.layers
    start = h = keras.Input((None, 3))
    for dilation in (1, 2, 4):
        z = layers.Conv1D(6, 2, padding="causal", dilation_rate=dilation)(h)
        z = layers.Dropout(0.1)(layers.Activation("relu")(layers.BatchNormalization()(z)))
        h = layers.Add()([z, layers.Conv1D(6, 1)(h) if h.shape[-1] != 6 else h])
    return keras.Model(start, layers.Dense(4, activation="tanh")(h))


def gated_wavenet(keras: Any) -> Any:
    """An embedding of classes, gates, skips that are summed, and logits."""
    layers = keras.layers
    start = keras.Input((None,), dtype="int32")
    h, skips = layers.Embedding(9, 5)(start), []
    for dilation in (1, 2):
        filtered = layers.Conv1D(5, 3, padding="causal", dilation_rate=dilation, activation="tanh")(h)
        gate = layers.Conv1D(5, 3, padding="causal", dilation_rate=dilation, activation="sigmoid")(h)
        z = layers.Multiply()([filtered, gate])
        skips.append(layers.Conv1D(4, 1)(z))
        h = layers.Add()([h, layers.Conv1D(5, 1)(z)])
    return keras.Model(start, layers.Conv1D(9, 1)(layers.Activation("relu")(layers.Add()(skips))))


@pytest.mark.parametrize("made", [residual_tcn, gated_wavenet])
def test_a_keras_model_through_onnx(made: Any, keras: Any, tmp_path: Path) -> None:
    model, rng = made(keras), np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.uniform(0.2, 0.9, variable.shape) * (1 if "variance" in variable.path else rng.choice([-1, 1])))
    indexed = made is gated_wavenet
    x = rng.integers(9, size=(2, 30)) if indexed else rng.normal(size=(2, 30, 3)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(model(x)).transpose(0, 2, 1)
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    got = from_onnx(tmp_path / "model.onnx", classes=9 if indexed else None)
    assert got.report.largest_difference < 1e-9
    y = refar.forward(got.graph, got.params, x if indexed else x.transpose(0, 2, 1))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


NAMES = ["locuslab_tcn", "wavenet", "channels_last", "conditions"]


@pytest.mark.parametrize("name", NAMES)
def test_the_newer_exporter_of_torch(name: str) -> None:
    module, example, options = CAUSAL[name]()
    module = randomised(module)
    given = tuple(example.values()) if isinstance(example, dict) else example if isinstance(example, tuple) else (example,)
    length = given[0].shape[1 if options.get("axes") == "BTC" or given[0].ndim == 2 else 2]
    free = torch.export.Dim.DYNAMIC
    shapes = tuple({0: free, **{i: free for i, n in enumerate(tensor.shape) if i and n == length}} for tensor in given)
    names = list(example) if isinstance(example, dict) else [f"x{i}" for i in range(len(given))]
    program = torch.onnx.export(module, given, dynamo=True, input_names=names, dynamic_shapes=shapes, verbose=False)
    got = from_onnx(program.model_proto, classes=options.get("classes"))
    assert got.report.largest_difference < 1e-9
    assert "onnxruntime in float32 differs by" in " ".join(got.report.notes)
