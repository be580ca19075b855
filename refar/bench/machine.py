"""The machine that measures, and how many threads it may use."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path

from refar.bench.results import Machine

_PACKAGES = ("refar", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "torch", "wavenet-vocoder", "pytorch-tcn")


def machine() -> Machine:
    """Say where this runs, and with which versions."""
    versions = {"python": platform.python_version(), **_versions()}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Machine(_processor(), os.cpu_count() or 1, platform.platform(), load, versions)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """Name the processor, as Linux does in /proc/cpuinfo, or as Python knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Let PyTorch, if it is installed, and NumPy, if threadpoolctl is, compute in so many threads."""
    with ExitStack() as stack:
        try:
            from threadpoolctl import threadpool_limits

            stack.enter_context(threadpool_limits(threads))
        except ModuleNotFoundError:
            pass
        try:
            import torch

            before = torch.get_num_threads()
            stack.callback(torch.set_num_threads, before)
            torch.set_num_threads(threads)
        except ModuleNotFoundError:
            pass
        yield
