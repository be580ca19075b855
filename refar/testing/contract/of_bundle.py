"""Laws of a bundle by its own parameters: the oracle's outputs within computed bounds, and models that are made from them."""

from __future__ import annotations

import hashlib

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding
from refar.testing.contract.backends import OnnxBackend
from refar.testing.contract.bounds import Oracle, compare
from refar.testing.contract.cases import Extent
from refar.testing.contract.places import in_raster
from refar.testing.contract.subject import Subject
from refar.testing.report import ContractError, Measure

_OUTPUTS = 12


def oracle(subject: Subject, measure: Measure) -> None:
    """Outputs are the oracle's with the bundle's own parameters, within the bound of first order."""
    graph, found, worst = subject.graph, facts(subject.graph), 0.0
    for backend in subject.backends:
        assert isinstance(backend, OnnxBackend)
        params = {name: array.astype(np.float64) for name, array in backend.session.weights.items()}
        net = unchecked(graph, params, np.float64)
        for extent in [subject.sizes.short, *([subject.sizes.long] if subject.small else [])]:
            inputs = subject.inputs(extent)
            values = forward_nodes(net, net.cast(inputs))
            exact = Oracle(params, values, rounding.local_bounds(graph, params, values, bound.FLOAT32))
            count = in_raster(values[graph.output]).shape[2]
            streams = backend.stream(inputs, [count // 2, *[1] * min(3, count - count // 2 - 1)])
            outputs = [("the whole pass", 0, in_raster(backend.forward(inputs)))]
            for what, begin, y in outputs + [(each.way, each.first, each.y_bct) for each in streams]:
                places = range(max(begin, found.first_position), begin + y.shape[2])
                worst = max(worst, _worst(subject, exact, f"{backend.name}: {what}", y, begin, places, extent, measure))
    measure.notes.append(f"outputs at {worst:.2g} of their bounds")


def _worst(
    subject: Subject, exact: Oracle, what: str, y: Array, begin: int, places: range, extent: Extent, measure: Measure
) -> float:
    """Compare some outputs; returns the largest difference over its bound."""
    rng, worst = subject.rng(11, len(places), *extent), 0.0
    for _ in range(_OUTPUTS if places else 0):
        channel, place = int(rng.integers(y.shape[1])), int(rng.choice(places))
        measure.statements += 1
        worst = max(worst, compare(subject.graph, exact, (channel, place), y[:, channel, place - begin], what))
    return worst


def models(subject: Subject, measure: Measure) -> None:
    """The models in the folder are byte for byte those that graph and parameters give."""
    try:
        import onnx

        from refar_export.contents import files_of
    except ModuleNotFoundError:
        measure.does_not_apply("onnx is not installed, so nothing can be made anew")
        return
    for backend in subject.backends:
        assert isinstance(backend, OnnxBackend)
        manifest, shipped = backend.session.manifest, backend.session.shipped()
        if not shipped:
            measure.does_not_apply("a bundle of version 1, whose models are not judged; those made anew from it are")
            return
        made = files_of(
            subject.graph,
            backend.session.weights,
            spare=manifest.spare,
            metadata=manifest.metadata,
            dtype=manifest.dtype,
            int8=manifest.int8,
            sampler=manifest.sampler,
        )
        wrong = [name for name, found in shipped.items() if hashlib.sha256(made[name]).hexdigest() != found]
        measure.statements += len(shipped)
        if wrong:
            raise ContractError(
                f"{', '.join(wrong)}: other bytes than graph and parameters give with onnx {onnx.__version__}; "
                "they or the parameters were altered, or they were made by another program or with another version of onnx"
            )
        measure.notes.append(f"{len(shipped)} files byte for byte")
