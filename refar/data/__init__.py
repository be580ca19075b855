"""Data sets behind one small interface: `load("digits")`, or the path of an .npz file of one's own."""

from __future__ import annotations

from refar.data.dataset import Dataset, Split
from refar.data.load import NAMES, load
from refar.data.npz import read_npz

__all__ = ["NAMES", "Dataset", "Split", "load", "read_npz"]
