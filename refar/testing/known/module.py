"""`check_module`: somebody's own nn.Module against a graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from refar.analysis.infer import analyse, first_position
from refar.arguments.arrays import Array, Arrays
from refar.errors import InputError
from refar.graph.graph import Graph
from refar.oracle import run
from refar.testing.contract import cases, dependence
from refar.testing.contract.cases import Extent
from refar.testing.contract.subject import Subject
from refar.testing.known.foreign import ForeignReading
from refar.testing.known.likely_cause import cause_of_gradient, cause_of_output, in_eval
from refar.testing.known.naming import match
from refar.testing.report import ContractError, Line, Measure, Report

if TYPE_CHECKING:
    from torch import nn

Law = Callable[[Subject, ForeignReading, Measure], None]


def check_module(
    module: nn.Module,
    graph: Graph,
    names: Mapping[str, str] | None = None,
    *,
    inputs: Callable[..., Any] | None = None,
    ignore: Collection[str] = (),
    params: Mapping[str, ArrayLike] | None = None,
    dtype: Literal["float64", "float32"] = "float64",
    seed: int = 0,
) -> Report:
    """Hold a PyTorch module of your own against a graph: outputs, every gradient, causality, reach, rows of the batch.

    `names` maps the graph's parameters, or nodes with all their parameters, to the module's; those with equal names need none.
    Submodules and parameters in `ignore` may stay unused. The module's arguments are the graph's inputs in order, the sequence
    first, or what `inputs(x, condition, …)` makes of these tensors. The output may be (B, Q, T) or (B, T, Q), and (B, Q, H, W)
    or with channels last, or with colours (B, K, C, H, W); the report says which was found.

    A copy of the module gets `params`, by default drawn ones, and runs in `dtype`, in the mode (train or eval) in which it
    is. The module itself is left alone. Raises ParameterError listing unmatched names with their shapes, and ContractError
    naming parameter, position, both values, tolerance and the likely cause.

    What may be off is `rounding.tolerance`, a scale: a module shows none of the values in between, without which no bound can be
    derived. In float64 a mistake is some 10¹⁰ times as large.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module: expected an nn.Module, got {type(module).__name__}")
    if dtype not in ("float64", "float32"):
        raise InputError(f"dtype: expected 'float64' or 'float32', got {dtype!r}")
    analyse(graph)
    known = {id(p): name for name, p in module.named_parameters()}
    aliases = {name: known[id(p)] for name, p in module.named_parameters(remove_duplicate=False)}
    counterparts = match(graph, {n: tuple(p.shape) for n, p in module.named_parameters()}, names or {}, ignore, aliases)
    weights = _weights(graph, params, counterparts, seed)
    reading = ForeignReading(module, graph, weights, counterparts, inputs or (lambda *tensors: tensors), dtype)
    subject = Subject(graph, weights, [reading], (), seed)
    report = []
    for name, (law, statement) in LAWS.items():
        measure = Measure()
        try:
            law(subject, reading, measure)
            report.append(Line(name, statement, True, measure.figure))
        except ContractError as error:
            report.append(Line(name, statement, False, measure.figure, str(error)))
            if name in ("again", "output"):  # what follows would say the same once more
                break
    return Report(tuple(report)).require()


def _weights(graph: Graph, params: Mapping[str, ArrayLike] | None, names: Mapping[str, str], seed: int) -> Arrays:
    """Parameters that share one of the module's are the same."""
    drawn = cases.generic_parameters(graph, np.random.default_rng([seed])) if params is None else params
    weights = run.prepare(graph, drawn, "float64")
    first: dict[str, str] = {}
    for name, counterpart in names.items():
        first.setdefault(counterpart, name)
        weights[name] = weights[first[counterpart]].reshape(weights[name].shape)
    return weights


def again(subject: Subject, reading: ForeignReading, measure: Measure) -> None:
    """The same input gives the same output, and the parameters stay as they are."""
    extent = _extents(subject)[0]
    inputs, expected = subject.inputs(extent), _expected(subject, extent)
    reading.settle(inputs, expected, subject.tolerance(reading.dtype) * float(np.abs(expected).max()))
    first, second = reading.forward(inputs), reading.forward(inputs)
    measure.statements += 1
    for name, mask in ((name, cases.masks(subject.graph).get(name, True)) for name in reading.names):
        before, after = _before_and_after(subject, reading, name)
        if (np.where(mask, after, before) != before).any():
            raise ContractError(f"{reading.name} changes its parameter {reading.names[name]!r} when it is called")
    if (first != second).any():
        place = tuple(np.argwhere(first != second)[0].tolist())
        raise ContractError(
            f"{reading.name} gives different outputs for the same input, at {list(place)} first {first[place]:.6g}, then "
            f"{second[place]:.6g}: {_why_different(reading, inputs)}"
        )
    measure.notes.append(f"output {reading.layout}")


def _why_different(reading: ForeignReading, inputs: Arrays) -> str:
    if reading.module.training and (in_eval(reading, inputs) == in_eval(reading, inputs)).all():
        return "it is in training mode, call .eval() first"
    return "does it draw random numbers, or keep something from call to call?"


def _before_and_after(subject: Subject, reading: ForeignReading, name: str) -> tuple[Array, Array]:
    assert subject.params is not None
    after = reading.own[reading.names[name]].detach().numpy()
    before = subject.params[name].astype(after.dtype)
    return before, after.reshape(before.shape)


def output(subject: Subject, reading: ForeignReading, measure: Measure) -> None:
    """At every length: fewer positions than the receptive field, as many, more, one."""
    for extent in _extents(subject):
        expected = _expected(subject, extent)
        try:
            actual = reading.forward(subject.inputs(extent))
        except ContractError:
            raise
        except Exception as error:
            length = " x ".join(map(str, extent))
            raise ContractError(f"{reading.name} on {length}: {type(error).__name__} instead of a value: {error}") from error
        try:
            measure.close(f"{reading.name}: output, {subject.axes()}", actual, expected, subject.tolerance(reading.dtype))
        except ContractError as error:
            raise ContractError(f"{error}; {_cause(subject, reading, extent, actual, expected)}") from None


def _cause(subject: Subject, reading: ForeignReading, extent: Extent, actual: Array, expected: Array) -> str:
    """Looked for in long sequences, since in short ones many mistakes look alike."""
    most = subject.sizes.long if subject.small else subject.sizes.short
    try:
        long = reading.forward(subject.inputs(most))
    except Exception:  # then with what there is
        return cause_of_output(subject, reading, extent, actual, expected)
    right = _expected(subject, most)
    same = np.abs(long - right).max() <= subject.tolerance(reading.dtype) * np.abs(right).max()
    given = (extent, actual, expected) if same else (most, long, right)
    return cause_of_output(subject, reading, *given)


def gradients(subject: Subject, reading: ForeignReading, measure: Measure) -> None:
    """Of every parameter and every real input, for a random upstream gradient."""
    assert subject.params is not None
    for extent in (subject.sizes.short, subject.sizes.settled):
        if extent not in _extents(subject):
            continue
        inputs, rng = subject.inputs(extent), subject.rng(6, *extent)
        values = subject.values(inputs)
        dy = _defined(subject.graph, rng.normal(size=values[subject.graph.output].shape))
        dvalues, dparams = run.backward_nodes(subject.graph, subject.params, values, dy)
        expected = combined(reading, dparams) | {name: dvalues[name] for name in _real(subject.graph)}
        actual = reading.gradient(inputs, dy)
        largest = {name: _largest(subject.graph, name, reading, values, dvalues) for name in expected}
        for name, gradient in expected.items():
            if name not in actual:
                parameter = name.removeprefix("module ")
                raise ContractError(f"{reading.name}: {parameter!r} has no gradient: its requires_grad is False")
            what = f"{reading.name}: gradient of {name.removeprefix('module ')!r}{_known_as(reading, name)}"
            came = actual[name].reshape(gradient.shape)
            try:
                measure.close(what, came, gradient, subject.tolerance(reading.dtype), largest[name])
            except ContractError as error:
                cause = cause_of_gradient(subject, reading, name, came, gradient, values, dy)
                raise ContractError(f"{error}; {cause}") from None


def _known_as(reading: ForeignReading, name: str) -> str:
    known = [own for own, other in reading.names.items() if f"module {other}" == name and own != other]
    return f" ({' + '.join(known)})" if known else ""


def combined(reading: ForeignReading, dparams: Arrays) -> Arrays:
    """The gradient of each of the module's parameters: the sum over those of the graph that share it."""
    found: Arrays = {}
    for name, counterpart in reading.names.items():
        key = f"module {counterpart}"
        found[key] = found[key] + dparams[name].reshape(found[key].shape) if key in found else dparams[name]
    return found


def _largest(graph: Graph, name: str, reading: ForeignReading, values: Arrays, dvalues: Arrays) -> float:
    """The largest product that a gradient sums up over positions, where they may cancel."""
    largest = 0.0
    for own, counterpart in reading.names.items():
        if f"module {counterpart}" == name:
            node, _, leaf = own.rpartition(".")
            factor = max((float(np.abs(values[n]).max()) for n in graph[node].inputs), default=1.0) if leaf == "weight" else 1.0
            largest = max(largest, factor * float(np.abs(dvalues[node]).max()))
    return largest


def _real(graph: Graph) -> list[str]:
    found = analyse(graph)
    return [name for name in (found.sequence, *found.conditions) if not found.types[name].indexed]


def _extents(subject: Subject) -> list[Extent]:
    """A single position last. Under padding "valid" short sequences have no output."""
    single, *others = subject.sizes.extents
    return [extent for extent in (*others, single) if extent[-1] > first_position(subject.graph)]


def _expected(subject: Subject, extent: Extent) -> Array:
    return _defined(subject.graph, subject.values(subject.inputs(extent))[subject.graph.output])


def _defined(graph: Graph, y: Array) -> Array:
    first = first_position(graph)
    return np.where(np.arange(y.shape[2]) < first, 0, y) if first else y


def _causality(subject: Subject, reading: ForeignReading, measure: Measure) -> None:
    dependence.causality(subject, measure)


def _reach(subject: Subject, reading: ForeignReading, measure: Measure) -> None:
    dependence.reach(subject, measure)


def _batch(subject: Subject, reading: ForeignReading, measure: Measure) -> None:
    dependence.batch(subject, measure)


LAWS: dict[str, tuple[Law, str]] = {
    "again": (again, "the same input gives the same output"),
    "output": (output, "outputs within rounding of the graph's, at every length"),
    "gradients": (gradients, "the gradient of every parameter and every real input"),
    "causality": (_causality, "outputs see nothing that comes later"),
    "reach": (_reach, "outputs see the graph's offsets and no others"),
    "batch": (_batch, "rows do not see each other"),
}
