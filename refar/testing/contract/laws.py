"""The contract: what makes the backends of a graph one network. No switch turns a law off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from numpy.typing import ArrayLike

from refar.analysis.facts import facts
from refar.graph.graph import Graph, pruned
from refar.oracle.bound_graph import bound_graph
from refar.testing.contract import cases, dependence, drawn, in_int8, numbers, of_bundle, precision, streaming
from refar.testing.contract.backends import BACKENDS, OnnxBackend, load_bundle, open_backends
from refar.testing.contract.subject import Subject
from refar.testing.report import ContractError, Line, Measure, Report
from refar.testing.told import told

Law = Callable[[Subject, Measure], None]

LAWS: dict[str, Law] = {
    "types": streaming.types,
    "step": streaming.step,
    "block": streaming.block,
    "causality": dependence.causality,
    "reach": dependence.reach,
    "adjoint": numbers.adjoint,
    "batch": dependence.batch,
    "exact": numbers.exact,
    "rounding": numbers.rounding,
    "text": numbers.text,
}
"""All laws in order; the docstring of each is what it says."""

BUNDLE_LAWS: dict[str, Law] = {
    **{name: LAWS[name] for name in ("types", "step", "block", "causality", "reach", "batch", "text")},
    "vectors": numbers.check_vectors,
    "oracle": of_bundle.oracle,
    "models": of_bundle.models,
}
"""What can be seen of a bundle; of `reach`, that the output depends on no more."""

PRECISION_LAWS: dict[str, Law] = {"precision": precision.precision}
"""What is said of a bundle in float16 besides."""

SAMPLER_LAWS: dict[str, Law] = {"sampler": drawn.sampler}
"""What is said of a bundle with sampler.onnx besides."""

INT8_LAWS: dict[str, Law] = {
    **{name: law for name, law in BUNDLE_LAWS.items() if name not in ("vectors", "oracle")},
    "products": in_int8.products,
    "loss": in_int8.loss,
}
"""What is said of a bundle in int8: of each product by itself, and how far all of them together are from float32."""


@told
def check_contract(
    graph: Graph,
    params: Mapping[str, ArrayLike] | None = None,
    *,
    seed: int = 0,
    backends: Sequence[str] = BACKENDS,
) -> Report:
    """Run every law on every backend; the one line that a user's test needs.

    `params` default to freshly drawn ones. Operators that the output does not need are left out, as `export` leaves them out.
    `backends` are checked beside NumPy, which always is: "torch" and "onnx".
    Law `reach` takes the inferred offsets at their word: a graph whose own numbers cut a path that its operators have, like
    relu(sigmoid(x) - 1), breaks it whatever the parameters; its offsets are too many, not its backends wrong.
    Raises ContractError naming law, node, position and both values; InputError for an unknown backend, BackendError for one
    that is not installed.
    """
    return run_laws(graph, params, seed=seed, backends=backends).require()


def run_laws(
    graph: Graph,
    params: Mapping[str, ArrayLike] | None = None,
    *,
    seed: int = 0,
    backends: Sequence[str] = BACKENDS,
    provider: Literal["cpu", "cuda"] = "cpu",
    progress: Callable[[str], None] | None = None,
) -> Report:
    """As `check_contract`, but a broken law is a line of the report. `progress` is called with the name of each law.

    `provider` is where onnxruntime runs; "cuda" raises BackendError where it does not start.
    """
    facts(graph)
    drawn = cases.generic_parameters(graph, Subject(graph, None, [], (), seed).rng()) if params is None else params
    weights = bound_graph(graph, drawn, "float64").params
    graph = pruned(graph)
    weights = {name: weights[name] for name in facts(graph).parameters}
    names = tuple(dict.fromkeys(("numpy", *backends)))
    subject = Subject(graph, weights, open_backends(graph, weights, names, provider), names, seed, provider)
    return _run(subject, LAWS, progress)


@told
def check_bundle(path: str | Path, provider: Literal["cpu", "cuda"] = "cpu", *, seed: int = 0) -> Report:
    """Verify a bundle where only onnxruntime is installed. Raises ContractError, and FileError for a damaged bundle."""
    return run_bundle_laws(path, provider, seed=seed).require()


def run_bundle_laws(
    path: str | Path,
    provider: Literal["cpu", "cuda"] = "cpu",
    *,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    trust: Literal["models", "rebuild"] = "models",
) -> Report:
    """As `check_bundle`, but a broken law is a line of the report; `trust` as in `refar.runtime.load`."""
    session = load_bundle(path, provider, trust)
    session.check_vectors(), session.weights  # a damaged file is no broken law
    subject = Subject(session.graph, None, [OnnxBackend(session.graph, session)], (), seed)
    laws = INT8_LAWS if session.manifest.int8 else BUNDLE_LAWS
    laws = laws | (PRECISION_LAWS if session.manifest.dtype == "float16" else {})
    return _run(subject, laws | (SAMPLER_LAWS if session.manifest.sampler is not None else {}), progress)


def _run(subject: Subject, laws: Mapping[str, Law], progress: Callable[[str], None] | None) -> Report:
    lines = []
    for name, law in laws.items():
        if progress is not None:
            progress(name)
        measure, broken = Measure(), ""
        try:
            law(subject, measure)
            if not measure.compared and not measure.absence:
                broken = "nothing was compared"
        except ContractError as error:
            broken = str(error)
        except Exception as error:  # a backend that fails on data which fit its graph has broken the law
            broken = f"{type(error).__name__} instead of a value: {error}"
        statement = (law.__doc__ or "").partition("\n")[0]
        lines.append(Line(name, statement, not broken, measure.figure, broken, applies=not measure.absence))
    return Report(tuple(lines))
