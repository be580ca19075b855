"""Laws of bundles in int8, in the place of those that hold the outputs against the oracle's in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.errors import BackendError
from refar.oracle import functions, int8_network
from refar.oracle.bound_graph import cast, own_parameters, unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding.network import Errors, node_errors
from refar.testing.contract.backends import OnnxBackend
from refar.testing.contract.subject import Subject
from refar.testing.report import ContractError, Measure

_VALUE = "value/"
_FURTHER = 2
"""How much further from float32 than NumPy's int8 network the outputs may be: levels are crossed at other places."""


def products(subject: Subject, measure: Measure) -> None:
    """Every node of the model is, on its own arguments, what its definition in int8 or its operator gives, within its bound.

    Of the model of the whole pass on the CPU, as graph, parameters and scales give it; that it is the shipped one says `models`.
    """
    try:
        from refar_export.build import build
        from refar_export.int8 import stored
    except (BackendError, ModuleNotFoundError):
        measure.does_not_apply("onnx is not installed, so the values of nodes cannot be looked at")
        return
    for backend in subject.backends:
        assert isinstance(backend, OnnxBackend)
        scales, params = backend.session.manifest.int8, backend.session.weights
        model = stored(build(subject.graph, params, "full", expose=True), scales).SerializeToString()
        inputs = cast(subject.inputs(subject.sizes.short), np.float32)
        values = _values(model, inputs)
        wide = {name: array.astype(np.float64) for name, array in params.items()}
        others = [errors for errors in node_errors(subject.graph, wide, values, bound.FLOAT32) if errors.name not in scales]
        inside = [_product_errors(subject, wide, values, name, scales[name]) for name in scales]
        for what, each in (("products in int8", inside), ("other nodes", others)):
            worst = max((_within(backend.name, errors, measure) for errors in each), default=0.0)
            measure.notes.append(f"{len(each)} {what} at {worst:.2g} of their bounds")


def _within(who: str, errors: Errors, measure: Measure) -> float:
    """The largest error over its bound. Raises ContractError where that is more than 1."""
    measure.statements += 1
    if not errors.worst <= 1:
        raise ContractError(f"{who}: {errors}")
    return errors.worst


def _values(model: bytes, inputs: Arrays) -> Arrays:
    """What onnxruntime computes for each node, {node: array}, and the inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs() if port.name.startswith(_VALUE)]
    return inputs | {n.removeprefix(_VALUE): y for n, y in zip(names, session.run(names, inputs), strict=True)}


def _product_errors(subject: Subject, params: Arrays, values: Arrays, name: str, at: Any) -> Errors:
    """The sum of integers is exact; widened, multiplied by a rounded step and added to the bias it is off by γ_4 at most."""
    node = subject.graph[name]
    assert isinstance(node.op, ops.Conv1d)
    own = own_parameters(node, params)
    part, y = int8_network.product(node.op, values[node.inputs[0]], own, at)
    sizes = np.abs(part) + (np.abs(own["bias"])[:, None] if node.op.bias else 0.0)
    allowed = bound.gamma(4, bound.FLOAT32) * sizes + 4 * bound.tiny(bound.FLOAT32)
    return Errors(name, "conv1d in int8", np.abs(values[name] - y), np.broadcast_to(allowed, y.shape))


def loss(subject: Subject, measure: Measure) -> None:
    """On calibration data of the bundle the outputs are at most twice as far from float32 as those of int8 in NumPy."""
    graph, found = subject.graph, facts(subject.graph)
    for backend in subject.backends:
        assert isinstance(backend, OnnxBackend)
        vectors = backend.session.check_vectors()
        inputs = {name: vectors[f"calibration.{name}"] for name in found.inputs if f"calibration.{name}" in vectors}
        if not inputs:
            measure.does_not_apply("made anew, and calibration data are not read then")
            return
        params = {name: array.astype(np.float64) for name, array in backend.session.weights.items()}
        net, wide = unchecked(graph, params, np.float64), cast(inputs, np.float64)
        float32 = forward_nodes(net, wide)[graph.output]
        int8 = int8_network.forward_nodes(net, wide, backend.session.manifest.int8)[graph.output]
        there, got = slice(found.first_position, None), backend.forward(cast(inputs, np.float32))
        came, by_numpy = _distance(got[:, :, there], float32[:, :, there]), _distance(int8[:, :, there], float32[:, :, there])
        allowed = max(_FURTHER * by_numpy, subject.tolerance(backend.dtype))
        measure.require(came <= allowed, f"{backend.name}: distance from float32", f"at most {allowed:.3g}", f"{came:.3g}")
        measure.notes.append(f"off from float32 by {100 * came:.2g} % of the outputs, int8 in NumPy by {100 * by_numpy:.2g} %")
        if graph.head is not None and subject.strict and found.first_position == 0:
            measure.notes.append(_nats(backend, graph, params, inputs))


def _nats(backend: OnnxBackend, graph: Any, params: Arrays, inputs: Arrays) -> str:
    """The loss of both on the same data."""
    x = inputs[facts(graph).sequence]
    conditions = {name: array for name, array in inputs.items() if name != facts(graph).sequence} or None
    float32 = -float(functions.log_prob(graph, params, x, conditions).sum()) / x.size
    int8 = -float(backend.session.score(x, conditions).sum()) / x.size
    return f"{int8:.4f} nats per dimension, {float32:.4f} in float32"


def _distance(y: Array, reference: Array) -> float:
    """The root mean square of the difference, over that of the reference."""
    size = float(np.sqrt((reference**2).mean())) if reference.size else 0.0
    return float(np.sqrt(((y - reference) ** 2).mean())) / size if size else 0.0
