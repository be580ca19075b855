"""Every known mistake of every operator, by its name, and what code that makes it gives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from refar.arguments.arrays import Arrays
from refar.golden.case import Case, Signature
from refar.golden.compare import as_dtype
from refar.golden.operator import result_and_gradients
from refar.mistakes import convolution_mistakes as convolutions
from refar.mistakes import elementwise_mistakes as elementwise
from refar.mistakes import learnt_scale_mistakes as learnt_scales
from refar.mistakes import loss_mistakes as losses
from refar.mistakes import norm_mistakes as norms
from refar.mistakes import pooling_mistakes as pooling
from refar.mistakes import precision_mistakes as precisions
from refar.mistakes import quantizer_mistakes as quantizers
from refar.mistakes import sampler_mistakes as samplers
from refar.mistakes.function_mistakes import FUNCTION_MISTAKES
from refar.mistakes.on_arrays import Mistake
from refar.mistakes.size_mistakes import SIZED

ONES = "gradient: upstream taken as ones"
"""A mistake that every operator with a gradient can have."""

MISTAKES: dict[str, Mapping[str, Mistake]] = {
    "causal_conv1d": convolutions.CAUSAL_CONV1D,
    "masked_conv2d": convolutions.MASKED_CONV2D,
    "causal_pool1d": pooling.CAUSAL_POOL1D,
    "shift1d": pooling.SHIFT1D,
    "shift2d": pooling.SHIFT2D,
    "gate": elementwise.GATES,
    "softmax": elementwise.SOFTMAXES,
    "activation": elementwise.ACTIVATIONS,
    "one_hot": elementwise.ONE_HOTS,
    "embedding": elementwise.EMBEDDINGS,
    "standardize": elementwise.STANDARDIZATIONS,
    "positional_encoding": elementwise.POSITIONS,
    "layer_norm": norms.LAYER_NORMS,
    "rms_norm": norms.RMS_NORMS,
    "prelu": norms.PRELUS,
    **FUNCTION_MISTAKES,
    "log_softmax": losses.LOG_SOFTMAXES,
    "cross_entropy": losses.CROSS_ENTROPIES,
    "gaussian": losses.GAUSSIANS,
    "mixture_logistics": losses.MIXTURES,
    "mu_law_encode": quantizers.MU_LAW_ENCODERS,
    "mu_law_decode": quantizers.MU_LAW_DECODERS,
    "linear_encode": quantizers.LINEAR_ENCODERS,
    "linear_decode": quantizers.LINEAR_DECODERS,
    "sample_categorical": samplers.CATEGORICALS,
    "sample_mixture_logistics": samplers.MIXTURES,
    "sample_gaussian": samplers.GAUSSIANS,
    "inverse_cdf": samplers.INVERSE_CDFS,
    "uniform": samplers.UNIFORMS,
    "gumbel_noise": samplers.GUMBEL_NOISES,
    "gumbel_softmax": losses.GUMBELS,
    "learnt_gaussian": learnt_scales.LEARNT_GAUSSIANS,
    "mixture_gaussians": learnt_scales.MIXTURES,
    "sample_learnt_gaussian": learnt_scales.LEARNT_GAUSSIAN_SAMPLES,
    "sample_mixture_gaussians": learnt_scales.MIXTURE_SAMPLES,
}


def names_of(operator: str, large: bool = False) -> list[str]:
    """Name the mistakes that this operator can have; those that show in `large` cases alone among them, if asked for."""
    return [*(SIZED.get(operator, {}) if large else {}), *MISTAKES[operator], ONES, *precisions.NAMES]


def wrong(name: str, case: Case, signature: Signature, dtype: str = "float64") -> Arrays:
    """Compute what code with this mistake gives on a case in a dtype; {} where it cannot be made."""
    arrays = as_dtype(case.arrays, dtype)
    with np.errstate(all="ignore"):
        known = {**MISTAKES[case.operator], **SIZED.get(case.operator, {})}
        if name in known:
            return known[name](arrays, case.attributes)
        if name in precisions.ARGUMENTS:
            return _right(case, precisions.rounded(arrays, precisions.ARGUMENTS[name]), dtype)
        if name in precisions.RESULTS:
            return precisions.rounded(_right(case, arrays, dtype), precisions.RESULTS[name])
        if signature.upstream not in arrays:
            return {}
        arrays[signature.upstream] = np.ones_like(arrays[signature.upstream])
        found = _right(case, arrays, dtype)
    return {key: array for key, array in found.items() if key != signature.result}


def _right(case: Case, arrays: Arrays, dtype: str) -> Arrays:
    return result_and_gradients(case.operator, case.attributes, arrays, np.dtype(dtype))
