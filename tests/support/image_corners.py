"""Networks over images at the corners of the row and pixel graphs, each causal."""

from __future__ import annotations

from refar import Builder, Graph, ops


def no_rows() -> Graph:
    """Nothing comes from rows above."""
    g = Builder()
    h = g.tanh(g.conv2d(g.shift2d(g.image(channels=2), right=1), 4, kernel=(1, 3), anchor=(0, 2), groups=2))
    return g.build(g.conv2d(h, 2), ops.Gaussian(0.5))


def no_state() -> Graph:
    """Each pixel for itself, and a global condition."""
    g = Builder()
    x = g.one_hot(g.image(classes=3, channels=2))
    return g.build(g.concat(g.conv2d(x, 4), g.condition("vector", channels=3)))


def rows_alone() -> Graph:
    """The output depends on rows above alone, two and three rows up."""
    g = Builder()
    v = g.relu(g.conv2d(g.shift2d(g.image(channels=2), down=2), 5, kernel=(2, 3), anchor=(1, 1)))
    return g.build(g.conv2d(v, 2), ops.Gaussian(0.5))


def place_alone() -> Graph:
    """The output does not depend on the image."""
    g = Builder()
    return g.build(g.add(g.position(g.image(classes=3), 3), g.condition("vector", channels=6)))


def chart_alone() -> Graph:
    """The output is a condition, of class indices."""
    g = Builder()
    g.image(channels=1)
    return g.build(g.condition("chart", classes=5, channels=2, local=True, axes="hw"))


def itself() -> Graph:
    """The output is the image, of class indices."""
    g = Builder()
    return g.build(g.image(classes=4, channels=3))


def no_taps() -> Graph:
    """Convolutions of which the mask leaves no tap: one that is constant, and some that have clocks of the image all the same."""
    g = Builder()
    x = g.image(channels=2)
    constant = g.conv2d(x, 4, mask="A")
    now, before = (g.conv2d(y, 2, mask="A", colours=2, groups=2) for y in (x, g.shift2d(x, down=1)))
    return g.build(g.concat(constant, now, before, g.conv2d(now, 3)))


def two_leads() -> Graph:
    """A row and a map that nodes of both leads read, a product with a constant, and ones beside them."""
    g = Builder()
    x, scale = g.image(channels=2), g.condition("scale", channels=2)
    chart = g.condition("chart", channels=2, local=True, axes="hw")
    v = g.add(g.tanh(g.shift2d(x, down=1)), chart)
    here, before = g.multiply(g.add(x, v, chart), scale), g.add(g.shift2d(x, right=1), v, chart)
    return g.build(g.concat(here, g.conv2d(before, 3, kernel=(1, 2), anchor=(0, 1)), g.add_op(ops.Ones(), x), g.position(x, 2)))


def right_neighbour() -> Graph:
    """A tap to the right, at what is one pixel ahead: so the output sees its own pixel, and no further."""
    g = Builder()
    h = g.conv2d(g.shift2d(g.image(channels=2), right=1), 3, bias=True)
    return g.build(g.conv2d(h, 2, kernel=(2, 3), anchor=(1, 1)))


def whole_rows() -> Graph:
    """A stack that sees whole rows, of which a map and two rows further up are read."""
    g = Builder()
    x, chart = g.image(channels=2), g.condition("chart", channels=2, local=True, axes="hw")
    v = g.multiply(g.conv2d(x, 2, kernel=(2, 3), anchor=(1, 1)), chart, g.embedding(g.condition("label", classes=4), 2))
    w = g.tanh(g.conv2d(v, 4, kernel=(2, 3), anchor=(1, 1), dilation=(2, 1), groups=2))
    h = g.conv2d(x, 4, kernel=3, mask="A", dilation=(1, 2))
    return g.build(g.conv2d(g.add(h, g.shift2d(w, down=1, right=-1)), 2), ops.Gaussian(0.5))


def far_rows() -> Graph:
    """Taps one, three and five rows up, of the image and of a row that begins: rings of several entries."""
    g = Builder()
    x = g.image(channels=1)
    h = g.conv2d(x, 3, kernel=(3, 2), anchor=(2, 1), dilation=(2, 2), mask="A")
    v = g.conv2d(g.shift2d(x, down=1), 3, kernel=(3, 1), anchor=(2, 0), dilation=(2, 1))
    return g.build(g.conv2d(g.tanh(g.add(h, v)), 1), ops.Gaussian(0.5))


def colours() -> Graph:
    """Ordered colours, an embedding, groups and an even kernel; a mixture."""
    g = Builder()
    h = g.conv2d(g.embedding(g.image(classes=9, channels=3), 2), 12, kernel=3, mask="A", colours=3, groups=2)
    h = g.gate(g.conv2d(h, 12, kernel=2, anchor=(1, 1), dilation=(1, 2), mask="B", colours=3))
    return g.build(g.conv2d(h, 18, mask="B", colours=3), ops.MixtureLogistics(2, 9))


_MAKERS = (no_rows, no_state, rows_alone, place_alone, chart_alone, itself, no_taps, two_leads, right_neighbour, whole_rows)
CORNERS = {maker.__name__: maker() for maker in (*_MAKERS, far_rows, colours)}
