"""How many right functions check_function accepts, by what they are made with: `python tests/bench/accepted.py`."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from right_functions import RIGHT, scripted

from refar.testing import ContractError, check_function


def main() -> None:
    """Check all and print a line for each way to make them, and the sum."""
    warnings.simplefilter("ignore", DeprecationWarning)
    accepted, there = Counter[str](), Counter[str]()
    for right in [*RIGHT, scripted()]:
        there[right.made_with] += 1
        convert = None if right.numpy else torch.from_numpy
        try:
            check_function(right.f, right.operator, convert=convert, gradient=right.gradient, **right.options)
        except ContractError as error:
            print(f"refused: {right.operator} by {right.made_with}: {error}")
        else:
            accepted[right.made_with] += 1
    for name, count in there.items():
        print(f"{name}: {accepted[name]} of {count}")
    print(f"all: {accepted.total()} of {there.total()}")


if __name__ == "__main__":
    main()
