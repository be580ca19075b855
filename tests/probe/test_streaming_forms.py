"""`check_streaming` on steps of other forms: frames, delayed outputs, packed sequences, beams, any order, any kind of state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from helpers import refuses
from kit_streams import D2, State, Steps, block, full, step, zeros

from refar.errors import InputError
from refar.testing import ContractError, check_streaming

Result = tuple[np.ndarray | None, Any]
OPTIONS: dict[str, Any] = {"shape": (3, 2, 18), "initial_state": zeros, "dtype": "float64"}


def says(words: str, whole: Any, wrong: Any, **options: Any) -> None:
    with pytest.raises(ContractError) as caught:
        check_streaming(whole, wrong, **{**OPTIONS, **options})
    assert words in str(caught.value), str(caught.value)


# frames of one size


def frame(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
    if x.shape[2] != 6:
        raise ValueError("a frame has 6 samples")
    return block(state, x)


def restarted(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
    return frame(zeros(3), x)[0], frame(state, x)[1]


def test_frames_of_one_size() -> None:
    report = check_streaming(full, frame, block=6, reorder=True, **OPTIONS)
    assert report.lines[1].figure.startswith("3 chunks of 6, largest difference")
    says("nothing is carried over: every chunk is answered as if it were the first", full, restarted, block=6)
    says("in chunks of [18]: frame raises ValueError: a frame has 6 samples", full, frame, block=True)
    with refuses(InputError, "shape: expected a multiple of block=7 positions, got 18"):
        check_streaming(full, frame, block=7, **OPTIONS)
    with refuses(InputError, "block: expected an integer"):
        check_streaming(full, frame, block=0, **OPTIONS)


# outputs that come later


def ahead(x: np.ndarray) -> np.ndarray:
    """Sees two positions ahead."""
    return full(np.concatenate([x, np.zeros((*x.shape[:2], 2))], axis=2))[:, :, 2:]


def holding(state: tuple[int, State], x: np.ndarray) -> Result:
    """Gives nothing at the first two steps."""
    count, inner = state
    y, new = step(inner, x)
    return y if count >= 2 else None, (count + 1, new)


class Pairs(Steps):
    """Gives its outputs two at a time."""

    def reset(self) -> None:
        super().reset()
        self.left = np.zeros((3, 3, 0))

    def step(self, x: np.ndarray) -> np.ndarray:
        queue = np.concatenate([self.left, self.chunk(x)], axis=2)
        count = queue.shape[2] // 2 * 2
        self.left = queue[:, :, count:]
        return queue[:, :, :count]

    def chunk(self, x: np.ndarray) -> np.ndarray:
        y, self.state = block(self.state, x)
        return y


class InPairs:
    """The same, of which nothing else is seen."""

    def reset(self) -> None:
        self.inner = Pairs()
        self.inner.reset()

    def step(self, x: np.ndarray) -> np.ndarray:
        return self.inner.step(x)


def test_outputs_that_come_later() -> None:
    for steps, whole in ((step, ahead), (holding, ahead)):
        first = zeros if steps is step else lambda rows: (0, zeros(rows))
        report = check_streaming(whole, steps, latency=2, reorder=True, **{**OPTIONS, "initial_state": first})
        assert report.passed
    check_streaming(full, InPairs, block=True, latency=1, **{**OPTIONS, "initial_state": None})
    says("it looks ahead, see check_causality; a step can give this only later, which latency= says", ahead, step)
    says("it looks beyond latency=1", ahead, step, latency=1)
    says("the right numbers, one position early", ahead, step, latency=3)
    late = "expected (3, 3, 1), as the whole function has it, got (3, 3, 0); if it holds outputs back, give latency="
    says(late, full, InPairs, block=True, initial_state=None)
    with refuses(InputError, "latency: expected less than the 18 positions of a sequence, got 18"):
        check_streaming(full, step, latency=18, **OPTIONS)


@pytest.mark.parametrize("latency", [1, 3])
@pytest.mark.parametrize("none", [True, False])
def test_what_is_held_back_has_no_dtype(latency: int, none: bool) -> None:
    """A step in float32, held to a whole function in float64, may be off by roundings of float32; a sum short of one is wrong."""

    def late(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x[:, :, :1] * 0, x[:, :, :-1]], axis=2) * 1.1 + x * 0.7

    def held(state: Any, x: np.ndarray, first: float = 1.1) -> tuple[Any, Any]:
        before, waiting = state
        x = x.astype(np.float32)
        *waiting, y = [before * np.float32(first) + x * np.float32(0.7), *waiting]
        if len(waiting) < latency:
            return None if none else np.zeros_like(y), (x, [*waiting, y])
        return y, (x, waiting)

    options: dict[str, Any] = {"shape": (2, 3, 30), "latency": latency, "seed": latency, "dtype": "float64"}
    options["initial_state"] = (np.zeros((2, 3), np.float32), [])
    assert "float32" in str(check_streaming(late, lambda s, x: held(s, x), **options))
    with pytest.raises(ContractError, match="expected"):
        check_streaming(late, lambda s, x: held(s, x, 1.101), **options)


# sequences one after the other


def packed(x: np.ndarray) -> np.ndarray:
    return np.concatenate([full(part) for part in np.split(x, [8], axis=2)], axis=2)


def leaking(x: np.ndarray) -> np.ndarray:
    """One position of the first sequence is seen by the second."""
    y = packed(x)
    y[:, :, 8] += x[:, :1, 7]
    return y


def test_sequences_one_after_the_other() -> None:
    report = check_streaming(packed, step, segments=[8, 10], **OPTIONS)
    assert report.lines[0].figure == "causal; segments are apart"
    check_streaming(packed, Steps, segments=[8, 10], **{**OPTIONS, "initial_state": None})
    check_streaming(packed, block, block=True, segments=[8, 10], **OPTIONS)
    for whole in (full, leaking):
        says("when x changes in the segment of positions 0 to 7 only: the whole function looks across the border", whole, step,
             segments=[8, 10])  # fmt: skip
    with refuses(InputError, "segments: expected lengths that make up the 18 positions, got [6, 6], 12 in all"):
        check_streaming(packed, step, segments=[6, 6], **OPTIONS)


# the order of the arguments


@pytest.mark.parametrize("seed", range(2))
def test_x_may_stand_first(seed: int) -> None:
    def usual(x: np.ndarray, cache: State) -> Result:
        return step(cache, x)

    check_streaming(full, usual, seed=seed, **OPTIONS)
    check_streaming(full, lambda a, b: step(b, a), seed=seed, **OPTIONS)

    def cumulative(a: np.ndarray, b: np.ndarray) -> Result:
        """Both orders run, one is right."""
        return a + b, a + 2 * b

    def whole(x: np.ndarray) -> np.ndarray:
        s, y = np.zeros_like(x[..., 0]), []
        for t in range(x.shape[-1]):
            y.append(x[..., t] + s)
            s = x[..., t] + 2 * s
        return np.stack(y, axis=-1)

    check_streaming(whole, cumulative, shape=(2, 2, 8), initial_state=np.zeros((2, 2), np.float32), seed=seed)


def test_the_order_is_asked_for_where_nothing_tells() -> None:
    def odd(a: np.ndarray, b: np.ndarray) -> Result:
        return a - 3 * b * b, a + b

    asks = "it is called as odd(state, x_t) → (y_t, state); if it takes them the other way round, name its parameters state and x"
    says(asks, lambda x: 5 * np.tanh(x), odd, shape=(2, 2, 12), initial_state=np.zeros((2, 2)))


def late(x: np.ndarray, state: State) -> Result:
    raise KeyError("h")


def test_a_step_that_names_its_arguments_is_called_so() -> None:
    says("late raises KeyError: 'h'", full, late)
    says("it is called as late(x_t, state) → (y_t, state), here with x_t of shape (3, 2)", full, late)


# states


class Named(NamedTuple):
    x: np.ndarray
    h: torch.Tensor
    nothing: None


@dataclass
class Inner:
    h: deque[np.ndarray]


@dataclass
class Outer:
    x: list[np.ndarray]
    inner: Inner
    count: int = 0


class Plain:
    def __init__(self, x: np.ndarray, h: np.ndarray) -> None:
        self.x, self.h = x, {"h": (h,)}


def as_named(state: State) -> Named:
    return Named(state["x"], torch.tensor(state["h"]), None)


def as_outer(state: State) -> Outer:
    return Outer(list(state["x"].transpose(2, 0, 1)), Inner(deque(state["h"].transpose(2, 0, 1), maxlen=D2)))


FORMS: dict[str, tuple[Callable[[State], Any], Callable[[Any], State]]] = {
    "named tuple": (as_named, lambda s: {"x": s.x, "h": s.h.numpy()}),
    "dataclasses": (as_outer, lambda s: {"x": np.stack(s.x, axis=2), "h": np.stack(s.inner.h, axis=2)}),
    "object": (lambda s: Plain(s["x"], s["h"]), lambda s: {"x": s.x, "h": s.h["h"][0]}),
    "rows second": (lambda s: (s["x"].swapaxes(0, 1), s["h"]), lambda s: {"x": s[0].swapaxes(0, 1), "h": s[1]}),
    "none at first": (lambda s: s, lambda s: zeros(3) if s is None else s),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_kind_of_state(form: str) -> None:
    pack, unpack = FORMS[form]

    def packed_step(state: Any, x: np.ndarray) -> Result:
        y, new = step(unpack(state), x)
        return y, pack(new)

    first = None if form == "none at first" else lambda rows: pack(zeros(rows))
    check_streaming(full, packed_step, reorder=True, **{**OPTIONS, "initial_state": first})

    def forgets(state: Any, x: np.ndarray) -> Result:
        return packed_step(state, x)[0], state

    says("the state is never fed back", full, forgets, initial_state=first)


class Called(Steps):
    """A class that is called, and that can put its rows in another order."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.step(x)

    def reorder(self, rows: np.ndarray) -> None:
        self.state = {name: array[rows] for name, array in self.state.items()}


class OnlyCalled:
    def reset(self) -> None:
        self.state = zeros(3)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        y, self.state = step(self.state, x)
        return y


class Forgetful(Called):
    def reorder(self, rows: np.ndarray) -> None:
        self.state["x"] = self.state["x"][rows]


def test_classes() -> None:
    options = {**OPTIONS, "initial_state": None}
    check_streaming(full, OnlyCalled, **options)
    assert check_streaming(full, Called, reorder=True, **options).lines[-1].figure == "outputs follow their rows through 3 orders"
    says("law 'reorder': with rows of the state in the order", full, Forgetful, initial_state=None, reorder=True)
    with refuses(InputError, "reorder: expected a method reorder(rows) of OnlyCalled"):
        check_streaming(full, OnlyCalled, reorder=True, **options)
    with refuses(InputError, "reorder: expected at least 2 rows, got 1"):
        check_streaming(full, step, reorder=True, **{**OPTIONS, "shape": (1, 2, 18)})


@pytest.mark.parametrize("rows", [2, 3])
def test_the_axis_of_rows_is_not_guessed(rows: int) -> None:
    """A queue (K - 1, B, C), with as many rows as taps or channels, and one (B, C)."""
    kernel = np.random.default_rng(rows).normal(size=(4, 2, rows + 1))

    def whole(x: np.ndarray) -> np.ndarray:
        padded = np.concatenate([np.zeros((*x.shape[:2], rows)), x], axis=2)
        return np.stack([np.einsum("bik,oik->bo", padded[:, :, t : t + rows + 1], kernel) for t in range(x.shape[2])], axis=2)

    def stepped(queue: np.ndarray, x: np.ndarray) -> Result:
        queue = np.concatenate([queue, x[None]])
        return np.einsum("kbi,oik->bo", queue, kernel), queue[1:]

    options: dict[str, Any] = {"shape": (rows, 2, 18), "dtype": "float64", "reorder": True}
    check_streaming(whole, stepped, initial_state=lambda n: np.zeros((rows, n, 2)), **options)
    expected = "initial_state: expected a function of the number of rows, which shows the axis that counts them"
    with refuses(InputError, expected, f"({rows}, {rows}, 2) has several of length {rows}"):
        check_streaming(whole, stepped, initial_state=np.zeros((rows, rows, 2)), **options)
    check_streaming(whole, stepped, initial_state=np.zeros((rows, 5, 2)), **{**options, "shape": (5, 2, 18)})


def test_rows_that_do_not_follow() -> None:
    """The row's number is part of the state, as where a cache is addressed by it."""
    history: dict[int, np.ndarray] = {}

    def addressed(state: np.ndarray, x: np.ndarray) -> Result:
        """The queue stands outside, by the number of the row; only the count is in the state."""
        count = int(state[0, 0])
        queue = history.setdefault(len(x), np.zeros((len(x), 2, 64)))
        queue = queue if count else 0 * queue
        y = x + (queue[:, :, count - 1] if count else 0)
        queue = queue.copy()
        queue[:, :, count] = x
        history[len(x)] = queue
        return y, state + 1

    def whole(x: np.ndarray) -> np.ndarray:
        return x + np.pad(x, ((0, 0), (0, 0), (1, 0)))[:, :, :-1]

    says("law 'reorder'", whole, addressed, initial_state=lambda rows: np.zeros((rows, 1)), reorder=True)
