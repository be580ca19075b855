"""How to check code of your own: a causal network in Keras, whose channels come last. Run by `pytest -m foreign`."""

import os

import numpy as np
import pytest

from refar.testing import ContractError, check_causality, check_function, check_streaming

pytestmark = [pytest.mark.foreign, pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # torch and NumPy, within Keras


@pytest.fixture(scope="module")
def keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def network(keras, padding):
    layers = [keras.layers.Conv1D(5, 2, padding=padding, dilation_rate=d, activation="tanh") for d in (1, 4)]
    model = keras.Sequential([keras.Input((None, 3)), *layers])
    return lambda x: keras.ops.convert_to_numpy(model(x.transpose(0, 2, 1))).transpose(0, 2, 1)


def test_the_convolution_is_the_definition(keras):
    def causal_conv(x, weight, bias=None, *, dilation):
        padded = keras.ops.pad(x, [[0, 0], [0, 0], [(weight.shape[2] - 1) * dilation, 0]])
        kernel = keras.ops.transpose(weight, (2, 1, 0))
        y = keras.ops.conv(padded, kernel, dilation_rate=dilation, data_format="channels_first")
        return y if bias is None else y + bias[:, None]

    tensor = lambda array: keras.ops.convert_to_tensor(array)  # noqa: E731
    check_function(causal_conv, "causal_conv1d", convert=tensor, only={"groups": 1, "strict": False})


def test_it_is_causal_and_sees_what_it_should(keras):
    check_causality(network(keras, "causal"), shape=(2, 3, 20), reach={0, 1, 4, 5})


def test_step_by_step_is_the_same(keras):
    """The state is the last five samples, and how many there have been: what lies before the start is no sample."""
    model = network(keras, "causal")

    def step(state, x):
        window = np.concatenate([state["window"], x[:, :, None]], axis=2)
        seen = min(state["seen"] + 1, 6)
        return model(window[:, :, -seen:])[:, :, -1], {"window": window[:, :, 1:], "seen": seen}

    fresh = {"window": np.zeros((2, 3, 5), np.float32), "seen": 0}
    check_streaming(model, step, shape=(2, 3, 20), initial_state=fresh)


def test_same_padding_is_seen(keras):
    with pytest.raises(ContractError, match="it sees the future"):
        check_causality(network(keras, "same"), shape=(2, 3, 20))
