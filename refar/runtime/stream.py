"""A stream: sequences on which a network goes on, token by token or block by block, with the state on the device."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from refar.arguments.arrays import Array, Arrays, Data, as_float32, check_real, check_row_numbers, check_rows, extent, repeat_rows
from refar.errors import BackendError, InputError, check_integer
from refar.runtime import saved, stored
from refar.runtime.alone import alone
from refar.runtime.prompts import Begun, bind_prompts, prefill
from refar.runtime.visits import Visits

if TYPE_CHECKING:
    from refar.runtime.opened import Opened


_ALWAYS = np.iinfo(np.int64).max


class Stream:
    """`batch` sequences, of each of which `taken` tokens have been seen. `Session.stream` begins one.

    `push` and `step` take the next tokens. `output` is the output of the newest position, y_bc: of a strict network that of the
    next token; nan of a sequence that has none yet; None where it is not known.
    """

    def __init__(self, opened: Opened, begun: Begun) -> None:
        self._opened, self._layout, self._found = opened, opened.layout, opened.found
        self._conditions, self._taken, self._output = begun.conditions, begun.taken.copy(), begun.output
        self._visits = Visits(opened, begun.past, begun.fixed)
        self._back = self._layout.spare  # how many visits can be taken back: a prompt is visits too
        self._sound = np.full(len(begun.taken), _ALWAYS)  # how many tokens were taken until an output was not finite
        self._broke = False  # whether an output was not finite at any time
        sequence, types = self._found.sequence, self._found.types
        self._kinds = {name: (types[name], types[name].at_once) for name in (sequence, *opened.local)}
        self._lock = threading.RLock()

    @property
    def batch(self) -> int:
        """How many sequences there are."""
        return len(self._taken)

    @property
    def taken(self) -> Array:
        """How many tokens of each sequence have been seen, those of its prompt included: (B,)."""
        return self._taken.copy()

    @property
    def output(self) -> Array | None:
        """The output of the newest position, (B, C)."""
        return None if self._output is None else self._output.copy()

    @property
    def conditions(self) -> Arrays:
        """The global conditions that hold now, {name: (B, …)}."""
        return {name: array.copy() for name, array in self._conditions.items()}

    def __repr__(self) -> str:
        return f"Stream(batch={self.batch}, taken={self._taken.tolist()})"

    @alone
    def push(self, x: ArrayLike, condition: Data | None = None) -> Array:
        """Take T ≥ 0 tokens of each sequence, x_bt or x_bct: the output after each, y_bct.

        `condition` holds the local conditions of the positions of the outputs. A global condition may be in it too: it changes
        from the first of these outputs on. Of one row the axis b may be left out. When this raises InputError, the stream is as
        it was. BackendError is raised too where an output is not finite; then the tokens have been taken: `rewind` takes them
        back, as far as the bundle's `spare` reaches, and `reset` begins their rows anew.
        """
        inputs = self._fresh("push", x, condition, at_once=False)
        length = inputs[self._found.sequence].shape[-1]
        if self.batch * length == 0:
            return self._nothing(length)
        if length == 1:
            return self._advance({name: array[..., 0] for name, array in inputs.items()})[..., None].copy()
        return self._advance(inputs, pushed=True).copy()

    @alone
    def step(self, x_t: ArrayLike, condition: Data | None = None) -> Array:
        """Take one token of each sequence, x_b or x_bc: the output after it, y_bc. `condition` as in `push`, of one position."""
        inputs = self._fresh("step", x_t, condition, at_once=True)
        return self._advance(inputs).copy() if self.batch else self._nothing(1)[..., 0]

    @alone
    def rewind(self, steps: int) -> None:
        """Take back the last tokens, of a prompt too: at most as many as the bundle was exported with (`spare`), or are there.

        What was taken back before counts, and so do a state that was set or loaded and a row that began anew: nothing before that
        is there any more. `output` is None afterwards: take one token more back and push it again. A condition that was changed
        meanwhile stays as it is.
        """
        most = min(self._back, int(self._taken.min(initial=2**62)))
        steps = check_integer("steps", steps, 0)
        if steps > most:
            spare = self._layout.spare
            reason = f"this bundle was exported with spare={spare}" if most == spare else "no more of them are there"
            raise InputError(f"rewind: expected at most {most} steps, got {steps}; {reason}")
        if steps:
            self._take_back(steps)

    def _take_back(self, steps: int) -> None:
        """Take back the last tokens, of which there are so many."""
        self._visits.take_back(steps)
        self._taken -= steps
        if self._broke:
            self._sound[self._taken <= self._sound] = _ALWAYS
        self._back -= steps
        self._output = None

    @property
    def state(self) -> Arrays:
        """What later outputs depend on besides the conditions: {node: its last values, (B, C, kept), oldest first}."""
        return self._canonical()

    @state.setter
    def state(self, state: Mapping[str, ArrayLike]) -> None:
        self._set(state)

    @alone
    def _canonical(self) -> Arrays:
        clock, past = int(self._visits.clock.get()), {name: buffer.get() for name, buffer in self._visits.past.items()}
        found: Arrays = {}
        for each in self._layout.slots.values():
            slots = each.base + np.arange(clock - each.kept, clock) % each.count
            found[each.node] = np.ascontiguousarray(stored.values_of(each, past[each.tensor][slots]).transpose(1, 2, 0))
        return found

    def _know(self, output: Array | None) -> None:
        """Say what the output of the newest position is, where the state was set."""
        self._output = output

    @alone
    def _set(self, state: Mapping[str, ArrayLike]) -> None:
        slots = self._layout.slots
        if not isinstance(state, Mapping) or state.keys() != slots.keys():
            came = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
            raise InputError(f"state: expected a mapping with {', '.join(slots) or 'nothing'}, got {came}")
        past = stored.empty(self._layout, self.batch)
        for name, each in slots.items():
            shape = (self.batch, each.width, each.kept)
            value = as_float32(f"state {name!r}", check_real(f"state {name!r}", state[name], shape)).transpose(2, 0, 1)
            past[each.tensor][each.base + each.count - each.kept : each.base + each.count] = stored.stored_of(each, value)
        for name, array in past.items():
            self._visits.past[name].set(array)
        self._visits.clock.set(np.array(0))
        self._back, self._output = 0, None
        self._sound[:] = _ALWAYS

    @alone
    def fork(self) -> Stream:
        """Return a stream of its own that goes on from here too."""
        return self._with_rows(slice(None))

    @alone
    def take(self, rows: Sequence[int] | Array) -> Stream:
        """Return a stream of some of the sequences, in this order; one may be taken several times."""
        return self._with_rows(check_row_numbers("take", rows, self.batch))

    @alone
    def join(self, other: Stream) -> Stream:
        """Return a stream of the sequences of both, those of this one first."""
        if not isinstance(other, Stream) or other._opened.bundle.digest != self._opened.bundle.digest:
            came = "one of another bundle" if isinstance(other, Stream) else type(other).__name__
            raise InputError(f"join: expected a stream of the same bundle, got {came}")
        if other._layout.spare != self._layout.spare:
            raise InputError(f"join: expected a stream with spare={self._layout.spare}, got one with {other._layout.spare}")
        theirs = other.fork()
        by = int(self._visits.clock.get()) - int(theirs._visits.clock.get())
        past = {name: [buffer.get(), theirs._visits.past[name].get()] for name, buffer in self._visits.past.items()}
        for each in self._layout.slots.values():  # at the clock of this stream
            own = slice(each.base, each.base + each.count)
            past[each.tensor][1][own] = np.roll(past[each.tensor][1][own], by, axis=0)
        fixed = {name: np.concatenate([a.get(), theirs._visits.fixed[name].get()]) for name, a in self._visits.fixed.items()}
        conditions = {name: np.concatenate([a, theirs._conditions[name]]) for name, a in self._conditions.items()}
        outputs = [each for each in (self._output, theirs._output) if each is not None]
        output = np.concatenate(outputs) if len(outputs) == 2 else None
        together = {name: np.concatenate(parts, axis=1) for name, parts in past.items()}
        joined = Stream(self._opened, Begun(together, fixed, conditions, np.concatenate([self._taken, theirs._taken]), output))
        joined._visits.clock.set(self._visits.clock.get())
        joined._back, joined._sound = min(self._back, theirs._back), np.concatenate([self._sound, theirs._sound])
        joined._broke = self._broke or theirs._broke
        return joined

    @alone
    def reset(self, rows: Sequence[int] | Array | None = None, condition: Data | None = None) -> None:
        """Begin some sequences anew, all if `rows` is left out: no token has been seen.

        `condition` holds their conditions, of a strict network also the local ones of position 0; global ones that are left out
        stay as they are.
        """
        chosen = check_row_numbers("reset", range(self.batch) if rows is None else rows, self.batch)
        if len(set(chosen.tolist())) < len(chosen):
            raise InputError(f"reset: expected each row once, got {chosen.tolist()}")
        kept = {name: array[chosen] for name, array in self._conditions.items()}
        given = kept | self._opened.named("reset", condition)
        none = bind_prompts(self._opened, None, given, len(chosen), more=int(self._found.strict))
        fresh = prefill(self._opened, none, none.lengths)
        clock = int(self._visits.clock.get())
        for each in self._layout.slots.values():
            own = slice(each.base, each.base + each.count)
            past = self._visits.past[each.tensor].get()
            past[own, chosen] = np.roll(fresh.past[each.tensor][own], clock, axis=0)
            self._visits.past[each.tensor].set(past)
        for name, buffer in self._visits.fixed.items():
            buffer.set(_put(buffer.get(), chosen, fresh.fixed[name]))
        self._conditions = {name: _put(array, chosen, fresh.conditions[name]) for name, array in self._conditions.items()}
        self._taken[chosen] = 0
        if self._output is not None and fresh.output is not None:
            self._output = _put(self._output, chosen, fresh.output)
        if len(chosen) == self.batch:
            self._output = fresh.output
        self._sound[chosen] = _ALWAYS

    @alone
    def save(self, path: str | Path) -> None:
        """Write the stream to a file, from which `Session.load_stream` goes on; steps cannot be taken back beyond it."""
        self._check_finite("save")
        state = self.state
        for name, value in state.items():
            if not np.isfinite(value).all():
                rows = np.flatnonzero(~np.isfinite(value).all(axis=(1, 2))).tolist()
                raise BackendError(f"save: the state of node {name!r} is not finite in rows {rows}; reset them")
        tensors = {f"state.{name}": value for name, value in state.items()}
        tensors |= {f"condition.{name}": value for name, value in self._conditions.items()} | {"taken": self._taken}
        if self._output is not None:
            tensors["output"] = self._output
        saved.write(path, tensors, self._opened.bundle.digest)

    def _with_rows(self, rows: slice | Array) -> Stream:
        """Copy, with some of the rows."""
        past = {name: buffer.get()[:, rows] for name, buffer in self._visits.past.items()}
        fixed = {name: buffer.get()[rows] for name, buffer in self._visits.fixed.items()}
        conditions = {name: array[rows].copy() for name, array in self._conditions.items()}
        output = None if self._output is None else self._output[rows].copy()
        copy = Stream(self._opened, Begun(past, fixed, conditions, self._taken[rows], output))
        copy._visits.clock.set(self._visits.clock.get())
        copy._back, copy._sound, copy._broke = self._back, self._sound[rows].copy(), self._broke
        return copy

    def _check_finite(self, purpose: str) -> None:
        if self._broke and (broken := self._taken > self._sound).any():
            rows = np.flatnonzero(broken).tolist()
            raise BackendError(
                f"{purpose}: rows {rows} of this stream have become numbers that are not finite; reset them, or rewind"
            )

    def _nothing(self, length: int) -> Array:
        return np.zeros((self.batch, self._found.types[self._found.graph.output].size, length), np.float32)

    def _fresh(self, purpose: str, x: ArrayLike, condition: Data | None, *, at_once: bool) -> Arrays:
        """The next tokens and the local conditions of their outputs, checked; global ones that are given take effect."""
        sequence, local = self._found.sequence, self._opened.local
        self._check_finite(purpose)
        kinds = {name: pair[at_once] for name, pair in self._kinds.items()}
        given, changed = self._given(purpose, condition) if local or condition is not None else ({}, {})
        checked = {name: check_rows(name, x if name == sequence else given[name], kind) for name, kind in kinds.items()}
        if len(checked[sequence]) != self.batch:
            hint = "" if at_once or np.shape(x) != (self.batch,) else "; step takes one token of each row"
            raise InputError(f"{sequence!r}: expected {self.batch} rows, as the stream has, got {len(checked[sequence])}{hint}")
        if local:
            checked |= repeat_rows({name: checked[name] for name in local}, self.batch)
            lengths = {name: extent(kinds[name], array) for name, array in checked.items()}
            if len(set(lengths.values())) > 1:
                each = ", ".join(f"{name!r} has {length}" for name, (length,) in lengths.items())
                raise InputError(f"{purpose}: expected as many conditions as tokens; {each}")
        fed = self._opened.feeds(checked)
        if changed:
            self._change(purpose, changed)
        return fed

    def _given(self, purpose: str, condition: Data | None) -> tuple[dict[str, ArrayLike], dict[str, ArrayLike]]:
        """The local conditions by name, as many as there are, and the global ones that change."""
        given = self._opened.named(purpose, condition)
        changed = {name: given.pop(name) for name in list(given) if name in self._conditions}
        self._opened.check_names(purpose, given)
        return given, changed

    def _change(self, purpose: str, changed: Mapping[str, ArrayLike]) -> None:
        """Let global conditions have other values from the next output on."""
        self._opened.check_changeable(purpose, changed)
        types = self._found.types
        given = {name: check_rows(name, value, types[name]).copy() for name, value in changed.items()}
        found = repeat_rows(given, self.batch)
        conditions = self._conditions | found
        for name, value in self._opened.fixed(conditions).items():
            self._visits.fixed[name].set(value)
        self._conditions = conditions

    def _advance(self, inputs: Arrays, *, pushed: bool = False) -> Array:
        """Make one visit, or several where the inputs have a time axis. `inputs` are those of the models, not checked.

        With `pushed` more blocks of this length may be expected. The outputs are the memory of this stream until the next call.
        Raises BackendError unless they are finite; the tokens have been taken then.
        """
        y, wrong = self._visited(inputs, pushed=pushed)
        if wrong is None:
            return y
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        taken = "the tokens have been taken: take them back with rewind, or begin their rows anew with reset"
        raise BackendError(f"{self._visits.ran}: expected finite outputs, got {y[place]} at index {place}; {taken}")

    def _visited(self, inputs: Arrays, *, pushed: bool = False) -> tuple[Array, Array | None]:
        """As `_advance`, but return the outputs whatever they are, and where the network's are not finite; None if all are."""
        several = self._is_several(inputs)
        visit = self._visits.one if not several else self._visits.pushed if pushed else self._visits.many
        y = visit(inputs)
        visits = y.shape[-1] if several else 1
        wrong: Array | None = None
        if not (right := np.isfinite(y)).all():
            self._broke, wrong = True, np.logical_not(right, out=np.empty(y.shape, bool))
        if self._opened.first_output:  # before it an output means nothing
            places = self._taken[:, None] + self._found.strict + np.arange(visits)
            early = (places < self._opened.first_output)[:, None]
            y = np.where(early if several else early[..., 0], np.float32("nan"), y)
        if wrong is not None:
            by_visit = np.any(wrong, axis=1).reshape(self.batch, visits)
            first = np.where(np.any(by_visit, axis=1), self._taken + by_visit.argmax(axis=1), _ALWAYS)
            self._sound = np.minimum(self._sound, first)
        self._taken += visits
        self._back = min(self._layout.spare, self._back + visits)
        self._output = y[..., -1] if several else y
        return y, wrong

    def _is_several(self, inputs: Arrays) -> bool:
        """Whether inputs have a time axis."""
        return inputs[self._found.sequence].ndim == len(self._found.types[self._found.sequence].axes)


def _put(array: Array, rows: Array, values: Array) -> Array:
    array = array.copy()
    array[rows] = values
    return array
