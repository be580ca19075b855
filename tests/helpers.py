"""What several tests share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from refar import Builder, Graph, RefarError, ops


@contextmanager
def refuses(error: type[RefarError], *fragments: str) -> Iterator[None]:
    """The block raises exactly this error, and its message holds every fragment: the thing, what was expected, what came."""
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    missing = [fragment for fragment in fragments if not re.search(re.escape(fragment), str(caught.value))]
    assert not missing, f"{missing} missing in: {caught.value}"


def single(op: ops.AnyOp, *, channels: int = 0, classes: int = 0) -> Graph:
    """One operator on the sequence."""
    g = Builder()
    return g.build(g.add_op(op, g.input(channels=channels, classes=classes), name="op"))


def tiny(classes: int = 3, condition: str | None = None) -> Graph:
    """A strict network with few classes and R = 4, small enough to enumerate."""
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=classes)), 4, kernel=2, strict=True)
    if condition == "class":
        h = g.add(h, g.embedding(g.condition(classes=3), 4))
    elif condition == "vector":
        h = g.add(h, g.conv1d(g.condition(channels=2), 4, bias=False))
    h = g.gate(g.conv1d(h, 6, kernel=2, dilation=2))
    return g.build(g.conv1d(h, classes), ops.Categorical())
