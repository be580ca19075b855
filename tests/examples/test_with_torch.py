"""How to check code of your own: a small WaveNet in PyTorch against its graph, and its fast generation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from refar import models
from refar.testing import ContractError, check_causality, check_function, check_module, check_streaming

DILATIONS = [1, 2, 4]


class WaveNet(nn.Module):
    def __init__(self, classes=6, width=5, skip=7):
        super().__init__()
        self.first = nn.Conv1d(classes, width, 2)
        self.convs = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=d) for d in DILATIONS)
        self.residuals = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in DILATIONS[1:])
        self.skips = nn.ModuleList(nn.Conv1d(width, skip, 1) for _ in DILATIONS)
        self.hidden, self.logits = nn.Conv1d(skip, skip, 1), nn.Conv1d(skip, classes, 1)

    def forward(self, x):
        h = F.one_hot(x, self.logits.out_channels).transpose(1, 2).to(self.first.weight.dtype)
        h, total = self.first(F.pad(h, (2, -1))), 0
        for n, conv in enumerate(self.convs):
            a, b = conv(F.pad(h, (conv.dilation[0], 0))).chunk(2, dim=1)
            z = torch.tanh(a) * torch.sigmoid(b)
            total = total + self.skips[n](z)
            h = h + self.residuals[n](z) if n < len(self.residuals) else h
        return self.logits(F.relu(self.hidden(F.relu(total))))


def causal_conv(x, weight, bias=None, *, dilation, groups, strict):
    past = (weight.shape[2] - 1) * dilation + strict
    return F.conv1d(F.pad(x, (past, -int(strict))), weight, bias, dilation=dilation, groups=groups)


NAMES = {"front": "first", "head.hidden": "hidden", "head.logits": "logits"}
for n in range(3):
    NAMES |= {f"block{n}.{ours}": f"{theirs}.{n}" for ours, theirs in [("conv", "convs"), ("skip", "skips")]}
    NAMES |= {f"block{n}.residual": f"residuals.{n}"} if n < 2 else {}


def windowed(module, reach=9):
    """The slow way to generate: the last samples again and again; the state is those samples, -1 where there are none."""

    def step(state, x):
        window = torch.cat([state, torch.tensor(x)[:, None]], dim=1)[:, 1:]
        known = window[:, (window < 0).sum(1).max() :]  # none of the rows is longer than another
        return module(known)[:, :, -1], window

    return step, lambda rows: torch.full((rows, reach), -1)


def test_the_convolution_and_its_gradient_are_the_definition():
    check_function(causal_conv, "causal_conv1d", convert=torch.from_numpy, gradient="torch")


def test_it_is_the_network_of_the_paper():
    graph = models.wavenet(6, DILATIONS, residual=5, gate=5, skip=7)
    check_module(WaveNet(), graph, NAMES)


def test_it_hides_the_present_and_sees_the_last_eight_samples():
    module = WaveNet()
    check_causality(lambda x: module(torch.tensor(x)), shape=(2, 20), classes=6, strict=True, reach=9)


def test_step_by_step_is_the_same():
    module = WaveNet()
    step, state = windowed(module, reach=10)
    check_streaming(lambda x: module(torch.tensor(x)), step, shape=(2, 20), classes=6, initial_state=state)


def test_a_window_that_is_too_short_is_seen():
    module = WaveNet()
    step, state = windowed(module, reach=8)
    with pytest.raises(ContractError, match="for the last 8 positions alone: what is older is forgotten"):
        check_streaming(lambda x: module(torch.tensor(x)), step, shape=(2, 20), classes=6, initial_state=state)
