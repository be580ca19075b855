"""`check_streaming` on correct steps with one mistake in each: every one is found, and called by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kit_streams import B1, B2, D1, D2, SHAPE, W1, W2, State, Steps, block, conv, full, one, step, zeros

from refar.testing import ContractError, check_streaming

Result = tuple[np.ndarray, Any]
REACH = 2 * D1 + D2


def windows(state: State, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, State]:
    """What both layers see at a step, and the state after it."""
    first = np.concatenate([state["x"], x[:, :, None]], axis=2)
    h = np.maximum(one(first, W1, B1, D1), 0)
    second = np.concatenate([state["h"], h[:, :, None]], axis=2)
    return first, second, {"x": first[:, :, 1:], "h": second[:, :, 1:]}


def late(state: dict[str, Any], x: np.ndarray) -> Result:
    y, new = step(state["state"], x)
    return state["y"], {"state": new, "y": y}


def early(x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((3, 3, 2)), full(x)[:, :, :-2]], axis=2)[:, :, : x.shape[2]]


def padded_once(x: np.ndarray) -> np.ndarray:
    """Zeros in front of the input alone."""
    return full(np.concatenate([np.zeros((*x.shape[:2], REACH)), x], axis=2))[:, :, REACH:]


def primed(rows: int) -> State:
    """After zeros: right for a network padded once."""
    state = zeros(rows)
    for _ in range(REACH):
        _, state = step(state, np.zeros((rows, 2)))
    return state


def junk(rows: int) -> State:
    return {name: array + 1 for name, array in zeros(rows).items()}


def reading(index: int) -> Callable[[State, np.ndarray], Result]:
    """The second layer reads its queue at `index`, whatever its length."""

    def read(state: State, x: np.ndarray) -> Result:
        _, second, new = windows(state, x)
        return B2 + second[:, :, -1] @ W2[:, :, 1].T + second[:, :, index] @ W2[:, :, 0].T, new

    return read


def forgets(state: State, x: np.ndarray) -> Result:
    return step({**state, "h": 0 * state["h"]}, x)


def turned(state: State, x: np.ndarray) -> Result:
    first, _, new = windows(state, x)
    return one(first[:, :, ::-1], W1, B1, D1), new


def wrong_end(state: State, x: np.ndarray) -> Result:
    first, _, new = windows(state, x)
    return first[:, :, 0] + first[:, :, 1] + first[:, :, 4], new


def holes(x: np.ndarray) -> np.ndarray:
    padded = np.concatenate([np.zeros((3, 2, 4)), x], axis=2)
    return padded[:, :, 4:] + padded[:, :, 3:-1] + padded[:, :, :-4]


def scrambled(state: State, x: np.ndarray) -> Result:
    y, new = step(state, x)
    return y, {"x": new["x"], "h": new["h"][:, :, ::-1]}


def after(state: State, x: np.ndarray) -> Result:
    """Stores what stands before an activation, reads what stands behind it."""
    first = np.concatenate([state["x"], x[:, :, None]], axis=2)
    h = one(first, W1, B1, D1)
    second = np.concatenate([state["h"], h[:, :, None]], axis=2)
    y = B2 + h @ W2[:, :, 1].T + np.maximum(second[:, :, 0], 0) @ W2[:, :, 0].T
    return y, {"x": first[:, :, 1:], "h": second[:, :, 1:]}


def mixes(state: State, x: np.ndarray) -> Result:
    y, new = step(state, x)
    return y + 0.1 * y.mean(axis=0), new


IN_STEPS: dict[str, tuple[Any, Callable[[np.ndarray], Any], dict[str, Any]]] = {
    "the right numbers, one position late": (
        late, full, {"initial_state": lambda rows: {"state": zeros(rows), "y": np.zeros((rows, 3))}}
    ),
    "the right numbers, 2 positions early": (step, early, {}),
    "it looks ahead, see check_causality; a step can give this only later, which latency= says": (
        step, lambda x: np.roll(full(x), -2, axis=2), {}
    ),
    "the state is never fed back: every step answers as if it were the first": (lambda s, x: (step(s, x)[0], s), full, {}),
    "wrong only at the first 8 positions, right from position 8 on: the first state is wrong: from zeros in its place the steps "
    "are right": (step, full, {"initial_state": junk}),
    "wrong only at the first 4 positions, right from position 4 on: the first state has to be what the steps come to after "
    "zeros: they are right if as many zeros are fed before": (step, padded_once, {}),
    "right from position 4 on: the first state is wrong: from zeros in its place": (step, full, {"initial_state": primed}),
    "a queue is one position too long, or read before the push: with array 1 of the first state, of shape (3, 4, 5), one shorter "
    "along axis 2 the steps are right": (reading(0), full, {"initial_state": lambda n: zeros(n, second=D2 + 1)}),
    "a queue is one position too short, or read after the push: with array 1 of the first state, of shape (3, 4, 3), one longer "
    "along axis 2 the steps are right": (
        reading(0), full, {"initial_state": lambda n: zeros(n, second=D2 - 1)}
    ),
    "right at the first 3 positions, wrong from position 3 on: a queue is one position too short, or read after the push": (
        reading(1), full, {}
    ),
    "where x changes at one position, the whole answers at the offsets 6, 8, the steps do not": (forgets, full, {}),
    "the last 5 positions are read in the opposite order": (turned, lambda x: conv(x, W1, B1, D1), {}),
    "what is 1 to 3 positions old is read in the opposite order": (wrong_end, holes, {"shape": (3, 2, 24)}),
    "and the steps answer at the offsets 1, 3, 5, the whole does not": (scrambled, full, {}),
    "26 of 30 positions differ): right at the first 4 positions, wrong from position 4 on": (
        after, lambda x: conv(conv(x, W1, B1, D1), W2, B2, D2), {}),
    "law 'batch': rows of the batch mix in the steps: with row 0 changed, position 0": (mixes, full, {}),
    "rows of the batch mix: the output": (step, lambda x: full(x) - full(x).mean(axis=0), {}),
}  # fmt: skip


def cut(state: State, x: np.ndarray) -> Result:
    """The new state from the chunk alone."""
    y, _ = block(state, x)
    first = np.concatenate([state["x"], x], axis=2)
    h = np.maximum(conv(first, W1, B1, D1)[:, :, state["x"].shape[2] :], 0)
    return y, {"x": x[:, :, -2 * D1 :], "h": h[:, :, -D2:]}


def restarts(state: State, x: np.ndarray) -> Result:
    y, _ = block({**state, "h": 0 * state["h"]}, x)
    return y, block(state, x)[1]


def ahead(state: State, x: np.ndarray) -> Result:
    y, new = block(state, x)
    y[:, :, -1] += x.shape[2] < 30
    return y, new


def constant(state: State, x: np.ndarray) -> Result:
    if x.shape[2] != 30:
        raise ValueError("cannot reshape")
    return block(state, x)


def off(state: State, x: np.ndarray) -> Result:
    y, new = block(state, x)
    return y + 1, new


IN_BLOCKS: dict[str, Any] = {
    "wrong for chunks of at most 3, right for 5 and more": cut,
    "wrong only at the first 4 positions of a chunk, and right in the first chunk": restarts,
    "wrong only at the last position of a chunk": ahead,
    "(30 chunks): constant raises ValueError: cannot reshape (": constant,
    "in every channel all outputs are off by one constant, as by a bias": off,
}


class Forgotten(Steps):
    def reset(self) -> None:
        if not hasattr(self, "state"):
            self.state = zeros(3)


def counting() -> Any:
    count = 0

    def counts(state: State, x: np.ndarray) -> Result:
        nonlocal count
        count += 1
        y, new = step(state, x)
        return y + (count > 30), new

    return counts


def remembering() -> Any:
    """Adds the output of the step before, which it keeps outside the state."""
    last = np.zeros((3, 3))

    def remembers(state: State, x: np.ndarray) -> Result:
        y, new = step(state, x)
        result = y + 0 * last if (state["x"] == 0).all() else y + last
        last[...] = y
        return result, new

    return remembers


def with_the_last(x: np.ndarray) -> np.ndarray:
    y = full(x)
    y[:, :, 1:] += full(x)[:, :, :-1]
    return y


def in_place(state: State, x: np.ndarray) -> Result:
    y, new = step(state, x)
    for name, array in state.items():
        array[...] = new[name]
    return y, state


def sharing() -> Any:
    buffer = np.zeros((3, 2, 2 * D1))

    def view(state: State, x: np.ndarray) -> Result:
        y, new = step(state, x)
        buffer[...] = new["x"]
        return y, {"x": buffer, "h": new["h"]}

    return view


def reusing() -> Any:
    buffer = np.zeros((3, 3))

    def view(state: State, x: np.ndarray) -> Result:
        buffer[...], new = step(state, x)
        return buffer, new

    return view


def changes(state: State, x: np.ndarray) -> Result:
    x *= 2
    return step(state, x)


IN_STATES: dict[str, tuple[Callable[[], Any], Callable[[np.ndarray], Any]]] = {
    "reset() does not reset everything": (Forgotten, full),
    "something is kept outside the state, what initial_state gives has changed, or random numbers are drawn": (counting, full),
    "at step 3 itself: the result depends on more than both": (remembering, with_the_last),
    "law 'state': in_place changes array 0 of the state that it was given, of shape (3, 2, 4): a second step from the same state "
    "gives other results; copy before writing": (lambda: in_place, full),
    "view changes array 0 of the state that it was given": (sharing, full),
    "a later call of view changed the y that an earlier one had returned": (reusing, full),
    "changes changed its argument x": (lambda: changes, full),
}


def test_what_is_right_passes() -> None:
    check_streaming(full, step, shape=SHAPE, initial_state=zeros, dtype="float64")
    check_streaming(full, reading(0), shape=SHAPE, initial_state=zeros, dtype="float64")
    check_streaming(full, block, block=True, shape=SHAPE, initial_state=zeros, dtype="float64")
    check_streaming(padded_once, step, shape=SHAPE, initial_state=primed, dtype="float64")


def says(words: str, whole: Any, wrong: Any, **options: Any) -> None:
    with pytest.raises(ContractError) as caught:
        check_streaming(whole, wrong, **{"shape": SHAPE, "dtype": "float64", "initial_state": zeros, **options})
    assert words in str(caught.value), str(caught.value)


@pytest.mark.parametrize("words", IN_STEPS)
def test_mistakes_in_steps(words: str) -> None:
    wrong, whole, options = IN_STEPS[words]
    says(words, whole, wrong, **options)


@pytest.mark.parametrize("words", IN_BLOCKS)
def test_mistakes_in_blocks(words: str) -> None:
    says(words, full, IN_BLOCKS[words], block=True)


@pytest.mark.parametrize("words", IN_STATES)
def test_mistakes_in_states(words: str) -> None:
    make, whole = IN_STATES[words]
    says(words, whole, make(), **({"initial_state": None} if make is Forgotten else {}))
