"""The form that is told by a mask which inputs it may use, and makes one pass for each output."""

import numpy as np
import pytest

import refar
from refar import models

LENGTH = 12


@pytest.mark.row("001-13")
def test_masked_inputs_give_what_one_causal_pass_gives():
    """f(mask, masked values): T passes, of each of which one output counts, where the causal network needs one over (1, x)."""
    graph = models.wavenet(signal=2, dilations=[1, 2], residual=4, gate=4, skip=4)
    params = refar.init(graph, seed=0)
    x = np.random.default_rng(0).normal(size=LENGTH)
    together = refar.forward(graph, params, np.stack([np.ones(LENGTH), x])[None])
    known = (np.arange(LENGTH) < np.arange(LENGTH)[:, None]).astype(float)
    passes = [refar.forward(graph, params, np.stack([mask, mask * x])[None])[..., t] for t, mask in enumerate(known)]
    np.testing.assert_array_equal(np.stack(passes, axis=-1), together)
    unmasked = refar.forward(graph, params, np.stack([np.ones(LENGTH), 0 * x])[None])
    assert abs(unmasked - together).max() > 1e-3, "the values count"
    hidden = refar.forward(graph, params, np.stack([np.zeros(LENGTH), 0 * x])[None])
    assert abs(unmasked - hidden).max() > 1e-3, "the mask tells a zero from a gap"
