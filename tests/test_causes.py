"""The judges of tests/bench/causes.py tell a true cause from a false one, and the table counts what they say."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import causes_of_causality
import causes_of_functions
import causes_of_losses
import causes_of_modules
import causes_of_streams
import numpy as np
import pytest
from by_hand import GRAPH, NAMES, with_part
from causes import Verdicts, table
from kit_functions import conv
from kit_streams import SHAPE, State, full, step, zeros
from torch import from_numpy
from torch.nn import functional as F

from refar import models
from refar.testing import check_causality, check_function, check_loss, check_module, check_streaming


def judged(judge: Any, check: Callable[..., Any], message: str, *given: Any, **options: Any) -> list[bool]:
    bound = inspect.signature(check).bind(*given, **options)
    bound.apply_defaults()
    return list(judge(bound.arguments, message).values())


FLIPPED: dict[str, Any] = {"convert": from_numpy}


def flipped(x: Any, w: Any, b: Any = None, **attributes: Any) -> Any:
    return conv(x, w.flip(2), b, **attributes)


@pytest.mark.parametrize(("cause", "true"), [("kernel flipped", True), ("bias dropped", False), ("dilation ignored", False)])
def test_of_functions(cause: str, true: bool) -> None:
    line = f"law 'values': causal_conv1d, case 'k2' (dilation=1), float64: y at [b=0, o=0, t=0]: expected 7; looks like: {cause}"
    judge = causes_of_functions.judge
    assert judged(judge, check_function, line, flipped, "causal_conv1d", only={"groups": 1}, **FLIPPED) == [true]


@pytest.mark.parametrize(
    ("cause", "true"),
    [
        ("bias dropped in 'front'", True),
        ("bias dropped everywhere", False),
        ("a softmax at the end, where the graph gives logits", False),
        ("training mode, it agrees in eval mode", False),
    ],
)
def test_of_modules(cause: str, true: bool) -> None:
    module = with_part("start", lambda self, x: F.conv1d(F.pad(x, (2, -1)), self.front.weight))
    line = f"law 'output': Net: output, [b, c, t] at [0, 0, 0]: expected 1, got 2; likely cause: {cause}"
    assert judged(causes_of_modules.judge, check_module, line, module, GRAPH, NAMES) == [true]


def never_fed_back(state: State, x: np.ndarray) -> Any:
    return step(state, x)[0], state


@pytest.mark.parametrize(
    ("cause", "true"),
    [
        ("the state is never fed back: every step answers as if it were the first", True),
        ("the right numbers, one position late", False),
        ("a queue is one position too short, or read after the push, 3 back where 4 was meant", False),
        ("the steps give what the whole gives for the last position alone: what is older is forgotten", True),
        ("all outputs are 2 times the right ones", False),
    ],
)
def test_of_streams(cause: str, true: bool) -> None:
    line = f"law 'step': position 2 (row 0, channel 1): expected 1, got 2 (allowed 1e-14; 2 of 30 positions differ): {cause}"
    options: dict[str, Any] = {"shape": SHAPE, "initial_state": zeros, "dtype": "float64"}
    assert judged(causes_of_streams.judge, check_streaming, line, full, never_fed_back, **options) == [true]


def wrapped(x: np.ndarray) -> np.ndarray:
    return x + np.roll(x, 2, axis=2)


@pytest.mark.parametrize(
    ("said", "reach", "true"),
    [
        ("it pads with the end of the sequence; put in front of x it gives the same outputs", None, [True]),
        ("it pads with x reflected; put in front of x that gives the same outputs", None, [False]),
        ("it sees the offsets 0..1, expected 0: surplus 1; R = 2, not 1", 1, [False, True]),
    ],
)
def test_of_causality(said: str, reach: int | None, true: list[bool]) -> None:
    assert judged(causes_of_causality.judge, check_causality, said, wrapped, shape=(2, 1, 12), reach=reach) == true


@pytest.mark.parametrize(
    ("cause", "true"), [("it is the mean in bits, not nats", True), ("it is the mean with the wrong sign", False)]
)
def test_of_losses(cause: str, true: bool) -> None:
    def bits(y: Any, x: Any) -> Any:
        return F.cross_entropy(y, x) / np.log(2)

    net = models.wavenet(classes=4, dilations=[1], residual=3, gate=4, skip=3)
    assert judged(causes_of_losses.judge, check_loss, f"law 'value': bits: expected 1; {cause}", bits, net) == [true]


def test_the_table_counts_verdicts_that_name_a_cause() -> None:
    verdicts = Verdicts()
    for claims in ({}, {"a": True}, {"a": True, "b": False}):
        verdicts._keep("check_loss", "said", claims)
    rows = table(verdicts).splitlines()
    assert rows[-2:] == ["| check_loss | 3 | 2 | 1 | 50.0 % |", "| all | 3 | 2 | 1 | 50.0 % |"]
    assert verdicts.false == ["check_loss: false is ['b'] of: said"]
