"""`check_streaming` as it is first used: long sequences, what is forgotten in the call, what is given in another form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import refuses
from kit_streams import SHAPE, block, full, step, zeros
from torch.nn import functional as F

from refar.errors import InputError
from refar.testing import ContractError, check_streaming

Result = tuple[np.ndarray, Any]
OPTIONS: dict[str, Any] = {"shape": SHAPE, "initial_state": zeros, "dtype": "float64"}


def late(x: np.ndarray, by: int) -> np.ndarray:
    return np.concatenate([np.zeros((*x.shape[:-1], by), x.dtype), x], axis=-1)[..., : x.shape[-1]]


def queue(count: int) -> dict[str, Any]:
    return {"initial_state": lambda rows: np.zeros((rows, 2, count), np.float32)}


def delayed(state: np.ndarray, x: np.ndarray) -> Result:
    return x + state[:, :, 0], np.concatenate([state[:, :, 1:], x[:, :, None]], axis=2)


def counted(f: Callable[..., Any]) -> tuple[Callable[..., Any], list[int]]:
    calls = [0]

    def counting(*arguments: Any) -> Any:
        calls[0] += 1
        return f(*arguments)

    return counting, calls


@pytest.mark.parametrize("length", [100, 800])
def test_a_failing_check_costs_little_more_than_one_that_passes(length: int) -> None:
    right, right_calls = counted(delayed)
    check_streaming(lambda x: x + late(x, 4), right, shape=(2, 2, length), **queue(4))
    wrong, wrong_calls = counted(delayed)
    with pytest.raises(ContractError, match="a queue is one position too short, or read after the push: with array 0"):
        check_streaming(lambda x: x + late(x, 4), wrong, shape=(2, 2, length), **queue(3))
    assert wrong_calls[0] < 3 * right_calls[0] + 24 * (64 + 2 * 8)


def test_a_queue_of_the_wrong_length_far_back() -> None:
    with pytest.raises(
        ContractError, match=r"a queue is one position too long, .* array 0 of the first state, of shape .2, 2, 301., one shorter"
    ):
        check_streaming(lambda x: x + late(x, 300), delayed, shape=(2, 2, 700), **queue(301))


def test_convert_gives_both_functions_their_tensors() -> None:
    weight = torch.randn(3, 2, 2)

    def whole(x: torch.Tensor) -> torch.Tensor:
        return F.conv1d(F.pad(x, (1, 0)), weight)

    def tensors(state: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return F.conv1d(torch.stack([state, x], dim=2), weight)[:, :, 0], x

    options: dict[str, Any] = {"shape": (2, 2, 20), "initial_state": lambda rows: torch.zeros(rows, 2)}
    check_streaming(whole, tensors, convert=torch.from_numpy, **options)
    with pytest.raises(ContractError, match="law 'step'"):
        check_streaming(whole, lambda s, x: (tensors(s, x)[0], s), convert=torch.from_numpy, **options)
    with pytest.raises(ContractError, match=r"raises AttributeError: 'numpy.ndarray' object has no attribute 'relu'") as caught:
        check_streaming(
            lambda x: whole(torch.tensor(x)), lambda s, x: (x.relu(), s), **options
        )  # only the whole wraps its tensors
    assert "if it" not in str(caught.value)
    with pytest.raises(
        ContractError, match=r"tensors raises TypeError: .*; tensors gets arrays of NumPy; if it takes tensors, give"
    ):
        check_streaming(lambda x: whole(torch.tensor(x)), tensors, **options)


def test_an_image_has_its_pixels_in_a_row() -> None:
    with refuses(InputError, "shape: expected (B, C, T)", "got (2, 1, 4, 4); of an image the pixels in a row", "(B, C, H·W)"):
        check_streaming(full, step, shape=(2, 1, 4, 4), initial_state=zeros)
    with refuses(InputError, "x: expected (B, C, T)"):
        check_streaming(full, step, np.arange(32.0).reshape(2, 1, 4, 4), initial_state=zeros)


def test_a_first_state_that_is_missing() -> None:
    with refuses(InputError, "initial_state: expected the first state", "got none; step(None, x_t) raises TypeError"):
        check_streaming(full, step, shape=SHAPE)
    with refuses(InputError, "initial_state: expected the first state", "block(None, x) raises TypeError"):
        check_streaming(full, block, shape=SHAPE, block=True)
    check_streaming(lambda x: x, lambda state, x: (x, state), shape=SHAPE)


def test_a_step_that_raises_is_told_how_it_is_called() -> None:
    def note(wrong: Any, **options: Any) -> str:
        with pytest.raises(ContractError) as caught:
            check_streaming(full, wrong, **{**OPTIONS, **options})
        return str(caught.value).partition("; ")[2]

    called = "it is called as block(state, x_t) → (y_t, state), here with x_t of shape (3, 2), no axis of positions; for a"
    assert note(block) == called + " function of chunks with that axis give block=True"

    class Wrong:
        def reset(self) -> None: ...

        def step(self, state: Any, x: np.ndarray) -> np.ndarray:
            return x

    assert note(Wrong, initial_state=None).startswith("it is called as Wrong.step(x_t) → y_t, here with x_t of shape (3, 2)")
    with pytest.raises(
        ContractError, match=r"in chunks of \[30\]: step raises .*; it is called as step\(state, x\) → \(y, state\), here"
    ) as caught:
        check_streaming(full, step, block=True, **OPTIONS)
    assert "law" not in str(caught.value)


def test_results_in_the_other_order() -> None:
    with pytest.raises(ContractError, match=r"expected \(y, state\), got a dict and an array, in this order"):
        check_streaming(full, lambda s, x: step(s, x)[::-1], **OPTIONS)


@pytest.mark.parametrize("by", [4, 5, 300])
def test_a_sequence_shorter_than_what_the_network_looks_back(by: int) -> None:
    report = check_streaming(lambda x: x + late(x, by), lambda s, x: (x, s), shape=(2, 3, 4))
    assert report.lines[0].figure == (
        "causal; it looks back further than these 4 positions: only a longer sequence shows what comes from there"
    )


def test_a_sequence_long_enough_or_of_the_only_length() -> None:
    report = check_streaming(lambda x: x + late(x, 4), delayed, shape=(2, 2, 6), **queue(4))
    assert report.lines[0].figure == "causal"
    report = check_streaming(lambda x: (x + late(x, 4)).reshape(2, 2, 3), lambda s, x: (x, s), shape=(2, 2, 3))
    assert report.lines[0].figure == "causal"


def test_a_memory_that_dies_away_is_no_short_queue() -> None:
    """h_t = 0.8 h_{t-1} + x_t: at the far end a change is lost in rounding, at other offsets in the steps than in the whole."""

    def whole(x: np.ndarray) -> np.ndarray:
        h, y = np.zeros_like(x[..., 0]), []
        for t in range(x.shape[-1]):
            h = np.float32(0.8) * h + x[..., t]
            y.append(np.tanh(h))
        return np.stack(y, axis=-1)

    def wrong(state: Any, x: np.ndarray) -> Any:
        h, t = state
        h = np.float32(0.8) * h + x
        return np.tanh(h * np.float32(1.02 if t > 8 else 1)), (h, t + 1)

    with pytest.raises(ContractError) as caught:
        check_streaming(whole, wrong, shape=(2, 2, 200), initial_state=lambda rows: (np.zeros((rows, 2), np.float32), 0))
    assert "queue" not in str(caught.value)
    assert "right at the first 9 positions, wrong from position 9 on, off by at most 0.0" in str(caught.value)


def test_long_sequences_and_complex_states_and_noise_far_away() -> None:
    check_streaming(lambda x: x * 2, lambda s, x: (x * 2, s), shape=(2, 1, 5000), initial_state=0)
    turn = np.exp(1j)

    def rotated(x: np.ndarray) -> np.ndarray:
        h, y = np.zeros(x.shape[:-1], complex), []
        for t in range(x.shape[-1]):
            h = 0.5 * turn * h + x[..., t]
            y.append(h.real)
        return np.stack(y, axis=-1)

    def rotate(h: np.ndarray, x: np.ndarray) -> Any:
        h = 0.5 * turn * h + x
        return h.real, h

    check_streaming(rotated, rotate, shape=(2, 1, 80), initial_state=lambda rows: np.zeros((rows, 1), complex), dtype="float64")
    kernel = np.arange(1.0, 7)

    def by_fft(x: np.ndarray) -> np.ndarray:
        n = 2 * x.shape[-1] + len(kernel)
        return np.fft.irfft(np.fft.rfft(x, n) * np.fft.rfft(kernel, n), n)[..., : x.shape[-1]]

    def step(past: np.ndarray, x: np.ndarray) -> Any:
        past = np.concatenate([x[..., None], past[..., :-1]], axis=-1)
        return past @ kernel, past

    report = check_streaming(by_fft, step, shape=(2, 1, 32), initial_state=lambda rows: np.zeros((rows, 1, 6)), dtype="float64")
    assert report.lines[0].figure == "causal"


def test_a_step_with_a_mistake_of_its_own_and_no_state() -> None:
    def step(state: Any, x: np.ndarray) -> Any:
        return x[7, 0], state

    with pytest.raises(
        ContractError, match=r"step raises IndexError: .* \(test_streaming_use.py, line \d+\); it is called as step\(s"
    ):
        check_streaming(lambda x: x, step, shape=(2, 1, 20))
