"""A network that is fed its own tokens, in PyTorch, with gradients through all of them.

The true sequence goes through the network once. From each origin on, every node is then computed for one position at a time, out
of the values of that pass before the origin and its own new values behind it: as in a stream, but differentiable. A step costs as
much as one position, however long the sequence and the receptive field are. The definition is `refar.unroll`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from refar import ops
from refar.analysis.facts import facts
from refar.analysis.windows import offsets_of_node
from refar.arguments.unrolling import Unrolling, check_unrolling
from refar.building.rewrite import relaxed, relaxed_parameters
from refar.graph.graph import Graph, Node, require_head
from refar.torch import lower
from refar.torch.feedback import fed_back
from refar.torch.losses import nats
from refar.torch.module import Module


class Unrolled:
    """The plan of unrolling a graph, made once. Raises GraphError and InputError as `refar.unroll`."""

    def __init__(self, graph: Graph, unrolling: Unrolling) -> None:
        check_unrolling(graph, unrolling)
        self._graph, self._unrolling, self._head = graph, unrolling, require_head(graph, "unrolling")
        wide = relaxed(graph)
        self._found = facts(wide)
        sequence = self._found.sequence
        self._moving, present = {sequence}, {sequence}
        for node in wide.nodes:
            if self._moving & set(node.inputs):
                self._moving.add(node.name)
            if present & set(node.inputs) and 0 in offsets_of_node(node.op):
                present.add(node.name)
        steps = [node for node in wide.nodes if node.name in self._moving and node.name != sequence]
        self.offsets = {node.name: offsets_of_node(node.op) for node in steps}
        # A strict graph's output needs no node that sees the present token; those come once the token is there.
        self._before_token = [node for node in steps if node.name not in present]
        self._after_token = [node for node in steps if node.name in present]
        self._past = self._places(steps, unrolling.horizon)

    def _places(self, steps: list[Node], horizon: int) -> dict[str, list[int]]:
        """For each node, at which places, counted from the origin, values of the pass over the true sequence are read."""
        places: dict[str, set[int]] = {}
        for node in steps:
            read = {k - offset for k in range(horizon) for offset in self.offsets[node.name]}
            for name in node.inputs:
                if self._found.types[name].timed:
                    places.setdefault(name, set()).update(p for p in read if p < 0 or name not in self._moving)
        return {name: sorted(found) for name, found in places.items() if found}

    def __call__(self, module: Module, values: Mapping[str, Tensor], before: Mapping[str, Tensor], origins_bm: Tensor,
                 noise_bmnk: Tensor | None) -> Tensor:  # fmt: skip
        """ℓ of shape (B, M, n), as `refar.unroll` defines it; `values` and `before` are those of `module.forward_everywhere`."""
        batch, count = origins_bm.shape
        dtype = values[self._graph.output].dtype
        made = relaxed_parameters(self._graph, dict(module.named_parameters()))
        own = {name: torch.as_tensor(p, dtype=p.dtype if isinstance(p, Tensor) else dtype, device=origins_bm.device)
               for name, p in made.items()}  # fmt: skip
        run = _Run(self, own, values, before, origins_bm, dtype)
        truth = values[self._found.sequence]
        losses = []
        for k in range(self._unrolling.horizon):
            run.compute(self._before_token, k)
            y = run.new[self._graph.output][k]
            y = y.float() if y.dtype in (torch.bfloat16, torch.float16) else y
            losses.append(nats(self._head, y, _at(truth, origins_bm + k)))
            noise = None if noise_bmnk is None else noise_bmnk[:, :, k].reshape(batch * count, -1, 1).to(y.dtype)
            run.new[self._found.sequence].append(fed_back(self._head, y, noise, self._unrolling))
            run.compute(self._after_token, k)
        return torch.cat(losses, dim=1).reshape(batch, count, -1)


class _Run:
    """The values of nodes from the origins on, one row r = b·M + m for each: `new` {node: [(R, C, 1) of each step]}."""

    def __init__(self, plan: Unrolled, own: Mapping[str, Tensor], values: Mapping[str, Tensor], before: Mapping[str, Tensor],
                 origins_bm: Tensor, dtype: torch.dtype) -> None:  # fmt: skip
        self._plan, self._own, self._dtype = plan, own, dtype
        self.new: dict[str, list[Tensor]] = {name: [] for name in plan._moving}
        self._past = {
            name: dict(zip(places, _gathered(values[name], before.get(name), origins_bm, places), strict=True))
            for name, places in plan._past.items()
        }
        count = origins_bm.shape[1]
        constant = {name for name, kind in plan._found.types.items() if not kind.timed and not kind.indexed}
        self._constant = {name: values[name].repeat_interleave(count, dim=0) for name in constant}

    def compute(self, nodes: list[Node], k: int) -> None:
        """Compute the nodes at position o + k."""
        for node in nodes:
            weight, bias = self._own.get(f"{node.name}.weight"), self._own.get(f"{node.name}.bias")
            if isinstance(node.op, ops.WindowedOp):
                windows = [self._window(name, k, self._plan.offsets[node.name]) for name in node.inputs]
                value = windowed(node.op, windows, weight, bias)
            else:
                args = [self._value(name, k) for name in node.inputs]
                value = lower.apply(node.op, args, [None] * len(args), weight, bias, 0, self._dtype)
            self.new[node.name].append(value)

    def _value(self, name: str, place: int) -> Tensor:
        """A constant (R, C), or the value (R, C, 1) at position o + place."""
        if name in self._constant:
            return self._constant[name]
        return self.new[name][place] if name in self.new and place >= 0 else self._past[name][place]

    def _window(self, name: str, k: int, offsets: tuple[int, ...]) -> Tensor:
        if len(offsets) == 1:
            return self._value(name, k - offsets[0])
        return torch.cat([self._value(name, k - offset) for offset in offsets], dim=2)


def windowed(op: ops.WindowedOp, windows: list[Tensor], weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """One position of an operator from what its taps see, (R, C, K), the oldest first."""
    match op:
        case ops.Conv1d():
            assert weight is not None
            return F.conv1d(windows[0], weight, bias, groups=op.groups)
        case ops.Shift():
            return windows[0]
        case ops.Pool1d():
            side_by_side = ops.Pool1d(op.kind, op.kernel, op.pad)
            return lower.pool1d(side_by_side, windows[0], None, windows[1] if op.pad == "exclude" else None)[:, :, -1:]
        case _:
            assert_never(op)


def _gathered(values: Tensor, before: Tensor | None, origins_bm: Tensor, places: list[int]) -> tuple[Tensor, ...]:
    """The values x_bct at o + place of every place, each (R, C, 1); at t < 0 `before`, or 0."""
    batch, channels, _ = values.shape
    at = origins_bm[:, :, None] + torch.tensor(places, device=origins_bm.device)
    flat = at.reshape(batch, 1, -1)
    found = values.gather(2, flat.clamp(min=0).expand(-1, channels, -1))
    found = torch.where(flat < 0, before if before is not None else found.new_zeros(()), found)
    rows = found.reshape(batch, channels, origins_bm.shape[1], len(places)).transpose(1, 2).reshape(-1, channels, len(places))
    return torch.split(rows, 1, dim=2)


def _at(truth: Tensor, at_bm: Tensor) -> Tensor:
    """Of x_bt or x_bct the values at positions t_bm, a row for each: (R, 1) or (R, C, 1)."""
    if truth.ndim == 2:
        return truth.gather(1, at_bm).reshape(-1, 1)
    found = truth.gather(2, at_bm[:, None].expand(-1, truth.shape[1], -1))
    return found.transpose(1, 2).reshape(-1, truth.shape[1], 1)
