"""How a function is called as its operator's signature says, with what it takes of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.errors import InputError
from refar.golden.case import REQUIRED, Case, Signature
from refar.testing.report import ContractError, Raised


class Caller:
    """A function and its gradient. What either raises is a ContractError."""

    def __init__(
        self,
        signature: Signature,
        f: Callable[..., Any],
        gradient: Callable[..., Any] | Literal["torch"] | None,
        convert: Callable[[Array], Any] | None,
    ) -> None:
        if convert is not None and not callable(convert):
            raise InputError(f"convert: expected a function of an array, like torch.from_numpy, got {type(convert).__name__}")
        self.signature = signature
        self.name = str(getattr(f, "__name__", type(f).__name__))
        self._f, self._convert = f, convert
        self.gradient: Callable[..., Any] | None
        if gradient == "torch":
            import torch

            self._convert = convert or torch.from_numpy
            self.gradient = _Autograd(f, tuple(signature.arguments))
        elif gradient is not None and not callable(gradient):
            raise InputError(f"gradient: expected a function or 'torch', got {gradient!r}")
        else:
            self.gradient = gradient

    @property
    def takes_numpy(self) -> bool:
        """Whether the function takes the arrays themselves, and not what something else makes of them."""
        return self._convert is None

    def result(self, case: Case, arrays: Arrays) -> Any:
        """Return what the function gives, as it gives it."""
        return _dense(self._call("", self._f, case, [arrays.get(name) for name in self.signature.arguments], self._convert))

    def gradients(self, case: Case, arrays: Arrays) -> dict[str, Any]:
        """Return {"gradient.x": …} as the gradient function gives them."""
        assert self.gradient is not None
        upstream, given = arrays[self.signature.upstream], [arrays.get(name) for name in self.signature.arguments]
        convert = None if isinstance(self.gradient, _Autograd) else self._convert
        found = self._call("the gradient ", self.gradient, case, [upstream, *given], convert)
        numbers = [name for name in self.signature.arguments if name in arrays and arrays[name].dtype != np.int64]
        wanted = [name for name in numbers if f"gradient.{name}" in case.expected]
        if not isinstance(found, Mapping):
            parts = list(found) if isinstance(found, tuple | list) else [found]
            orders = {len(names): names for names in (numbers, wanted)}
            if len(parts) not in orders:
                ways = ", or ".join(f"{count} arrays, for {', '.join(names)}" for count, names in sorted(orders.items()))
                raise ContractError(f"the gradient: expected {ways}, got {len(parts)}")
            found = dict(zip(orders[len(parts)], parts, strict=True))
        return {f"gradient.{name}": _dense(value) for name, value in found.items() if name in wanted}

    def _call(
        self, what: str, f: Callable[..., Any], case: Case, given: list[Array | None], convert: Callable[[Array], Any] | None
    ) -> Any:
        given, attributes = _taken(what, f, case, given, self.signature)
        try:
            return f(*(a if a is None or convert is None else convert(a) for a in given), **attributes)
        except (Exception, SystemExit) as error:
            arrays = convert is None and not isinstance(f, _Autograd)
            hint = "; if it takes tensors, give convert=torch.from_numpy" if arrays and "ensor" in str(error) else ""
            raise Raised(f"{what}raises {type(error).__name__}: {_in_one_line(error)}{hint}") from error


def _in_one_line(error: BaseException) -> str:
    """The message: its first line, or where that is a traceback, as TorchScript's are, its last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return lines[-1] if any("Traceback" in line for line in lines) else lines[0]


def _dense(value: Any) -> Any:
    """Make a full array of a sparse one, of PyTorch or SciPy; all else stays what it is."""
    if str(getattr(value, "layout", "")).startswith("torch.sparse"):
        return value.to_dense()
    return value.toarray() if hasattr(value, "toarray") and hasattr(value, "nnz") else value


def _signature_of(f: Callable[..., Any]) -> inspect.Signature | None:
    """What a function takes, of a module its forward(), of a TorchScript function its schema; None where nothing says it."""
    schema, forward = getattr(f, "schema", None), getattr(f, "forward", None)
    if schema is not None and hasattr(schema, "arguments"):
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        taken = [argument for argument in schema.arguments if argument.name != "self"]
        return inspect.Signature([inspect.Parameter(each.name, kinds[each.kwarg_only]) for each in taken])
    try:
        return inspect.signature(forward if callable(forward) and not inspect.isroutine(f) else f)
    except (TypeError, ValueError):  # a function in C
        return None


def _taken(
    what: str, f: Callable[..., Any], case: Case, given: list[Array | None], signature: Signature
) -> tuple[list[Array | None], dict[str, Any]]:
    """Return what the function takes: no arguments at the end that are None, no attributes at their default."""
    attributes = {name: tuple(v) if isinstance(v, list) else v for name, v in case.attributes.items()}
    found = _signature_of(f)
    if found is None:
        return given, attributes
    parameters = found.parameters.values()
    kinds = [parameter.kind for parameter in parameters]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        places = sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
        while len(given) > places and given[-1] is None:
            given = given[:-1]
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return given, attributes
    names = {parameter.name for parameter in parameters}
    for name, value in case.attributes.items():
        default = signature.attributes[name]
        if name not in names and (default is REQUIRED or value != default):
            raise ContractError(f"{what}takes no {name!r}, but is asked for {name}={value!r}; see `only` for cases without")
    return given, {name: value for name, value in attributes.items() if name in names}


class _Autograd:
    """The gradients by PyTorch, {name: tensor}. It takes what the function takes, behind dy."""

    def __init__(self, f: Callable[..., Any], names: tuple[str, ...]) -> None:
        self._f, self._names = f, names
        signature = _signature_of(f)
        upstream = inspect.Parameter("dy", inspect.Parameter.POSITIONAL_ONLY)
        if signature is not None:
            self.__signature__ = signature.replace(parameters=[upstream, *signature.parameters.values()])

    def __call__(self, dy: Array, *arrays: Array | None, **attributes: Any) -> dict[str, Any]:
        import torch

        tensors = [None if a is None else torch.from_numpy(a).requires_grad_(a.dtype != np.int64) for a in arrays]
        self._f(*tensors, **attributes).backward(torch.from_numpy(dy))
        leaves = {name: t for name, t in zip(self._names, tensors, strict=False) if t is not None and t.requires_grad}
        return {name: torch.zeros_like(t) if t.grad is None else t.grad for name, t in leaves.items()}
