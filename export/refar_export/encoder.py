"""The encoder of a run as an ONNX file: a module of the user's own, so this is the one part of the export that needs PyTorch."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from refar.arguments.encoder import Encoder
from refar.errors import BackendError, FileError
from refar.runtime.bundle import ENCODER, OPSET
from refar.training.config import load_config
from refar.training.runs import CONFIG, load_encoder

_OFF = 2.0**-12
"""How far the ONNX file may be off, relative to the largest number of an output: 4096 roundings of float32."""


def encoder_of(run: str | Path) -> tuple[Encoder, bytes] | None:
    """The encoder that was trained in a run, as ONNX: `reads` (batch_size, …) → `condition` (batch_size, C); None without one.

    The module is made by the run's [encoder] factory, which must still be there, and gets the trained tensors. The file is run in
    onnxruntime beside the module. Raises FileError or BackendError where one of these fails.
    """
    stored = load_encoder(run)
    if stored is None:
        return None
    described, arrays = stored
    table = load_config(Path(run) / CONFIG).encoder or {}
    try:
        import torch

        from refar.torch.encoder import make_encoder
    except (BackendError, ModuleNotFoundError):
        raise BackendError(f"run {str(run)!r} has an encoder, whose export needs PyTorch: pip install 'refar[torch]'") from None
    module = make_encoder(table, 0)
    try:
        module.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    except RuntimeError as error:
        raise FileError(f"run {str(run)!r}: its encoder does not fit what {table.get('factory')!r} makes now: {error}") from None
    module.eval()
    examples = _examples(described)
    try:
        model = _as_onnx(module, torch.from_numpy(examples), described)
    except Exception as error:  # the exporter raises whatever a user's module makes it raise
        said = f"{type(error).__name__}: {error}"
        raise BackendError(f"the encoder of {str(run)!r} cannot be written as ONNX: {said}") from error
    with torch.no_grad():
        wanted = [module(torch.from_numpy(examples[:rows])).numpy() for rows in (1, len(examples))]
    _compare(model, described, examples, wanted)
    return described, model


def _as_onnx(module: Any, examples: Any, described: Encoder) -> bytes:
    """Write a module by PyTorch's exporter, with any number of examples."""
    import torch

    names = {described.reads: {0: "batch_size"}, described.condition: {0: "batch_size"}}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of what PyTorch will do otherwise one day
        path = Path(folder) / ENCODER
        torch.onnx.export(
            module, (examples,), path, input_names=[described.reads], output_names=[described.condition],
            dynamic_axes=names, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
        return path.read_bytes()


def _examples(described: Encoder) -> np.ndarray:
    """Three examples: small classes, which every table has, or normal numbers."""
    rng, shape = np.random.default_rng(0), (3, *described.shape)
    return rng.integers(0, 2, shape) if described.dtype == "int64" else rng.normal(size=shape).astype(np.float32)


def _compare(model: bytes, described: Encoder, examples: np.ndarray, wanted: list[np.ndarray]) -> None:
    """Run the file beside the module, for one example and for several. Raises BackendError where they differ."""
    from refar.runtime.provider import open_session

    session = open_session(model, ENCODER, "cpu", fallback=False, threads=1)
    for y in wanted:
        found = session.run([described.condition], {described.reads: examples[: len(y)]})[0]
        off, allowed = float(np.abs(found - y).max()), _OFF * float(np.abs(y).max())
        if not off <= allowed:
            raise BackendError(f"{ENCODER} differs from the module by {off:.2e} for {len(y)} examples, allowed {allowed:.2e}")
