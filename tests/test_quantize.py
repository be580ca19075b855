"""Numbers in [-1, 1] as classes: ends, edges, round trips, and who is refused."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from helpers import refuses
from hypothesis import given
from hypothesis import strategies as st

from refar import quantize
from refar.errors import InputError

COUNTS = [2, 3, 4, 5, 127, 128, 255, 256, 257, 65535, 65536]
BOTH = [quantize.linear, quantize.mu_law]


@pytest.mark.parametrize("classes", COUNTS)
@pytest.mark.parametrize("kind", ["linear", "mu_law"])
def test_every_class_comes_back_and_the_ends_are_the_ends(kind: str, classes: int) -> None:
    quantizer = getattr(quantize, kind)(classes)
    every = np.arange(classes)
    np.testing.assert_array_equal(quantizer.encode(quantizer.decode(every)), every)
    assert quantizer.encode([-1, -1.0, 1, 1.0, np.float32(1)]).tolist() == [0, 0, *[classes - 1] * 3]
    assert quantizer.classes == classes
    assert quantizer.edges[[0, -1]].tolist() == [-1, 1]
    assert (np.diff(quantizer.edges) > 0).all()
    inner = quantizer.edges[1:-1]
    np.testing.assert_array_equal(quantizer.encode(inner), every[1:])
    np.testing.assert_array_equal(quantizer.encode(np.nextafter(inner, -1)), every[:-1])
    assert ((quantizer.edges[:-1] <= quantizer.centres) & (quantizer.centres <= quantizer.edges[1:])).all()
    np.testing.assert_allclose(quantizer.centres, -quantizer.centres[::-1], rtol=1e-13, atol=0)


@given(st.sampled_from(COUNTS), st.floats(-1, 1), st.floats(-1, 1))
def test_encoding_keeps_the_order_and_errs_by_no_more_than_a_bin(classes: int, a: float, b: float) -> None:
    for kind in (quantize.linear, quantize.mu_law):
        quantizer = kind(classes)
        assert quantizer.encode(min(a, b)) <= quantizer.encode(max(a, b))
        q = int(quantizer.encode(a))
        assert quantizer.edges[q] <= a <= quantizer.edges[q + 1]


def test_mu_law_is_its_equation_with_255_for_256_classes() -> None:
    """Centres to the last places, and the classes of numbers that lie clear of an edge, in 50 digits."""
    for classes, mu in ((256, 255), (16, 15), (65536, 65535)):
        quantizer = quantize.mu_law(classes)
        x = np.random.default_rng(0).uniform(-1, 1, 200) ** 3
        with localcontext(prec=50):
            for value, found in zip(x.tolist(), quantizer.encode(x).tolist(), strict=True):
                f = (1 + mu * abs(Decimal(value))).ln() / (1 + Decimal(mu)).ln() * (1 if value >= 0 else -1)
                place = (f + 1) / 2 * mu + Decimal("0.5")
                assert abs(place - round(place)) > Decimal("1e-10")
                assert found == int(place)
            for q in (0, 1, classes // 3, classes // 2, classes - 1):
                f = Decimal(2 * q) / mu - 1
                centre = (((1 + Decimal(mu)) ** abs(f)) - 1) / mu * (1 if f >= 0 else -1)
                assert quantizer.decode(q) == pytest.approx(float(centre), rel=8 * 2.0**-52)
    assert quantize.mu_law().encode([0.0, 0.5, -0.5, 0.001]).tolist() == [128, 239, 16, 133]


@pytest.mark.parametrize("classes", [4, 5, 127, 256])
def test_linear_bins_are_equal_and_even_counts_rise_at_zero(classes: int) -> None:
    quantizer = quantize.linear(classes)
    np.testing.assert_allclose(np.diff(quantizer.edges), 2 / classes, rtol=1e-13)
    np.testing.assert_allclose(quantizer.centres, (quantizer.edges[:-1] + quantizer.edges[1:]) / 2, rtol=1e-13, atol=1e-16)
    assert (0 in quantizer.edges, 0 in quantizer.centres) == ((True, False) if classes % 2 == 0 else (False, True))
    assert quantizer.encode(0.0) == classes // 2
    x = np.random.default_rng(1).uniform(-1, 1, 500)
    assert np.abs(quantizer.decode(quantizer.encode(x)) - x).max() <= 1 / classes * (1 + 1e-12)


def test_by_hand() -> None:
    assert quantize.linear(4).encode([-1, -0.51, -0.5, -1e-300, 0, 0.49, 0.5, 1]).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert quantize.linear(4).decode([[0, 1], [2, 3]]).tolist() == [[-0.75, -0.25], [0.25, 0.75]]
    assert quantize.linear(2).edges.tolist() == [-1, 0, 1]
    assert quantize.mu_law(2).decode([0, 1]).tolist() == [-1, 1]


@pytest.mark.parametrize("kind", BOTH)
def test_shapes_and_dtypes(kind: object) -> None:
    quantizer = kind(5)  # type: ignore[operator]
    q = quantizer.encode(np.zeros((2, 1, 3), np.float32))
    assert (q.shape, q.dtype) == ((2, 1, 3), np.int64)
    x = quantizer.decode(q.astype(np.uint8))
    assert (x.shape, x.dtype) == ((2, 1, 3), np.float64)
    assert quantizer.encode(0.3).shape == ()
    assert quantizer.encode([]).shape == quantizer.decode([]).shape == (0,)


@pytest.mark.parametrize("classes", [1, 0, -3, 2.0, True, None])
@pytest.mark.parametrize("kind", BOTH)
def test_fewer_than_two_classes_are_refused(kind: object, classes: object) -> None:
    with refuses(InputError, "classes: expected an integer from 2", repr(classes)):
        kind(classes)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("x", "fragments"),
    [
        ([0.0, np.nan], ["x: expected numbers from -1 to 1", "got nan at index (1,)"]),
        (np.nextafter(1, 2), ["got 1.0000000000000002"]),
        ([[0.0], [-1.5]], ["got -1.5 at index (1, 0)"]),
        (np.inf, ["got inf"]),
        (["0"], ["x: expected real numbers", "<U1"]),
        ([1j], ["x: expected real numbers"]),
        ([True], ["x: expected real numbers, got bool"]),
        ([[0.0], [0.0, 1.0]], ["x: expected an array, got rows of unequal length"]),
    ],
)
def test_what_is_no_number_from_minus_one_to_one_is_refused(x: object, fragments: list[str]) -> None:
    for kind in BOTH:
        with refuses(InputError, *fragments):
            kind(6).encode(x)  # type: ignore[arg-type]


@pytest.mark.parametrize(("q", "came"), [([0, 6], "got 6 at index (1,)"), (-1, "got -1"), ([0.0], "integers, got float64")])
def test_what_is_no_class_is_refused(q: object, came: str) -> None:
    for kind in BOTH:
        with refuses(InputError, "classes: expected", came):
            kind(6).decode(q)  # type: ignore[arg-type]
