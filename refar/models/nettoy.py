"""The two toy networks of Fleuret's Deep learning 10.2."""

from __future__ import annotations

from collections.abc import Sequence

from refar import ops
from refar.building.builder import Builder
from refar.graph.graph import Graph
from refar.ops import Classes, Positive


def nettoy1d(
    classes: Classes = 256, *, kernel: Positive = 2, hidden: Positive = 32, mean: float = 0.0, std: float = 1.0
) -> Graph:
    """NetToy1d: five layers without dilation; with kernel 2, y_t sees x_{t-1}..x_{t-5}.

    Class c enters as (c - mean) / std; the input is delayed by one after that, so what stands before x_0 is 0.
    Parameters: 8 384 + 33·classes with the defaults. Source: Fleuret, Deep learning 10.2, "Model".
    """
    return _nettoy(classes, kernel, hidden, (1, 1, 1, 1), mean, std)


def nettoy1d_dilated(
    classes: Classes = 256, *, kernel: Positive = 2, hidden: Positive = 32, mean: float = 0.0, std: float = 1.0
) -> Graph:
    """NetToy1dWithDilation: dilations 2, 4, 8, 16; with kernel 2, y_t sees the odd offsets 1, 3, …, 31.

    Source: Fleuret, Deep learning 10.2, the second "Model".
    """
    return _nettoy(classes, kernel, hidden, (2, 4, 8, 16), mean, std)


def _nettoy(classes: int, kernel: int, hidden: int, dilations: Sequence[int], mean: float, std: float) -> Graph:
    g = Builder()
    x = g.delay(g.standardize(g.input(classes=classes), mean, std))
    h = g.relu(g.conv1d(x, hidden, name="conv0"), name="relu0")
    for i, dilation in enumerate(dilations, start=1):
        h = g.relu(g.conv1d(h, hidden, kernel=kernel, dilation=dilation, name=f"conv{i}"), name=f"relu{i}")
    return g.build(g.conv1d(h, classes, name="conv5"), ops.Categorical())
