"""Somebody else's step function, driven: a fresh state, pieces of a sequence one after the other, and all of it watched."""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import InputError
from refar.testing.callee import Convert, as_array, explain, require_numbers, require_unchanged
from refar.testing.report import ContractError


class Stepper:
    """One way to step: a function (state, x) → (y, state), or an object or class with reset() and step(x).

    Pieces are single positions without their axis, or with `block` stretches x_bcn of any length.
    """

    def __init__(self, step: Any, initial_state: Any, rows: int, block: bool, convert: Convert | None = None) -> None:
        made = step() if isinstance(step, type) else step
        self.stateful = hasattr(made, "reset") and hasattr(made, "step")
        if not self.stateful and not callable(made):
            raise InputError(
                f"step: expected a function (state, x) → (y, state), or reset() and step(x), got {type(made).__name__}"
            )
        if self.stateful and initial_state is not None:
            raise InputError("initial_state: expected none for a class, whose reset() makes it")
        name = type(made).__name__ if self.stateful else str(getattr(made, "__name__", type(made).__name__))
        self.name, self._called = ("the step", "step") if name == "<lambda>" else (name, name)
        self.block, self._convert = block, convert
        self._made, self._initial, self._rows = made, initial_state, rows
        self._returned: tuple[Array, Array] | None = None
        self.mutated = ""

    def start(self) -> Any:
        """A fresh state; None for a class, which keeps its own."""
        if self.stateful:
            self._made.reset()
            return None
        return self._initial(self._rows) if callable(self._initial) else copied(self._initial)

    def feed(self, state: Any, x: Array) -> tuple[Array, Any]:
        """One piece: (y, the state after it). Raises ContractError for anything but that."""
        given, before = x.copy(), leaves(copied(state))
        result = self._call(state, given)
        require_unchanged(f"{self.name} changed its argument x", "it must leave its arguments alone", given, x)
        if not self.stateful:
            self.mutated = self.mutated or self._mutation(leaves(state), before)
            result, state = self._pair(result)
        if self._returned is not None:
            what = f"a later call of {self.name} changed the y that an earlier one had returned"
            require_unchanged(what, "it gives away a view of its own buffer, return a copy", *self._returned)
        y = as_array(self.name, result)
        self._returned = (y, y.copy())
        require_numbers(self.name, y)
        return y.copy(), state

    def _call(self, state: Any, x: Array) -> Any:
        names = ("chunk", "block", "step") if self.block else ("step",)
        method = next((name for name in names if hasattr(self._made, name)), "") if self.stateful else ""
        try:
            given = x if self._convert is None else self._convert(x)
            return getattr(self._made, method)(given) if method else self._made(state, given)
        except Exception as error:
            if not method and state is None and self._initial is None and "None" in str(error):
                raise InputError(
                    "initial_state: expected the first state, or a function of the number of rows that makes it, got none; "
                    f"{self._called}(None, x{'' if self.block else '_t'}) raises {type(error).__name__}: {error}"
                ) from error
            explain(error, self.name, [x], self._convert)
            error.add_note(self._as_called(method, x.shape))
            raise

    def _as_called(self, method: str, shape: tuple[int, ...]) -> str:
        x, y = ("x", "y") if self.block else ("x_t", "y_t")
        call = f"{self.name}.{method}({x}) → {y}" if method else f"{self._called}(state, {x}) → ({y}, state)"
        more = "positions last" if self.block else "no axis of positions; for a function of pieces with that axis give block=True"
        return f"it is called as {call}, here with {x} of shape {shape}, {more}"

    def _pair(self, result: Any) -> tuple[Any, Any]:
        if not isinstance(result, tuple | list) or len(result) != 2:
            came = f"{len(result)} values" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
            raise ContractError(f"{self.name} returned the wrong kind: expected (y, state), got {came}")
        if isinstance(result[0], Mapping | tuple | deque) and hasattr(result[1], "shape"):
            came = f"a {type(result[0]).__name__} and an array"
            raise ContractError(f"{self.name} returned the wrong kind: expected (y, state), got {came}: are they swapped?")
        return result[0], result[1]

    @staticmethod
    def _mutation(now: list[Array], before: list[Array]) -> str:
        if len(now) != len(before):
            return "the number of arrays in the state that it was given"
        changed = (n for n, (a, b) in enumerate(zip(now, before, strict=True)) if a.shape != b.shape or (a != b).any())
        return next((f"array {n} of the state that it was given, of shape {before[n].shape}" for n in changed), "")

    def drive(self, x: Array, lengths: Sequence[int], like: Array) -> Array:
        """From a fresh state over pieces of x of these lengths: y with the shape of `like`, or the part that was driven."""
        state, begin, outputs = self.start(), 0, []
        for length in lengths:
            piece = x[..., begin : begin + length] if self.block else x[..., begin]
            y, state = self.feed(state, piece)
            shape = (*like.shape[:-1], length) if self.block else like.shape[:-1]
            if y.shape != shape:
                raise ContractError(f"{self.name} returned the wrong shape: {self._shape_hint(y.shape, shape)}")
            outputs.append(y if self.block else y[..., None])
            begin += length
        return np.concatenate(outputs, axis=-1) if outputs else like[..., :0]

    def _shape_hint(self, came: tuple[int, ...], expected: tuple[int, ...]) -> str:
        if not self.block and came == (*expected, 1):
            return f"expected {expected}, got {came}: drop the time axis, or give block=True, where pieces keep it"
        return f"expected {expected}, as the whole function has it, got {came}"


def copied(state: Any) -> Any:
    """A copy that shares nothing, tensors without their gradient's history. Raises InputError for what cannot be copied."""
    detached = {id(leaf): leaf.detach().clone() for leaf in _parts(state) if hasattr(leaf, "detach")}
    try:
        return copy.deepcopy(state, detached)
    except Exception as error:
        what = "state: expected arrays, in lists and dictionaries or not, that can be copied"
        hint = "; if the step is PyTorch's, run it within torch.no_grad()" if "ensor" in str(error) else ""
        raise InputError(f"{what}: {error}{hint}") from None


def leaves(state: Any) -> list[Array]:
    """The arrays in a state, as they are now."""
    return [as_array("the state", leaf, kinds="biufc") for leaf in _parts(state)]


def _parts(state: Any) -> Iterator[Any]:
    """The numbers, arrays and tensors themselves."""
    match state:
        case Mapping():
            for value in state.values():
                yield from _parts(value)
        case list() | tuple() | deque():
            for value in state:
                yield from _parts(value)
        case _ if dataclasses.is_dataclass(state):
            for field in dataclasses.fields(state):
                yield from _parts(getattr(state, field.name))
        case _ if isinstance(state, int | float) or hasattr(state, "__array__") or hasattr(state, "detach"):
            yield state
        case _:
            pass
