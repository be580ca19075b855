"""WaveNet."""

from __future__ import annotations

from collections.abc import Sequence

from refar import ops
from refar.errors import GraphError
from refar.graph import Builder, Graph


def wavenet(
    classes: int = 256,
    dilations: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) * 2,
    *,
    residual: int = 64,
    gate: int = 64,
    skip: int = 256,
    kernel: int = 2,
    front: int = 2,
    condition: str | None = None,
) -> Graph:
    """One-hot input, a strict front convolution, gated residual blocks, and a head over the sum of their skips.

    Each block: z = conv(h) + V·c; u = tanh(z₁)·σ(z₂); skip += W_s·u; h += W_r·u. The last block has no residual output, since
    nothing would read it. Head: relu, 1×1, relu, 1×1 to the logits.
    `kernel` and `front` are the kernels of the blocks and of the front. `condition` is None, "class:N" or "vector:N": a
    global condition, added in every gate without a bias. R = front + Σ (kernel-1)·dilation.
    Source: van den Oord et al. 2016 (WaveNet), figure 4, equations 2 and 3.
    """
    if not dilations:
        raise GraphError("wavenet: expected at least one dilation, got none")
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=classes)), residual, kernel=front, strict=True, name="front")
    c = _condition(g, condition)
    skips = []
    for i, dilation in enumerate(dilations):
        with g.scope(f"block{i}"):
            z = g.conv1d(h, 2 * gate, kernel=kernel, dilation=dilation, name="conv")
            if c is not None:
                z = g.add(z, g.conv1d(c, 2 * gate, bias=False, name="condition"), name="conditioned")
            u = g.gate(z, name="gate")
            skips.append(g.conv1d(u, skip, name="skip"))
            if i < len(dilations) - 1:
                h = g.add(h, g.conv1d(u, residual, name="residual"), name="out")
    with g.scope("head"):
        s = g.add(*skips, name="sum") if len(skips) > 1 else skips[0]
        hidden = g.relu(g.conv1d(g.relu(s), skip, name="hidden"))
        return g.build(g.conv1d(hidden, classes, name="logits"), ops.Categorical())


def _condition(g: Builder, condition: str | None) -> str | None:
    if condition is None:
        return None
    kind, _, size = condition.partition(":")
    if kind not in ("class", "vector") or not size.isdecimal():
        raise GraphError(f"wavenet: condition: expected 'class:N', 'vector:N' or none, got {condition!r}")
    if kind == "class":
        return g.one_hot(g.condition(classes=int(size)), name="condition_one_hot")
    return g.condition(channels=int(size))
