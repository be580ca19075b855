"""Numbers in [-1, 1] as classes and back: what comes before training and after sampling. NumPy only.

quantizer = quantize.mu_law(256)
tokens = quantizer.encode(audio)        # int64 in 0..255
audio = quantizer.decode(tokens)        # the centre of each class
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refar.errors import InputError, check_integer
from refar.ops import LARGEST

__all__ = ["Quantizer", "linear", "mu_law"]


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Q classes by their `centres`, (Q,), and `edges`, (Q+1,), both in ascending order; edges run from -1 to +1.

    Class q holds edges[q] ≤ x < edges[q+1], and the last class +1 as well.
    """

    centres: NDArray[np.float64]
    edges: NDArray[np.float64]

    @property
    def classes(self) -> int:
        """Q."""
        return len(self.centres)

    def encode(self, x: ArrayLike) -> NDArray[np.int64]:
        """The class of each number, int64 of the same shape: the number of inner edges ≤ x, which never is Q.

        Raises InputError for what is not a real number from -1 to 1.
        """
        array = _array("x", x)
        if array.dtype.kind not in "iuf":
            raise InputError(f"x: expected real numbers, got {array.dtype}")
        _check("x", array, (array >= -1) & (array <= 1), "numbers from -1 to 1")
        return np.searchsorted(self.edges[1:-1], array.astype(np.float64), side="right").astype(np.int64)

    def decode(self, classes: ArrayLike) -> NDArray[np.float64]:
        """The centre of each class, float64 of the same shape: encode(decode(q)) = q.

        Raises InputError for what is not a class 0..Q-1.
        """
        array = _array("classes", classes)
        if array.size and array.dtype.kind not in "iu":
            raise InputError(f"classes: expected integers, got {array.dtype}")
        _check("classes", array, (array >= 0) & (array < self.classes), f"0..{self.classes - 1}")
        return self.centres[array.astype(np.int64)]


def linear(classes: int) -> Quantizer:
    """Q classes of equal width 2/Q: edges e_i = -1 + 2i/Q, centres c_q = -1 + (2q+1)/Q.

    For even Q (mid-rise) 0 is an edge and no class stands for silence; for odd Q (mid-tread) 0 is a centre.
    Raises InputError for Q < 2 or Q > 2²⁰.
    """
    classes = check_integer("classes", classes, 2, LARGEST)
    i = np.arange(classes + 1)
    return Quantizer((2 * i[:-1] + 1 - classes) / classes, (2 * i - classes) / classes)


def mu_law(classes: int = 256) -> Quantizer:
    """Q classes, fine near 0 and coarse near ±1: equal steps of f(x) = sign(x)·log(1 + μ|x|)/log(1 + μ), μ = Q-1.

    Centres f(c_q) = 2q/(Q-1) - 1, so class 0 decodes to -1 and class Q-1 to +1; encode takes the centre that is nearest in
    f: q = ⌊(f(x) + 1)/2·μ + ½⌋. For Q = 256 μ is 255. Raises InputError for Q < 2 or Q > 2²⁰.
    Source: ITU-T G.711; van den Oord et al. 2016 (WaveNet), section 2.2.
    """
    classes = check_integer("classes", classes, 2, LARGEST)
    i = np.arange(classes + 1)
    centres = (2 * i[:-1] + 1 - classes) / (classes - 1)
    edges = np.clip((2 * i - classes) / (classes - 1), -1, 1)  # the outermost classes reach no further than their centres
    return Quantizer(_expand(centres, classes), _expand(edges, classes))


def _expand(f: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """The inverse of f: sign(f)·((1 + μ)^|f| - 1)/μ, exactly ±1 at ±1."""
    exponent = math.log(classes)
    return np.sign(f) * np.expm1(np.abs(f) * exponent) / np.expm1(exponent)


def _array(name: str, value: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError:
        raise InputError(f"{name}: expected an array, got rows of unequal length") from None


def _check(name: str, array: NDArray[Any], fits: NDArray[np.bool_], expected: str) -> None:
    if not fits.all():
        place = tuple(int(i) for i in np.argwhere(~fits)[0])
        raise InputError(f"{name}: expected {expected}, got {array[place]}{f' at index {place}' if place else ''}")
