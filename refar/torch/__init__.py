"""PyTorch: a graph as an ordinary module, and its training. Needs torch; a NumPy-only installation never imports this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refar.errors import BackendError

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise BackendError("refar.torch needs PyTorch, which is not installed: pip install refar[torch]") from None

from refar.torch.gumbel import gumbel_softmax
from refar.torch.losses import nats
from refar.torch.module import Module

if TYPE_CHECKING:
    from refar.training.loop import DivergenceError, Result, mean_nats, train

__all__ = ["DivergenceError", "Module", "Result", "gumbel_softmax", "mean_nats", "nats", "train"]

if not TYPE_CHECKING:  # a type checker would take every misspelt name for one that is there

    def __getattr__(name: str) -> Any:
        """What `refar.training.loop` holds; it imports this package, so it is imported when it is first used."""
        if name not in ("DivergenceError", "Result", "mean_nats", "train"):
            raise AttributeError(f"module 'refar.torch' has no attribute {name!r}")
        import refar.training.loop as loop

        return getattr(loop, name)
