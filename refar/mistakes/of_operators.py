"""Every known mistake of every operator, by its name, and what code that makes it gives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from refar.arguments.arrays import Arrays
from refar.golden.case import Case, Signature
from refar.golden.compare import as_dtype
from refar.golden.operator import result_and_gradients
from refar.mistakes import convolution1d, convolution2d, losses, pointwise, pooling, quantizers, sampling
from refar.mistakes.mistake import Mistake

ONES = "gradient: upstream taken as ones"
"""A mistake that every operator with a gradient can have."""

MISTAKES: dict[str, Mapping[str, Mistake]] = {
    "causal_conv1d": convolution1d.MISTAKES,
    "masked_conv2d": convolution2d.MISTAKES,
    "causal_pool1d": pooling.POOLS,
    "shift1d": pooling.SHIFTS,
    "shift2d": pooling.SHIFTS_2D,
    "gate": pointwise.GATES,
    "softmax": pointwise.SOFTMAXES,
    "activation": pointwise.ACTIVATIONS,
    "one_hot": pointwise.ONE_HOTS,
    "embedding": pointwise.EMBEDDINGS,
    "standardize": pointwise.STANDARDIZATIONS,
    "positional_encoding": pointwise.POSITIONS,
    "log_softmax": losses.LOG_SOFTMAXES,
    "cross_entropy": losses.CROSS_ENTROPIES,
    "gaussian": losses.GAUSSIANS,
    "mixture_logistics": losses.MIXTURES,
    "mu_law_encode": quantizers.MU_LAW_ENCODERS,
    "mu_law_decode": quantizers.MU_LAW_DECODERS,
    "linear_encode": quantizers.LINEAR_ENCODERS,
    "linear_decode": quantizers.LINEAR_DECODERS,
    "sample_categorical": sampling.CATEGORICALS,
    "sample_mixture_logistics": sampling.MIXTURES,
    "sample_gaussian": sampling.GAUSSIANS,
    "inverse_cdf": sampling.INVERSE_CDFS,
    "uniform": sampling.UNIFORMS,
    "gumbel_noise": sampling.GUMBEL_NOISES,
    "gumbel_softmax": losses.GUMBELS,
}


def names_of(operator: str) -> list[str]:
    """Name the mistakes that this operator can have."""
    return [*MISTAKES[operator], ONES]


def wrong(name: str, case: Case, signature: Signature, dtype: str = "float64") -> Arrays:
    """Compute what code with this mistake gives on a case in a dtype; {} where it cannot be made."""
    arrays = as_dtype(case.arrays, dtype)
    with np.errstate(all="ignore"):
        if name != ONES:
            return MISTAKES[case.operator][name](arrays, case.attributes)
        if signature.upstream not in arrays:
            return {}
        arrays[signature.upstream] = np.ones_like(arrays[signature.upstream])
        found = result_and_gradients(case.operator, case.attributes, arrays, np.dtype(dtype))
    return {key: array for key, array in found.items() if key != signature.result}
