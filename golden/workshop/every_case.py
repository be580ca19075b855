"""Every golden case, computed anew, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator

from refar.golden.case import Case
from workshop.conv1d_cases import CAUSAL_CONV1D
from workshop.conv2d_cases import MASKED_CONV2D
from workshop.density_cases import DENSITIES
from workshop.function_cases import FUNCTION_CASES
from workshop.generation_cases import GENERATE
from workshop.invalid_graphs import INVALID
from workshop.learnt_scale_cases import LEARNT_SCALES
from workshop.loss_cases import GUMBEL_SOFTMAX, LOG_SOFTMAX, LOSSES
from workshop.making import FamilyMaker, OperatorMaker
from workshop.network_cases import NETWORK
from workshop.norm_cases import NORM_CASES
from workshop.pointwise_cases import POINTWISE
from workshop.pooling_cases import CAUSAL_POOL1D, SHIFT1D, SHIFT2D
from workshop.quantizer_cases import QUANTIZERS
from workshop.sampler_cases import SAMPLERS
from workshop.stream_cases import STEPS

OPERATORS: tuple[OperatorMaker, ...] = (
    CAUSAL_CONV1D, MASKED_CONV2D, CAUSAL_POOL1D, SHIFT1D, SHIFT2D, *POINTWISE, LOG_SOFTMAX, *LOSSES, *QUANTIZERS, *SAMPLERS,
    GUMBEL_SOFTMAX, *LEARNT_SCALES, *FUNCTION_CASES, *NORM_CASES,
)  # fmt: skip
"""Those with a signature: arrays in, arrays out."""

FAMILIES: tuple[FamilyMaker, ...] = (*(each.family() for each in OPERATORS), NETWORK, *STEPS, *DENSITIES, GENERATE, INVALID)


def every_case() -> Iterator[Case]:
    """Compute every case."""
    for family in FAMILIES:
        yield from family.make()
