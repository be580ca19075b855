"""Handwritten digits, 8 × 8 pixels: a real data set that needs no download."""

from __future__ import annotations

import hashlib

import numpy as np

from refar.data.dataset import Dataset, Split, permutation
from refar.data.meaning import Meaning
from refar.errors import BackendError, FileError

_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def digits() -> Dataset:
    """1797 digits with 17 grey values, row by row (T = 64), the condition being the label: 1300 train, 137 valid, 360 test.

    Raises BackendError without scikit-learn, which carries the data, and FileError if its data are not the known ones.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise BackendError("data 'digits' needs scikit-learn, which is not installed: pip install refar[data]") from None
    pixels, labels = load_digits(return_X_y=True)
    x, condition = pixels.astype(np.int64), labels.astype(np.int64)
    digest = hashlib.sha256(x.astype(np.uint8).tobytes() + condition.astype(np.uint8).tobytes()).hexdigest()
    if digest != _SHA256:
        raise FileError(f"data 'digits': scikit-learn's copy has sha256 {digest}, expected {_SHA256}")
    order = permutation(0, 0, 0, len(x))
    parts = (order[:1300], order[1300:1437], order[1437:])
    train, valid, test = (Split(x[rows], {"condition": condition[rows]}) for rows in parts)
    return Dataset(
        "digits", train, valid, test, classes=17, classes_of={"condition": 10}, shape=(8, 8),
        meaning=Meaning(kind="picture", levels=17, size=(8, 8)), licence="CC BY 4.0",
        source="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (test set), UCI Machine Learning Repository, "
        "doi:10.24432/C50P49, as carried by scikit-learn",
    )  # fmt: skip
