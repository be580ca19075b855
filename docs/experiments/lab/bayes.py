"""Classify pictures by Bayes' rule with a network that generates them: p(class | first pixels) for each of several beginnings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refar.runtime.session import Session

Array = NDArray[Any]
_ROWS = 250


def beginnings(session: Session, x: Array, labels: Array, observed: Sequence[int]) -> dict[str, Any]:
    """Return the share of pictures x_bt that are classified rightly by their first H positions, and its standard error.

    `best` is the largest share that any rule may reach on these pictures by so many positions: pictures that begin alike get one
    answer. `blank` is the share of pictures whose beginning holds nothing but zeros.
    """
    right = np.zeros(len(observed))
    for first in range(0, len(x), _ROWS):
        some = slice(first, first + _ROWS)
        found = session.classify(x[some], observed=np.array(observed)).argmax(axis=-1)
        right += (found == labels[some, None]).sum(axis=0)
        print(f"classified {min(first + _ROWS, len(x))} of {len(x)}", end="\r", flush=True)
    print()
    shares = right / len(x)
    return {
        "count": len(x),
        "right": {str(h): float(share) for h, share in zip(observed, shares, strict=True)},
        "error": {str(h): math.sqrt(share * (1 - share) / len(x)) for h, share in zip(observed, shares, strict=True)},
        "best": {str(h): _best(x[:, :h], labels) for h in observed},
        "blank": {str(h): float((x[:, :h] == 0).all(axis=1).mean()) for h in observed},
    }


def _best(beginning: Array, labels: Array) -> float:
    """The share of pictures that have the most frequent class of those that begin alike."""
    _, group = np.unique(beginning, axis=0, return_inverse=True)
    counts = np.zeros((group.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (group.ravel(), labels), 1)
    return float(counts.max(axis=1).sum() / len(labels))


def lines(found: dict[str, Any]) -> list[str]:
    """Tell the shares as the lines of a table."""
    rows = [
        f"| pixels seen | blank until then | classified rightly, of {found['count']:,} | no rule is right more often than |",
        "|---|---|---|---|",
    ]
    for h, share in found["right"].items():
        rows.append(f"| {h} | {found['blank'][h]:.1%} | {share:.2%} ± {found['error'][h]:.2%} | {found['best'][h]:.1%} |")
    return rows
