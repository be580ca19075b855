"""Tokens that an unrolled network is fed back, in PyTorch: made from its output, so that gradients flow through them."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor

from refar import ops
from refar.arguments.unrolling import Unrolling
from refar.torch.gumbel import gumbel_softmax
from refar.torch.losses import nats


def fed_back(head: ops.AnyHead, y_bct: Tensor, noise_bkt: Tensor | None, unrolling: Unrolling) -> Tensor:
    """The token z_bkt of each position, over all classes or as a signal; the equations are in `Unrolling`."""
    hard = unrolling.feedback == "straight-through"
    match head:
        case ops.Categorical():
            assert noise_bkt is not None
            return gumbel_softmax(y_bct, noise_bkt, unrolling.temperature, hard=hard)
        case ops.MixtureLogistics():
            assert noise_bkt is not None
            return gumbel_softmax(_log_p(head, y_bct), noise_bkt, unrolling.temperature, hard=hard)
        case ops.Gaussian():
            return y_bct if noise_bkt is None else y_bct + unrolling.temperature * head.std * noise_bkt
        case ops.LearntGaussian():
            means, log_scales = y_bct.chunk(2, dim=1)
            return (
                means if noise_bkt is None else means + unrolling.temperature * log_scales.clamp(min=head.floor).exp() * noise_bkt
            )
        case ops.MixtureGaussians():
            parts = y_bct.reshape(len(y_bct), 3 * head.components, -1, y_bct.shape[2])
            logits, means, _ = parts.chunk(3, dim=1)
            return (torch.softmax(logits, dim=1) * means).sum(dim=1)
        case _:
            assert_never(head)


def _log_p(head: ops.MixtureLogistics, y_bct: Tensor) -> Tensor:
    """log p(q) of every class, (B, Q, T): the classes take the place of positions, and the batch takes both."""
    batch, channels, length = y_bct.shape
    each = y_bct.transpose(1, 2).reshape(batch * length, channels, 1).expand(-1, -1, head.classes)
    classes = torch.arange(head.classes, device=y_bct.device).expand(len(each), -1)
    return -nats(head, each, classes).reshape(batch, length, head.classes).transpose(1, 2)
