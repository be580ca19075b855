"""What slots hold, and the values of nodes: the same numbers, but of a one-hot its class."""

from __future__ import annotations

import numpy as np

from refar.analysis.slots import Slots, StateLayout
from refar.arguments.arrays import Array, Arrays
from refar.errors import InputError


def empty(layout: StateLayout, rows: int) -> Arrays:
    """Return slots of no meaning yet, {tensor: (slots, B, C)}."""
    found: Arrays = {}
    for name, (slots, channels) in layout.sizes.items():
        found[name] = np.zeros((slots, rows, channels), np.int64 if layout.tensors[name][0].classes else np.float32)
    return found


def values_of(each: Slots, stored: Array) -> Array:
    """Return the values of a node, (…, width) in float32, from what its slots hold, (…, C)."""
    return (stored == np.arange(each.classes)).astype(np.float32) if each.classes else stored


def stored_of(each: Slots, values: Array) -> Array:
    """Return what slots hold, (…, C), of values (…, width). Raises InputError where a one-hot is none."""
    if not each.classes:
        return values
    if not (((values == 0) | (values == 1)).all() and (values.sum(axis=-1) <= 1).all()):
        raise InputError(f"state {each.node!r}: expected one 1 among zeros at each position, or zeros alone")
    return np.where(values.any(axis=-1), values.argmax(axis=-1), each.classes)[..., None]
