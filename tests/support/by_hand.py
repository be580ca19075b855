"""A network over time and one over images, written by hand in PyTorch, in parts that a test may replace; and their graphs."""

import torch
from torch import nn
from torch.nn import functional as F

from refar import Builder, ops

NAMES = {"block0.conv": "dilated.0", "block1.conv": "dilated.1", "block0.out": "mix.0", "block1.out": "mix.1"}


def graph(padding="layer"):
    """A strict front, two gated blocks with residuals, logits."""
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=4)), 6, kernel=2, strict=True, name="front")
    for i, dilation in enumerate([2, 3]):
        with g.scope(f"block{i}"):
            z = g.gate(g.conv1d(h, 12, kernel=3, dilation=dilation, name="conv"))
            h = g.add(h, g.conv1d(z, 6, name="out"))
    return g.build(g.conv1d(g.relu(h), 4, name="logits"), ops.Categorical(), padding=padding)


GRAPH = graph()


class Net(nn.Module):
    """The same by hand, in parts that mistakes replace."""

    def __init__(self):
        super().__init__()
        self.front = nn.Conv1d(4, 6, 2)
        self.dilated = nn.ModuleList([nn.Conv1d(6, 12, 3, dilation=2), nn.Conv1d(6, 12, 3, dilation=3)])
        self.mix = nn.ModuleList([nn.Conv1d(6, 6, 1), nn.Conv1d(6, 6, 1)])
        self.logits = nn.Conv1d(6, 4, 1)

    def forward(self, x):
        h = self.start(F.one_hot(x, 4).to(self.front.weight.dtype).permute(0, 2, 1))
        for conv, mix in zip(self.dilated, self.mix, strict=True):
            h = h + self.mixed(mix, self.gate(self.causal(conv, h)))
        return self.end(self.logits(F.relu(h)))

    def start(self, x):
        return self.front(F.pad(x, (2, -1)))

    def causal(self, conv, x):
        return conv(F.pad(x, ((conv.kernel_size[0] - 1) * conv.dilation[0], 0)))

    def gate(self, z):
        a, b = z.chunk(2, dim=1)
        return torch.tanh(a) * torch.sigmoid(b)

    def mixed(self, mix, z):
        return mix(z)

    def end(self, y):
        return y


def with_part(name, part):
    """A subclass of Net with one part replaced; its instances."""
    return type("Net", (Net,), {name: part})()


class MaskedConv2d(nn.Conv2d):
    def __init__(self, kind, inputs, outputs, size, colours=1, **options):
        super().__init__(inputs, outputs, size, padding=size // 2, **options)
        mask = torch.ones_like(self.weight)
        mask[:, :, size // 2 + 1 :] = 0
        mask[:, :, size // 2, size // 2 + 1 :] = 0
        i, o = torch.arange(inputs) % colours, torch.arange(outputs)[:, None] % colours
        mask[:, :, size // 2, size // 2] = (i < o if kind == "A" else i <= o).float()
        self.register_buffer("mask", mask)

    def forward(self, x):
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class PixelCNN(nn.Module):
    def __init__(self, colours=1, layer=MaskedConv2d):
        super().__init__()
        self.first = layer("A", colours, 6, 5, colours)
        self.second = layer("B", 6, 6, 3, colours)
        self.logits = layer("B", 6, 4 * colours, 1, colours)

    def forward(self, x):
        return self.logits(F.relu(self.second(F.relu(self.first(x.double())))))


def pixel_graph(colours=1):
    g = Builder()
    h = g.standardize(g.image(classes=4, channels=colours), 0.0, 1.0)
    h = g.relu(g.conv2d(h, 6, kernel=(5, 5), mask="A", colours=colours, name="first"))
    h = g.relu(g.conv2d(h, 6, kernel=(3, 3), mask="B", colours=colours, name="second"))
    return g.build(g.conv2d(h, 4 * colours, mask="B", colours=colours, name="logits"), ops.Categorical())
