"""Gated PixelCNN."""

from __future__ import annotations

from refar.building.builder import Builder
from refar.graph.graph import Graph
from refar.models.images import add_conditions, add_pixels, check_colours, check_kernels, conditioned, image_head
from refar.ops import Classes, Natural, Positive


def gated_pixelcnn(
    classes: Classes = 256,
    *,
    channels: Positive = 1,
    layers: Positive = 8,
    hidden: Positive = 96,
    kernel: Positive = 3,
    first_kernel: Positive = 7,
    mean: float | None = None,
    std: float | None = None,
    condition: str | None = None,
    local: str | None = None,
    mixture: Natural = 0,
) -> Graph:
    """A vertical stack over the rows above and a horizontal one within the row, gated, side by side; no blind spot.

    Each layer: v = conv(vertical), ⌊K/2⌋+1 rows × K columns that end in the row itself, so that row r of the vertical stack
    sees all of rows ≤ r; z = conv(horizontal) + 1×1(v one row further down), where the convolution has 1 row and ⌊K/2⌋+1
    columns that end in the pixel itself, with mask A in the first layer and B after. vertical = tanh(v₁)·σ(v₂);
    horizontal += 1×1(tanh(z₁)·σ(z₂)), without the residual in the first layer, which would show the pixel. The head: relu,
    1×1, relu, 1×1, with mask B.
    Each of the C = `channels` colours of a pixel sees the colours before it, for which C must divide `hidden`; the vertical
    stack needs no order of colours, since what it shows lies in rows above.
    The other options are those of `pixelcnn`; conditions are added in every gate of both stacks.
    Parameters of a layer from c channels (C in the first, else h = hidden), f = ⌊K/2⌋+1:
    2h·(c·f·K + 1) + 2h·(c·f + 1) + 2h·(2h + 1) + h·(h + 1); of the head, with N channels, h·(h + 1) + N·(h + 1).
    Source: van den Oord et al. 2016b, "Conditional image generation with PixelCNN decoders", figure 2, equations 2 to 4.
    """
    check_kernels("gated_pixelcnn", kernel, first_kernel)
    check_colours("gated_pixelcnn", channels, hidden)
    g = Builder()
    vertical = horizontal = add_pixels(g, classes, channels, mean, std)
    given = add_conditions(g, "gated_pixelcnn", condition, local)
    for i in range(layers):
        side = kernel if i else first_kernel
        half = side // 2
        with g.scope(f"layer{i}.vertical"):
            v = g.conv2d(vertical, 2 * hidden, kernel=(half + 1, side), anchor=(half, half), name="conv")
            if i < layers - 1:
                vertical = g.gate(conditioned(g, v, 2 * hidden, given), name="out")
        with g.scope(f"layer{i}.horizontal"):
            above = g.conv2d(g.shift2d(v, down=1, name="shifted"), 2 * hidden, name="above")
            z = g.conv2d(
                horizontal,
                2 * hidden,
                kernel=(1, half + 1),
                anchor=(0, half),
                mask="B" if i else "A",
                colours=channels,
                name="conv",
            )
            u = g.gate(conditioned(g, g.add(z, above, name="joined"), 2 * hidden, given), name="gate")
            out = g.conv2d(u, hidden, mask="B", colours=channels, name="out")
            horizontal = g.add(horizontal, out, name="sum") if i else out
    head, size = image_head(classes, channels, mixture)
    with g.scope("head"):
        h = g.conv2d(g.relu(horizontal), hidden, mask="B", colours=channels, name="hidden")
        return g.build(g.conv2d(g.relu(h), size, mask="B", colours=channels, name="logits"), head)
