"""A known mistake is named if it gives what came, on other arrays too; a relation of numbers if it holds in all that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from kit_functions import Function, conv, failure

PLAIN: dict[str, Any] = {"groups": 1, "strict": False}


def only_where(wrong: Callable[..., bool], mistake: Function) -> Function:
    """The right convolution, but a mistake where `wrong(x)` says so."""

    def f(x: Any, w: Any, b: Any = None, **attributes: Any) -> Any:
        return (mistake if wrong(x) else conv)(x, w, b, **attributes)

    return f


def flipped(x: Any, w: Any, b: Any = None, **attributes: Any) -> Any:
    return conv(x, w.flip(2), b, **attributes)


@pytest.mark.parametrize(
    "wrong", [lambda x: x.shape[2] < 40, lambda x: x.shape[1] < 30, lambda x: x.shape[0] * x.shape[2] % 3 != 0]
)
def test_a_mistake_on_some_arrays_only_is_not_named(wrong: Callable[..., bool]) -> None:
    assert "looks like" not in failure(only_where(wrong, flipped), "causal_conv1d", only=PLAIN)


def test_the_same_mistake_everywhere_is_named() -> None:
    assert "looks like: kernel flipped" in failure(flipped, "causal_conv1d", only=PLAIN)


def test_two_mistakes_of_which_neither_explains_half_are_not_named() -> None:
    def f(x: Any, w: Any, b: Any = None, **attributes: Any) -> Any:
        return conv(x, w.flip(2), None, **attributes)

    assert "looks like" not in failure(f, "causal_conv1d", only=PLAIN)


def test_a_relation_that_holds_of_one_case_is_no_relation() -> None:
    def f(x: Any) -> Any:
        return x.softmax(1) * (2 if x.dtype == torch.float32 else 3)

    assert "times the right ones" not in failure(f, "softmax")
    assert "all numbers are 2 times the right ones" in failure(lambda x: x.softmax(1) * 2, "softmax")
