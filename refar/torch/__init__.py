"""PyTorch: a graph as an ordinary module, and its training. Needs torch; a NumPy-only installation never imports this."""

from __future__ import annotations

from refar.errors import BackendError

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise BackendError("refar.torch needs PyTorch, which is not installed: pip install refar[torch]") from None

from refar.torch.by_hand import parameters
from refar.torch.divergence import DivergenceError
from refar.torch.encoder_file import encoder_model
from refar.torch.gumbel import gumbel_softmax
from refar.torch.loop import Result, train
from refar.torch.losses import nats
from refar.torch.module import Module
from refar.torch.validate import mean_nats

__all__ = ["DivergenceError", "Module", "Result", "encoder_model", "gumbel_softmax", "mean_nats", "nats", "parameters", "train"]
