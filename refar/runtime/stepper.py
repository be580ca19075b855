"""The step and block graphs over state that stays on the device: two sets of buffers, read and written in turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from refar.arguments.arrays import Array, Arrays
from refar.runtime.bundle import OUTPUT, PAST, PRESENT, START


class Stepper:
    """One running batch. A call reads past.* from one set of buffers and writes present.* to the other: no copy, no alias."""

    def __init__(self, session: Any, device: str, inputs: Arrays, past: Arrays, y: Array) -> None:
        self._session, self._device = session, device
        self.inputs = inputs
        self._values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(a.copy(), device) for name, a in inputs.items()}
        self._y = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros_like(y), device)
        self._buffers = [
            {node: onnxruntime.OrtValue.ortvalue_from_numpy(value.copy(), device) for node, value in past.items()}
            for _ in range(2)
        ]
        self._bindings = []
        for read, write in (self._buffers, self._buffers[::-1]):
            binding = session.io_binding()
            for name, value in self._values.items():
                binding.bind_ortvalue_input(name, value)
            for node in past:
                binding.bind_ortvalue_input(f"{PAST}.{node}", read[node])
                binding.bind_ortvalue_output(f"{PRESENT}.{node}", write[node])
            binding.bind_ortvalue_output(OUTPUT, self._y)
            self._bindings.append(binding)
        self._turn = 0

    def step(self, fresh: Arrays) -> Array:
        """One token per row, and whatever else changes from step to step, of the graph's dtypes, checked by the caller."""
        for name, array in fresh.items():
            self._values[name].update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        return np.array(self._y.numpy())

    def block(self, session: Any, fresh: Arrays) -> Array:
        """The same with any number T ≥ 1 of tokens per row, in the session of a block graph: y_bqt."""
        given = {name: value for name, value in self._values.items() if name != START}
        for name, array in fresh.items():
            given[name] = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self._device)
        binding = session.io_binding()
        for name, value in given.items():
            binding.bind_ortvalue_input(name, value)
        read, write = self._buffers[self._turn], self._buffers[1 - self._turn]
        for node in read:
            binding.bind_ortvalue_input(f"{PAST}.{node}", read[node])
            binding.bind_ortvalue_output(f"{PRESENT}.{node}", write[node])
        binding.bind_output(OUTPUT, self._device)
        session.run_with_iobinding(binding)
        self._turn = 1 - self._turn
        y: Array = binding.get_outputs()[-1].numpy()  # the one that was bound last
        return np.array(y)

    def state(self) -> Arrays:
        """The values that the next step reads, copied."""
        return {node: np.array(value.numpy()) for node, value in self._buffers[self._turn].items()}
