"""What `check_streaming` is given and cannot use gets one sentence: never an exception of somebody else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from refar.errors import InputError
from refar.testing import ContractError, check_streaming


def whole(x: np.ndarray) -> np.ndarray:
    return np.tanh(x)


def fails() -> Any:
    raise KeyError("weights")


class Foreign:
    """As of another library: it looks like an array and cannot be copied."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.zeros(2)

    def __reduce__(self) -> str:
        raise TypeError("cannot pickle 'Foreign'. And more")


CASES: dict[str, tuple[Any, Any, Any, type[Exception]]] = {
    "the step raises KeyError: 'weights' (test_streaming_input.py, line ": (whole, lambda s, x: fails(), None, ContractError),
    "the function raises KeyError: 'weights'": (lambda x: fails(), lambda s, x: (x, s), None, ContractError),
    "initial_state: expected a state for 2 rows, and it raises KeyError: 'weights'": (
        whole, lambda s, x: (x, s), lambda rows: fails(), InputError),
    "the step returned the wrong kind: expected (y, state), got a NoneType": (whole, lambda s, x: None, None, ContractError),
    "the step returned the wrong kind: expected (y, state), got a generator": (
        whole, lambda s, x: (n for n in x), None, ContractError),
    "the step returned the wrong kind: expected one array, got a str": (whole, lambda s, x: ("y", s), None, ContractError),
    "the state: expected arrays, tensors or numbers, in tuples": (whole, lambda s, x: (np.tanh(x), s), Foreign(), InputError),
    "got UninitializedParameter: ": (
        whole, lambda s, x: (np.tanh(x), s), lambda rows: torch.nn.LazyLinear(3).weight, InputError),
    "the step changed its argument x": (whole, lambda s, x: (np.tanh(x, out=x), s), None, ContractError),
    "takes 1 positional argument but 2 were given": (whole, lambda x: x, None, ContractError),
}  # fmt: skip


@pytest.mark.parametrize("words", CASES)
def test_one_sentence(words: str) -> None:
    full, step, first, kind = CASES[words]
    with pytest.raises(kind) as caught:
        check_streaming(full, step, shape=(2, 3, 8), initial_state=first)
    assert words in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_five_axes() -> None:
    with pytest.raises(InputError, match=r"shape: expected \(B, C, T\).*got \(2, 3, 4, 4, 4\)"):
        check_streaming(whole, lambda s, x: (x, s), shape=(2, 3, 4, 4, 4))


def test_a_function_of_several_dtypes_and_a_step_of_several() -> None:
    count = [0]

    def now_and_then(x: np.ndarray) -> np.ndarray:
        count[0] += 1
        return np.tanh(x).astype(np.float64 if count[0] % 3 == 0 else np.float32)

    with pytest.raises(ContractError, match="now_and_then returns float64 now, and has returned float32 before: one dtype"):
        check_streaming(now_and_then, lambda s, x: (np.tanh(x), s), shape=(2, 3, 8))

    def mixed(state: Any, x: np.ndarray) -> Any:
        return np.tanh(x).astype(np.float64 if x[0, 0] > 0 else np.float32), state

    assert check_streaming(whole, mixed, shape=(2, 3, 8)).lines[1].figure.endswith("it returns float32 and float64")


def test_what_is_printed_is_passed_on_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    def chatty(state: Any, x: np.ndarray) -> Any:
        print("a step of", x.shape)
        return np.tanh(x), state

    report = check_streaming(whole, chatty, shape=(2, 3, 8))
    assert str(report).splitlines()[-1].endswith(" lines were printed, the first: a step of (2, 3)")
    assert capsys.readouterr().out.startswith("a step of (2, 3)\n")


def test_a_module_gets_tensors_without_convert() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.ConstantPad1d((1, 0), 0.0), torch.nn.Conv1d(3, 2, 2))
    weight, bias = (p.detach().numpy() for p in module[1].parameters())

    def step(state: np.ndarray, x: np.ndarray) -> Any:
        return state @ weight[:, :, 0].T + x @ weight[:, :, 1].T + bias, x

    check_streaming(module, step, shape=(2, 3, 12), initial_state=np.zeros((2, 3), np.float32))
    with pytest.raises(ContractError, match=r"Dropout gives different outputs .*; it is in training mode"):
        check_streaming(torch.nn.Dropout(0.5), step, shape=(2, 3, 12), initial_state=np.zeros((2, 3), np.float32))
