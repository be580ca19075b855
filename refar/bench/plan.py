"""Which networks the project's own figures are about, and how they come to be bundles."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from refar import models
from refar.arguments.init import init
from refar.graph.graph import Graph
from refar.runtime import load
from refar.runtime.session import Session


@dataclass(frozen=True)
class WaveNetSizes:
    """The sizes of a WaveNet with kernels of two: `stacks` times the dilations 1, 2, … 2^(doublings-1)."""

    doublings: int = 10
    stacks: int = 2
    channels: int = 64
    skip: int = 256
    classes: int = 256

    @property
    def dilations(self) -> list[int]:
        """The dilation of each layer."""
        return [2**i for i in range(self.doublings)] * self.stacks

    def graph(self, front: int = 2) -> Graph:
        """Build the network."""
        return self.dilated(self.dilations, front)

    def dilated(self, dilations: list[int], front: int = 2) -> Graph:
        """Build the same network with other dilations."""
        n = self.channels
        return models.wavenet(self.classes, dilations, residual=n, gate=n, skip=self.skip, front=front)


def _images() -> dict[str, Graph]:
    return {"two stacks, 32 channels": models.pixelcnn(256), "masked, 7 x 96 channels": models.masked_pixelcnn(256)}


@dataclass(frozen=True)
class Plan:
    """Say which networks are timed.

    `caps` are the largest dilations of the networks that differ in R, `depths` the layers of the others.
    """

    wavenet: WaveNetSizes = WaveNetSizes()
    batches: tuple[int, ...] = (1, 8, 32, 64)
    peer_batches: tuple[int, ...] = (1, 8, 32)
    tcn: tuple[int, ...] = (64,) * 6
    known: int = 16_000
    images: Mapping[str, Graph] = field(default_factory=_images)
    image_batches: tuple[int, ...] = (1, 16)
    shape: tuple[int, int] = (28, 28)
    wide: WaveNetSizes = WaveNetSizes(doublings=14, stacks=1)
    wide_batches: tuple[int, ...] = (1, 8)
    small: WaveNetSizes = WaveNetSizes(channels=32, skip=64, classes=64)
    layers: int = 10
    caps: tuple[int, ...] = (1, 8, 32, 128, 512)
    depths: tuple[int, ...] = (5, 10, 20, 40)


@contextmanager
def exported(graph: Graph, threads: int) -> Iterator[Session]:
    """Export a network with the parameters that training would start from, and open the bundle. Needs onnx."""
    from refar_export.export import export

    with tempfile.TemporaryDirectory() as folder:
        yield load(export(graph, init(graph), Path(folder) / "bundle"), threads=threads)
