"""Temporal convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from refar.arguments.arrays import as_array
from refar.building.builder import Builder
from refar.errors import GraphError
from refar.graph.graph import Graph
from refar.models.sequences import add_sequence
from refar.ops import Classes, Positive


def tcn(
    classes: Classes | None = None,
    channels: Sequence[Positive] = (64,) * 6,
    *,
    kernel: Positive = 3,
    dropout: float = 0.0,
    signal: Positive | None = None,
    head: str | None = None,
) -> Graph:
    """One-hot input, delayed by one; a residual block for each entry of `channels`, the i-th with dilation 2^i; a 1×1.

    Each block: f = relu(conv(relu(conv(h)))), both convolutions with the same kernel and dilation; h = relu(f + h), where h goes
    through a 1×1 convolution first if its channels differ. `dropout` is the rate at which training sets values of the two inner
    relus to 0; 0 means that there are no such nodes. Weight normalisation, with which the source trains, is left out: it is
    another way to write the weights.
    R = 1 + 2·(kernel-1)·(2^n - 1) for n blocks, offsets 1..R, without holes for kernel 2 or more.
    A block from a to b channels has kernel·b·(a + b) + 2·b parameters, and b·(a + 1) more if a ≠ b; the head classes·(b + 1).
    `signal` and `head` are those of `wavenet`, and there are 256 classes likewise.
    Source: Bai, Kolter and Koltun 2018, "An empirical evaluation of generic convolutional and recurrent networks for sequence
    modeling", section 3, figure 1. There y_t sees x_t and models x_{t+1}; the delay makes y_t model x_t.
    """
    if as_array("tcn: channels", channels, "a sequence of integers", GraphError).ndim != 1:
        raise GraphError(f"tcn: channels: expected a sequence of integers, got {channels!r}")
    if not len(channels):
        raise GraphError("tcn: expected channels for at least one block, got none")
    g = Builder()
    sequence = add_sequence(g, "tcn", classes, signal, head)
    h, size = g.delay(sequence.node, name="delayed"), sequence.channels
    for i, width in enumerate(channels):
        with g.scope(f"block{i}"):
            f = h
            for name in ("conv1", "conv2"):
                f = g.relu(g.conv1d(f, width, kernel=kernel, dilation=2**i, name=name), name=f"relu_{name}")
                f = g.dropout(f, dropout, name=f"dropout_{name}") if dropout else f
            through = h if size == width else g.conv1d(h, width, name="residual")
            h, size = g.relu(g.add(f, through, name="sum"), name="out"), width
    return sequence.build(g, h)
