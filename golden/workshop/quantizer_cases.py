"""Golden cases of the quantisers: numbers in [-1, 1] as classes and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.case import Signature
from refar.golden.node_operators import Attributes
from workshop.draw import Draw
from workshop.making import Draft, OperatorMaker

_MARGIN = Fraction(1, 2**9)
"""How far inputs stay from the edges between classes, in classes, unless every format computes them without rounding."""


def mu_law_class(x: float, classes: int) -> Fraction:
    """Compute the number whose floor is the class: (f(x) + 1)/2·μ + ½, f(x) = sign(x)·log(1 + μ|x|)/log(1 + μ), μ = Q-1."""
    mu = classes - 1
    with localcontext(prec=60):
        f = (1 + mu * abs(Decimal(x))).ln() / Decimal(classes).ln()
        return (Fraction(f if x >= 0 else -f) + 1) / 2 * mu + Fraction(1, 2)


def mu_law_centre(q: int, classes: int) -> float:
    """Compute sign(f)·((1 + μ)^|f| - 1)/μ with f = 2q/μ - 1."""
    mu = classes - 1
    with localcontext(prec=60):
        size = ((Decimal(abs(2 * q - mu)) / mu * Decimal(classes).ln()).exp() - 1) / mu
        return float(size if 2 * q > mu else -size if 2 * q < mu else 0)


def linear_class(x: float, classes: int) -> Fraction:
    """Compute (x + 1)·Q/2."""
    return (Fraction(x) + 1) * classes / 2


def linear_centre(q: int, classes: int) -> float:
    """Compute (2q + 1)/Q - 1."""
    return float(Fraction(2 * q + 1, classes) - 1)


def _encoder(
    name: str,
    source: str,
    number: Callable[[float, int], Fraction],
    sizes: Sequence[int],
) -> OperatorMaker:
    def define(a: Attributes, arrays: Arrays) -> Arrays:
        last = a["classes"] - 1
        return {"q": np.array([[min(int(number(float(v), last + 1)), last) for v in row] for row in arrays["x"]])}

    def examples() -> Iterator[Draft]:
        for classes in sizes:
            draw = Draw(f"{name}/{classes}-classes")
            yield Draft(f"{classes}-classes", draw.seed, {"x": _inputs(draw, classes, number)}, {"classes": classes}, True)

    return OperatorMaker(
        "quantizer",
        Signature.of(f"{name}(x_bt, *, classes=256) -> q_bt"),
        source,
        define,
        examples,
    )


def _inputs(draw: Draw, classes: int, number: Callable[[float, int], Fraction]) -> Array:
    """Both ends, the middle, exact edges where the quantiser is linear and Q a power of two, and numbers of twelve bits."""
    given = [-1.0, 1.0, 0.0]
    if number is linear_class and classes & (classes - 1) == 0:
        given += [2 * q / classes - 1 for q in range(1, classes, max(1, classes // 8))]
    u = draw.reals(400).astype(np.float64)
    drawn = np.round(u * u * u * 4096) / 4096
    kept = [float(v) for v in drawn if _MARGIN < number(float(v), classes) % 1 < 1 - _MARGIN and v]
    return np.array([*given, *kept[: 48 - len(given)]], np.float32).reshape(3, 16)


def _decoder(
    name: str,
    source: str,
    centre: Callable[[int, int], float],
    sizes: Sequence[int],
) -> OperatorMaker:
    def define(a: Attributes, arrays: Arrays) -> Arrays:
        return {"x": np.array([[centre(int(q), a["classes"]) for q in row] for row in arrays["q"]])}

    def examples() -> Iterator[Draft]:
        for classes in sizes:
            draw = Draw(f"{name}/{classes}-classes")
            q = draw.classes(2, 12, classes=classes)
            q[0, :4] = 0, classes - 1, classes // 2, (classes - 1) // 2
            yield Draft(f"{classes}-classes", draw.seed, {"q": q}, {"classes": classes}, False)

    return OperatorMaker(
        "quantizer",
        Signature.of(f"{name}(q_bt, *, classes=256) -> x_bt"),
        source,
        define,
        examples,
    )


QUANTIZERS = (
    _encoder(
        "mu_law_encode",
        "q = ⌊(f(x) + 1)/2·μ + ½⌋, f(x) = sign(x)·log(1 + μ|x|)/log(1 + μ), μ = classes - 1; ITU-T G.711; WaveNet, section 2.2",
        mu_law_class,
        (256, 255, 16, 10),
    ),
    _decoder(
        "mu_law_decode",
        "x = sign(f)·((1 + μ)^|f| - 1)/μ, f = 2q/μ - 1, μ = classes - 1: class 0 is -1, the last is +1",
        mu_law_centre,
        (256, 255, 16, 10),
    ),
    _encoder(
        "linear_encode",
        "q = min(⌊(x + 1)·Q/2⌋, Q-1): Q classes of equal width, the last holds +1",
        linear_class,
        (256, 8, 7, 10),
    ),
    _decoder(
        "linear_decode",
        "x = (2q + 1)/Q - 1, the centre of class q",
        linear_centre,
        (256, 8, 7, 10),
    ),
)
