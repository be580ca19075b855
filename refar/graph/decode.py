"""Values as they come, from JSON or from a caller, to structs: strictly, with a sentence that says what msgspec does not."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_type_hints

import msgspec

from refar.errors import GraphError, is_newer, maybe_newer, near, newer
from refar.ops import AnyHead, AnyOp

T = TypeVar("T", bound=msgspec.Struct)

_SAME = (
    ": a network cannot be trained with it in one pass, since it puts zeros at both ends of each window, where a whole sequence "
    "has the inputs of other positions. Use 'layer', zeros on the left alone, or 'valid', none"
)


def plain(value: Any) -> Any:
    """For msgspec: numbers and arrays of NumPy and PyTorch as Python's. What is none becomes text, to be refused as such."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def convert(raw: Any, kind: type[T], what: str) -> T:
    """Decode what JSON can hold. Raises GraphError naming the node, the path, what was expected and what came."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        if is_newer(raw, "refar-graph"):
            came = newer(f"Invalid enum value {raw['version']}", "version 1")
            raise GraphError(f"{what} at $.version: {came}") from None
        if isinstance(error.__cause__, GraphError):
            raise error.__cause__ from None
        problem, _, path = str(error).partition(" - at `$")
        path = path.removesuffix("`")
        keys = re.findall(r"\w+", path)
        name = _at(raw, [*keys[:2], "name"]) if keys[:1] == ["nodes"] and len(keys) > 1 else None
        node = f", node {name!r}" if isinstance(name, str) else ""
        place = (f" at ${path}" if "nodes" in kind.__struct_fields__ else f", {path[1:]}") if path else ""
        said = f"{what}{node}{place}: {problem}{_instead(problem, raw, keys, kind)}"
        unknown = "unknown field" in problem or problem.startswith("Invalid value")
        raise GraphError(maybe_newer(said) if unknown and "nodes" in kind.__struct_fields__ else said) from None


def _instead(problem: str, raw: Any, keys: Sequence[str], kind: type[msgspec.Struct]) -> str:
    """What msgspec does not say: the value that came, or what there is."""
    value = _at(raw, keys)
    if problem.startswith("Invalid enum value"):
        if keys == ["version"]:
            return "; this refar reads version 1"
        if keys == ["padding"] and value == "same":
            return _SAME
        choices = get_args(get_type_hints(_struct_at(raw, keys[:-1], kind))[keys[-1]])
        return f"; expected {' or '.join(map(repr, choices))}"
    if problem.startswith("Invalid value"):
        what, kinds = ("heads", AnyHead) if keys[0] == "head" else ("operators", AnyOp)
        return f"; the {what} are {', '.join(tagged(kinds))}{near(str(value), list(tagged(kinds)))}"
    if "unknown field" in problem:
        fields = _struct_at(raw, keys, kind).__struct_encode_fields__
        return f"; the fields are {', '.join(fields)}{near(problem.split('`')[1], fields)}"
    if problem.startswith("Expected") and isinstance(value, int | float | str):
        return f" {reprlib.repr(value)}" if ", got" in problem else f", got {reprlib.repr(value)}"
    return ""


def _at(raw: Any, keys: Sequence[str]) -> Any:
    """What stands at a path; None where there is nothing."""
    for key in keys:
        raw = raw[int(key)] if isinstance(raw, list | tuple) else raw.get(key) if isinstance(raw, dict) else None
    return raw


def _struct_at(raw: Any, keys: Sequence[str], kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    if not keys:
        return kind
    if keys[-1] in ("op", "head"):
        return (tagged(AnyOp) | tagged(AnyHead))[_at(raw, [*keys, "type"])]
    (node, _) = get_args(get_type_hints(kind)["nodes"])
    return cast(type[msgspec.Struct], node)


def tagged(kinds: UnionType) -> dict[str, type[msgspec.Struct]]:
    """The kinds of a union, by the names that they have in JSON."""
    return {str(kind.__struct_config__.tag): kind for kind in kinds.__args__}
