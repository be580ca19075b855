"""Whether a row of a batch gives the same when it comes alone."""

from __future__ import annotations

from refar.arguments.arrays import Array
from refar.testing.closeness import allowed, furthest
from refar.testing.probe.watched import Watched
from refar.testing.report import ContractError, Raised


def one_row(f: Watched, x: Array, y: Array) -> tuple[list[str], list[str]]:
    """Compare the first row alone with the first of y, which is f(x): mistakes, and a note where f takes no batch of one."""
    if len(x) == 1:
        return [], ["a batch of one row: whether rows mix is not seen"]
    try:
        alone = f(x[:1])
    except Raised as error:
        return [], [f"a batch of one row is not taken: {error}"]
    except ContractError as error:
        return [f"on a batch of one row: {error}"], []
    if alone.shape != (1, *y.shape[1:]):
        return [f"on a batch of one row: expected shape {(1, *y.shape[1:])}, got {alone.shape}"], []
    if (place := furthest(alone, y[:1], allowed(y, x))) is not None:
        what = f"at {list(place)} {alone[place]:.6g}, in a batch of {len(x)} rows {y[place]:.6g}"
        return [f"a row gives another output when it comes alone: {what}"], []
    return [], []
