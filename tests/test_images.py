"""Pictures as sequences."""

from __future__ import annotations

import numpy as np
import pytest

from refar.errors import InputError
from refar.images import to_pixels, to_sequence


@pytest.mark.row("002-11")
def test_a_picture_is_read_row_by_row() -> None:
    pixels = np.arange(2 * 28 * 28).reshape(2, 28, 28)
    x = to_sequence(pixels)
    assert x.shape == (2, 784)
    assert all(x[b, row * 28 + column] == pixels[b, row, column] for b, row, column in [(0, 0, 1), (0, 1, 0), (1, 27, 3)])
    assert np.array_equal(to_pixels(x, (28, 28)), pixels)


@pytest.mark.row("002-11")
def test_any_other_order_is_a_permutation() -> None:
    rng = np.random.default_rng(0)
    pixels, order = rng.integers(0, 9, (3, 4, 5)), rng.permutation(20)
    x = to_sequence(pixels, order)
    assert np.array_equal(x, pixels.reshape(3, 20)[:, order])
    assert np.array_equal(to_pixels(x, (4, 5), order), pixels)
    columns = np.arange(20).reshape(4, 5).T.ravel()
    assert np.array_equal(to_sequence(pixels, columns), pixels.transpose(0, 2, 1).reshape(3, 20))


@pytest.mark.parametrize("order", [[0, 1, 1, 3], [0, 1, 2], [0, 1, 2, 4], [0.0, 1.0, 2.0, 3.0]])
def test_what_is_no_permutation_is_refused(order: list[float]) -> None:
    with pytest.raises(InputError, match=r"order: expected each of 0\.\.3 once"):
        to_sequence(np.zeros((1, 2, 2)), order)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="expected axes bhw"):
        to_sequence(np.zeros((4, 4)))
    with pytest.raises(InputError, match="with 6 positions for 2x3"):
        to_pixels(np.zeros((1, 5)), (2, 3))
