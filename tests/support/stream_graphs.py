"""Networks that a stream must get right: every operator that looks back, both paddings, conditions, nodes that stand ahead."""

from __future__ import annotations

from refar import Builder, Graph, models, ops


def pools(*, strict: bool) -> Graph:
    """Both kinds of both pads, over values that stand at the token and, if strict, over values ahead of it."""
    g = Builder()
    x = g.input(channels=2)
    h = g.concat(g.pool1d(x, "max", 3, dilation=2, pad="exclude"), g.pool1d(x, "avg", 2, pad="zero"))
    h = g.conv1d(h, 4, kernel=2, strict=strict, groups=2)
    h = g.concat(g.pool1d(h, "avg", 4, pad="exclude"), g.pool1d(h, "max", 2, dilation=3, pad="zero"))
    return g.build(g.conv1d(h, 2), ops.Gaussian() if strict else None)


def delays(*, padding: str = "layer") -> Graph:
    """A node ahead of the token is joined with one at the token, and what comes of it is delayed behind both."""
    g = Builder()
    x = g.embedding(g.input(classes=4), 3)
    ahead = g.conv1d(x, 3, kernel=3, dilation=3, strict=True, name="ahead")
    joined = g.tanh(g.add(ahead, g.conv1d(x, 3, kernel=2, name="at"), name="joined"))
    h = g.concat(g.delay(joined, 1), g.delay(joined, 4), g.delay(ahead, 0), g.delay(ahead, 2))
    return g.build(g.conv1d(h, 4, kernel=2), ops.Categorical(), padding="input" if padding == "input" else "layer")


def conditioned(*, strict: bool, padding: str = "layer") -> Graph:
    """Local conditions before and behind the convolution that may be strict, both looked back on, and a global one."""
    g = Builder()
    x = g.embedding(g.input(classes=4), 3)
    below, above = g.condition("below", channels=2, local=True), g.embedding(g.condition("above", classes=5, local=True), 3)
    speaker = g.conv1d(g.one_hot(g.condition("speaker", classes=3)), 4)
    h = g.conv1d(g.concat(x, below), 3, kernel=2, dilation=2)
    h = g.conv1d(g.concat(h, speaker), 6, kernel=2, strict=strict)
    h = g.multiply(g.gate(g.add(h, g.conv1d(above, 6, kernel=3, dilation=2))), g.slice(g.sigmoid(speaker), 0, 3))
    h = g.concat(h, g.delay(above, 3), speaker, g.softmax(g.pad_channels(below, 1, 1)))
    return g.build(g.conv1d(h, 4, kernel=2), ops.Categorical(), padding="input" if padding == "input" else "layer")


GRAPHS: dict[str, Graph] = {
    "pools": pools(strict=True),
    "pools, not strict": pools(strict=False),
    "delays": delays(),
    "delays, input padding": delays(padding="input"),
    "conditions": conditioned(strict=True),
    "conditions, not strict": conditioned(strict=False),
    "conditions, input padding": conditioned(strict=True, padding="input"),
    "conditions, not strict, input padding": conditioned(strict=False, padding="input"),
    "wavenet, local": models.wavenet(4, [1, 2], residual=4, gate=3, skip=5, local="class:3", condition="vector:2"),
}
