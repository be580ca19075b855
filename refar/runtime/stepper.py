"""The step graph over state that stays on the device: two sets of buffers, read and written in turn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnxruntime

from refar.arrays import Array, Arrays
from refar.runtime.bundle import OUTPUT, PAST, PRESENT


class Stepper:
    """One running batch. A call reads past.* from one set of buffers and writes present.* to the other: no copy, no alias."""

    def __init__(self, session: Any, device: str, x: tuple[str, Array], constants: Arrays, past: Arrays, y: Array) -> None:
        self._session = session
        self._constants = constants
        self._x = onnxruntime.OrtValue.ortvalue_from_numpy(x[1].copy(), device)
        self._y = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros_like(y), device)
        fixed = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value, device) for name, value in constants.items()}
        self._buffers = [
            {node: onnxruntime.OrtValue.ortvalue_from_numpy(value.copy(), device) for node, value in past.items()}
            for _ in range(2)
        ]
        self._bindings = []
        for read, write in (self._buffers, self._buffers[::-1]):
            binding = session.io_binding()
            for name, value in {x[0]: self._x, **fixed}.items():
                binding.bind_ortvalue_input(name, value)
            for node in past:
                binding.bind_ortvalue_input(f"{PAST}.{node}", read[node])
                binding.bind_ortvalue_output(f"{PRESENT}.{node}", write[node])
            binding.bind_ortvalue_output(OUTPUT, self._y)
            self._bindings.append(binding)
        self._turn = 0

    def conditions(self, names: Iterable[str]) -> Arrays:
        """The conditions that this batch runs under."""
        return {name: self._constants[name] for name in names}

    def step(self, x: Array) -> Array:
        """One token per row, contiguous and of the graph's dtype, checked by the caller."""
        self._x.update_inplace(np.ascontiguousarray(x))
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        return np.array(self._y.numpy())

    def state(self) -> Arrays:
        """The values that the next step reads, copied."""
        return {node: np.array(value.numpy()) for node, value in self._buffers[self._turn].items()}
