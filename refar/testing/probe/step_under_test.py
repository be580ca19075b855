"""A step function under test, watched: a fresh state, chunks of a sequence one after the other."""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import InputError
from refar.testing.report import ContractError
from refar.testing.under_test import Convert, FunctionUnderTest, as_array, name_of


class StepUnderTest(FunctionUnderTest):
    """One way to step: a function (state, x) → (y, state), or an object or class with reset() and step(x).

    x is single positions without their axis, or with `chunks` x_bcn of any length.
    """

    def __init__(self, step: Any, initial_state: Any, rows: int, chunks: bool, convert: Convert | None = None) -> None:
        made = step() if isinstance(step, type) else step
        self.stateful = hasattr(made, "reset") and hasattr(made, "step")
        if not self.stateful and not callable(made):
            expected = "expected a function (state, x) → (y, state), or reset() and step(x)"
            raise InputError(f"step: {expected}, got {type(made).__name__}")
        if self.stateful and initial_state is not None:
            raise InputError("initial_state: expected none for a class, whose reset() makes it")
        name = type(made).__name__ if self.stateful else name_of(made, "the step")
        super().__init__(self._advance, name, convert)
        self.chunks, self.mutated = chunks, ""
        self._made, self._initial, self._rows, self._state = made, initial_state, rows, None
        names = ("chunk", "block", "step") if chunks else ("step",)
        self._method = next((name for name in names if hasattr(made, name)), "") if self.stateful else ""

    def start(self) -> Any:
        """Return a fresh state; None for a class, which keeps its own."""
        if self.stateful:
            self._made.reset()
            return None
        return self._initial(self._rows) if callable(self._initial) else copied(self._initial)

    def feed(self, state: Any, x: Array) -> tuple[Array, Any]:
        """Return (y, the state after it) for one chunk. Raises ContractError for anything but that."""
        before, self._state = leaves(copied(state)), state
        y = self(x)
        if not self.stateful:
            self.mutated = self.mutated or _mutation(leaves(state), before)
        return y, self._state

    def _advance(self, x: Any) -> Any:
        """Return what the step returns as y, and keep the state."""
        if self._method:
            return getattr(self._made, self._method)(x)
        result = self._made(self._state, x)
        came = f"{len(result)} values" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
        if came == "2 values":
            y, self._state = result
            if not (isinstance(y, Mapping | tuple | deque) and hasattr(self._state, "shape")):
                return y
            came = f"a {type(y).__name__} and an array: are they swapped?"
        raise ContractError(f"{self.name} returned the wrong kind: expected (y, state), got {came}")

    def _explain(self, error: Exception, x: Array) -> None:
        if isinstance(error, ContractError):
            return
        name, given, got = name_of(self._made, "step"), *(("x", "y") if self.chunks else ("x_t", "y_t"))
        if not self._method and self._state is None and self._initial is None and "None" in str(error):
            raise InputError(
                "initial_state: expected the first state, or a function of the number of rows that makes it, got none; "
                f"{name}(None, {given}) raises {type(error).__name__}: {error}"
            ) from error
        super()._explain(error, x)
        call = f"{name}(state, {given}) → ({got}, state)"
        call = f"{self.name}.{self._method}({given}) → {got}" if self._method else call
        axis = (
            "positions last" if self.chunks else "no axis of positions; for a function of chunks with that axis give block=True"
        )
        error.add_note(f"it is called as {call}, here with {given} of shape {x.shape}, {axis}")

    def drive(self, x: Array, lengths: Sequence[int], like: Array) -> Array:
        """Return y from a fresh state over chunks of x of these lengths; `like` has the shape of y over all of x."""
        state, begin, outputs = self.start(), 0, [like[..., :0]]
        for length in lengths:
            y, state = self.feed(state, x[..., begin : begin + length] if self.chunks else x[..., begin])
            shape = (*like.shape[:-1], length) if self.chunks else like.shape[:-1]
            if y.shape != shape:
                what = f"{self.name} returned the wrong shape: expected {shape}"
                if y.shape == (*shape, 1):
                    raise ContractError(f"{what}, got {y.shape}: drop the time axis, or give block=True, where chunks keep it")
                raise ContractError(f"{what}, as the whole function has it, got {y.shape}")
            outputs.append(y if self.chunks else y[..., None])
            begin += length
        return np.concatenate(outputs[1:] or outputs, axis=-1)


def _mutation(now: list[Array], before: list[Array]) -> str:
    """Say which array of a state is no longer what it was; nothing if all are."""
    if len(now) != len(before):
        return "the number of arrays in the state that it was given"
    changed = (n for n, (a, b) in enumerate(zip(now, before, strict=True)) if a.shape != b.shape or (a != b).any())
    return next((f"array {n} of the state that it was given, of shape {before[n].shape}" for n in changed), "")


def copied(state: Any) -> Any:
    """Return a copy that shares nothing, tensors without their gradient's history. Raises InputError where there is none."""
    detached = {id(leaf): leaf.detach().clone() for leaf in _parts(state) if hasattr(leaf, "detach")}
    try:
        return copy.deepcopy(state, detached)
    except Exception as error:
        what = "state: expected arrays, in lists and dictionaries or not, that can be copied"
        hint = "; if the step is PyTorch's, run it within torch.no_grad()" if "ensor" in str(error) else ""
        raise InputError(f"{what}: {error}{hint}") from None


def leaves(state: Any) -> list[Array]:
    """Return the arrays in a state, as they are now."""
    return [as_array("the state", leaf, kinds="biufc") for leaf in _parts(state)]


def _parts(state: Any) -> Iterator[Any]:
    """Yield the numbers, arrays and tensors themselves; what else a state may hold has no numbers to compare."""
    if dataclasses.is_dataclass(state):
        state = [getattr(state, field.name) for field in dataclasses.fields(state)]
    if isinstance(state, Mapping | list | tuple | deque):
        for value in state.values() if isinstance(state, Mapping) else state:
            yield from _parts(value)
    elif isinstance(state, int | float) or hasattr(state, "__array__") or hasattr(state, "detach"):
        yield state
