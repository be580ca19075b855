"""Three mistakes in the style of other people's code, and what the kit says: `python tests/bench/mistakes.py [PAGE]`.

Without a file the text is printed; with docs/mistakes.md it is written between its markers.
"""

from __future__ import annotations

import inspect
import textwrap
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from pages import publish
from torch import nn
from torch.nn import functional as F

from refar import Builder
from refar.testing import ContractError, check_causality, check_module, check_streaming


class Block(nn.Module):
    def __init__(self, channels, kernel, dilation):
        super().__init__()
        self.pad = kernel - 1
        self.conv = nn.Conv1d(channels, channels, kernel, dilation=dilation)

    def forward(self, x):
        y = self.conv(F.pad(x, (self.pad, 0)))
        y = F.pad(y, (0, x.shape[2] - y.shape[2]))  # lengths must be equal for the residual
        return x + torch.relu(y)


def padding_without_dilation():
    block = Block(channels=3, kernel=3, dilation=4)
    check_causality(lambda x: block(torch.tensor(x)), shape=(2, 3, 40))


class FastLayer:
    def __init__(self, weight, dilation):
        self.weight, self.dilation = weight, dilation

    def reset(self):
        self.queue = deque([np.zeros((2, 3))] * self.dilation, maxlen=self.dilation)

    def step(self, x):
        self.queue.append(x)
        return self.queue[0] @ self.weight[:, :, 0].T + x @ self.weight[:, :, 1].T


def queue_read_after_the_push():
    conv = nn.Conv1d(3, 4, kernel_size=2, dilation=4, bias=False)
    slow = lambda x: conv(F.pad(torch.tensor(x), (4, 0)))  # noqa: E731
    check_streaming(slow, FastLayer(conv.weight.detach().numpy(), dilation=4), shape=(2, 3, 40))


class MaskedConv2d(nn.Conv2d):
    def __init__(self, kind, *args, **options):
        super().__init__(*args, **options)
        self.register_buffer("mask", torch.ones_like(self.weight))
        height, width = self.kernel_size
        self.mask[:, :, height // 2, width // 2 + (kind == "B") :] = 0
        self.mask[:, :, height // 2 + 1 :] = 0

    def forward(self, x):
        self.weight.data *= self.mask
        return super().forward(x)


def masked_weights_that_move():
    module = nn.Sequential(MaskedConv2d("A", 1, 8, 5, padding=2), nn.ReLU(), MaskedConv2d("B", 8, 4, 3, padding=1))
    g = Builder()
    h = g.relu(g.conv2d(g.image(channels=1), 8, kernel=(5, 5), mask="A", name="first"))
    graph = g.build(g.conv2d(h, 4, kernel=(3, 3), mask="B", name="second"))
    check_module(module, graph, names={"first": "0", "second": "2"})


MISTAKES: list[tuple[str, type, Callable[[], None]]] = [
    ("The dilation forgotten in the padding, then padded on the right to restore the length.", Block, padding_without_dilation),
    ("Fast generation: the queue read after the push.", FastLayer, queue_read_after_the_push),
    ("PixelCNN: the mask put on `weight.data`.", MaskedConv2d, masked_weights_that_move),
]


def message(check: Callable[[], None]) -> str:
    """What the check raises."""
    torch.manual_seed(0)
    try:
        check()
    except ContractError as error:
        return str(error)
    raise SystemExit(f"{check.__name__}: expected a ContractError, but the check passed")


def code(wrong: type, check: Callable[[], None]) -> str:
    """What is wrong and the call that finds it, as one would type them."""
    body = textwrap.dedent("".join(inspect.getsourcelines(check)[0][1:]))
    return f"{inspect.getsource(wrong)}\n\n{body}".strip().replace("  # noqa: E731", "")


def text() -> str:
    """Each mistake as Markdown: the code, its check, the message."""
    parts = []
    for title, wrong, check in MISTAKES:
        said = "\n".join(textwrap.fill(line, 126, subsequent_indent="  ") for line in message(check).split("\n"))
        parts.append(f"**{title}**\n\n```python\n{code(wrong, check)}\n```\n\n```text\n{said}\n```")
    return "\n\n".join(parts)


if __name__ == "__main__":
    publish("mistakes", text())
