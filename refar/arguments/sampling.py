"""How tokens are drawn: the options of generation that do not depend on the backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from numpy.typing import ArrayLike

from refar import ops
from refar.arguments.arrays import Data


class SamplingOptions(TypedDict, total=False):
    """The options of `refar.generate` that every way of generating has."""

    batch: int | None
    seed: int
    temperature: float
    top_k: int | None
    prompt: ArrayLike | None
    condition: Data | None


@dataclass(frozen=True)
class Sampling:
    """`temperature` divides the logits, `top_k` keeps the largest ones, row b of `batch` draws stream b of the `seed`."""

    head: ops.AnyHead
    batch: int | None = None
    seed: int = 0
    temperature: float = 1.0
    top_k: int | None = None
