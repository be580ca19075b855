"""`check_module`: a PyTorch module under test against a graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.arguments.naming import match
from refar.errors import InputError, check_integer
from refar.graph.graph import Graph
from refar.oracle.bound_graph import bound_graph, unchecked
from refar.oracle.whole import backward_nodes
from refar.rounding import half
from refar.testing.contract import cases, dependence
from refar.testing.contract.cases import Extent
from refar.testing.contract.subject import Subject
from refar.testing.known.likely_cause import cause_of_gradient, cause_of_output, in_eval
from refar.testing.known.module_under_test import ModuleUnderTest, require_weights
from refar.testing.known.printing import counted_lines
from refar.testing.report import ContractError, Measure, Raised, Report, hold
from refar.testing.told import told

if TYPE_CHECKING:
    from torch import nn

LENGTHS = (67, 263)
"""Lengths at which outputs are compared too, unless others are as long: many a buffer or tile has 64 or 256 positions."""
_SHOWN = 0.1
"""The largest tolerance of half precision, relative to the largest output, at which a mistake is still seen."""


@told
def check_module(
    module: nn.Module,
    graph: Graph,
    names: Mapping[str, str] | None = None,
    *,
    inputs: Callable[..., Any] | None = None,
    output: int | str | Callable[[Any], Any] | None = None,
    ignore: Collection[str] = (),
    params: Mapping[str, ArrayLike] | None = None,
    length: int | None = None,
    dtype: Literal["float64", "float32"] = "float64",
    seed: int = 0,
) -> Report:
    """Hold a PyTorch module of your own against a graph: outputs, every gradient, causality, reach, rows of the batch.

    `names` maps the graph's parameters, or nodes with all their parameters, to the module's; those with equal names need none.
    Submodules and parameters in `ignore` may stay unused. The module's arguments are the graph's inputs in order, the sequence
    first, or what `inputs(x, condition, …)` makes of these tensors. The output may be (B, Q, T) or (B, T, Q), and (B, Q, H, W)
    or with channels last, or with colours (B, K, C, H, W); the report says which was found.

    A copy of the module gets `params`, by default drawn ones, in `dtype`, and runs in the mode, train or eval, that the module
    has. The module itself is left alone. Raises ParameterError listing unmatched names with their shapes, and ContractError
    naming parameter, position, both values, tolerance and the likely cause.

    What may be off is `rounding.tolerance`, a scale: a module shows none of the values in between, without which no bound can be
    derived. In float64 a mistake is some 10¹⁰ times as large. A module that returns float32 is judged by that, and one that
    computes in bfloat16 or float16, as under autocast, by `refar.rounding.half`. The report says so; where rounding alone may
    change the output by a tenth of its largest value, the module is refused, since nothing could be seen.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module: expected an nn.Module, got {type(module).__name__}")
    if dtype not in ("float64", "float32"):
        raise InputError(f"dtype: expected 'float64' or 'float32', got {dtype!r}")
    facts(graph)
    seed = check_integer("seed", seed, 0)
    if names is not None and not (isinstance(names, Mapping) and all(isinstance(name, str) for name in names.values())):
        raise InputError(f"names: expected a mapping {{graph's name: module's name}}, got {names!r}")
    if isinstance(ignore, str) or not isinstance(ignore, Collection) or not all(isinstance(name, str) for name in ignore):
        raise InputError(f"ignore: expected names of submodules or parameters, like ['head'], got {ignore!r}")
    if inputs is not None and not callable(inputs):
        raise InputError(f"inputs: expected a function of the graph's inputs, got {type(inputs).__name__}")
    require_weights(module)
    known = {id(p): name for name, p in module.named_parameters()}
    aliases = {name: known[id(p)] for name, p in module.named_parameters(remove_duplicate=False)}
    counterparts = match(graph, {n: tuple(p.shape) for n, p in module.named_parameters()}, names or {}, ignore, aliases)
    weights = _weights(graph, params, counterparts, seed)
    tested = ModuleUnderTest(module, graph, weights, counterparts, inputs or (lambda *tensors: tensors), dtype, output)
    subject = Subject(graph, weights, [tested], (), seed)
    further = _further(subject, length)
    laws: dict[str, Callable[..., None]] = {**LAWS, "output": partial(outputs, further=further)}
    with counted_lines() as printed:
        return printed.noted(hold(laws, ("again", "output"), subject))


def _further(subject: Subject, length: int | None) -> list[Extent]:
    """The lengths that are compared beside those around the receptive field. Raises InputError for one that is no length."""
    if subject.image:
        if length is not None:
            raise InputError("length: expected a graph over time, but this one models images")
        return []
    longest = subject.sizes.long[-1]
    chosen = {n for n in LENGTHS if n > longest}
    if length is not None:
        chosen.add(check_integer("length", length, 1))
    return [(n,) for n in sorted(chosen)]


def _module(subject: Subject) -> ModuleUnderTest:
    (module,) = subject.backends
    assert isinstance(module, ModuleUnderTest)
    return module


def _weights(graph: Graph, params: Mapping[str, ArrayLike] | None, names: Mapping[str, str], seed: int) -> Arrays:
    """Parameters that share one of the module's are the same."""
    drawn = cases.generic_parameters(graph, np.random.default_rng([seed])) if params is None else params
    weights = bound_graph(graph, drawn, "float64").params
    first: dict[str, str] = {}
    for name, counterpart in names.items():
        first.setdefault(counterpart, name)
        weights[name] = weights[first[counterpart]].reshape(weights[name].shape)
    return weights


def again(subject: Subject, measure: Measure) -> None:
    """The same input gives the same output, and the parameters stay as they are."""
    tested = _module(subject)
    extent = _extents(subject)[0]
    inputs, expected = subject.inputs(extent), _expected(subject, extent)
    tested.settle(inputs, expected, subject.tolerance)
    if tested.dtype in half.BITS:
        allowed = subject.tolerance(tested.dtype)
        if allowed > _SHOWN:
            raise ContractError(
                f"{tested.name} computes in {tested.dtype}, where rounding alone may change outputs by {allowed:.2g} of the "
                "largest: this precision cannot show whether it is right"
            )
        measure.notes.append(f"computes in {tested.dtype}: may be off by {allowed:.2g} of the largest output")
    elif tested.dtype != tested.given:
        allowed = subject.tolerance(tested.dtype)
        measure.notes.append(f"returns {tested.dtype}: may be off by {allowed:.2g} of the largest output")
    first, second = tested.forward(inputs), tested.forward(inputs)
    measure.statements += 1
    for name, mask in ((name, cases.masks(subject.graph).get(name, True)) for name in tested.names):
        before, after = _before_and_after(subject, tested, name)
        if (np.where(mask, after, before) != before).any():
            raise ContractError(f"{tested.name} changes its parameter {tested.names[name]!r} when it is called")
    if (first != second).any():
        place = tuple(np.argwhere(first != second)[0].tolist())
        raise ContractError(
            f"{tested.name} gives different outputs for the same input, at {list(place)} first {first[place]:.6g}, then "
            f"{second[place]:.6g}{_also_in_eval(tested, inputs)}"
        )
    measure.notes.append(f"output {tested.layout}")


def _also_in_eval(tested: ModuleUnderTest, inputs: Arrays) -> str:
    """Say of a module in training mode whether it does the same in eval mode."""
    if not tested.module.training:
        return ""
    if (in_eval(tested, inputs) == in_eval(tested, inputs)).all():
        return ": it is in training mode, call .eval() first: there two calls give the same"
    return "; in eval mode too"


def _before_and_after(subject: Subject, tested: ModuleUnderTest, name: str) -> tuple[Array, Array]:
    assert subject.params is not None
    after = tested.own[tested.names[name]].detach().numpy()
    before = subject.params[name].astype(after.dtype)
    return before, after.reshape(before.shape)


def outputs(subject: Subject, measure: Measure, further: Sequence[Extent] = ()) -> None:
    """Outputs lie within rounding of the graph's at every length: below the receptive field, at it, above, and at one."""
    tested = _module(subject)
    for extent in [*_extents(subject), *further]:
        expected = _expected(subject, extent)
        try:
            actual = tested.forward(subject.inputs(extent))
        except Raised as error:
            length, cause = " x ".join(map(str, extent)), error.__cause__
            raise ContractError(f"{tested.name} on {length}: {type(cause).__name__} instead of a value: {cause}") from cause
        try:
            measure.close(f"{tested.name}: output, {subject.axes()}", actual, expected, subject.tolerance(tested.dtype))
        except ContractError as error:
            raise ContractError(f"{error}; {_cause(subject, tested, extent, actual, expected)}") from None


def _cause(subject: Subject, tested: ModuleUnderTest, extent: Extent, actual: Array, expected: Array) -> str:
    """Looked for in long sequences, since in short ones many mistakes look alike."""
    most = subject.sizes.long if subject.small else subject.sizes.short
    try:
        long = tested.forward(subject.inputs(most))
    except ContractError:  # then with what there is
        return cause_of_output(subject, tested, extent, actual, expected)
    right = _expected(subject, most)
    same = np.abs(long - right).max() <= subject.tolerance(tested.dtype) * np.abs(right).max()
    given = (extent, actual, expected) if same else (most, long, right)
    return cause_of_output(subject, tested, *given)


def gradients(subject: Subject, measure: Measure) -> None:
    """The gradient of every parameter and every real input is the graph's, for a random upstream gradient."""
    assert subject.params is not None
    tested = _module(subject)
    for extent in (subject.sizes.short, subject.sizes.settled):
        if extent not in _extents(subject):
            continue
        inputs, rng = subject.inputs(extent), subject.rng(6, *extent)
        values = subject.values(inputs)
        dy = _defined(subject.graph, rng.normal(size=values[subject.graph.output].shape))
        dvalues, dparams = backward_nodes(unchecked(subject.graph, subject.params, dy.dtype), values, dy)
        expected = combined(tested, dparams) | {name: dvalues[name] for name in _real(subject.graph)}
        actual = tested.gradient(inputs, dy)
        largest = {name: _largest(subject.graph, name, tested, values, dvalues) for name in expected}
        for name, gradient in expected.items():
            if name not in actual:
                parameter = name.removeprefix("module ")
                raise ContractError(f"{tested.name}: {parameter!r} has no gradient: its requires_grad is False")
            what = f"{tested.name}: gradient of {name.removeprefix('module ')!r}{_known_as(tested, name)}"
            came = actual[name].reshape(gradient.shape)
            try:
                measure.close(what, came, gradient, subject.tolerance(tested.dtype), largest[name])
            except ContractError as error:
                cause = cause_of_gradient(subject, tested, name, came, gradient, values, dy)
                raise ContractError(f"{error}; {cause}") from None


def _known_as(tested: ModuleUnderTest, name: str) -> str:
    known = [own for own, other in tested.names.items() if f"module {other}" == name and own != other]
    return f" ({' + '.join(known)})" if known else ""


def combined(tested: ModuleUnderTest, dparams: Arrays) -> Arrays:
    """The gradient of each of the module's parameters: the sum over those of the graph that share it."""
    found: Arrays = {}
    for name, counterpart in tested.names.items():
        key = f"module {counterpart}"
        found[key] = found[key] + dparams[name].reshape(found[key].shape) if key in found else dparams[name]
    return found


def _largest(graph: Graph, name: str, tested: ModuleUnderTest, values: Arrays, dvalues: Arrays) -> float:
    """The largest product that a gradient sums up over positions, where they may cancel."""
    largest = 0.0
    for own, counterpart in tested.names.items():
        if f"module {counterpart}" == name:
            node, _, leaf = own.rpartition(".")
            factor = max((float(np.abs(values[n]).max()) for n in graph[node].inputs), default=1.0) if leaf == "weight" else 1.0
            largest = max(largest, factor * float(np.abs(dvalues[node]).max()))
    return largest


def _real(graph: Graph) -> list[str]:
    found = facts(graph)
    return [name for name in (found.sequence, *found.conditions) if not found.types[name].indexed]


def _extents(subject: Subject) -> list[Extent]:
    """A single position last. Under padding "valid" short sequences have no output."""
    single, *others = subject.sizes.extents
    return [extent for extent in (*others, single) if extent[-1] > facts(subject.graph).first_position]


def _expected(subject: Subject, extent: Extent) -> Array:
    return _defined(subject.graph, subject.values(subject.inputs(extent))[subject.graph.output])


def _defined(graph: Graph, y: Array) -> Array:
    first = facts(graph).first_position
    return np.where(np.arange(y.shape[2]) < first, 0, y) if first else y


LAWS: dict[str, Callable[[Subject, Measure], None]] = {
    "again": again,
    "output": outputs,
    "gradients": gradients,
    "causality": dependence.causality,
    "reach": dependence.reach,
    "batch": dependence.batch,
}
