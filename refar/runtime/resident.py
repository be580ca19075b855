"""A batch of sequences of which the tokens are drawn in sampler.onnx: all stays on the device, in memory that is bound once."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from refar.analysis.sampler import NOISE, STEPS, TEMPERATURE
from refar.arguments.arrays import Array, Arrays
from refar.errors import BackendError
from refar.runtime import sampler_ports
from refar.runtime.buffers import Buffer, made, require_room, zeros
from refar.runtime.bundle import CLOCK, FIXED, OUTPUT, PAST, PRESENT, SAMPLER
from refar.runtime.provider import Guarded
from refar.runtime.sampler_ports import DRAWN, FAULTS, TURN
from refar.runtime.visits import Visits

if TYPE_CHECKING:
    from refar.runtime.opened import Opened

_MOST_STEPS, _MOST_NUMBERS = 64, 2**23
"""Steps, and numbers of noise, that are on the device at once."""

_LEAST_STEPS = 8
"""As many as that at least, since onnxruntime makes three steps in the call that records one, and two are recorded."""


class Resident:
    """Memory for `rows` sequences and the noise of `steps` steps, and the calls that go on in it.

    `begin` sets what a generation begins with. `feed` gives the noise of some steps, and `draw` makes them. What is fed has two
    places, so that the next steps can be fed while these are made. On CUDA, where the session captures, a step is one replay of a
    CUDA graph, of which there is one for each place. It belongs to one thread and to this memory, so both are kept.
    """

    def __init__(self, opened: Opened, rows: int) -> None:
        self._opened, self.rows, self.thread = opened, rows, opened.residents.thread
        shapes = _shapes(opened, rows)
        self.steps, self._faults = shapes[NOISE][0], shapes[f"{PAST}.{FAULTS}"]
        what, fed = f"a batch of {rows}", [name for name in shapes if _is_fed(name)]
        arrays = zeros(what, {name: (shape, _dtype(opened, name)) for name, shape in shapes.items()})
        self._buffers = made(what, arrays, opened.provider)
        self._fed = [{name: self._buffers.pop(name) for name in fed}, made(what, {n: arrays[n] for n in fed}, opened.provider)]
        self._drawn, self._at, self._place, self._is_new = arrays[f"{PAST}.{DRAWN}"], 0, 0, False
        self._begin_session()

    def _begin_session(self) -> None:
        """Bind all memory to the session as it is now, and have it record its steps. The values are those of no generation."""
        self._session, self._captured = self._opened.sessions[SAMPLER], self._opened.captures
        self._bound = [self._binding({**self._buffers, **fed}) for fed in self._fed]
        if not self._captured:
            return
        try:
            for place in (1, 0):
                self._place = place
                self._run(1)
        except BackendError as error:
            self._opened.stop_capturing(str(error))
            self._begin_session()

    def _binding(self, buffers: dict[str, Buffer]) -> tuple[Any, Any, Any]:
        """Bind memory to the session; returns the binding, the options of a run, and those of one that waits until it is made.

        Waiting so lets other threads of Python go on, which draw noise; `synchronize_outputs` would not.
        """
        binding, options, last = self._session.io_binding(), onnxruntime.RunOptions(), onnxruntime.RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        if self._captured:
            number = str(next(self._opened.graph_numbers))
            for each in (options, last):
                each.add_run_config_entry("gpu_graph_id", number)
        for name, buffer in buffers.items():
            if name == OUTPUT:
                binding.bind_ortvalue_output(name, buffer.value)
                continue
            binding.bind_ortvalue_input(name, buffer.value)
            if name.startswith(f"{PAST}."):
                binding.bind_ortvalue_output(name.replace(PAST, PRESENT, 1), buffer.value)
        return binding, options, last

    def begin(self, visits: Visits, token: Array, temperatures: Array) -> None:
        """Go on from the state of a stream, which has not taken `token`, (B) or (B, C); `temperatures` is (B)."""
        for name, buffer in visits.past.items():
            self._buffers[f"{PAST}.{name}"].set(buffer.get())
        for name, buffer in visits.fixed.items():
            self._buffers[f"{FIXED}.{name}"].set(buffer.get())
        self._buffers[f"{PAST}.{CLOCK}"].set(visits.clock.get())
        self._buffers[TEMPERATURE].set(temperatures[:, None])
        self._buffers[f"{PAST}.{FAULTS}"].set(np.zeros(self._faults))
        self._drawn[0] = token

    def feed(self, noise: Array, local: Arrays) -> None:
        """Give the noise (n, B, K) and the local conditions {name: (n, B, …)} of the next n ≤ `steps` steps.

        The next `draw` begins with them. Until then the steps that were fed before go on.
        """
        other = self._fed[1 - self._place]
        for name, values in {NOISE: noise, **{f"{STEPS}.{name}": each for name, each in local.items()}}.items():
            other[name].set_first(values)
        self._is_new = True

    def draw(self, count: int, meanwhile: Callable[[], None] | None = None) -> Array:
        """Draw `count` more tokens, x_bt or x_bct, of steps that were fed, and call `meanwhile` while the device makes them.

        Raises BackendError where an output was not finite.
        """
        if self._is_new:
            self._place, self._at, self._is_new = 1 - self._place, 0, False
            self._buffers[f"{PAST}.{DRAWN}"].set(self._drawn)
            self._buffers[f"{PAST}.{TURN}"].set(np.array(0))
        self._run(count, meanwhile)
        if self._buffers[f"{PAST}.{FAULTS}"].array.any():  # nan is true
            raise BackendError(f"{SAMPLER}: expected finite outputs, got nan or infinity at one of {count} steps")
        found = self._buffers[f"{PAST}.{DRAWN}"].get()[self._at + 1 : self._at + 1 + count]
        self._at += count
        self._drawn[0] = found[-1]
        return np.moveaxis(found, 0, -1)

    @property
    def output(self) -> Array:
        """The output y_bc that the newest token was drawn from."""
        return self._buffers[OUTPUT].get()

    def _run(self, count: int, meanwhile: Callable[[], None] | None = None) -> None:
        """Make steps, and wait for the last. Those of a session share memory of their own, so one thread is there at a time.

        Raises BackendError in another thread than the one in which the step was recorded, where it would be recorded anew.
        """
        if self._captured and self._opened.residents.thread is not self.thread:
            raise BackendError(f"{SAMPLER}: expected the thread in which the generation began, since a CUDA graph belongs to it")
        binding, options, last = self._bound[self._place]
        with self._opened.sampling, self._opened.mode():
            try:
                with Guarded(SAMPLER):
                    for _ in range(count - 1):
                        self._session.run_with_iobinding(binding, options)
                if meanwhile is not None:
                    meanwhile()
                with Guarded(SAMPLER):
                    self._session.run_with_iobinding(binding, last)
            finally:
                with Guarded(SAMPLER):
                    binding.synchronize_outputs()


def _ports(opened: Opened) -> dict[str, sampler_ports.Port]:
    """The inputs, and the output that is not the state that follows."""
    given, found = sampler_ports.inputs(opened.found, opened.layout), sampler_ports.outputs(opened.found, opened.layout)
    return given | {OUTPUT: found[OUTPUT]}


def _shapes(opened: Opened, rows: int) -> dict[str, tuple[int, ...]]:
    """The shape of each port for so many rows, and for as many steps as there is noise on the device at once."""
    ports = _ports(opened)
    per_step = max(1, rows * int(ports[NOISE][1][-1]))
    steps = max(_LEAST_STEPS, min(_MOST_STEPS, _MOST_NUMBERS // per_step))
    sizes = {"batch_size": rows, "steps": steps, "entries": steps + 1}
    return {name: tuple(sizes[n] if isinstance(n, str) else n for n in shape) for name, (_, shape) in ports.items()}


def _is_fed(name: str) -> bool:
    """Whether a port takes what `feed` gives."""
    return name == NOISE or name.startswith(f"{STEPS}.")


def _dtype(opened: Opened, name: str) -> type[np.int64] | type[np.float32]:
    return np.int64 if _ports(opened)[name][0] else np.float32


def check_batch(opened: Opened, rows: int) -> None:
    """Raise BackendError, before anything is computed, for more rows than the device has memory for."""
    numbers = {name: math.prod(shape) * (1 + _is_fed(name)) for name, shape in _shapes(opened, rows).items()}
    takes = sum(count * np.dtype(_dtype(opened, name)).itemsize for name, count in numbers.items())
    require_room(f"a batch of {rows}", takes, opened.provider)


class Residents(threading.local):
    """What each thread drew tokens in last, kept for the next time, and gone with the thread."""

    def __init__(self) -> None:
        self.last: Resident | None = None
        self.thread = object()  # tells one thread from every other; their numbers are given again


@contextmanager
def borrowed(opened: Opened, rows: int) -> Iterator[Resident]:
    """Memory for so many rows, which nobody else uses meanwhile: what this thread used last, if it fits, else other."""
    own = opened.residents
    resident, own.last = own.last, None
    if resident is not None and resident.rows != rows:
        resident = None  # before other memory is asked for
    if resident is None:
        resident = Resident(opened, rows)
    try:
        yield resident
    finally:
        if resident.thread is opened.residents.thread:
            opened.residents.last = resident
