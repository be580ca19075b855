"""Trained models in onnxruntime: prefill, step, generate, score, classify. Needs neither PyTorch nor onnx."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from refar.errors import InputError

if TYPE_CHECKING:
    from refar.runtime.session import Session

__all__ = ["load"]


def load(
    path: str | Path,
    provider: Literal["cpu", "cuda"] = "cpu",
    *,
    fallback: bool = False,
    threads: int = 1,
    trust: Literal["models", "rebuild"] = "models",
    tf32: bool = False,
) -> Session:
    """Open a bundle, see `refar.runtime.session.Session`.

    `provider="cuda"` raises BackendError where CUDA does not start, unless `fallback` allows the CPU. `threads`, 1..1024, is the
    number of threads for one operator of the sequence graphs, and for the rows of `generate`, of which each takes 8 or more. A
    model is a program: of a bundle that is not your own use trust="rebuild", which makes the models anew from graph and
    parameters and never opens the shipped ones; it needs onnx.
    With `tf32` CUDA rounds what it multiplies to 11 bits of precision, which is faster in large products.
    Raises FileError for a bundle that is damaged or altered, InputError for another word than these two, and for tf32 on the CPU.
    """
    from refar.runtime.session import Session  # onnxruntime is imported on use only

    if trust not in ("models", "rebuild"):
        raise InputError(f"trust: expected 'models' or 'rebuild', got {trust!r}")
    if tf32 and provider != "cuda":
        raise InputError(f"tf32: expected provider 'cuda' with it, whose products it rounds; got {provider!r}")
    return Session(path, provider, fallback=fallback, threads=threads, rebuild=trust == "rebuild", tf32=tf32)
