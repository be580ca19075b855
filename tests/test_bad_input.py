"""What each check is given and cannot use gets one sentence about it, whatever the code under test does."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refar import Builder, Graph, models
from refar.errors import RefarError
from refar.testing import ContractError, check_causality, check_function, check_loss, check_module, check_streaming

Function = Callable[..., Any]
SHAPE = (2, 3, 12)
NET = models.wavenet(classes=4, dilations=[1], residual=3, gate=4, skip=3)


def graph() -> Graph:
    g = Builder()
    return g.build(g.conv1d(g.input(channels=3), 2, kernel=1, name="conv"))


class Module(nn.Module):
    """A convolution behind which stands whatever is done to its output."""

    def __init__(self, change: Function) -> None:
        super().__init__()
        self.conv, self.change = nn.Conv1d(3, 2, 1), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.conv, x)


def function(change: Function) -> Any:
    return check_function(lambda x: change(lambda x: F.softmax(x, 1), x), "softmax", convert=torch.from_numpy, sizes=())


def module(change: Function) -> Any:
    return check_module(Module(change).eval(), graph(), None)


def causality(change: Function) -> Any:
    return check_causality(lambda x: change(torch.tanh, x), shape=SHAPE, convert=torch.from_numpy)


def whole(change: Function) -> Any:
    return check_streaming(
        lambda x: change(torch.tanh, x), lambda state, x: (x.tanh(), state), shape=SHAPE, convert=torch.from_numpy
    )


def steps(change: Function) -> Any:
    return check_streaming(torch.tanh, lambda state, x: (change(torch.tanh, x), state), shape=SHAPE, convert=torch.from_numpy)


def loss(change: Function) -> Any:
    return check_loss(lambda y, x: change(lambda y: F.cross_entropy(y, x), y), NET, convert=torch.from_numpy)


CHECKS: dict[str, Function] = {each.__name__: each for each in (function, module, causality, whole, steps, loss)}


def fails(f: Function, x: Any) -> Any:
    raise KeyError("weights")


def fails_later() -> Function:
    count = [0]

    def change(f: Function, x: Any) -> Any:
        count[0] += 1
        if count[0] > 2:
            raise ValueError("not again")
        return f(x)

    return change


def changes(f: Function, x: Any) -> Any:
    y = f(x)
    x.data.mul_(2)
    return y


def another_dtype() -> Function:
    count = [0]

    def change(f: Function, x: Any) -> Any:
        count[0] += 1
        y = f(x)
        return y.float() if count[0] % 3 == 0 and y.dtype == torch.float64 else y.double() if count[0] % 3 == 0 else y

    return change


class Closed:
    """As an OrtValue: neither an array nor anything that becomes one."""

    shape = (2, 3)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("an OrtValue is on its device")


BAD: dict[str, tuple[Callable[[], Function], str]] = {
    "raises": (lambda: fails, "KeyError"),
    "raises at a later call": (fails_later, "ValueError"),
    "changes its arguments": (lambda: changes, "changed its "),
    "another dtype now and then": (another_dtype, "float"),
    "gives five axes": (lambda: lambda f, x: f(x)[..., None, None, None], "expected"),
    "gives None": (lambda: lambda f, x: None, "None"),
    "gives a text": (lambda: lambda f, x: "y", "str"),
    "gives lists of unequal parts": (lambda: lambda f, x: [[1.0], [1.0, 2.0]], "list"),
    "gives what is no array": (lambda: lambda f, x: Closed(), "Closed"),
    "gives complex numbers": (lambda: lambda f, x: f(x) * 1j, "complex"),
    "gives NaN": (lambda: lambda f, x: f(x) * torch.nan, "nan"),
}


ALL = [each for each in product(CHECKS, BAD) if each != ("steps", "another dtype now and then")]


@pytest.mark.parametrize(("check", "bad"), ALL)
def test_one_sentence(check: str, bad: str) -> None:
    make, words = BAD[bad]
    with pytest.raises((ContractError, RefarError)) as caught:
        CHECKS[check](make())
    lines = str(caught.value).splitlines()
    assert words.lower() in str(caught.value).lower(), str(caught.value)
    assert all(len(line) < 500 for line in lines), str(caught.value)
    assert all(line.startswith(("law '", "the function: ")) for line in lines[1:]), str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_steps_of_several_dtypes_are_judged_by_the_coarsest_and_the_report_says_so() -> None:
    assert "it returns float32 and float64" in str(steps(another_dtype()))


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_printed_is_passed_on_and_said(check: str, capsys: pytest.CaptureFixture[str]) -> None:
    def prints(f: Function, x: Any) -> Any:
        print("here")
        return f(x)

    report = CHECKS[check](prints)
    assert "print" in str(report)
    assert check == "causality" or "here" in capsys.readouterr().out


@pytest.mark.parametrize(
    "check",
    [
        lambda: check_module(nn.Sequential(nn.LazyConv1d(2, 1)), graph(), None),
        lambda: check_causality(nn.LazyConv1d(2, 1), shape=SHAPE),
    ],
)
def test_a_lazy_module(check: Function) -> None:
    with pytest.raises(RefarError, match=r"got a lazy one, \w+.*: call it once on an example first"):
        check()


@pytest.mark.parametrize("check", [check_causality, lambda f, shape: check_streaming(f, lambda s, x: (x, s), shape=shape)])
def test_five_axes_of_x(check: Function) -> None:
    with pytest.raises(RefarError, match=r"shape: expected .*got \(2, 3, 4, 5, 6\)"):
        check(lambda x: x, shape=(2, 3, 4, 5, 6))


def test_a_backward_pass_that_raises() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, y: Tensor) -> Tensor:
            return y.clone()

        @staticmethod
        def backward(context: Any, *dy: Tensor) -> Any:
            raise ValueError("not written yet")

    for check in (module, loss):
        with pytest.raises(ContractError, match=r"the gradient of .* raises ValueError: not written yet"):
            check(lambda f, x: Broken.apply(f(x)))
