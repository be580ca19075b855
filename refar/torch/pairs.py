"""Losses of a network that maps one signal onto another, in PyTorch; the equations are in `refar.oracle.pairs`."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-5


def mean_square(y_bct: Tensor, v_bct: Tensor, mask_bt: Tensor) -> Tensor:
    """The mean of (y - v)² over the counted values of each sequence, (B,); 0 where nothing counts."""
    return _mean((y_bct - v_bct).square(), mask_bt)


def error_to_signal(y_bct: Tensor, v_bct: Tensor, mask_bt: Tensor, pre_emphasis: float = 0.0, dc: float = 0.0) -> Tensor:
    """mean(p(y - v)²) / (mean(p(v)²) + ε) of each sequence, (B,), p(s)[t] = s[t] - a·s[t-1]; and the DC term, weighed by `dc`."""
    error = y_bct - v_bct
    emphasised = _mean(_emphasis(error, pre_emphasis).square(), mask_bt)
    ratio = emphasised / (_mean(_emphasis(v_bct, pre_emphasis).square(), mask_bt) + _EPSILON)
    if dc == 0:
        return ratio
    means_bc = torch.where(mask_bt[:, None], error, 0).sum(dim=2) / mask_bt.sum(dim=1).clamp(min=1)[:, None]
    return ratio + dc * means_bc.square().mean(dim=1) / (_mean(v_bct.square(), mask_bt) + _EPSILON)


def _emphasis(s_bct: Tensor, a: float) -> Tensor:
    return s_bct if a == 0 else torch.cat([s_bct[:, :, :1], s_bct[:, :, 1:] - a * s_bct[:, :, :-1]], dim=2)


def _mean(s_bct: Tensor, mask_bt: Tensor) -> Tensor:
    count = s_bct.shape[1] * mask_bt.sum(dim=1)
    return torch.where(mask_bt[:, None], s_bct, 0).sum(dim=(1, 2)) / count.clamp(min=1)
