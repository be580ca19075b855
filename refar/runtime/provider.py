"""onnxruntime sessions on the device that was asked for, and no other."""

from __future__ import annotations

import contextlib
import ctypes
import io
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import BackendError, FileError, printable
from refar.runtime import denormals

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state
except ImportError:
    raise BackendError("refar.runtime needs onnxruntime; install it with: pip install 'refar[runtime]'") from None

ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    MemoryError,
    *(found for found in vars(state).values() if isinstance(found, type) and issubclass(found, Exception)),
)
"""What onnxruntime raises, in loading and in running."""

_LOADING: tuple[type[Exception], ...] = (*ERRORS, UnicodeDecodeError)

Provider = Literal["cpu", "cuda"]
NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

_CAPTURE = "enable_cuda_graph"


def open_captured(
    model: bytes, name: str, provider: Provider, *, fallback: bool, threads: int, cuda: Mapping[str, str]
) -> tuple[Any, str]:
    """An InferenceSession that captures its runs as CUDA graphs, and ""; or one that does not, and why. See `open_session`."""
    if provider != "cuda":
        return open_session(model, name, provider, fallback=fallback, threads=threads), f"it runs on {provider}"
    try:
        return open_session(model, name, provider, fallback=False, threads=threads, cuda={**cuda, _CAPTURE: "1"}), ""
    except (FileError, BackendError) as error:
        session = open_session(model, name, provider, fallback=fallback, threads=threads, cuda=cuda)
        return session, str(error) if running(session) == "cuda" else "it runs on cpu"


def open_session(
    model: bytes, name: str, provider: Provider, *, fallback: bool, threads: int, cuda: Mapping[str, str] | None = None
) -> Any:
    """An InferenceSession that really runs on `provider`; onnxruntime itself falls back without raising.

    `cuda` holds options of the CUDA provider besides.

    Raises BackendError if the provider does not start (and `fallback` is not given), FileError if the model does not load.
    """
    if not isinstance(provider, str) or provider not in NAMES:
        raise BackendError(f"provider: expected one of {', '.join(NAMES)}, got {provider!r}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    if denormals.ARE_FLUSHED:
        options.add_session_config_entry("session.set_denormal_as_zero", "1")  # in threads of its own
    options.log_severity_level = 4  # what goes wrong is reported below, in our own words
    wanted: list[Any] = [NAMES["cpu"]]
    alone = {"enable_fallback": 0} if _CAPTURE in (cuda or {}) else {}  # what cannot be captured is to be an error
    reason = ""
    if provider == "cuda":
        wanted.insert(0, (NAMES["cuda"], {"use_tf32": "0", **(cuda or {})}))
        onnxruntime.set_default_logger_severity(4)
        reason = _preload_cuda()
    with warnings.catch_warnings(), denormals.Kept():
        warnings.simplefilter("ignore")
        try:
            session = onnxruntime.InferenceSession(model, options, providers=wanted, **alone)
            session.get_modelmeta(), session.get_inputs(), session.get_outputs()  # text that is no UTF-8 is found here
        except _LOADING as error:
            problem = printable(str(error))
            raise FileError(f"{name} does not load in onnxruntime {onnxruntime.__version__}: {problem}") from None
    if running(session) != provider and not fallback:
        raise BackendError(
            f"provider 'cuda' did not start (onnxruntime {onnxruntime.__version__} offers "
            f"{', '.join(onnxruntime.get_available_providers())}). {reason}"
            "Check the driver and the CUDA libraries, or run on the CPU: --provider cpu, in Python fallback=True"
        )
    return session


def running(session: Any) -> str:
    """'cuda' or 'cpu': what a session really runs on."""
    return "cuda" if session.get_providers()[0] == NAMES["cuda"] else "cpu"


def memory(device: str) -> tuple[int, int] | None:
    """How many bytes of the memory of a device are free, and how many there are; None where that is not known."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    try:
        failed = device != "cuda" or ctypes.CDLL("libcuda.so.1").cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    except (OSError, AttributeError):
        failed = True
    return None if failed else (free.value, total.value)


def _preload_cuda() -> str:
    """Find the CUDA libraries that pip installed, without which the provider does not start; returns the first complaint."""
    complaints = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(complaints):
            onnxruntime.preload_dlls()
    first = complaints.getvalue().partition("\n")[0]
    return f"{first}. " if first else ""


class Guarded:
    """Turn what onnxruntime raises while a model runs into a BackendError, for the length of a `with` statement."""

    def __init__(self, model: str) -> None:
        self._model = model

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ERRORS):
            problem = printable(str(error))
            raise BackendError(f"{self._model}: onnxruntime {onnxruntime.__version__} could not run it: {problem}") from None


def shaped(y: Array, shape: tuple[int, ...], model: str) -> Array:
    """Return what a model gave. Raises BackendError unless it has the shape that its inputs imply."""
    if y.shape != shape:
        raise BackendError(f"{model}: expected an array of shape {shape}, got one of shape {y.shape}")
    return y


def finite(y: Array, model: str) -> Array:
    """Return an output. Raises BackendError unless all its numbers are finite."""
    if not np.isfinite(y).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(y))[0])
        raise BackendError(f"{model}: expected finite outputs, got {y[place]} at index {place}")
    return y
