"""A state of any shape: the arrays in it, a copy, another order of its rows, how much it holds."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from refar.arguments.arrays import Array
from refar.errors import InputError
from refar.testing.under_test import as_array

_WANTED = "the state: expected arrays, tensors or numbers, in tuples, lists, dictionaries, dataclasses or objects of these"


def copied(state: Any) -> Any:
    """Return a copy that shares nothing, tensors without their gradient's history. Raises InputError where there is none."""
    try:
        detached = {id(leaf): leaf.detach().clone() for leaf in parts(state) if hasattr(leaf, "detach")}
        return copy.deepcopy(state, detached)
    except Exception as error:
        odd = next((type(leaf).__name__ for leaf in parts(state) if not _copies(leaf)), type(state).__name__)
        raise InputError(f"{_WANTED}, all of which can be copied; got {odd}: {_line(error)}") from None


def _copies(leaf: Any) -> bool:
    try:
        copy.deepcopy(leaf.detach() if hasattr(leaf, "detach") else leaf)
    except Exception:  # deepcopy runs the object's own code, and the question is whether that raises
        return False
    return True


def _line(error: Exception) -> str:
    return str(error).partition(". ")[0]


def leaves(state: Any) -> list[Array]:
    """Return the arrays in a state, as they are now. Raises InputError for what is a number or array by its looks alone."""
    found = []
    for leaf in parts(state):
        try:
            found.append(as_array("the state", leaf, kinds="biufc"))
        except AssertionError:
            raise
        except Exception as error:
            raise InputError(f"{_WANTED}; got {type(leaf).__name__}: {_line(error)}") from None
    return found


def count(state: Any) -> int:
    """Return how many numbers a state holds."""
    return sum(math.prod(getattr(leaf, "shape", ())) for leaf in parts(state))


def parts(state: Any) -> Iterator[Any]:
    """Yield the numbers, arrays and tensors themselves; what else a state may hold has no numbers to compare."""
    seen = set[int]()

    def walk(node: Any) -> Iterator[Any]:
        if _is_leaf(node):
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            for inner in _children(node).values():
                yield from walk(inner)

    return walk(state)


def _is_leaf(node: Any) -> bool:
    return isinstance(node, int | float | complex) or hasattr(node, "__array__") or hasattr(node, "detach")


def _children(node: Any) -> dict[Any, Any]:
    """Return what a container or an object holds, by key, index or name."""
    if isinstance(node, Mapping):
        return dict(node)
    if isinstance(node, list | tuple | deque):
        return dict(enumerate(node))
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        return {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    if isinstance(node, type) or callable(node):
        return {}
    return dict(getattr(node, "__dict__", {}))


def mapped(state: Any, change: Callable[[Any, int], Any]) -> Any:
    """Return a state of the same kind with `change(leaf, n)` in the place of its n-th array, counted as `leaves` does."""
    number = iter(range(10**9))
    return _mapped(state, lambda leaf: change(leaf, next(number)))


def _mapped(node: Any, change: Callable[[Any], Any]) -> Any:
    if _is_leaf(node):
        return change(node)
    new = {key: _mapped(inner, change) for key, inner in _children(node).items()}
    if not new:
        return node
    if isinstance(node, deque):
        return deque(new.values(), node.maxlen)
    if isinstance(node, list | tuple):
        fields = hasattr(node, "_fields")
        return type(node)(*new.values()) if fields else type(node)(new.values())
    same = copy.copy(node)
    if isinstance(node, Mapping):
        same.update(new)
    else:
        for name, inner in new.items():
            object.__setattr__(same, name, inner)
    return same
