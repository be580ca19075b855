"""Negative log-likelihoods in PyTorch."""

from __future__ import annotations

import math
from typing import assert_never

from torch import Tensor
from torch.nn import functional as F

from refar import ops


def nats(head: ops.AnyHead, y_bct: Tensor, x: Tensor) -> Tensor:
    """-log p(x_t | x_<t) for every position, shape (B, T).

    Categorical: -log softmax(y[b,:,t])_{x[b,t]}, x_bt. Gaussian: Σ_c (y - x)² / (2·std²) + C·log(std·√(2π)), x_bct, a density.
    """
    match head:
        case ops.Categorical():
            return F.cross_entropy(y_bct, x.long(), reduction="none")
        case ops.Gaussian():
            constant = x.shape[1] * math.log(head.std * math.sqrt(2 * math.pi))
            return (y_bct - x).square().sum(dim=1) / (2 * head.std**2) + constant
        case _:
            assert_never(head)
