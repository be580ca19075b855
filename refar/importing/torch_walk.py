"""A walk through the traced calls: fixed numbers are computed, calls on values go into the draft."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor

from refar.importing.calls import call
from refar.importing.context import Context
from refar.importing.draft import GraphDraft
from refar.importing.refusal import REFUSED, ImportRefused, Place, refuse, refuse_call
from refar.importing.torch_graph import HELD, Traced, arguments, in_place, merged, packet, place_of, rows
from refar.importing.values import Anything, Constant, Filled, Labelled, Part, Runs, StackedValues, Varying

IGNORED = {"_assert_tensor_metadata"}
"""Calls that compute nothing."""

VIEWS = {
    "alias", "chunk", "contiguous", "detach", "dropout", "expand", "feature_dropout", "flatten", "getitem", "movedim", "narrow",
    "permute", "reshape", "select", "slice", "split", "split_with_sizes", "squeeze", "swapaxes", "to", "transpose", "unbind",
    "unflatten", "unsqueeze", "view",
}  # fmt: skip
"""Calls whose result may share its numbers with the first argument."""

WHOLE_VIEWS = {"alias", "contiguous", "detach", "dropout", "feature_dropout", "to"}
"""Those of them whose result has the same numbers in the same order."""


@dataclass(frozen=True)
class _Stale:
    """What was changed in place through another name."""

    place: Place


@dataclass(frozen=True)
class _Unread:
    """A tensor that the module read through .data: torch.export keeps no numbers of it.

    It may be changed in place, as where a weight is multiplied by its mask: a module that was run before, and then does not
    change by a run, changes nothing by that.
    """


@dataclass(frozen=True)
class Lost:
    """The value of a refused call, with the `error`; or of a call that reads such a value, without one."""

    error: ImportRefused | None


class _ReadsLost(ImportRefused):
    """A call that reads what cannot be taken."""


class _StateChanged(ImportRefused):
    """A call that changes what the module keeps, so that its next run is another one."""


@dataclass
class Walk:
    """What each traced name stands for, and which names share their numbers.

    The walk goes on behind a call that is refused, whose value is `Lost`: the output may not need it. `held` says whether the
    module holds gradients of a value back.
    """

    program: Traced
    draft: GraphDraft
    runs: Runs
    known: dict[str, Anything] = field(default_factory=dict)
    root: dict[str, tuple[str, bool]] = field(default_factory=dict)
    held: bool = False

    def output(self) -> Anything:
        """Walk to the end and return what the module gives; `Lost` with the first refused call that it needs, if there is one."""
        for nodes in rows(self.program):
            first = nodes[0]
            match first.op:
                case "placeholder":
                    if first.name in self.program.tensors:
                        name, tensor = self.program.tensors[first.name]
                        fake = isinstance(tensor, FakeTensor)
                        self.known[first.name] = _Unread() if fake else Constant(_exact(tensor), (name,))
                case "get_attr":
                    self.known[first.name] = self._attribute(first)
                case "call_function":
                    self.known[first.name] = self._taken(nodes)
                case "output":
                    try:
                        return self._resolved(merged([node.args for node in nodes]), place_of(first))
                    except _ReadsLost:
                        return Lost(self._first_refused(first))
                case _:
                    raise refuse_call(place_of(first), first.op)
        raise AssertionError("a graph without an output")

    def _first_refused(self, output: fx.Node) -> ImportRefused:
        needed, left = set[str](), [output]
        while left:
            for node in left.pop().all_input_nodes:
                if node.name not in needed:
                    needed.add(node.name)
                    left.append(node)
        lost = [value for name, value in self.known.items() if name in needed and isinstance(value, Lost)]
        return next(value.error for value in lost if value.error is not None)

    def _taken(self, nodes: Sequence[fx.Node]) -> Anything:
        try:
            return self._call(nodes)
        except _StateChanged:
            raise
        except ImportRefused as error:
            lost = Lost(None if isinstance(error, _ReadsLost) else error)
            if in_place(nodes[0]):
                self._lose(nodes[0], lost)
            return lost

    def _lose(self, node: fx.Node, lost: Lost) -> None:
        """Lose all that shares its numbers with what a refused call changes in place."""
        changed = node.args[0]
        assert isinstance(changed, fx.Node)
        root, _ = self.root.get(changed.name, (changed.name, True))
        for name in {name for name, (other, _) in self.root.items() if other == root} | {root}:
            self.known[name] = lost

    def _attribute(self, node: fx.Node) -> Anything:
        found: Any = self.program.owner
        for name in str(node.target).split("."):
            found = getattr(found, name)
        if isinstance(found, torch.Tensor):
            return Constant(_exact(found), (str(node.target),))
        return found

    def _call(self, nodes: Sequence[fx.Node]) -> Anything:
        node = nodes[0]
        place = place_of(node)
        name = packet(node, place)
        if name in IGNORED:
            return None
        if name == "getitem":
            parts, index = self._resolved([node.args[0]], place)[0], node.args[1]
            self._note_alias(node, name)
            return parts[index]
        if not isinstance(node.target, torch._ops.OpOverload):
            raise refuse_call(place, name)
        if torch.Tag.nondeterministic_seeded in node.target.tags and not name.endswith("dropout"):
            raise refuse_call(place, name)
        try:
            given = arguments(nodes)
        except ImportRefused as error:
            raise (refuse_call(place, name) if name in REFUSED else refuse(place, str(error))) from None
        if in_place(node) and self._changes_nothing(node, name):
            return self.known[_changed(node).name]
        resolved = self._resolved(given, place)
        self.held |= (name == "detach" or node.meta.get(HELD, False)) and not _is_fixed(resolved)
        if _is_fixed(resolved):
            result: Anything = _computed(node, resolved)
        else:
            result = call(Context(self.draft, self.runs, place), name, resolved)
        if in_place(node):
            self._changed(node, result, place)
        self._note_alias(node, name)
        return result

    def _changes_nothing(self, node: fx.Node, name: str) -> bool:
        """Whether a call changes what was taken by .data, or puts that back into a parameter."""
        before = self.known[_changed(node).name]
        return isinstance(before, _Unread) or (name == "set" and isinstance(before, Constant))

    def _resolved(self, given: Any, place: Place) -> Any:
        match given:
            case fx.Node():
                found = self.known[given.name]
                if isinstance(found, Lost):
                    raise _ReadsLost(str(place))
                if isinstance(found, _Stale):
                    what = f"it reads {given.name}, which was changed in place by {found.place} through another name"
                    raise refuse(place, what, "write the call that is not in place")
                if isinstance(found, _Unread):
                    raise refuse(
                        place, "torch.export has no numbers of what is taken by .data", "compute without it: weight * mask"
                    )
                return found
            case dict():
                return {name: self._resolved(value, place) for name, value in given.items()}
            case list() | tuple():
                return [self._resolved(value, place) for value in given]
            case _:
                return given

    def _note_alias(self, node: fx.Node, name: str) -> None:
        source = next((a for a in node.args if isinstance(a, fx.Node)), None)
        if source is not None and (name in VIEWS or in_place(node)):
            root, whole = self.root.get(source.name, (source.name, True))
            self.root[node.name] = (root, whole and (name in WHOLE_VIEWS or in_place(node)))

    def _changed(self, node: fx.Node, result: Anything, place: Place) -> None:
        """Give all names of the changed numbers their new value; a part of them, or what they are a part of, is stale."""
        changed = _changed(node)
        root, whole = self.root.get(changed.name, (changed.name, True))
        before = self.known[changed.name]
        if isinstance(before, Constant) and isinstance(result, Constant) and np.array_equal(before.array, result.array):
            return  # as a mask that was applied already
        if root in self.program.tensors:
            what = f"the module changes {self.program.tensors[root][0]!r} when it runs: a second call would give another result"
            raise _StateChanged(f"{place}: {what}; take the module without its own state; refar keeps the state of a stream")
        sharing = {name for name, (other, _) in self.root.items() if other == root} | {root}
        for name in sharing:
            same = whole and self.root.get(name, (root, True))[1]
            if name in self.known:
                self.known[name] = result if same or name == changed.name else _Stale(place)


def _changed(node: fx.Node) -> fx.Node:
    """Return what a call in place changes: its first argument."""
    changed = node.args[0]
    assert isinstance(changed, fx.Node)
    return changed


def _exact(tensor: torch.Tensor) -> Any:
    """Numbers as an array, real ones in float64."""
    tensor = tensor.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy().copy()


def _is_fixed(given: Any) -> bool:
    """Whether a call can be computed now: nothing in it is of an input, or differs between the runs."""
    return not any(isinstance(part, Labelled | Filled | Part | StackedValues | Varying) for part in _parts(given))


def _parts(given: Any) -> list[Any]:
    if isinstance(given, dict):
        return [leaf for value in given.values() for leaf in _parts(value)]
    if isinstance(given, list | tuple):
        return [leaf for value in given for leaf in _parts(value)]
    return [given]


def _computed(node: fx.Node, given: dict[str, Any]) -> Anything:
    """Compute a call on fixed numbers, real ones in float64."""
    origins = tuple(dict.fromkeys(name for part in _parts(given) if isinstance(part, Constant) for name in part.origins))
    given = {name: _tensors(value) for name, value in given.items()}
    with torch.no_grad():
        compute = cast(Callable[..., Any], node.target)
        found = compute(**_by_name(node, given))
    return _constants(found, origins)


def _by_name(node: fx.Node, given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "device"}


def _tensors(value: Any) -> Any:
    match value:
        case Constant():
            return torch.from_numpy(value.array.copy())
        case list() | tuple():
            return [_tensors(part) for part in value]
        case torch.dtype() if value.is_floating_point:
            return torch.float64
        case _:
            return value


def _constants(found: Any, origins: tuple[str, ...]) -> Anything:
    match found:
        case torch.Tensor():
            return Constant(_exact(found), origins)
        case list() | tuple():
            return tuple(_constants(part, origins) for part in found)
        case _:
            return found
