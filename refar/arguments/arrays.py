"""What callers hand in, checked against a graph: inputs, parameters, options. NumPy only; no maths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from refar import noise, ops
from refar.analysis.facts import Facts, facts
from refar.analysis.types import Type
from refar.errors import GraphError, InputError, ParameterError, RefarError, check_integer, near
from refar.graph.graph import Graph

Array = NDArray[Any]
Arrays = dict[str, Array]
Data = ArrayLike | Mapping[str, ArrayLike]

MOST = 2**31 - 1
"""The largest number of rows or tokens that can be asked for."""


def bind_inputs(found: Facts, x: Data, condition: Data | None = None, *, stepwise: bool = False) -> Arrays:
    """Name the inputs of a graph and check them: {node: array}, sequence first.

    `x` is the sequence, or a mapping that holds every input; `condition` is the condition, or a mapping if there are
    several; a condition of a single row, with or without its axis, is repeated for the whole batch. With `stepwise` nothing
    has a time axis. Raises InputError for what is missing, surplus or misfits.
    """
    given: dict[str, ArrayLike] = dict(x) if isinstance(x, Mapping) else {found.sequence: x}
    if found.conditions or condition is not None:
        given |= _name_conditions(found.conditions, condition)
    for name in given:
        if name not in found.inputs:
            raise InputError(f"input {name!r}: the graph has no such input, only {_list(*found.inputs)}")
    kind = found.types[found.sequence]
    if found.sequence not in given:
        raise InputError(f"input {found.sequence!r} ({kind}) is missing")
    bound = {found.sequence: check_array(found.sequence, given[found.sequence], kind.at_once if stepwise else kind)}
    if found.conditions:
        bound |= repeat_rows(_check_conditions(found, given, stepwise), len(bound[found.sequence]))
        if not stepwise:
            _check_extents(found, bound)
    return bound


def _check_extents(found: Facts, bound: Arrays) -> None:
    extents = {name: extent(found.types[name], array) for name, array in bound.items() if found.types[name].timed}
    if len(set(extents.values())) > 1:
        what = "pixels" if found.types[found.sequence].image else "positions"
        each = (f"{name!r} has {' x '.join(map(str, e))} {what}" for name, e in extents.items())
        raise InputError(f"the inputs differ in length: {', '.join(each)}")


def extent(kind: Type, array: Array) -> tuple[int, ...]:
    """The lengths of the axes that a value lies over: (T,), (H, W), or () for a constant."""
    return array.shape[len(kind.axes.rstrip("thw")) :]


def in_order(kind: Type, y: Array, x: Array) -> tuple[Array, Array]:
    """Output and sequence (of this type) as over time: y_bkn and x_bn, or x_bcn for a signal over time, as they were.

    The values of an image stand in the order in which they are modelled: by rows, columns, colours. Channel k·C + c of y is
    number k of the parameters of colour c, so N = H·W·C and y_bkn has K = channels / C; a signal has x_b1n there.
    """
    if not kind.image:
        return y, x
    batch, colours, height, width = x.shape
    each = y.shape[1] // colours
    y_bkn = np.moveaxis(y.reshape(batch, each, colours, height, width), 2, -1).reshape(batch, each, colours * height * width)
    x_bn = np.moveaxis(x, 1, -1).reshape(batch, colours * height * width)
    return y_bkn, x_bn if kind.indexed else x_bn[:, None]


def positions(graph: Graph, inputs: Arrays, begin: int, end: int) -> Arrays:
    """The inputs from position `begin` to `end` - 1; what is constant stays whole."""
    types = facts(graph).types
    return {name: array[..., begin:end] if types[name].timed else array for name, array in inputs.items()}


def bind_conditions(
    graph: Graph, condition: Data | None, batch: int | None, length: int | None = None, *, local: bool = True
) -> tuple[Arrays, int]:
    """The conditions alone, and the batch size they have or get; a single row is repeated as in `bind_inputs`.

    Local conditions must have at least `length` positions, of which the first are taken; without it, they are those of one
    position and have no time axis. Unless `local`, they are left out, given or not.
    """
    found = facts(graph)
    given = _name_conditions(found.conditions, condition)
    if surplus := [name for name in given if name not in found.conditions]:
        raise InputError(f"condition {surplus[0]!r}: the graph has no such condition, only {_list(*found.conditions)}")
    bound = _check_conditions(found, given, length is None, local)
    for name, array in bound.items():
        if found.types[name].timed and length is not None:
            if array.shape[-1] < length:
                raise InputError(f"condition {name!r}: expected at least {length} positions, got {array.shape[-1]}")
            bound[name] = array[..., :length]
    rows = max((len(array) for array in bound.values()), default=1) if batch is None else check_integer("batch", batch, 0, MOST)
    return repeat_rows(bound, rows), rows


def bind_plane(
    graph: Graph, condition: Data | None, batch: int | None, shape: tuple[int, int] | None
) -> tuple[Arrays, int, tuple[int, int]]:
    """The conditions of images of `shape` (H, W), the batch size as in `bind_conditions`, and the shape.

    Without `shape` it is that of a local condition, a map. Raises InputError if there is none, or where they differ.
    """
    found = facts(graph)
    given = _name_conditions(found.conditions, condition)
    if surplus := [name for name in given if name not in found.conditions]:
        raise InputError(f"condition {surplus[0]!r}: the graph has no such condition, only {_list(*found.conditions)}")
    bound = _check_conditions(found, given, stepwise=False)
    maps = {name: array.shape[2:] for name, array in bound.items() if found.types[name].timed}
    if shape is None and not maps:
        raise InputError("shape: expected (rows, columns) of the images, got none")
    wanted = check_shape(shape if shape is not None else next(iter(maps.values())))
    for name, over in maps.items():
        if over != wanted:
            raise InputError(f"condition {name!r}: expected {wanted[0]} x {wanted[1]} pixels, got {over[0]} x {over[1]}")
    rows = max((len(array) for array in bound.values()), default=1) if batch is None else check_integer("batch", batch, 0, MOST)
    return repeat_rows(bound, rows), rows, wanted


def as_sequence(graph: Graph, x: Data) -> ArrayLike:
    """The sequence alone, out of a mapping that may hold nothing else. Raises InputError."""
    name = facts(graph).sequence
    given = dict(x) if isinstance(x, Mapping) else {name: x}
    if given.keys() != {name}:
        raise InputError(f"input: expected {name!r} alone, got {_list(*map(str, given))}")
    return given[name]


def check_shape(shape: object) -> tuple[int, int]:
    """The rows and columns of an image. Raises InputError unless it is a pair of whole numbers ≥ 1."""
    pair = tuple(shape) if isinstance(shape, Sequence | np.ndarray) and not isinstance(shape, str) else ()
    if len(pair) != 2:
        raise InputError(f"shape: expected a pair (rows, columns), got {shape!r}")
    return check_integer("rows", pair[0], 1, ops.LARGEST), check_integer("columns", pair[1], 1, ops.LARGEST)


def _check_conditions(found: Facts, given: Mapping[str, ArrayLike], stepwise: bool, local: bool = True) -> Arrays:
    """All conditions of the graph, out of what is given, a lone row with its axis."""
    bound: Arrays = {}
    for name in found.conditions:
        if found.types[name].timed and not local:
            continue
        if name not in given:
            raise InputError(f"condition {name!r} ({found.types[name]}) is missing")
        bound[name] = check_rows(name, given[name], found.types[name].at_once if stepwise else found.types[name])
    return bound


def repeat_rows(conditions: Arrays, rows: int) -> Arrays:
    """Conditions of a single row repeated. Raises InputError for any other number of rows than `rows`."""
    for name, array in conditions.items():
        if len(array) not in (1, rows):
            raise InputError(f"condition {name!r}: expected {'1 row' if rows == 1 else f'1 or {rows} rows'}, got {len(array)}")
    return {name: np.repeat(a, rows, axis=0) if len(a) == 1 else a for name, a in conditions.items()}


def one_or(count: int, what: str) -> str:
    """'1 row', '1 or 3 rows': what is repeated where there is one of it."""
    return f"1 {what}" if count == 1 else f"1 or {count} {what}s"


def bind_prompt(
    graph: Graph, prompt: object, condition: Data | None, batch: int | None, more: int = 0
) -> tuple[Array, Arrays, int]:
    """The prompt (empty if none), the conditions, and the rows that both have; a single row is repeated.

    Without `batch`, the rows are those of the prompt or the conditions. Local conditions are those of the prompt's positions
    and `more` after it. Raises InputError where they differ.
    """
    kind = facts(graph).types[facts(graph).sequence]
    if prompt is None:
        prompt = np.zeros((1, 0) if kind.indexed else (1, kind.size, 0), np.int64 if kind.indexed else np.float64)
    array = check_rows("prompt", prompt, kind)
    rows_wanted = batch if batch is not None or array.shape[0] == 1 else array.shape[0]
    conditions, rows = bind_conditions(graph, condition, rows_wanted, array.shape[-1] + more)
    if array.shape[0] not in (1, rows):
        raise InputError(f"prompt: expected {one_or(rows, 'row')}, got {array.shape[0]}")
    return np.repeat(array, rows, axis=0) if array.shape[0] != rows else array, conditions, rows


def first_rows(kind: Type, prompt: ArrayLike | None, shape: tuple[int, int]) -> Array:
    """The prompt of images of `shape` (H, W): x_bchw with their first rows, any number up to H; of one image none, if None.

    Raises InputError for anything else.
    """
    height, width = shape
    none = (kind.channels, 0, width)
    if prompt is None or np.shape(as_array("prompt", prompt, f"an array with axes {kind.axes}"))[1:] == none:
        return np.zeros((1 if prompt is None else len(np.asarray(prompt)), *none), np.int64 if kind.indexed else np.float64)
    array = check_array("prompt", prompt, kind)
    if array.shape[3] != width or array.shape[2] > height:
        came = f"{array.shape[2]} rows of {array.shape[3]}"
        raise InputError(f"prompt: expected the first rows of an image of {height} rows and {width} columns, got {came}")
    return array


def _name_conditions(names: tuple[str, ...], condition: Data | None) -> dict[str, ArrayLike]:
    if condition is None:
        return {}
    if isinstance(condition, Mapping):
        return dict(condition)
    if len(names) != 1:
        expected = f"a mapping with {_list(*names)}" if names else "none, the graph has no condition"
        raise InputError(f"condition: expected {expected}, got an array")
    return {names[0]: condition}


def as_float32(what: str, array: Array) -> Array:
    """Return numbers in float32. Raises InputError for one that it does not hold."""
    if array.dtype == np.float32:
        return array
    with np.errstate(over="ignore"):
        found = array.astype(np.float32)
    if not np.isfinite(found).all():
        raise InputError(f"{what}: expected numbers that float32 holds, got {array[~np.isfinite(found)].flat[0]}")
    return found


def check_rows(name: str, value: object, kind: Type) -> Array:
    """As `check_array`; a lone row may come without its axis."""
    array = as_array(f"input {name!r}", value, f"an array with axes {kind.axes}")
    if array.ndim != len(kind.axes) - 1:
        return check_array(name, array, kind)
    if "c" in kind.axes and array.shape[0] != kind.channels:
        shape = f"{kind.axes} with {kind.channels} channels, or without b"
        raise InputError(f"input {name!r}: expected axes {shape}, got an array of shape {array.shape}")
    return check_array(name, array[None], kind)


def check_row_numbers(purpose: str, rows: Sequence[int] | Array | range, count: int) -> Array:
    """The numbers of some of `count` rows, in any order. Raises InputError for what is none."""
    try:
        chosen = np.asarray(rows)
    except ValueError:  # rows of different lengths
        raise InputError(f"{purpose}: expected the numbers of rows, got {rows!r}") from None
    if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
        raise InputError(f"{purpose}: expected the numbers of rows, got {rows!r}")
    if ((chosen < 0) | (chosen >= count)).any():
        raise InputError(f"{purpose}: expected rows 0..{count - 1}, got {chosen.tolist()}")
    return chosen.astype(np.int64)


def check_array(name: str, value: ArrayLike, kind: Type) -> Array:
    """Check shape, dtype and range of one input. Raises InputError."""
    array = value if isinstance(value, np.ndarray) else as_array(f"input {name!r}", value, f"an array with axes {kind.axes}")
    if not kind.indexed:
        _check_real(f"input {name!r}", array, InputError)
    elif array.size and array.dtype.kind not in "iu":
        raise InputError(f"input {name!r}: expected integers, the class indices, got {array.dtype}")
    if array.ndim != len(kind.axes) or ("c" in kind.axes and array.shape[1] != kind.channels):
        shape = f"{kind.axes} with {kind.channels} channels" if "c" in kind.axes else kind.axes
        raise InputError(f"input {name!r}: expected axes {shape}, got an array of shape {array.shape}")
    if kind.image and kind.timed and 0 in array.shape[2:]:
        raise InputError(f"input {name!r}: expected an image of at least 1 x 1 pixels, got an array of shape {array.shape}")
    if kind.indexed:
        wrong = (array < 0) | (array >= kind.size)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise InputError(f"input {name!r}: expected classes 0..{kind.size - 1}, got {array[place]} at index {place}")
        return array.astype(np.int64)
    return array if array.dtype.kind == "f" else array.astype(np.float64)  # int64 is for class indices alone


def check_parameters(found: Facts, params: Mapping[str, ArrayLike]) -> Arrays:
    """Every parameter of the graph, in its order, and no other. Raises ParameterError naming the first that misfits."""
    if not isinstance(params, Mapping):
        raise ParameterError(f"params: expected a mapping {{name: array}}, as refar.init gives, got {type(params).__name__}")
    for name in params:
        if name not in found.parameters:
            raise ParameterError(f"parameter {name!r}: the graph has no such parameter{near(name, found.parameters)}")
    checked: Arrays = {}
    for name, shape in found.parameters.items():
        array = params.get(name)
        if isinstance(array, np.ndarray) and array.shape == shape and array.dtype.kind == "f" and np.isfinite(array).all():
            checked[name] = array
        elif array is None:
            raise ParameterError(f"parameter {name!r} of shape {shape} is missing")
        else:
            checked[name] = check_real(f"parameter {name!r}", array, shape, ParameterError)
    return checked


def check_real(what: str, value: ArrayLike, shape: tuple[int, ...], error: type[RefarError] = InputError) -> Array:
    """An array of exactly this shape that holds finite real numbers. Raises `error` naming `what`."""
    array = as_array(what, value, f"an array of shape {shape}", error)
    if array.shape != shape:
        raise error(f"{what}: expected shape {shape}, got {array.shape}")
    _check_real(what, array, error)
    return array


def _check_real(what: str, array: Array, error: type[RefarError]) -> None:
    if array.dtype.kind not in "iuf":
        raise error(f"{what}: expected real numbers, got {array.dtype}")
    if not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise error(f"{what}: expected finite numbers, got {array[place]} at index {place}")


def as_array(what: str, value: object, expected: str, error: type[RefarError] = InputError) -> Array:
    """Whatever can be an array. Raises `error` for rows of unequal length, and for a tensor that NumPy cannot see."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as problem:
        came = "rows of unequal length" if isinstance(problem, ValueError) else f"{type(value).__name__}: {problem}"
        raise error(f"{what}: expected {expected}, got {came}") from None


def apart(y: Array, inputs: Mapping[str, Array]) -> Array:
    """Return `y`, or a copy if it shares memory with an input, which the caller may change."""
    for array in inputs.values():
        if np.may_share_memory(y, array):
            return y.copy()
    return y


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """The dtype that all arithmetic is done in. Raises InputError unless it is float32 or float64."""
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):  # what NumPy raises for text depends on the text
        found = np.dtype(object)
    if dtype is None or found not in (np.float32, np.float64):
        raise InputError(f"dtype: expected float32 or float64, got {dtype!r}")
    return found


def check_sampling(n: object, temperature: float, seed: int = 0, batch: int | None = None) -> int:
    """The number of tokens. Raises InputError unless it and the seed are whole numbers and the temperature is one ≥ 0.

    All rows together may not have more than 2³¹-1 tokens either.
    """
    noise.check_temperature(temperature)
    noise.check_seed(seed)
    n = check_integer("n", n, 0, MOST)
    if batch is not None and n * check_integer("batch", batch, 0, MOST) > MOST:
        raise InputError(f"n: expected at most {MOST} tokens in all rows together, got {n} for each of {batch} rows")
    return n


def class_condition(graph: Graph, purpose: str) -> int:
    """The classes of the graph's only condition. Raises GraphError if it has none, several, or another kind."""
    found = facts(graph)
    kinds = [found.types[name] for name in found.conditions]
    if len(kinds) != 1 or not kinds[0].indexed or kinds[0].timed:
        came = ", ".join(f"{name!r} ({kind})" for name, kind in zip(found.conditions, kinds, strict=True)) or "none"
        raise GraphError(f"{purpose} needs a graph whose only condition is a class; this one has {came}")
    return kinds[0].size


def check_prior(prior: ArrayLike | None, classes: int) -> Array:
    """One probability per class, equal ones if none are given. Raises InputError unless they are `classes` and sum to 1."""
    if prior is None:
        return np.full(classes, 1 / classes)
    expected = f"{classes} probabilities that sum to 1"
    p = as_array("prior", prior, expected)
    if p.shape != (classes,) or p.dtype.kind not in "iuf" or not (p >= 0).all() or abs(p.sum() - 1) > 1e-6:
        raise InputError(f"prior: expected {expected}, got {p.tolist()!r}")
    return p.astype(np.float64)


def check_observed(observed: ArrayLike | None, length: int) -> Array:
    """How many positions are seen, any shape: all of them if None. Raises InputError for numbers outside 0..length."""
    expected = f"integers from 0 to the length {length}"
    h = as_array("observed", length if observed is None else observed, expected)
    if h.size and (h.dtype.kind not in "iu" or (h < 0).any() or (h > length).any()):
        raise InputError(f"observed: expected {expected}, got {h.tolist()}")
    return h.astype(np.int64)


def _list(*names: str) -> str:
    return ", ".join(repr(name) for name in names) or "none"
