"""A step function under test, watched: a fresh state, chunks of a sequence one after the other, its arguments in either order."""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import InputError
from refar.testing.probe import states
from refar.testing.probe.observed import NOTHING, Observed, described
from refar.testing.report import ContractError
from refar.testing.under_test import Convert, name_of

_INPUTS = re.compile(
    r"x|xt|xs|u|in|inp|inputs?|tok|tokens?|samples?|frames?|chunks?|blocks?|signals?|values?|features?|pieces?|audio"
)
_STATES = re.compile(
    r"s|h|q|c|hx|cx|kv|states?|caches?|queues?|hidden|bufs?|buffers?|past|prev|previous|mem|memory|memories|carry|ctx|contexts?"
    r"|rings?|hist|history|lines?"
)


class StepUnderTest(Observed):
    """One way to step: a function of state and x that gives (y, state), or an object or class with reset() and step(x).

    x is single positions without their axis, or with `chunks` x_bcn. `x_first` says in which order a function takes the two:
    its parameters' names tell, else the state stands first. Where `latency` > 0, a step may hold back outputs; whether
    it does is seen at a first chunk of `size` positions, the smallest there is.
    """

    def __init__(
        self,
        step: Any,
        initial_state: Any,
        rows: int,
        chunks: bool,
        convert: Convert | None = None,
        latency: int = 0,
        size: int = 1,
    ) -> None:
        made = step() if isinstance(step, type) else step
        advance = next((name for name in ("chunk", "block", "step", "__call__") if hasattr(made, name)), "")
        self.stateful = hasattr(made, "reset") and bool(advance)
        if not self.stateful and not callable(made):
            expected = "expected a function (state, x) → (y, state), or reset() and step(x)"
            raise InputError(f"step: {expected}, got {type(made).__name__}")
        if self.stateful and initial_state is not None:
            raise InputError("initial_state: expected none for a class, whose reset() makes it")
        name = type(made).__name__ if self.stateful else name_of(made, "the step")
        super().__init__(self._advance, name, convert)
        self.chunks, self.latency, self.size, self.mutated = chunks, latency, size, ""
        self._holds: bool | None = None if latency else False
        self.another = (lambda: step()) if self.stateful and isinstance(step, type) else None
        self._made, self._initial, self._rows, self._state = made, initial_state, rows, None
        self._held, self.watching, self._dtypes = False, True, set[str]()
        single = next((name for name in ("step", "__call__") if hasattr(made, name)), "")
        self._method = (advance if chunks else single) if self.stateful else ""
        names = _parameters(made) if not self.stateful else ()
        self.x_first, self.told = _x_first(names), _x_first(names) is not None
        self.x_first = bool(self.x_first)

    def start(self) -> Any:
        """Return a fresh state; None for a class, which keeps its own."""
        if self.stateful:
            self._made.reset()
            return None
        return self.fresh(self._rows)

    def fresh(self, rows: int) -> Any:
        """Return the initial state of so many rows, a value that nobody else holds."""
        try:
            return self._initial(rows) if callable(self._initial) else states.copied(self._initial)
        except (ContractError, InputError):
            raise
        except Exception as error:
            raise InputError(f"initial_state: expected a state for {rows} rows, and it raises {described(error)}") from None

    def feed(self, state: Any, x: Array) -> tuple[Array | None, Any]:
        """Return (y, the state after it) for one chunk, y None if it is held back. Raises ContractError for anything else."""
        watched = self.watching and not self.stateful
        before, self._state, self._held = states.leaves(states.copied(state)) if watched else [], state, False
        y = self(x)
        if watched:
            self.mutated = self.mutated or _mutation(states.leaves(state), before)
        return (None if self._held else y), self._state

    def held(self, state: Any) -> Any:
        """Return what holds the numbers between two steps: the state, or the attributes of the object."""
        return dict(getattr(self._made, "__dict__", {})) if self.stateful else state

    def _advance(self, x: Any) -> Any:
        """Return what the step returns as y, and keep the state."""
        y = getattr(self._made, self._method)(x) if self._method else self._stepped(x)
        self._held = y is None and self.latency > 0
        return NOTHING if self._held else y

    def _stepped(self, x: Any) -> Any:
        result = self._made(x, self._state) if self.x_first else self._made(self._state, x)
        came = f"{len(result)} values" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
        if came == "2 values":
            y, self._state = result
            if not (isinstance(y, Mapping | tuple | deque) and hasattr(self._state, "shape")):
                return y
            came = f"a {type(y).__name__} and an array, in this order"
        raise ContractError(f"{self.name} returned the wrong kind: expected (y, state), got {came}")

    def _note(self, dtype: str) -> None:
        """Keep all dtypes: a first state of another one makes the first outputs so, which is no mistake."""
        self.dtype = self.dtype or dtype
        self._dtypes.add(dtype)

    @property
    def dtypes_seen(self) -> str:
        """Say in which dtypes the step answers, if in several."""
        return f"it returns {' and '.join(sorted(self._dtypes))}" if len(self._dtypes) > 1 else ""

    def _explain(self, error: Exception, x: Array) -> None:
        if isinstance(error, ContractError):
            return
        name, given = name_of(self._made, "step"), "x" if self.chunks else "x_t"
        if not self._method and self._state is None and self._initial is None and "None" in str(error):
            raise InputError(
                "initial_state: expected the first state, or a function of the number of rows that makes it, got none; "
                f"{name}(None, {given}) raises {described(error)}"
            ) from None
        super()._explain(error, x)
        axis = (
            "positions last" if self.chunks else "no axis of positions; for a function of chunks with that axis give block=True"
        )
        error.add_note(f"it is called as {self.call}, here with {given} of shape {x.shape}, {axis}")

    @property
    def call(self) -> str:
        """How the step is called."""
        name, given, got = name_of(self._made, "step"), *(("x", "y") if self.chunks else ("x_t", "y_t"))
        if self._method:
            return f"{self.name}.{self._method}({given}) → {got}"
        return f"{name}({f'{given}, state' if self.x_first else f'state, {given}'}) → ({got}, state)"

    def drive(self, x: Array, lengths: Sequence[int], like: Array, change: Callable[[Any, int], Any] | None = None) -> Array:
        """Return y from a fresh state over chunks of x of these lengths, of all positions but the last `latency`.

        `like` has the shape of y over all of x. `change(state, begin)` gives another state before the chunk at `begin`.
        """
        if self._holds is None:
            y, _ = self.feed(self.start(), x[..., : self.size] if self.chunks else x[..., 0])
            self._holds = y is None or (self.chunks and y.shape[-1] < self.size)
        state, begin, outputs = self.start(), 0, [like[..., :0]]
        for length in lengths:
            state = state if change is None else change(state, begin)
            y, state = self.feed(state, x[..., begin : begin + length] if self.chunks else x[..., begin])
            if y is not None:
                self._require_shape(y, like, length)
                outputs.append(y if self.chunks else y[..., None])
            begin += length
        return self._aligned(np.concatenate(outputs[1:] or outputs, axis=-1), begin)

    def _require_shape(self, y: Array, like: Array, length: int) -> None:
        shape = (*like.shape[:-1], length) if self.chunks else like.shape[:-1]
        if y.shape == shape or (self.chunks and self.latency and y.shape[:-1] == shape[:-1]):
            return
        what = f"{self.name} returned the wrong shape: expected {shape}"
        if y.shape == (*shape, 1):
            raise ContractError(f"{what}, got {y.shape}: drop the time axis, or give block=True, where chunks keep it")
        late = "; if it holds outputs back, give latency=" if self.chunks and y.shape[:-1] == shape[:-1] else ""
        raise ContractError(f"{what}, as the whole function has it, got {y.shape}{late}")

    def _aligned(self, y: Array, count: int) -> Array:
        """Return y without the outputs that come before the first one: they are there, or they were held back."""
        came = y.shape[-1]
        if not count - self.latency * bool(self._holds) <= came <= count:
            kept = f" and latency={self.latency}" if self.latency else ""
            raise ContractError(
                f"{self.name} gave {came} outputs for {count} positions{kept}: expected "
                f"{f'{count - self.latency} to {count}' if self.latency else count}"
            )
        return y[..., : count - self.latency] if self._holds else y[..., self.latency :][..., : count - self.latency]

    def reordered(self, state: Any, rows: Array) -> Any:
        """Return the state with row rows[b] in the place of row b. A class does it itself, by reorder(rows)."""
        if self.stateful:
            self._made.reorder(rows)
            return None
        axes = self._axes(state)

        def take(leaf: Any, n: int) -> Any:
            return leaf if axes[n] < 0 else leaf[(*(slice(None),) * axes[n], rows)]

        return states.mapped(state, take)

    @property
    def reorders(self) -> bool:
        """Whether rows can be reordered."""
        return not self.stateful or hasattr(self._made, "reorder")

    def _axes(self, state: Any) -> list[int]:
        """Return which axis of each array counts the rows, -1 where none does.

        It is the one that grows with the number of rows, or the only one of that length. Raises InputError where several have it.
        """
        now = [leaf.shape for leaf in states.leaves(state)]
        if callable(self._initial):
            few, more = ([leaf.shape for leaf in states.leaves(self.fresh(self._rows + n))] for n in (0, 1))
            if len(few) == len(more) == len(now) and few != more:
                return [next((a for a, (i, j) in enumerate(zip(one, two, strict=False)) if i != j), -1)
                        for one, two in zip(few, more, strict=True)]  # fmt: skip
        for shape in now:
            if shape.count(self._rows) > 1:
                expected = "expected a function of the number of rows, which shows the axis that counts them"
                raise InputError(f"initial_state: {expected}; an array of shape {shape} has several of length {self._rows}")
        return [shape.index(self._rows) if self._rows in shape else -1 for shape in now]


def _parameters(function: Any) -> tuple[str, ...]:
    """Return the names of what a function takes by position; nothing where it does not tell."""
    try:
        found = inspect.signature(getattr(function, "forward", function)).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


def _x_first(names: Sequence[str]) -> bool | None:
    """Return whether x stands before the state, by the names of the parameters; None where they do not tell."""
    if len(names) < 2:
        return None
    first, second = names[:2]
    forward = _is(first, _INPUTS) + _is(second, _STATES)
    backward = _is(first, _STATES) + _is(second, _INPUTS)
    return None if forward == backward else forward > backward


def _is(name: str, kind: re.Pattern[str]) -> int:
    return int(any(kind.fullmatch(word) for word in name.lower().split("_") if word))


def _mutation(now: list[Array], before: list[Array]) -> str:
    """Say which array of a state is no longer what it was; nothing if all are."""
    if len(now) != len(before):
        return "the number of arrays in the state that it was given"
    changed = (n for n, (a, b) in enumerate(zip(now, before, strict=True)) if a.shape != b.shape or (a != b).any())
    return next((f"array {n} of the state that it was given, of shape {before[n].shape}" for n in changed), "")
