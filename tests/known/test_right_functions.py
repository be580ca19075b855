"""check_function refuses nothing that is right: natural implementations, by what they are made with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from right_functions import RIGHT, Right, scripted

from refar.testing import check_function


def check(right: Right) -> Any:
    convert = None if right.numpy else torch.from_numpy
    return check_function(right.f, right.operator, convert=convert, gradient=right.gradient, **right.options)


@pytest.mark.parametrize("right", RIGHT, ids=[f"{right.made_with}-{right.operator}-{n}" for n, right in enumerate(RIGHT)])
def test_a_right_function_is_accepted(right: Right) -> None:
    report = check(right)
    assert report.passed
    assert "drawn" in report.lines[3].figure


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_right_function_in_torchscript_is_accepted() -> None:
    assert check(scripted()).passed
