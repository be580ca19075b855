"""Sequences step by step, as the caller sees it: arguments checked, states handed out.

`initial_state` and `step`/`block` give y_t exactly as the whole pass does, for any causal graph. `start` and
`next`/`next_block` are for a strict graph, one call per token: the token at t, with a local condition at t + 1, gives y_{t+1}.
Nodes with all offsets ≥ 1 are then one position ahead, so these states are not those of `step`.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from refar.analysis.causality import require_strict
from refar.arguments.arrays import MOST, Array, Arrays, Data, bind_conditions, bind_inputs
from refar.errors import InputError, check_integer
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.stream import SequenceState, advance, check_state, empty


class NotReady(Enum):
    """What `step` gives instead of an output while padding is "valid" and the window is not yet whole."""

    NOT_READY = "not ready"

    def __repr__(self) -> str:
        return "refar.NOT_READY"


NOT_READY = NotReady.NOT_READY


class SequenceStream:
    """A bound graph over time, run position by position."""

    def __init__(self, net: BoundGraph) -> None:
        self._net = net

    def initial_state(self, batch: int, condition: Data | None, shape: object) -> SequenceState:
        """Return the state before position 0. Only under input padding does it depend on the global conditions."""
        _refuse_shape("initial_state", shape)
        rows, conditions = check_integer("batch", batch, 0, MOST), Arrays()
        if self._net.graph.padding == "input" or condition is not None:
            conditions, _ = bind_conditions(self._net.graph, condition, rows, local=False)
        return empty(self._net, self._net.cast(conditions), rows, leading=False)

    def start(self, batch: int | None, condition: Data | None, shape: object) -> tuple[Array, SequenceState]:
        """Return y_0, which depends on no token, and the state for `next`."""
        require_strict(self._net.facts, "start")
        _refuse_shape("start", shape)
        conditions, rows = bind_conditions(self._net.graph, condition, batch)
        inputs = self._one_position(conditions)
        state = empty(self._net, self._net.cast(inputs), rows, leading=True)
        y, state = advance(self._net, state, inputs, leading=True, rows_before=rows)
        return y[:, :, 0], state

    def step(self, state: object, x_t: Data, condition: Data | None) -> tuple[Array | Literal[NotReady.NOT_READY], SequenceState]:
        """Return y_t as in the whole pass, and the state after position t."""
        y, after = self._go_on(state, self._one_position(bind_inputs(self._net.facts, x_t, condition, stepwise=True)), False)
        return (y[:, :, 0] if y.shape[2] else NOT_READY), after

    def block(self, state: object, x: Data, condition: Data | None) -> tuple[Array, SequenceState]:
        """Take any number of positions in one call."""
        return self._go_on(state, bind_inputs(self._net.facts, x, condition), False)

    def next(self, state: object, x_t: Data, condition: Data | None) -> tuple[Array, SequenceState]:
        """Return y_{t+1} after the token x_t, and the state after it."""
        require_strict(self._net.facts, "next")
        y, after = self._go_on(state, self._one_position(bind_inputs(self._net.facts, x_t, condition, stepwise=True)), True)
        return y[:, :, 0], after

    def next_block(self, state: object, x: Data, condition: Data | None) -> tuple[Array, SequenceState]:
        """`next` for any number of tokens in one call."""
        require_strict(self._net.facts, "next_block")
        return self._go_on(state, bind_inputs(self._net.facts, x, condition), True)

    def _go_on(self, state: object, inputs: Arrays, leading: bool) -> tuple[Array, SequenceState]:
        rows = len(inputs[self._net.facts.sequence])
        return advance(self._net, check_state(self._net, state, rows, leading=leading), inputs, leading=leading)

    def _one_position(self, inputs: Arrays) -> Arrays:
        """Give the inputs of one position a time axis."""
        types, found = self._net.facts.types, Arrays()
        for name, array in inputs.items():
            found[name] = array[..., None] if types[name].timed else array
        return found


def _refuse_shape(purpose: str, shape: object) -> None:
    if shape is not None:
        raise InputError(f"{purpose}: shape: expected none for a graph over time, got {shape!r}")
