"""Curves of what was observed and of what may come: which lines and bands are drawn, and where."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from refar.plots import Course, forecast, svg

LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95]


def course(known: int = 4, count: int = 3, there: int = 7, noise: float = 0.0) -> Course:
    truth = np.arange(there, dtype=float)
    lines = np.arange(count) + np.array([[10.0], [20.0]])
    quantiles = np.arange(count) + np.arange(5)[:, None] * 100.0
    return Course("example 7", truth[:known] + noise, lines, quantiles, truth)


def lines(axes: Axes) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in axes.get_lines()}


def bands(axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(x, y) of the corners of each band, in order of x."""
    found = {}
    for collection in axes.collections:
        corners = collection.get_paths()[0].vertices
        found[str(collection.get_label())] = (np.unique(corners[:, 0]), corners[:, 1])
    return found


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_everything_is_where_it_belongs() -> None:
    figure = forecast([course(), course()], LEVELS, across="second", up="metre")
    first, last = figure.axes
    assert first.get_title("left") == "example 7"
    assert (first.get_xlabel(), last.get_xlabel(), first.get_ylabel()) == ("", "second", "metre")
    drawn = lines(first)
    np.testing.assert_array_equal(drawn["observed"].get_xydata(), [[0, 0], [1, 1], [2, 2], [3, 3]])
    np.testing.assert_array_equal(drawn["median"].get_xydata(), [[3, 3], [4, 200], [5, 201], [6, 202]])
    np.testing.assert_array_equal(drawn["trajectories"].get_xydata(), [[3, 3], [4, 10], [5, 11], [6, 12]])
    np.testing.assert_array_equal(drawn["truth"].get_xydata(), [[3, 3], [4, 4], [5, 5], [6, 6]])
    assert {name: (y.min(), y.max()) for name, (_, y) in bands(first).items()} == {
        "5 % to 95 %": (0, 402),
        "25 % to 75 %": (3, 302),
    }
    assert all(x.tolist() == [3, 4, 5, 6] for x, _ in bands(first).values())
    assert legend(figure) == ["trajectories", "5 % to 95 %", "25 % to 75 %", "median", "truth", "observed"]
    assert first.get_xlim() == (0, 6)


def test_nothing_observed_and_no_truth() -> None:
    figure = forecast([course(known=0, there=0)], [0.1])
    (axes,) = figure.axes
    np.testing.assert_array_equal(lines(axes)["10 %"].get_xydata(), [[0, 0], [1, 1], [2, 2]])
    assert "truth" not in legend(figure)
    assert not bands(axes)


def test_the_truth_may_end_before_the_forecast() -> None:
    (axes,) = forecast([course(count=5, there=6)], LEVELS).axes
    np.testing.assert_array_equal(lines(axes)["truth"].get_xdata(), [3, 4, 5])
    (axes,) = forecast([course(count=5, there=4)], LEVELS).axes
    assert "truth" not in lines(axes)


def test_the_truth_stands_behind_noisy_observations() -> None:
    (axes,) = forecast([course(noise=0.5)], LEVELS).axes
    drawn = lines(axes)
    np.testing.assert_array_equal(drawn["truth"].get_xdata(), range(7))
    np.testing.assert_array_equal(drawn["observed"].get_ydata(), [0.5, 1.5, 2.5, 3.5])


def test_a_long_past_is_cut() -> None:
    (axes,) = forecast([course(known=100, count=3, there=103)], LEVELS).axes
    np.testing.assert_array_equal(lines(axes)["observed"].get_xdata(), range(91, 100))
    assert axes.get_xlim() == (91, 102)


@pytest.mark.parametrize("levels", [[0.5], [0.1, 0.9]])
def test_the_same_picture_is_the_same_text(levels: list[float]) -> None:
    one = course()
    chosen = Course(one.title, one.observed, one.trajectories, one.quantiles[: len(levels)], one.truth)
    assert svg(forecast([chosen], levels)) == svg(forecast([chosen], levels))
