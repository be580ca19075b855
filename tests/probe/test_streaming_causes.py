"""A cause is said where a change of the whole function gives what the steps gave; else only where they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kit_streams import B1, D1, W1, conv

from refar.testing import ContractError, check_streaming

SHAPE = (2, 2, 14)


def whole(x: np.ndarray) -> np.ndarray:
    return np.tanh(conv(x, W1, B1, D1))


def at(past: Callable[[np.ndarray, int], np.ndarray]) -> Any:
    """Steps that answer with the last output of the whole for another past."""

    def step(seen: list[np.ndarray], x: np.ndarray) -> Any:
        seen = [*seen[len(seen) // SHAPE[2] * SHAPE[2] :], x]  # anew where the sequence has ended: a state that does not grow
        return whole(past(np.stack(seen, axis=2), len(seen) - 1))[:, :, -1], seen

    return step


def chunked(y: Callable[[np.ndarray, int], np.ndarray]) -> Any:
    """Chunks of which y(outputs of the whole, begin of the chunk) are the outputs."""

    def block(seen: np.ndarray, x: np.ndarray) -> Any:
        now = np.concatenate([seen[:, :, seen.shape[2] // SHAPE[2] * SHAPE[2] :], x], axis=2)
        return y(now, now.shape[2] - x.shape[2]), now

    return block


# Of the whole, that sees what is 0, 2 and 4 positions old, two of these pasts are the same as another one, which is named.
def swapped(x: np.ndarray, t: int) -> np.ndarray:
    padded = np.concatenate([np.zeros((2, 2, 4)), x], axis=2)
    padded[:, :, [-3, -5]] = padded[:, :, [-5, -3]]
    return padded


STEPS = {
    "the right numbers, 3 positions late": at(lambda x, t: x[:, :, : max(1, t - 2)]),
    "the state is never fed back": at(lambda x, t: x[:, :, t:]),
    "the state is lost before position 9: from there on the steps answer as if the sequence began there": at(
        lambda x, t: x[:, :, 9 if t >= 9 else 0 :]),
    "the state is lost every 5 positions": at(lambda x, t: x[:, :, t // 5 * 5 :]),
    "the steps give what the whole gives for the last 4 positions alone": at(lambda x, t: x[:, :, max(0, t - 3) :]),
    "a queue is one position too long, or read before the push, ": at(
        lambda x, t: np.delete(x, t - 1, axis=2) if t else x),
    "the state is not fed back from position 6 on": at(lambda x, t: np.concatenate([x[:, :, : min(6, t)], x[:, :, t:]], axis=2)),
    "every position goes into the state twice": at(lambda x, t: np.repeat(x, 2, axis=2)[:, :, :-1]),
    "what is 1 to 5 positions old is read in the opposite order": at(swapped),
}  # fmt: skip
OUTPUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "all outputs are -0.5 times the right ones": lambda y: -0.5 * y,
    "in every channel all outputs are off by one constant, as by a bias": lambda y: y - [1, 2, 3, 4],
    "the outputs are the relu of the right ones": lambda y: np.maximum(y, 0),
    "a tanh is left out: that of the outputs is right": np.arctanh,
    "rows 1, 0 stand where 0, 1 are meant": lambda y: y[::-1],
    "channels 0, 2, 1, 3 stand where 0, 1, 2, 3 are meant": lambda y: y[:, [0, 2, 1, 3]],
    "all outputs are 0": lambda y: 0 * y,
}
CHUNKS = {
    "the right numbers, in each chunk those of its first position": chunked(
        lambda x, b: np.repeat(whole(x)[:, :, b : b + 1], x.shape[2] - b, axis=2)),
    "the right numbers, in each chunk in the opposite order": chunked(lambda x, b: whole(x)[:, :, b:][:, :, ::-1]),
    "nothing is carried over: every chunk is answered as if it were the first": chunked(lambda x, b: whole(x[:, :, b:])),
}  # fmt: skip


def said(steps: Any, full: Any = whole, first: Any = (), **options: Any) -> str:
    with pytest.raises(ContractError) as caught:
        check_streaming(full, steps, **{"shape": SHAPE, "dtype": "float64", "initial_state": list(first), **options})
    return str(caught.value)


@pytest.mark.parametrize("words", STEPS)
def test_another_past(words: str) -> None:
    assert words in said(STEPS[words], seed=len(words))


@pytest.mark.parametrize("words", OUTPUTS)
def test_other_outputs(words: str) -> None:
    right = at(lambda x, t: x)
    assert words in said(lambda s, x: (OUTPUTS[words](right(s, x)[0]), right(s, x)[1]), seed=len(words))


@pytest.mark.parametrize("words", CHUNKS)
def test_other_chunks(words: str) -> None:
    assert words in said(CHUNKS[words], block=7, initial_state=lambda rows: np.zeros((rows, 2, 0)))


def test_a_phase_that_every_chunk_begins_anew() -> None:
    def phased(x: np.ndarray) -> np.ndarray:
        return x * (1 + np.arange(x.shape[2]) % 3)

    block = chunked(lambda x, b: phased(x[:, :, b:]))
    message = said(block, phased, block=7, initial_state=lambda rows: np.zeros((rows, 2, 0)))
    assert "nothing is carried over" in message  # the same here, where nothing else is remembered


ODD: dict[str, tuple[Callable[[np.ndarray, int], np.ndarray], str]] = {
    "one odd number": (lambda y, t: y + (t == 7), "right before position 7 and after position 7, wrong there alone"),
    "noise": (lambda y, t: y + 1e-9 * np.sin(99 * y + t), "wrong at every position, off by at most"),
    "from the middle on": (lambda y, t: y * (1 + 0.1 * np.sin(t) * (t > 6)), "wrong from position 7 on"),
    "at first": (lambda y, t: y + np.cos(t) * (t < 3), "wrong only at the first 3 positions, right from position 3 on"),
}  # fmt: skip
GUESSES = ("queue", "state", "read", "times", "left out", "stand", "alone:", "late", "early", "rounded")


@pytest.mark.parametrize("name", ODD)
def test_no_cause_where_none_reproduces(name: str) -> None:
    change, place = ODD[name]
    right = at(lambda x, t: x)
    message = said(lambda s, x: (change(right(s, x)[0], len(s)), right(s, x)[1]))
    assert place in message.partition("\n")[0], message
    assert not any(guess in message.partition("\n")[0] for guess in GUESSES), message


@pytest.mark.parametrize("at", [3, 20, 39])
def test_a_fault_at_one_position_is_not_blamed_on_the_first_state(at: int) -> None:
    """Zeros before the sequence would move such a fault out of sight."""

    def step(state: tuple[np.ndarray, int], x: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, int]]:
        before, t = state
        return before + 2 * x + (t == at), (x, t + 1)

    def whole(x: np.ndarray) -> np.ndarray:
        return np.pad(x, ((0, 0), (0, 0), (1, 0)))[..., :-1] + 2 * x

    with pytest.raises(ContractError, match=f"position {at} ") as caught:
        check_streaming(whole, step, initial_state=(np.zeros((2, 3), np.float32), 0), shape=(2, 3, 40))
    assert "first state" not in str(caught.value)
    assert "into the state" not in str(caught.value)
