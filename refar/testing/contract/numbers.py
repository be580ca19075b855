"""Laws 6, 8, 9 and 10: adjoint, exact, rounding, text."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from refar import ops
from refar.analysis.facts import facts
from refar.analysis.kinks import bends
from refar.arguments.arrays import Array, Arrays
from refar.building.text import from_json
from refar.graph.graph import Graph, to_json
from refar.oracle.bound_graph import cast, own_parameters, unchecked
from refar.oracle.padding import values_before
from refar.oracle.whole import backward_everywhere, backward_nodes, forward_nodes
from refar.rounding import bound
from refar.rounding.tolerance import relative_tolerance
from refar.testing.contract import cases, integers, operators
from refar.testing.contract.backends import export_bundle
from refar.testing.contract.bounds import judge
from refar.testing.contract.places import in_raster
from refar.testing.contract.streaming import exact_streams
from refar.testing.contract.subject import Subject
from refar.testing.report import Measure

_IMAGINARY = 2.0**-100
"""f(x + ihv) = f(x) + ih·Jv + O(h²): with so small an h nothing but rounding is lost."""
_DIFFERENCES = (1e-6, 1e-7)


def adjoint(subject: Subject, measure: Measure) -> None:
    """⟨ȳ, J v⟩ = ⟨Jᵀȳ, v⟩ for each parameter and input with random ȳ and v: J v by a complex step, Jᵀȳ by backward.

    And J v by central differences in float64. Each array alone on a short sequence, all together on a long one.
    """
    assert subject.params is not None
    whole = subject.small and not subject.image
    extents = {subject.sizes.long} if whole else {subject.sizes.short, subject.sizes.long}
    for extent in sorted(extents):
        inputs, rng = cast(subject.inputs(extent), np.float64), subject.rng(6, *extent)
        values = forward_nodes(unchecked(subject.graph, subject.params, np.float64), inputs)
        dy = rng.normal(size=values[subject.graph.output].shape)
        dvalues, dbefore, dparams = backward_everywhere(unchecked(subject.graph, subject.params, dy.dtype), values, dy)
        gradients = _wanted(subject.graph, dvalues, dparams)
        direction = {name: rng.normal(size=array.shape) for name, array in gradients.items()}
        if not gradients:
            measure.does_not_apply("the graph has neither parameters nor an input that is no index")
            return
        groups = [[name] for name in gradients] if extent == min(extents) else []
        for names in [*groups, list(gradients)]:
            chosen = {name: direction[name] for name in names}
            what = f"⟨ȳ, J v⟩ and ⟨Jᵀȳ, v⟩ for {repr(names[0]) if len(names) == 1 else 'all inputs and parameters'}"
            tangents, resting = _complex_step(subject, inputs, chosen)
            moved = dy * tangents[subject.graph.output]
            products = [gradients[name] * v for name, v in chosen.items()]
            scale = sum(float(np.abs(product).sum()) for product in [moved, *products])
            error = abs(float(moved.sum()) - sum(float(product.sum()) for product in products))
            before = values_before(unchecked(subject.graph, subject.params, np.float64), inputs, len(dy))
            tolerance = subject.tolerance("float64") * scale + _lost_in_slopes(subject, values, dvalues, tangents)
            tolerance += _lost_in_slopes(subject, before, dbefore, resting)
            measure.require(error <= tolerance, what, f"a difference of at most {tolerance:.3g}", f"{error:.3g}")
            measure.worst = max(measure.worst, error / tolerance if tolerance else 0.0)
        if extent == min(extents):
            measure.notes.append(f"{len(groups)} arrays, the worst at {measure.worst:.2g} of the tolerance")
            measure.notes.append(_central_difference(subject, inputs, direction, measure))


def _complex_step(subject: Subject, inputs: Arrays, direction: Arrays) -> tuple[Arrays, Arrays]:
    """J v of every node's value, and of its value at t < 0."""

    def moved(arrays: Arrays) -> Arrays:
        return {n: a + 1j * _IMAGINARY * direction[n] if n in direction else a for n, a in arrays.items()}

    assert subject.params is not None
    params = {name: array.astype(np.complex128) for name, array in moved(subject.params).items()}
    inputs = cast(moved(inputs), np.complex128)
    values = forward_nodes(unchecked(subject.graph, params, np.complex128), inputs)
    before = values_before(unchecked(subject.graph, params, np.complex128), inputs, len(inputs[subject.sequence]))
    here, resting = ({name: array.imag / _IMAGINARY for name, array in each.items()} for each in (values, before))
    return here, resting


def _lost_in_slopes(subject: Subject, values: Arrays, dvalues: Arrays, tangents: Arrays) -> float:
    """Σ ε·|J v| over what is passed back through slopes, which differences give: 1 - tanh² is off by u also where it is 0."""
    lost = 0.0
    for node in subject.graph.nodes:
        if isinstance(node.op, ops.Activation | ops.Gate | ops.Softmax | ops.Norm) and node.name in dvalues:
            own = own_parameters(node, subject.params or {})
            (error,), _ = bound.backward(node.op, [values[node.inputs[0]]], dvalues[node.name], own, bound.FLOAT64)
            lost += float((np.abs(tangents[node.inputs[0]]) * error).sum())
    return lost


def _central_difference(subject: Subject, inputs: Arrays, direction: Arrays, measure: Measure) -> str:
    """(f(x + hv) - f(x - hv)) / 2h, where no value crosses a kink between the two: a kink has no derivative.

    The error is of order h² from the third derivative and u/h from rounding, some 1e-9 of the scale; 1e-6 is allowed.
    """
    assert subject.params is not None
    for h in _DIFFERENCES:

        def moved(arrays: Arrays, by: float) -> Arrays:
            return {n: a + by * direction[n] if n in direction else a for n, a in arrays.items()}

        ends = [
            forward_nodes(unchecked(subject.graph, moved(subject.params, by), np.float64), moved(inputs, by)) for by in (h, -h)
        ]  # fmt: skip
        bent = [(n.inputs[0], at) for n in subject.graph.nodes for at in bends(n.op)]
        if any(((ends[0][name] > at) != (ends[1][name] > at)).any() for name, at in bent):
            continue
        slope = (ends[0][subject.graph.output] - ends[1][subject.graph.output]) / (2 * h)
        tangents, _ = _complex_step(subject, inputs, direction)
        measure.close(f"J v by central differences, {subject.axes()}", slope, tangents[subject.graph.output], 1e-6)
        return "central differences agree"
    return "no central difference, since a value crosses a kink"


def exact(subject: Subject, measure: Measure) -> None:
    """Each distinct operator without exponentials, on small integers, equals `exact.literal` by == in every backend.

    Gradients too. If the whole graph consists of such operators, it is run on integers as well, whole and streaming. What a
    mask hides has no effect, and the gradient 0.
    """
    alone = operators.exact_cases(subject.graph, subject.rng(8))
    for case in alone:
        y, gradients = case.expected()
        for backend in subject.open(case.graph, case.params):
            what = f"{backend.name}: node {case.node!r} alone"
            measure.equal(f"{what}, {_axes(y)}", backend.forward(case.inputs), y)
            if (gradient := backend.gradient(case.inputs, case.dy)) is not None:
                measure.gradients(what, gradient, gradients)
            exact_streams(backend, case.graph, case.params, case.inputs, y, measure)
    measure.notes.append(f"{len(alone)} distinct operators")
    _hidden(subject, measure)
    twin = integers.integral_graph(subject.graph)
    case_of_all = integers.integer_case(twin, subject.rng(8, 1), subject.sizes.batch, subject.sizes.long) if twin else None
    if case_of_all is None:
        measure.notes.append(
            "the whole graph has operators that round" if twin is None else "no integer case found for the whole graph"
        )
        if not alone and twin is None:
            measure.does_not_apply("every operator rounds")
        return
    values = forward_nodes(unchecked(case_of_all.graph, case_of_all.params, np.float64), case_of_all.inputs)
    dvalues, dparams = backward_nodes(
        unchecked(case_of_all.graph, case_of_all.params, (_output(case_of_all.graph, case_of_all.dy)).dtype),
        values,
        _output(case_of_all.graph, case_of_all.dy),
    )
    y = _output(case_of_all.graph, values[subject.graph.output])
    for backend in subject.open(case_of_all.graph, case_of_all.params):
        what = f"{backend.name}: the whole graph on integers"
        measure.equal(f"{what}, {_axes(y)}", backend.forward(case_of_all.inputs), y)
        gradient = backend.gradient(case_of_all.inputs, case_of_all.dy)
        if gradient is not None:
            measure.gradients(what, gradient, _wanted(case_of_all.graph, dvalues, dparams))
        if subject.small:
            exact_streams(backend, case_of_all.graph, case_of_all.params, case_of_all.inputs, y, measure)
    measure.notes.append("the whole graph too")


def _hidden(subject: Subject, measure: Measure) -> None:
    """Other numbers in the place of masked weights, and their gradient."""
    masks = cases.masks(subject.graph)
    if not masks:
        return
    assert subject.params is not None
    extent, rng = subject.sizes.short, subject.rng(8, 2)
    inputs = subject.inputs(extent)
    other = {name: np.where(mask, w := subject.params[name], w + rng.uniform(1, 2, mask.shape)) for name, mask in masks.items()}
    for backend, changed in zip(subject.backends, subject.open(subject.graph, subject.params | other), strict=True):
        before = subject.forward(backend, extent)
        what = f"{backend.name}: output with other numbers in the place of masked weights, {subject.axes()}"
        measure.equal(what, changed.forward(inputs), before)
        if (gradient := changed.gradient(inputs, rng.normal(size=before.shape))) is None:
            continue
        for name, mask in masks.items():
            what = f"{backend.name}: gradient of the masked weights in {name!r}, [o, i, h, w]"
            measure.equal(what, np.where(mask, 0, gradient[name]), np.zeros(mask.shape))
    measure.notes.append(f"{sum(int((~mask).sum()) for mask in masks.values())} masked weights")


def _axes(y: Array) -> str:
    return "[b, c, h, w]" if y.ndim == 4 else "[b, c, t]"


def rounding(subject: Subject, measure: Measure) -> None:
    """Every node of every backend stays inside its error bound, some outputs inside the bound of first order.

    No perturbation of a node's arguments leads beyond what is said to bound it.
    Operators that round are near their value to 50 digits, and whole networks and their gradients near the oracle, too.
    """
    judge(subject, measure)
    for case in operators.rounded_cases(subject.graph, subject.rng(9)):
        y, gradients = case.expected()
        for backend in subject.open(case.graph, case.params):
            what, relative = f"{backend.name}: node {case.node!r} alone", relative_tolerance(case.graph, backend.dtype)
            measure.close(f"{what}, {_axes(y)}", backend.forward(case.inputs), y, relative)
            if (gradient := backend.gradient(case.inputs, case.dy)) is not None:
                measure.gradients(what, gradient, gradients, relative)
    assert subject.params is not None
    for extent in (subject.sizes.single, subject.sizes.short, subject.sizes.long):
        inputs, rng = subject.inputs(extent), subject.rng(9, *extent)
        values = subject.values(inputs)
        y = _output(subject.graph, values[subject.graph.output])
        dy = _output(subject.graph, rng.normal(size=y.shape))
        dvalues, dparams = backward_nodes(unchecked(subject.graph, subject.params, dy.dtype), values, dy)
        for backend in subject.backends:
            relative = subject.tolerance(backend.dtype)
            measure.close(f"{backend.name}: output, {subject.axes()}", subject.forward(backend, extent), y, relative)
            # In float32 a relu may fall on the other side of zero, where the derivative jumps; law 8 compares those by ==.
            gradient = backend.gradient(inputs, dy) if backend.dtype == "float64" else None
            if gradient is not None:
                wanted = _wanted(subject.graph, dvalues, dparams)
                measure.gradients(backend.name, gradient, wanted, relative, _terms(subject.graph, values, dvalues, dparams))


def _output(graph: Graph, y: Array) -> Array:
    """An output or its gradient at every position, as a backend gives it: 0 where a graph of padding "valid" has none."""
    if first := facts(graph).first_position:
        y = np.where(np.arange(y.shape[2]) < first, 0, y)
    return y


def _wanted(graph: Graph, dvalues: Arrays, dparams: Arrays) -> Arrays:
    """The gradients that every backend gives: of the parameters and of the inputs that are no indices."""
    found = facts(graph)
    return dparams | {n: dvalues[n] for n in (found.sequence, *found.conditions) if not found.types[n].indexed}


def _terms(graph: Graph, values: Arrays, dvalues: Arrays, dparams: Arrays) -> dict[str, float]:
    """The largest of the products that the gradient of each parameter sums up over all positions, where they may cancel."""
    largest = {}
    for name in dparams:
        node, _, kind = name.rpartition(".")
        factor = max((float(np.abs(values[n]).max()) for n in graph[node].inputs), default=1.0) if kind == "weight" else 1.0
        largest[name] = factor * float(np.abs(dvalues[node]).max())
    return largest


def text(subject: Subject, measure: Measure) -> None:
    """JSON → graph → JSON is the identity, and exporting twice gives the same bytes."""
    first = to_json(subject.graph)
    again = from_json(first)
    measure.require(again == subject.graph, "the graph read from its own JSON", "the same graph", "another")
    measure.require(to_json(again) == first, "JSON of the graph read from JSON", "the same bytes", "others")
    measure.notes.append(f"{len(first)} bytes of JSON")
    if "onnx" in subject.names and subject.params is not None:
        with tempfile.TemporaryDirectory() as folder:
            one, two = (dict(_files(export_bundle(subject.graph, subject.params, Path(folder) / n))) for n in ("a", "b"))
        measure.require(one.keys() == two.keys(), "files of a bundle exported twice", sorted(one), sorted(two))
        for name, data in one.items():
            measure.require(data == two[name], f"{name}, exported twice", "the same bytes", "others")
        measure.notes.append(f"{len(one)} files exported twice")


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield str(file.relative_to(path)), file.read_bytes()


def check_vectors(subject: Subject, measure: Measure) -> None:
    """The oracle's outputs that lie in the bundle."""
    from refar.testing.contract.backends import OnnxBackend

    for backend in subject.backends:
        assert isinstance(backend, OnnxBackend)
        if backend.session.rebuilt:
            measure.does_not_apply("the models were made anew, and the vectors in the folder are not read")
            return
        vectors = backend.session.check_vectors()
        found = facts(subject.graph)
        inputs = {found.sequence: vectors["x"]} | {name: vectors[f"condition.{name}"] for name in found.conditions}
        places, relative = vectors["positions"], subject.tolerance(backend.dtype)
        what = f"{backend.name}: output of the check vectors at positions {places.tolist()}, [b, c, place]"
        there = places + facts(subject.graph).first_position
        measure.close(what, in_raster(backend.forward(inputs))[:, :, there], vectors["y"], relative)
        length = vectors["x"].shape[-1]
        for split in ([0] + [1] * 7, [length - 16] + [1] * 15 if length > 16 else [length - 1]):
            for streamed in backend.stream(inputs, split):
                covered = (there >= streamed.first) & (there < streamed.first + streamed.y_bct.shape[2])
                got = streamed.y_bct[:, :, there[covered] - streamed.first]
                measure.close(f"{backend.name}: {streamed.way}, check vectors", got, vectors["y"][:, :, covered], relative)
