"""The encoder of a run as an ONNX file, written by PyTorch's own exporter, since it is a module of the user's own."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from refar.arguments.encoder import Encoder, EncoderModel
from refar.errors import BackendError, FileError
from refar.torch.encoder import make_encoder
from refar.training.config import load_config
from refar.training.runs import CONFIG, load_encoder


def encoder_model(run: str | Path, opset: int) -> EncoderModel | None:
    """The encoder that was trained in a run: `reads` (batch_size, …) → `condition` (batch_size, C); None without one.

    The module is made by the run's [encoder] factory, which must still be there, and gets the trained tensors. Raises FileError
    if they do not fit it, BackendError if PyTorch cannot write it with this opset, and what `make_encoder` raises.
    """
    stored = load_encoder(run)
    if stored is None:
        return None
    encoder, arrays = stored
    table = load_config(Path(run) / CONFIG).encoder or {}
    module = make_encoder(table, 0)
    try:
        module.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    except RuntimeError as error:
        raise FileError(f"run {str(run)!r}: its encoder does not fit what {table.get('factory')!r} makes now: {error}") from None
    module.eval()
    examples = torch.from_numpy(_examples(encoder))
    try:
        model = _as_onnx(module, examples, encoder, opset)
    except Exception as error:  # the exporter raises whatever a user's module makes it raise
        said = f"{type(error).__name__}: {error}"
        raise BackendError(f"the encoder of {str(run)!r} cannot be written as ONNX: {said}") from error
    with torch.no_grad():
        return EncoderModel(encoder, model, examples.numpy(), module(examples).numpy())


def _examples(encoder: Encoder) -> np.ndarray[Any, Any]:
    """Three examples: small classes, which every table has, or normal numbers."""
    rng, shape = np.random.default_rng(0), (3, *encoder.shape)
    return rng.integers(0, 2, shape) if encoder.dtype == "int64" else rng.normal(size=shape).astype(np.float32)


def _as_onnx(module: torch.nn.Module, examples: torch.Tensor, encoder: Encoder, opset: int) -> bytes:
    """Write a module with any number of examples."""
    names = {encoder.reads: {0: "batch_size"}, encoder.condition: {0: "batch_size"}}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of what PyTorch will do otherwise one day
        path = Path(folder) / "encoder.onnx"
        torch.onnx.export(
            module, (examples,), path, input_names=[encoder.reads], output_names=[encoder.condition],
            dynamic_axes=names, opset_version=opset, dynamo=False,
        )  # fmt: skip
        return path.read_bytes()
