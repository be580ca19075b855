"""How to check code of your own: a causal convolution in NumPy, and a stack of them that keeps queues."""

import numpy as np
import pytest

from refar.testing import ContractError, check_causality, check_function, check_streaming

RNG = np.random.default_rng(0)
WEIGHTS = [RNG.normal(size=(5, 3, 2)), RNG.normal(size=(4, 5, 2))]
DILATIONS = [1, 4]


def causal_conv(x, weight, bias=None, *, dilation=1):
    """x (B, C, T): zeros on the left, then weighted sums of samples that lie `dilation` apart."""
    kernel, length = weight.shape[2], x.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), ((kernel - 1) * dilation, 0)))
    y = sum(np.einsum("oi,bit->bot", weight[:, :, k], padded[:, :, k * dilation :][:, :, :length]) for k in range(kernel))
    return y if bias is None else y + bias[:, None]


def network(x):
    for weight, dilation in zip(WEIGHTS, DILATIONS, strict=True):
        x = np.tanh(causal_conv(x, weight, dilation=dilation))
    return x


class Generator:
    """The same, one sample at a time."""

    def reset(self):
        self.queues = [np.zeros((2, weight.shape[1], dilation)) for weight, dilation in zip(WEIGHTS, DILATIONS, strict=True)]

    def step(self, x):
        for n, weight in enumerate(WEIGHTS):
            oldest, queue = self.queues[n][:, :, 0], self.queues[n][:, :, 1:]
            self.queues[n] = np.concatenate([queue, x[:, :, None]], axis=2)
            x = np.tanh(oldest @ weight[:, :, 0].T + x @ weight[:, :, 1].T)
        return x


def test_the_convolution_is_the_definition():
    check_function(causal_conv, "causal_conv1d", only={"groups": 1, "strict": False})


def test_it_is_causal_and_sees_what_it_should():
    found = check_causality(network, shape=(2, 3, 20), reach={0, 1, 4, 5})
    assert found.receptive_field == 6


def test_step_by_step_is_the_same():
    check_streaming(network, Generator(), shape=(2, 3, 20))


def test_forgetting_the_dilation_is_seen():
    with pytest.raises(ContractError, match="they lie 1 apart where 4 was meant"):
        check_causality(lambda x: causal_conv(x, WEIGHTS[0], dilation=1), shape=(2, 3, 20), reach={0, 4})
