"""Negative log-likelihoods in PyTorch."""

from __future__ import annotations

import math
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from refar import ops


def nats(head: ops.AnyHead, y_bct: Tensor, x: Tensor) -> Tensor:
    """-log p(x_t | x_<t) for every position, shape (B, T).

    Categorical: -log softmax(y[b,:,t])_{x[b,t]}, x_bt. Gaussian: Σ_c (y - x)² / (2·std²) + C·log(std·√(2π)), x_bct, a density.
    MixtureLogistics: the equation of `ops.MixtureLogistics`, x_bt; finite in the tails, and so are its gradients.
    LearntGaussian, MixtureGaussians: their equations in `refar.ops`, x_bct; finite as long as ((x - μ)/σ)² is.

    Of images, y_bchw and x_bchw, one for every value in the order in which they are modelled, by rows, columns and colours:
    shape (B, H·W·C). Channel k·C + c of y is number k of the parameters of colour c.
    """
    if x.ndim == 4:
        colours = x.shape[1]
        y_bct = y_bct.reshape(len(y_bct), y_bct.shape[1] // colours, colours, *y_bct.shape[2:]).movedim(2, -1).flatten(2)
        x = x.movedim(1, -1).flatten(1)
        x = x.unsqueeze(1) if isinstance(head, ops.SignalHead) else x
    match head:
        case ops.Categorical():
            return F.cross_entropy(y_bct, x.long(), reduction="none")
        case ops.Gaussian():
            constant = x.shape[1] * math.log(head.std * math.sqrt(2 * math.pi))
            return (y_bct - x).square().sum(dim=1) / (2 * head.std**2) + constant
        case ops.MixtureLogistics():
            return _mixture_nats(head.classes - 1, y_bct, x.long().unsqueeze(1))
        case ops.LearntGaussian():
            means, log_scales = y_bct.chunk(2, dim=1)
            return -_log_normal(x, means, log_scales.clamp(min=head.floor)).sum(dim=1)
        case ops.MixtureGaussians():
            shape = (len(x), 3 * head.components, *x.shape[1:])
            logits, means, log_scales = y_bct.reshape(shape).chunk(3, dim=1)  # each y_bkct
            log_p = _log_normal(x.unsqueeze(1), means, log_scales.clamp(min=head.floor))
            return -torch.logsumexp(torch.log_softmax(logits, dim=1) + log_p, dim=1).sum(dim=1)
        case _:
            assert_never(head)


def _log_normal(x: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """log N(x; μ, exp(λ)²) of each number."""
    return -0.5 * ((x - means) * torch.exp(-log_scales)).square() - log_scales - math.log(2 * math.pi) / 2


def _mixture_nats(last: int, y_bct: Tensor, x_b1t: Tensor) -> Tensor:
    """By σ(b) - σ(a) = σ(b) · σ(-a) · (1 - exp(a - b)) for the edges a < b of the class, of which the outermost are open."""
    logits, means, log_scales = y_bct.chunk(3, dim=1)
    below, above = (((2 * i - 1 - last).to(y_bct.dtype) / last - means) * torch.exp(-log_scales) for i in (x_b1t, x_b1t + 1))
    at_first, at_last = x_b1t == 0, x_b1t == last
    log_width = math.log(2 / last) - log_scales
    # 1 - exp(-δ) is δ or 1 to rounding outside these limits, and gradients stay finite there
    log_inside = torch.log(-torch.expm1(-torch.exp(log_width.clamp(-40, 5))))
    log_inside = torch.where(log_width < -40, log_width, log_inside)
    log_p = (
        F.logsigmoid(above).masked_fill(at_last, 0)
        + F.logsigmoid(-below).masked_fill(at_first, 0)
        + log_inside.masked_fill(at_first | at_last, 0)
    )
    return -torch.logsumexp(torch.log_softmax(logits, dim=1) + log_p, dim=1)
