"""WaveNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from refar.arguments.arrays import as_array
from refar.building.builder import Builder
from refar.errors import GraphError
from refar.graph.graph import Graph
from refar.models.conditions import add_condition
from refar.models.sequences import add_sequence
from refar.ops import Classes, Positive


def wavenet(
    classes: Classes | None = None,
    dilations: Sequence[Positive] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) * 2,
    *,
    residual: Positive = 64,
    gate: Positive = 64,
    skip: Positive = 256,
    kernel: Positive = 2,
    front: Positive = 2,
    condition: str | None = None,
    local: str | None = None,
    merge: Literal["add", "concat"] = "add",
    dropout: float = 0.0,
    signal: Positive | None = None,
    head: str | None = None,
) -> Graph:
    """One-hot input, a strict front convolution, gated residual blocks, and a head over the sum of their skips.

    Each block: z = conv(h) + V·c + U·l_t; u = tanh(z₁)·σ(z₂); skip += W_s·u; h += W_r·u. The last block has no residual output,
    since nothing would read it. Head: relu, 1×1, relu, 1×1 to the logits.
    There are 256 classes unless `classes` says otherwise. With `signal` the input is a signal of so many channels instead, as it
    is, and `head` its density: "learnt_gaussian", which is the default, "mixture_gaussians:10", "gaussian:0.5"; see `refar.ops`.
    `kernel` and `front` are the kernels of the blocks and of the front. `condition` is global, one c_b or c_bc for a sequence;
    `local` is known at every position, l_bt or l_bct of the length of the sequence (upsampling is the caller's). Each is None,
    "class:N" or "vector:N", and is added in every gate without a bias.
    With `merge="concat"` u itself goes on beside h instead of being added: block i reads residual + i·gate channels.
    `dropout` is the rate at which training sets values of u to 0; 0 means that there is no such node.
    R = front + Σ (kernel-1)·dilation, all of it used where kernel = 2 and the dilations are 1, 2, 4, …
    Parameters, for Q classes, B blocks of kernel K, r = residual, g = gate, s = skip, conditions of sizes C and L, merge="add":
    Q·r·front + r + B·(2g·(r·K + 1 + C + L) + s·(g + 1)) + (B-1)·r·(g + 1) + s·(s + 1) + Q·(s + 1). Of a signal the first Q is its
    channels, the last what its head takes.
    Source: van den Oord et al. 2016 (WaveNet), figure 4 and section 2.5; for "concat" Huang et al. 2017 (DenseNet), equation 2.
    """
    if as_array("wavenet: dilations", dilations, "a sequence of integers", GraphError).ndim != 1:
        raise GraphError(f"wavenet: dilations: expected a sequence of integers, got {dilations!r}")
    if not len(dilations):
        raise GraphError("wavenet: expected at least one dilation, got none")
    if merge not in ("add", "concat"):
        raise GraphError(f"wavenet: merge: expected 'add' or 'concat', got {merge!r}")
    g, dense = Builder(), merge == "concat"
    sequence = add_sequence(g, "wavenet", classes, signal, head)
    h = g.conv1d(sequence.node, residual, kernel=front, strict=True, name="front")
    given = {
        "condition": add_condition(g, "wavenet", "condition", condition),
        "local": add_condition(g, "wavenet", "local", local, local=True),
    }
    skips = []
    for i, dilation in enumerate(dilations):
        with g.scope(f"block{i}"):
            z = [g.conv1d(h, 2 * gate, kernel=kernel, dilation=dilation, name="conv")]
            z += [g.conv1d(c, 2 * gate, bias=False, name=name) for name, c in given.items() if c is not None]
            u = g.gate(g.add(*z, name="conditioned") if len(z) > 1 else z[0], name="gate")
            u = g.dropout(u, dropout, name="dropout") if dropout else u
            skips.append(g.conv1d(u, skip, name="skip"))
            if i == len(dilations) - 1:
                break
            h = g.concat(h, u, name="out") if dense else g.add(h, g.conv1d(u, residual, name="residual"), name="out")
    with g.scope("head"):
        s = g.add(*skips, name="sum") if len(skips) > 1 else skips[0]
        hidden = g.relu(g.conv1d(g.relu(s), skip, name="hidden"))
        return sequence.build(g, hidden)
