"""How to check code of your own: a causal network in JAX, compiled, and its pure step function. Run by `pytest -m foreign`."""

import numpy as np
import pytest

from refar.testing import ContractError, check_causality, check_function, check_streaming

pytestmark = pytest.mark.foreign

RNG = np.random.default_rng(0)
WEIGHTS = [RNG.normal(size=(5, 3, 2)).astype(np.float32), RNG.normal(size=(4, 5, 2)).astype(np.float32)]
DILATIONS = [1, 4]


def causal_conv(x, weight, bias=None, *, dilation, groups, strict):
    import jax

    padding = [((weight.shape[2] - 1) * dilation + strict, -int(strict))]
    y = jax.lax.conv_general_dilated(x, weight, (1,), padding, rhs_dilation=(dilation,), feature_group_count=groups)
    return y if bias is None else y + bias[:, None]


def gradient(dy, *arrays, **attributes):
    import jax

    given = [array for array in arrays if array is not None]
    return jax.vjp(lambda *a: causal_conv(*a, **attributes), *given)[1](dy)


def network(x, left=1):
    """`left` times the dilation zeros on the left, and as many fewer on the right."""
    import jax

    for weight, dilation in zip(WEIGHTS, DILATIONS, strict=True):
        padding = [(left * dilation, (1 - left) * dilation)]
        x = jax.numpy.tanh(jax.lax.conv_general_dilated(x, weight, (1,), padding, rhs_dilation=(dilation,)))
    return x


def step(queues, x):
    import jax

    kept = []
    for weight, queue in zip(WEIGHTS, queues, strict=True):
        kept.append(jax.numpy.concatenate([queue[:, :, 1:], x[:, :, None]], axis=2))
        x = jax.numpy.tanh(queue[:, :, 0] @ weight[:, :, 0].T + x @ weight[:, :, 1].T)
    return x, kept


def zeros(rows):
    return [np.zeros((rows, weight.shape[1], d), np.float32) for weight, d in zip(WEIGHTS, DILATIONS, strict=True)]


def test_the_convolution_and_its_gradient_are_the_definition():
    check_function(causal_conv, "causal_conv1d", gradient=gradient, dtypes=["float32"])


def test_it_is_causal_and_sees_what_it_should():
    import jax

    check_causality(jax.jit(network), shape=(2, 3, 20), reach={0, 1, 4, 5})


def test_step_by_step_is_the_same():
    import jax

    check_streaming(jax.jit(network), jax.jit(step), shape=(2, 3, 20), initial_state=zeros)


def test_padding_on_the_right_is_seen():
    with pytest.raises(ContractError, match="and nothing of the past"):
        check_causality(lambda x: network(x, left=0), shape=(2, 3, 20))
