"""PixelCNN with masked convolutions."""

from __future__ import annotations

from refar.building.builder import Builder
from refar.graph.graph import Graph
from refar.models.images import add_conditions, add_pixels, check_colours, check_kernels, conditioned, image_head
from refar.ops import Classes, Natural, Positive


def masked_pixelcnn(
    classes: Classes = 256,
    *,
    channels: Positive = 1,
    layers: Natural = 7,
    hidden: Positive = 96,
    kernel: Positive = 3,
    first_kernel: Positive = 7,
    residual: bool = True,
    mean: float | None = None,
    std: float | None = None,
    condition: str | None = None,
    local: str | None = None,
    mixture: Natural = 0,
) -> Graph:
    """A convolution with mask A, `layers` blocks with mask B, and a head of two 1×1 with mask B, a relu before each.

    A residual block: h += 1×1(relu(K×K(relu(1×1(relu(h)))))), from 2·`hidden` channels to `hidden` and back; else
    h = K×K(relu(h)), with `hidden` channels. Each of the C = `channels` colours of a pixel sees the colours before it, for
    which C must divide `hidden`; channel j belongs to colour j mod C.
    It has a blind spot: with one kernel throughout, no depth reaches (r up, j right) with j > ⌊K/2⌋·r.
    The other options are those of `pixelcnn`; conditions are added in every convolution larger than 1×1.
    Parameters, for h = hidden, w = 2h with residual blocks and h without, N channels of the head (C·Q for Q classes), kernels
    F and K: w·(C·F² + 1) + layers·(h·(h·K² + 1) [+ 2·h·w + h + w if residual]) + h·(w + 1) + N·(h + 1); masked weights count.
    Source: van den Oord et al. 2016a, "Pixel recurrent neural networks", sections 3.3 and 3.4, figure 5 and table 1.
    """
    check_kernels("masked_pixelcnn", kernel, first_kernel)
    check_colours("masked_pixelcnn", channels, hidden)
    g = Builder()
    x = add_pixels(g, classes, channels, mean, std)
    given = add_conditions(g, "masked_pixelcnn", condition, local)

    def conv(h: str, size: int, name: str, side: int = 1) -> str:
        return g.conv2d(g.relu(h), size, kernel=side, mask="B", colours=channels, name=name)

    width = 2 * hidden if residual else hidden
    with g.scope("front"):
        h = g.conv2d(x, width, kernel=first_kernel, mask="A", colours=channels, name="conv")
        h = conditioned(g, h, width, given)
    for i in range(layers):
        with g.scope(f"block{i}"):
            z = conv(h, hidden, "reduce") if residual else h
            z = conditioned(g, conv(z, hidden, "conv", kernel), hidden, given)
            h = g.add(h, conv(z, width, "expand"), name="out") if residual else z
    head, size = image_head(classes, channels, mixture)
    with g.scope("head"):
        return g.build(conv(conv(h, hidden, "hidden"), size, "logits"), head)
