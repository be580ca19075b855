"""A network of two layers as anybody writes it: the whole, position by position, in pieces, and as a class."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(0)
W1, B1 = RNG.normal(size=(4, 2, 3)), RNG.normal(size=4)
W2, B2 = RNG.normal(size=(3, 4, 2)), RNG.normal(size=3)
D1, D2 = 2, 4
SHAPE = (3, 2, 30)
State = dict[str, np.ndarray]


def conv(x: np.ndarray, w: np.ndarray, b: np.ndarray, dilation: int) -> np.ndarray:
    kernel, length = w.shape[2], x.shape[2]
    padded = np.concatenate([np.zeros((*x.shape[:2], (kernel - 1) * dilation)), x], axis=2)
    taps = [np.einsum("oi,bit->bot", w[:, :, k], padded[:, :, k * dilation :][:, :, :length]) for k in range(kernel)]
    return b[:, None] + sum(taps)


def full(x: np.ndarray) -> np.ndarray:
    return conv(np.maximum(conv(x, W1, B1, D1), 0), W2, B2, D2)


def zeros(rows: int, first: int = 2 * D1, second: int = D2) -> State:
    return {"x": np.zeros((rows, 2, first)), "h": np.zeros((rows, 4, second))}


def one(window: np.ndarray, w: np.ndarray, b: np.ndarray, dilation: int) -> np.ndarray:
    last = window.shape[2] - 1
    taps = [window[:, :, last - (w.shape[2] - 1 - k) * dilation] @ w[:, :, k].T for k in range(w.shape[2])]
    return b + sum(taps)


def step(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
    first = np.concatenate([state["x"], x[:, :, None]], axis=2)
    h = np.maximum(one(first, W1, B1, D1), 0)
    second = np.concatenate([state["h"], h[:, :, None]], axis=2)
    return one(second, W2, B2, D2), {"x": first[:, :, 1:], "h": second[:, :, 1:]}


def block(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
    first = np.concatenate([state["x"], x], axis=2)
    h = np.maximum(conv(first, W1, B1, D1)[:, :, state["x"].shape[2] :], 0)
    second = np.concatenate([state["h"], h], axis=2)
    return conv(second, W2, B2, D2)[:, :, state["h"].shape[2] :], {"x": first[:, :, -2 * D1 :], "h": second[:, :, -D2:]}


class Steps:
    """The same as a class."""

    state: State

    def reset(self) -> None:
        self.state = zeros(3)

    def step(self, x: np.ndarray) -> np.ndarray:
        y, self.state = step(self.state, x)
        return y

    def chunk(self, x: np.ndarray) -> np.ndarray:
        y, self.state = block(self.state, x)
        return y
