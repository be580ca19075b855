"""The encoder of the autoencoder: a picture becomes a vector."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class Encoder(nn.Module):
    """Class indices (B, 1, 28, 28) of `classes` levels → a vector (B, channels), by three convolutions of stride 2."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.scale = 1 / (classes - 1)
        sizes = (1, width, 2 * width, 2 * width)
        layers: list[nn.Module] = []
        for given, made in pairwise(sizes):
            layers += [nn.Conv2d(given, made, 3, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * width * 16, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the vector of each picture."""
        found: Tensor = self.layers(x.float() * self.scale)
        return found


def make(channels: int = 16, width: int = 32, classes: int = 2) -> nn.Module:
    """Make the encoder that [encoder] names."""
    return Encoder(channels, width, classes)
