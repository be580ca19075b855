"""[loss]: what training minimises."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta, Struct

Weight = Annotated[float, Meta(ge=0)]


class LossConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[loss]: `kind` of a pair of output and truth, summed over the positions that count.

    "nats": -log p(x_t | x_<t) under the network's head, which must be strict. "mse" and "esr": a network that maps x onto the
    `target` of the data, mean square or error-to-signal ratio; `pre_emphasis` is a of the filter s[t] - a·s[t-1] (0.85 is usual)
    and `dc` the weight of the squared mean, both of "esr" alone. `context=false` leaves out the first positions, those whose
    receptive field begins before the sequence. Where the data have `lengths`, what is behind them never counts.

    With a `horizon` n the network is also unrolled: from `origins` positions of each sequence, drawn anew in each step, n of its
    own tokens are fed back, with gradients through them, and its nats of the truth are averaged. The loss is then
    one_step · (mean nats) + unrolled · (mean nats of the n tokens). `feedback` is "straight-through" or "gumbel-softmax" with
    `temperature` for classes, "mean" or "sample" for signals; the first of them if it is left out. See `refar.Unrolling`.
    """

    kind: Literal["nats", "mse", "esr"] = "nats"
    context: bool = True
    pre_emphasis: Annotated[float, Meta(ge=0, le=1)] = 0.0
    dc: Weight = 0.0
    horizon: Annotated[int, Meta(ge=0)] = 0
    origins: Annotated[int, Meta(ge=1)] = 1
    feedback: Literal["straight-through", "gumbel-softmax", "mean", "sample"] | None = None
    temperature: Annotated[float, Meta(gt=0)] = 1.0
    one_step: Weight = 1.0
    unrolled: Weight = 1.0

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{field}: expected a finite number, got {value}")
        defaults = dict(zip(self.__struct_fields__, self.__struct_defaults__, strict=True))
        changed = [name for name, default in defaults.items() if getattr(self, name) != default]
        for name in changed:
            if name in ("pre_emphasis", "dc") and self.kind != "esr":
                raise ValueError(f"{name}: expected kind = 'esr' beside it, got {self.kind!r}")
            if name in ("origins", "feedback", "temperature", "one_step", "unrolled") and self.horizon == 0:
                raise ValueError(f"{name}: expected a horizon beside it, how many tokens are fed back; there is none")
        if self.horizon and self.kind != "nats":
            raise ValueError(f"horizon: expected kind = 'nats' beside it, got {self.kind!r}")
        if self.one_step == self.unrolled == 0:
            raise ValueError("one_step, unrolled: expected one of them > 0, got 0 and 0")

    @property
    def terms(self) -> dict[str, float]:
        """The terms that are added up, {name: weight}."""
        return {"nats": self.one_step, "unrolled": self.unrolled} if self.horizon else {self.kind: 1.0}

    @property
    def unit(self) -> str:
        """The name of the loss in the log: its kind, or "loss" where it is a sum of several."""
        return "loss" if self.horizon else self.kind
