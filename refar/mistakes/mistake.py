"""What a mistake in an operator is: a function of the arrays that go in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from refar.arguments.arrays import Arrays

Attributes = Mapping[str, Any]

Mistake = Callable[[Arrays, Attributes], Arrays]
"""Compute what code with this mistake gives, {name: array}, for arrays in float64; {} where it cannot be made."""
