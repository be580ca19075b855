"""Right code that nobody here bent to fit: step functions and chunked functions as people write them, against the whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refar.testing import check_streaming

Array = np.ndarray
DILATION, CHANNELS = 3, 4
SHAPE = (2, CHANNELS, 40)
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(CHANNELS, CHANNELS, 3)).astype(np.float32)
BIAS = RNG.normal(size=CHANNELS).astype(np.float32)
W, B = torch.from_numpy(WEIGHT), torch.from_numpy(BIAS)
PAST = 2 * DILATION


def whole(x: Array) -> Array:
    return tensors(torch.from_numpy(x)).numpy()


def tensors(x: Tensor) -> Tensor:
    return torch.tanh(F.conv1d(F.pad(x, (PAST, 0)), W, B, dilation=DILATION))


def now(taps: list[Array]) -> Array:
    return np.tanh(sum(tap @ WEIGHT[:, :, k].T for k, tap in enumerate(taps)) + BIAS)


def with_deque(state: Any, x: Array) -> tuple[Array, Any]:
    queue = deque(state, maxlen=PAST + 1)
    queue.append(x)
    return now([queue[0], queue[DILATION], queue[-1]]), queue


def with_list(state: list[Array], x: Array) -> tuple[Array, list[Array]]:
    state = [*state, x]
    return now([state[0], state[DILATION], state[PAST]]), state[1:]


def with_roll(state: Array, x: Array) -> tuple[Array, Array]:
    state = np.roll(state, -1, axis=-1)
    state[..., -1] = x
    return now([state[..., 0], state[..., DILATION], state[..., -1]]), state


def with_concatenate(state: Array, x: Array) -> tuple[Array, Array]:
    window = np.concatenate([state, x[..., None]], axis=-1)
    return now([window[..., 0], window[..., DILATION], window[..., -1]]), window[..., 1:]


def with_ring(state: tuple[Array, int], x: Array) -> tuple[Array, tuple[Array, int]]:
    ring, t = state[0].copy(), state[1]
    oldest, middle = ring[..., t % PAST].copy(), ring[..., (t - DILATION) % PAST].copy()
    ring[..., t % PAST] = x
    return now([oldest, middle, x]), (ring, t + 1)


def with_dict(state: dict[str, Array], x: Array) -> tuple[Array, dict[str, Array]]:
    y, past = with_concatenate(state["past"], x)
    return y, {"past": past}


class Past(NamedTuple):
    past: Array
    count: int


def with_named_tuple(state: Past, x: Array) -> tuple[Array, Past]:
    y, past = with_concatenate(state.past, x)
    return y, Past(past, state.count + 1)


def zeros(rows: int) -> Array:
    return np.zeros((rows, CHANNELS, PAST), np.float32)


STEPS: dict[str, tuple[Callable[..., Any], Callable[[int], Any]]] = {
    "deque": (with_deque, lambda rows: deque([np.zeros((rows, CHANNELS), np.float32)] * (PAST + 1), maxlen=PAST + 1)),
    "list": (with_list, lambda rows: [np.zeros((rows, CHANNELS), np.float32)] * PAST),
    "roll": (with_roll, lambda rows: np.zeros((rows, CHANNELS, PAST + 1), np.float32)),
    "concatenate": (with_concatenate, zeros),
    "ring and a counter": (with_ring, lambda rows: (zeros(rows), 0)),
    "a dict": (with_dict, lambda rows: {"past": zeros(rows)}),
    "a named tuple": (with_named_tuple, lambda rows: Past(zeros(rows), 0)),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps(name: str) -> None:
    step, state = STEPS[name]
    check_streaming(whole, step, initial_state=state, shape=SHAPE)


def by_cat(cache: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    window = torch.cat([cache, x], dim=2)
    return torch.tanh(F.conv1d(window, W, B, dilation=DILATION)), window[..., -PAST:]


def by_roll(cache: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    buffer = F.pad(cache, (0, x.shape[2]))
    buffer[..., PAST:] = x
    return torch.tanh(F.conv1d(buffer, W, B, dilation=DILATION)), buffer[..., x.shape[2] :].clone()


def recomputed(seen: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The last window is computed anew, with all of the past kept."""
    seen = torch.cat([seen, x], dim=2)
    return tensors(seen[..., -(PAST + x.shape[2]) :])[..., -x.shape[2] :], seen[..., -(PAST + x.shape[2]) :]


CHUNKS: dict[str, Callable[..., Any]] = {"cat": by_cat, "a padded buffer": by_roll, "the window anew": recomputed}


@pytest.mark.parametrize("name", CHUNKS)
def test_chunks(name: str) -> None:
    check_streaming(
        tensors, CHUNKS[name], initial_state=torch.zeros(2, CHANNELS, PAST), shape=SHAPE, convert=torch.from_numpy, block=True
    )


class Layer(nn.Module):
    """A module with a buffer, as most of PyTorch's streaming code has it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("past", torch.zeros(2, CHANNELS, PAST))

    def reset(self) -> None:
        self.past = torch.zeros(2, CHANNELS, PAST)

    @torch.no_grad()
    def step(self, x: Tensor) -> Tensor:
        window = torch.cat([self.past, x[:, :, None]], 2)
        self.past = window[..., 1:]
        return torch.tanh(F.conv1d(window, W, B, dilation=DILATION))[..., 0]


def test_a_module_with_a_buffer() -> None:
    check_streaming(tensors, Layer(), shape=SHAPE, convert=torch.from_numpy)
    check_streaming(tensors, Layer, shape=SHAPE, convert=torch.from_numpy)


def test_exact_integers() -> None:
    table = RNG.integers(0, 9, 5)

    def full(x: Array) -> Array:
        y: Array = (table[x] + np.pad(table[x], ((0, 0), (2, 0)))[:, :-2])[:, None]
        return y

    def step(state: Array, x: Array) -> tuple[Array, Array]:
        value = table[x]
        return (value + state[:, 0])[:, None], np.stack([state[:, 1], value], 1)

    check_streaming(full, step, initial_state=lambda rows: np.zeros((rows, 2), int), shape=(2, 30), classes=5, exact=True)


def test_a_recurrence() -> None:
    """An exponential average looks back for ever, and dies away."""

    def full(x: Array) -> Array:
        y, h = np.zeros_like(x), np.zeros_like(x[..., 0])
        for t in range(x.shape[2]):
            h = 0.9 * h + 0.1 * x[..., t]
            y[..., t] = h
        return y

    def step(h: Array, x: Array) -> tuple[Array, Array]:
        h = 0.9 * h + 0.1 * x
        return h, h

    check_streaming(full, step, initial_state=lambda rows: np.zeros((rows, CHANNELS), np.float32), shape=SHAPE)


def test_an_lstm() -> None:
    torch.manual_seed(0)
    cell = nn.LSTM(CHANNELS, 5, batch_first=True)

    def full(x: Tensor) -> Tensor:
        return cell(x.transpose(1, 2))[0].transpose(1, 2)

    def step(state: Any, x: Tensor) -> tuple[Tensor, Any]:
        y, state = cell(x[:, None], state)
        return y[:, 0], state

    check_streaming(full, step, initial_state=lambda rows: (torch.zeros(1, rows, 5),) * 2, shape=SHAPE, convert=torch.from_numpy)
