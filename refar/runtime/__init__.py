"""Trained models in onnxruntime: prefill, step, generate, score, classify. Needs neither PyTorch nor onnx."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from refar.runtime.session import Session

__all__ = ["load"]


def load(path: str | Path, provider: Literal["cpu", "cuda"] = "cpu", *, fallback: bool = False, threads: int = 1) -> Session:
    """Open a bundle, see `refar.runtime.session.Session`.

    `provider="cuda"` raises BackendError where CUDA does not start, unless `fallback` allows the CPU. `threads` is the
    number of threads, 1..1024, for one operator of the sequence graphs. Raises FileError for a bundle that is damaged or altered.
    """
    from refar.runtime.session import Session  # onnxruntime is imported on use only

    return Session(path, provider, fallback=fallback, threads=threads)
