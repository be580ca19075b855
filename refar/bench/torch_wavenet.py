"""The step algorithm of a WaveNet in PyTorch, by hand: one ring for the past of all layers, one product for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from refar import noise
from refar.arguments.arrays import Array, Arrays
from refar.bench.clock import NotTimedError, Way
from refar.bench.comparison import check_close, check_equal, foreign
from refar.bench.over_time import STEPS, Sequences
from refar.graph.graph import require_head

Step = Callable[[Tensor, Tensor, Tensor], Tensor]


class TorchWaveNet(torch.nn.Module):
    """`refar.models.wavenet` with kernels of two and no condition, one step at a time, from the parameters of that graph.

    The past of layer i is the slots base_i + (t mod dilation_i) of a ring (slots, B, C), read by one gather and written by one
    scatter. The products with the past of all layers are one batched product; of the skips one product over all gates.
    """

    def __init__(self, params: Arrays, dilations: Sequence[int]) -> None:
        super().__init__()
        get = {name: torch.from_numpy(array.astype(np.float32)) for name, array in params.items()}
        layers = [f"block{i}" for i in range(len(dilations))]
        conv = [get[f"{layer}.conv.weight"] for layer in layers]
        if any(weight.shape[2] != 2 for weight in [get["front.weight"], *conv]):
            raise NotTimedError("this step in PyTorch is for kernels of two")
        self.front = _transposed(get["front.weight"][:, :, 0]), _transposed(get["front.weight"][:, :, 1]), get["front.bias"]
        self.past = torch.stack([_transposed(weight[:, :, 0]) for weight in conv])
        self.present = [_transposed(weight[:, :, 1]) for weight in conv]
        self.bias = torch.stack([get[f"{layer}.conv.bias"] for layer in layers])[:, None]
        self.residual = [
            (_transposed(get[f"{layer}.residual.weight"][:, :, 0]), get[f"{layer}.residual.bias"]) for layer in layers[:-1]
        ]
        self.skip = torch.cat([_transposed(get[f"{layer}.skip.weight"][:, :, 0]) for layer in layers])
        self.skip_bias = torch.stack([get[f"{layer}.skip.bias"] for layer in layers]).sum(0)
        self.head = [
            (_transposed(get[f"head.{name}.weight"][:, :, 0]), get[f"head.{name}.bias"]) for name in ("hidden", "logits")
        ]
        self.dilations = torch.tensor(list(dilations))
        self.base = self.dilations.cumsum(0) - self.dilations

    def empty(self, batch: int) -> tuple[Tensor, Tensor]:
        """Return the ring and the clock before the first position."""
        return torch.zeros(int(self.dilations.sum()), batch, self.past.shape[1]), torch.zeros((), dtype=torch.int64)

    def embedded(self, previous: Tensor | None, token: Tensor | None, batch: int) -> Tensor:
        """Return the output of the front convolution, (B, C); what lies before the first token is None."""
        h = self.front[2].expand(batch, -1)
        h = h if previous is None else h + self.front[0][previous]
        return h if token is None else h + self.front[1][token]

    def step(self, h: Tensor, ring: Tensor, clock: Tensor) -> Tensor:
        """Take one position after the front convolution: the logits, (B, classes). Ring and clock are changed in place."""
        slots = self.base + clock % self.dilations
        z = torch.baddbmm(self.bias, ring.index_select(0, slots), self.past)
        gates, values = [], []
        for i, present in enumerate(self.present):
            values.append(h)
            a, b = torch.addmm(z[i], h, present).chunk(2, 1)
            gates.append(torch.tanh(a) * torch.sigmoid(b))
            if i < len(self.residual):
                weight, bias = self.residual[i]
                h = torch.addmm(h, gates[-1], weight) + bias
        ring.index_copy_(0, slots, torch.stack(values))
        clock.add_(1)
        y = torch.addmm(self.skip_bias, torch.cat(gates, 1), self.skip)
        for weight, bias in self.head:
            y = torch.addmm(bias, torch.relu(y), weight)
        return y


def _transposed(weight: Tensor) -> Tensor:
    return weight.T.contiguous()


class Generator:
    """Generates tokens with a step, compiled or not, as `Session.generate` does: the largest of logits plus Gumbel noise."""

    def __init__(self, net: TorchWaveNet, step: Step, batch: int) -> None:
        self.net, self.step, self.batch = net, step, batch

    @torch.inference_mode()
    def __call__(self, noise_tbq: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return tokens x_bt and the logits y_bq of the last of them. Without noise it is drawn here, for `STEPS` tokens."""
        if noise_tbq is None:
            classes = len(self.net.head[-1][1])
            noise_tbq = torch.empty(STEPS, self.batch, classes).exponential_().log_().neg_()
        ring, clock = self.net.empty(self.batch)
        tokens: list[Tensor] = []
        previous: Tensor | None = None
        token: Tensor | None = None
        for gumbel in noise_tbq:
            logits = self.step(self.net.embedded(previous, token, self.batch), ring, clock)
            previous, token = token, (logits + gumbel).argmax(1)
            tokens.append(token)
        return torch.stack(tokens, 1), logits


def generating(case: Sequences, dilations: Sequence[int], *, compiled: bool) -> Way:
    """Return the way of PyTorch, eager or through torch.compile. Its tokens and logits are compared with refar's first."""
    with foreign("torch.compile" if compiled else "PyTorch"):
        net = TorchWaveNet(case.session.weights, dilations)
        step: Step = torch.compile(net.step, dynamic=False) if compiled else net.step
        generate = Generator(net, step, case.batch)
        head, classes = require_head(case.session.graph, "generate"), case.found.types[case.session.graph.output].size
        drawn = noise.draw(head, 0, range(case.batch), 0, STEPS, classes)
        tokens, logits = (tensor.numpy() for tensor in generate(torch.from_numpy(drawn)))
    check_equal(tokens, case.session.generate(STEPS, batch=case.batch, seed=0))
    check_close(case.session.graph, logits, _last_logits(case, tokens))
    return Way(generate, STEPS, warm=True)


def _last_logits(case: Sequences, tokens_bt: Array) -> Array:
    """Return refar's logits of the last of these tokens."""
    stream = case.session.stream(case.batch, prompt=tokens_bt[:, :-2])
    return stream.step(tokens_bt[:, -2])
