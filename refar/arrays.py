"""What callers hand in, checked against a graph: inputs, parameters, options. NumPy only; no maths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refar import noise
from refar.errors import InputError, ParameterError
from refar.graph import Graph
from refar.infer import Type, analyse

Array = NDArray[Any]
Arrays = dict[str, Array]
Data = ArrayLike | Mapping[str, ArrayLike]


def bind_inputs(graph: Graph, x: Data, condition: Data | None = None, *, stepwise: bool = False) -> Arrays:
    """Name the inputs of a graph and check them: {node: array}, sequence first.

    `x` is the sequence, or a mapping that holds every input; `condition` is the condition, or a mapping if there are
    several. With `stepwise` the sequence has no time axis. Raises InputError for what is missing, surplus or misfits.
    """
    found = analyse(graph)
    given: dict[str, ArrayLike] = dict(x) if isinstance(x, Mapping) else {found.sequence: x}
    given |= _name_conditions(found.conditions, condition)
    if surplus := sorted(given.keys() - {found.sequence, *found.conditions}):
        raise InputError(f"input {surplus[0]!r}: the graph has no such input, only {_list(found.sequence, *found.conditions)}")
    bound: Arrays = {}
    for name in (found.sequence, *found.conditions):
        if name not in given:
            raise InputError(f"{'input' if name == found.sequence else 'condition'} {name!r} ({found.types[name]}) is missing")
        kind = found.types[name]
        if stepwise and kind.timed:
            kind = Type(kind.size, kind.indexed, False)
        bound[name] = check_array(name, given[name], kind)
    batches = {name: array.shape[0] for name, array in bound.items()}
    if len(set(batches.values())) > 1:
        raise InputError(f"the inputs differ in batch size: {', '.join(f'{n!r} has {b}' for n, b in batches.items())}")
    return bound


def bind_conditions(graph: Graph, condition: Data | None, batch: int | None) -> tuple[Arrays, int]:
    """The conditions alone, and the batch size they have or get: a single row is repeated for the whole batch."""
    found = analyse(graph)
    given = _name_conditions(found.conditions, condition)
    if surplus := sorted(given.keys() - set(found.conditions)):
        raise InputError(f"condition {surplus[0]!r}: the graph has no such condition, only {_list(*found.conditions)}")
    bound: Arrays = {}
    for name in found.conditions:
        if name not in given:
            raise InputError(f"condition {name!r} ({found.types[name]}) is missing")
        array = np.asarray(given[name])
        if array.ndim == len(found.types[name].axes) - 1:
            array = array[None]
        bound[name] = check_array(name, array, found.types[name])
    sizes = {a.shape[0] for a in bound.values()}
    rows = batch if batch is not None else max(sizes, default=1)
    if rows < 0:
        raise InputError(f"batch: expected a number of rows ≥ 0, got {rows}")
    for name, array in bound.items():
        if array.shape[0] not in (1, rows):
            raise InputError(f"condition {name!r}: expected 1 or {rows} rows, got {array.shape[0]}")
        bound[name] = np.repeat(array, rows, axis=0) if array.shape[0] == 1 else array
    return bound, rows


def bind_prompt(graph: Graph, prompt: ArrayLike | None, condition: Data | None, batch: int | None) -> tuple[Array, Arrays, int]:
    """The prompt (empty if none), the conditions, and the rows that both have; a single row is repeated.

    Without `batch`, the rows are those of the prompt or the conditions. Raises InputError where they differ.
    """
    kind = analyse(graph).types[analyse(graph).sequence]
    if prompt is None:
        prompt = np.zeros((1, 0) if kind.indexed else (1, kind.size, 0), np.int64 if kind.indexed else np.float64)
    array = np.asarray(prompt)
    array = check_array("prompt", array[None] if array.ndim == len(kind.axes) - 1 else array, kind)
    conditions, rows = bind_conditions(graph, condition, batch if batch is not None or array.shape[0] == 1 else array.shape[0])
    if array.shape[0] not in (1, rows):
        raise InputError(f"prompt: expected 1 or {rows} rows, got {array.shape[0]}")
    return np.repeat(array, rows, axis=0) if array.shape[0] != rows else array, conditions, rows


def _name_conditions(names: tuple[str, ...], condition: Data | None) -> dict[str, ArrayLike]:
    if condition is None:
        return {}
    if isinstance(condition, Mapping):
        return dict(condition)
    if len(names) != 1:
        expected = f"a mapping with {_list(*names)}" if names else "none, the graph has no condition"
        raise InputError(f"condition: expected {expected}, got an array")
    return {names[0]: condition}


def check_array(name: str, value: ArrayLike, kind: Type) -> Array:
    """Shape, dtype and range of one input. Raises InputError."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"input {name!r}: expected an array with axes {kind.axes}, got rows of unequal length") from None
    if array.ndim != len(kind.axes) or (not kind.indexed and array.shape[1] != kind.size):
        shape = f"{kind.axes} with {kind.size} channels" if not kind.indexed else kind.axes
        raise InputError(f"input {name!r}: expected axes {shape}, got an array of shape {array.shape}")
    if kind.indexed:
        if array.size and array.dtype.kind not in "iu":
            raise InputError(f"input {name!r}: expected integers, the class indices, got {array.dtype}")
        wrong = (array < 0) | (array >= kind.size)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise InputError(f"input {name!r}: expected classes 0..{kind.size - 1}, got {array[place]} at index {place}")
        return array.astype(np.int64)
    if array.dtype.kind not in "iufc":
        raise InputError(f"input {name!r}: expected numbers, got {array.dtype}")
    if not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"input {name!r}: expected finite numbers, got {array[place]} at index {place}")
    return array


def check_parameters(graph: Graph, params: Mapping[str, ArrayLike]) -> Arrays:
    """Every parameter of the graph, in its order, and no other. Raises ParameterError naming the first that misfits."""
    shapes = analyse(graph).parameters
    if surplus := sorted(params.keys() - shapes.keys()):
        raise ParameterError(f"parameter {surplus[0]!r}: the graph has no such parameter{_near(surplus[0], shapes)}")
    checked: Arrays = {}
    for name, shape in shapes.items():
        if name not in params:
            raise ParameterError(f"parameter {name!r} of shape {shape} is missing")
        array = np.asarray(params[name])
        if array.shape != shape:
            raise ParameterError(f"parameter {name!r}: expected shape {shape}, got {array.shape}")
        if array.dtype.kind not in "iufc":
            raise ParameterError(f"parameter {name!r}: expected numbers, got {array.dtype}")
        if not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise ParameterError(f"parameter {name!r}: expected finite numbers, got {array[place]} at index {place}")
        checked[name] = array
    return checked


def check_sampling(n: int, temperature: float) -> None:
    """Raise InputError unless n ≥ 0 and the temperature is a finite number ≥ 0."""
    if n < 0:
        raise InputError(f"n: expected a number of tokens ≥ 0, got {n}")
    noise.check_temperature(temperature)


def _near(name: str, shapes: Mapping[str, object]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(shapes), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _list(*names: str) -> str:
    return ", ".join(repr(name) for name in names) or "none"
