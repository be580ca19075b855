"""`check_streaming` and memory: how x lies in it, two streams at once, states that grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from kit_streams import D1, State, Steps, full, step, zeros

from refar.testing import ContractError, check_streaming

Result = tuple[np.ndarray, Any]
OPTIONS: dict[str, Any] = {"shape": (3, 2, 14), "initial_state": zeros, "dtype": "float64"}


def says(words: str, wrong: Any, whole: Any = full, **options: Any) -> None:
    with pytest.raises(ContractError) as caught:
        check_streaming(whole, wrong, **{**OPTIONS, **options})
    assert words in str(caught.value), str(caught.value)


def by_bytes(x: np.ndarray) -> np.ndarray:
    """Reads memory as if x were contiguous there."""
    return np.lib.stride_tricks.as_strided(x, x.shape, [x.itemsize * int(np.prod(x.shape[n + 1 :])) for n in range(x.ndim)])


def writes(state: State, x: np.ndarray) -> Result:
    """Writes into x, and puts back what was there."""
    kept = x.copy()
    x *= 1
    x[...] = kept
    return step(state, x)


def test_x_that_lies_otherwise() -> None:
    check_streaming(lambda x: full(np.ascontiguousarray(x)), lambda s, x: step(s, x), **OPTIONS)
    for seed in range(2):
        says("where x comes in arrays with gaps between the numbers (strided)", lambda s, x: step(s, by_bytes(x)), seed=seed)
        says("where x comes in arrays with gaps between the numbers (strided)", step, lambda x: full(by_bytes(x)), seed=seed)


def test_a_layout_that_is_refused_is_noted_and_one_that_is_misread_is_wrong() -> None:
    def views(state: State, x: torch.Tensor) -> Result:
        return step(state, x.view(-1).view(x.shape).numpy())

    def viewed(x: torch.Tensor) -> np.ndarray:
        return full(x.view(-1).view(x.shape).numpy())

    def misread(x: torch.Tensor) -> np.ndarray:
        return full(x.view(-1).view(x.shape).numpy() if x.stride(0) == 28 else x.numpy()[::-1])

    for seed, whole in enumerate((viewed, lambda x: full(x.numpy()))):
        report = str(check_streaming(whole, views, **OPTIONS, convert=torch.from_numpy, seed=seed))
        assert "refuses arrays in Fortran's order: views raises RuntimeError: view size is not compatible" in report
        assert ("Fortran's order: viewed raises RuntimeError" in report) == (whole is viewed)
    says("misread gives other outputs", lambda s, x: step(s, x.numpy()), misread, convert=torch.from_numpy)
    assert "refuses arrays that are read-only: writes raises ValueError" in str(check_streaming(full, writes, **OPTIONS))


def scratch() -> Callable[[State, np.ndarray], Result]:
    """Two calls at once write into the same array."""
    kept = np.zeros((3, 2, 2 * D1))

    def shared(state: State, x: np.ndarray) -> Result:
        kept[...] = state["x"]
        first = {**state, "x": kept}
        return step(first, x)

    return shared


class Common(Steps):
    """The state belongs to the class."""

    held: ClassVar[State] = {}

    def reset(self) -> None:
        Common.held = zeros(3)

    def step(self, x: np.ndarray) -> np.ndarray:
        y, new = step(Common.held, x)
        Common.held = new
        return y


def test_two_streams_at_once() -> None:
    says("law 'threads': two sequences at once in two threads: ", scratch())
    says("law 'threads': two sequences at once in two threads: ", Common, initial_state=None)
    report = check_streaming(full, Steps, **{**OPTIONS, "initial_state": None})
    assert "two at once give what each gives alone" in str(report)
    report = check_streaming(full, Steps(), **{**OPTIONS, "initial_state": None})
    assert "does not apply: one object is one stream; give its class" in str(report)


def keeps_all(state: np.ndarray, x: np.ndarray) -> Result:
    """Adds what came three positions before."""
    return x + state[..., -3], np.concatenate([state, x[..., None]], axis=-1)


def keeps_some(state: np.ndarray, x: np.ndarray) -> Result:
    y, new = keeps_all(state, x)
    return y, new[..., -3:] if new.shape[-1] > 300 else new


class Logs:
    def reset(self) -> None:
        self.state = np.zeros((2, 1, 3))
        self.log: list[np.ndarray] = []

    def step(self, x: np.ndarray) -> np.ndarray:
        y, new = keeps_all(self.state, x)
        self.state = new[..., -3:]
        self.log.append(y)
        return y


def total(state: list[np.ndarray], x: np.ndarray) -> Result:
    """Looks back on all that came."""
    return np.sum([*state, x], axis=0), [*state, x]


def test_states_that_grow() -> None:
    def whole(x: np.ndarray) -> np.ndarray:
        return x + np.pad(x, ((0, 0), (0, 0), (3, 0)))[..., :-3]

    first: dict[str, Any] = {"initial_state": np.zeros((2, 1, 3)), "shape": (2, 1, 12)}
    says(
        "law 'memory': the state grows for ever: it holds 6, 1106, 1656, 2204 numbers",
        keeps_all,
        whole,
        **first,
    )
    says("law 'memory': the state grows for ever", Logs, whole, shape=(2, 1, 12), initial_state=None)
    assert "numbers at most" in str(check_streaming(whole, keeps_some, dtype="float64", **first))
    report = check_streaming(lambda x: np.cumsum(x, axis=-1), total, **{**OPTIONS, "initial_state": []})
    assert "it grows, as may what the outputs look back on" in str(report)
