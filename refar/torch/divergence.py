"""Whether training stays finite. What decides that stays on the device, and is read every few steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from refar.errors import RefarError

READ_EVERY = 16
"""After so many steps what the device has noted is read; before each validation and each checkpoint, too."""


class DivergenceError(RefarError):
    """Training met a loss, gradient or parameter that is not finite."""


class Watch:
    """Notes of each step, on the device, whether its loss and gradients are finite; the first that are not stop all updates.

    `stopped` () is 1 from the first such step on, else 0. AdamW leaves the parameters alone where its `found_inf` is 1, so they
    stay as that step met them until somebody reads the notes.
    """

    def __init__(self, names: Sequence[str], parameters: Sequence[Tensor]) -> None:
        device = parameters[0].device
        self._names, self._parameters = names, parameters
        self._noted = torch.zeros(READ_EVERY, len(names) + 2, device=device)
        self._first, self._steps = 0, 0
        self.stopped = torch.zeros((), device=device)

    def note(self, step: int, loss: Tensor, norms_p: Tensor, norm: Tensor) -> None:
        """Note step number `step`: its loss (), the norm of each gradient (P,) and the norm of all ()."""
        if self._steps == 0:
            self._first = step
        torch.cat([torch.stack([loss, norm]), norms_p], out=self._noted[self._steps])
        self._steps += 1
        self.stopped.masked_fill_(~torch.isfinite(loss + norm), 1.0)

    @property
    def full(self) -> bool:
        """Whether the notes must be read before another step."""
        return self._steps == READ_EVERY

    def read(self) -> None:
        """Read the notes and begin new ones. Raises DivergenceError that names the step, and the first parameter at fault."""
        steps, self._steps = self._steps, 0
        if steps == 0:
            return
        broken = self._first_broken_parameter()
        if not self.stopped.item():
            if broken is not None:
                self._raise_update(self._first + steps - 1, broken)
            return
        noted = self._noted[:steps].cpu()
        bad = int((~torch.isfinite(noted[:, 0] + noted[:, 1])).int().argmax())
        if broken is not None:
            self._raise_update(self._first + bad - 1, broken)
        loss, norm, *norms = noted[bad].tolist()
        at_fault = [name for name, value in zip(self._names, norms, strict=True) if not math.isfinite(value)]
        layer = f"; the first gradient that is not finite is that of {at_fault[0]!r}" if at_fault else ""
        came = f"loss {loss}, gradient norm {norm}"
        raise DivergenceError(f"step {self._first + bad}: expected a finite loss and gradient, got {came}{layer}")

    def _raise_update(self, step: int, name: str) -> None:
        raise DivergenceError(
            f"step {step}: expected finite parameters after the update, got {name!r} with values that are not finite"
        )

    def _first_broken_parameter(self) -> str | None:
        norms = torch._foreach_norm(list(self._parameters), float("inf"))
        finite = torch.isfinite(torch.stack([norm.float() for norm in norms])).tolist()
        return next((name for name, fine in zip(self._names, finite, strict=True) if not fine), None)
