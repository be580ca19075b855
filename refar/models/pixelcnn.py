"""The two-stack PixelCNN of Fleuret's Deep learning 10.2."""

from __future__ import annotations

from refar.building.builder import Builder
from refar.graph.graph import Graph
from refar.models.images import add_conditions, add_pixels, check_kernels, conditioned, image_head
from refar.ops import Classes, Natural, Positive


def pixelcnn(
    classes: Classes = 256,
    *,
    channels: Positive = 1,
    kernel: Positive = 5,
    hidden: Positive = 32,
    mean: float | None = None,
    std: float | None = None,
    position: Natural = 0,
    condition: str | None = None,
    local: str | None = None,
    mixture: Natural = 0,
) -> Graph:
    """PixelCNN with two stacks: one over the rows above, one over what lies to the left in the row; no blind spot.

    The standardised input (see `images.add_pixels`), shifted down by one, passes two convolutions with ⌊K/2⌋+1 rows and K
    columns that end in the row itself; shifted right by one, two of 1 row and ⌊K/2⌋+1 columns that end in the pixel itself.
    Their channels, `hidden` and 2·`hidden` each, are joined; a 1×1 to 4·`hidden`, relu, and a 1×1 to the head.
    Pixel (r, s) sees r-K..r-1 × s-2h..s+2h, h = ⌊K/2⌋, and (r, s-K..s-1): 50 positions for K = 5. The colours of a pixel are
    modelled without seeing each other.
    `position` N > 0 joins 2N channels to the input, the bits of row and column: 5 for 28 × 28. `condition` is global, `local`
    a map; each is None, "class:N" or "vector:N", and is added before every relu without a bias. `mixture` K > 0 takes a
    discretised mixture of K logistics for the head.
    Parameters with the defaults: 54 144 + 129·classes.
    Source: Fleuret, Deep learning 10.2, "class PixelCNN"; after van den Oord et al. 2016b, figure 1.
    """
    check_kernels("pixelcnn", kernel)
    g, half = Builder(), kernel // 2
    x = add_pixels(g, classes, channels, mean, std)
    if position:
        x = g.concat(x, g.position(x, position), name="located")
    given = add_conditions(g, "pixelcnn", condition, local)
    stacks = {
        "h": (g.shift2d(x, down=1, name="down"), (half + 1, kernel), (half, half)),
        "v": (g.shift2d(x, right=1, name="right"), (1, half + 1), (0, half)),
    }
    tops = []
    for stack, (h, sides, anchor) in stacks.items():
        for name, width in ((f"conv1{stack}", hidden), (f"conv2{stack}", 2 * hidden)):
            z = g.conv2d(h, width, kernel=sides, anchor=anchor, name=name)
            h = g.relu(conditioned(g, z, width, given, f"{name}_"), name=f"{name}_relu")
        tops.append(h)
    z = g.conv2d(g.concat(*tops, name="stacks"), 4 * hidden, name="final1")
    h = g.relu(conditioned(g, z, 4 * hidden, given, "final1_"), name="final1_relu")
    head, size = image_head(classes, channels, mixture)
    return g.build(g.conv2d(h, size, name="final2"), head)
