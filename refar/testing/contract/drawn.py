"""The law of bundles that draw tokens in the graph: each token is that of the definition, each output that of the oracle."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, assert_never

import numpy as np

from refar import noise, ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.errors import BackendError
from refar.exact import sampler as exact
from refar.graph.graph import require_head
from refar.oracle.bound_graph import cast, unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding
from refar.testing.contract.backends import OnnxBackend
from refar.testing.contract.bounds import Oracle, compare
from refar.testing.contract.subject import Subject
from refar.testing.report import ContractError, Measure

if TYPE_CHECKING:
    from refar.runtime.session import Session

_STEPS, _OUTPUTS, _TEMPERATURES = 12, 6, (1.0, 0.5, 0.0)
_BRINK = 1e30


def sampler(subject: Subject, measure: Measure) -> None:
    """Tokens drawn in the graph are those of the definition from the graph's own outputs, which are the oracle's."""
    for backend in subject.backends:
        assert isinstance(backend, OnnxBackend)
        x, y_sbc = _drawn(subject, backend.session, measure)
        if len(y_sbc) == 0:
            measure.does_not_apply("the network drives its own tokens to infinity at once")
            return
        if backend.session.manifest.int8:  # no bound says how good int8 is
            continue
        params = {name: array.astype(np.float64) for name, array in backend.session.weights.items()}
        given = _up_to(_conditions(subject), backend.session._opened.local, x.shape[-1])
        inputs = cast(given | {subject.sequence: x}, np.float64)
        values = forward_nodes(unchecked(subject.graph, params, np.float64), inputs)
        oracle = Oracle(params, values, rounding.local_bounds(subject.graph, params, values, bound.FLOAT32))
        rng, worst = subject.rng(13), 0.0
        for _ in range(_OUTPUTS):
            step, channel = int(rng.integers(len(y_sbc))), int(rng.integers(y_sbc.shape[2]))
            measure.statements += 1
            worst = max(worst, compare(subject.graph, oracle, (channel, step + 1), y_sbc[step, :, channel], backend.name))
        measure.notes.append(f"outputs at {worst:.2g} of their bounds")


def _conditions(subject: Subject) -> Arrays:
    """The conditions of as many rows as there are temperatures, for all positions."""
    given = subject.inputs((_STEPS + 1,))
    return {
        name: np.resize(given[name], (len(_TEMPERATURES), *given[name].shape[1:])) for name in facts(subject.graph).conditions
    }


def _drawn(subject: Subject, session: Session, measure: Measure) -> tuple[Array, Array]:
    """Tokens x_bt or x_bct, the first drawn here, and the outputs that the others were drawn from: (steps, B, C).

    Raises ContractError for a token that is not the one of the definition.
    """
    from refar.runtime.resident import borrowed  # onnxruntime is imported on use only

    opened, head, rows = session._opened, require_head(subject.graph, "sampler"), len(_TEMPERATURES)
    conditions, temperatures = _conditions(subject), np.array(_TEMPERATURES)
    stream = session.stream(rows, conditions or None)
    assert stream.output is not None
    noises = noise.draw(head, subject.seed, range(rows), 0, _STEPS + 1, stream.output.shape[1]).astype(np.float32)
    tokens, outputs = [noise.sample(head, stream.output, noises[0], 1.0)], []
    local = {name: np.moveaxis(conditions[name], -1, 0)[1:] for name in opened.local}
    with borrowed(opened, rows) as resident:
        resident.begin(stream._visits, tokens[0], temperatures)
        for step in range(_STEPS):
            if step % resident.steps == 0:
                part = slice(step, step + resident.steps)
                resident.feed(noises[1:][part], {name: array[part] for name, array in local.items()})
            try:
                tokens.append(resident.draw(1)[..., 0])
            except BackendError:
                if _goes_on(session, tokens, conditions):
                    raise
                break
            outputs.append(resident.output)
            for row in range(rows):
                given = outputs[-1][row], noises[step + 1, row], np.float32(temperatures[row])
                _require(head, given, session, tokens[-1][row], f"step {step}, row {row}", measure)
    return np.stack(tokens, axis=-1), np.array(outputs)


def _up_to(conditions: Arrays, local: Collection[str], length: int) -> Arrays:
    """Conditions, of which those over time are cut to a length."""
    return {name: array[..., :length] if name in local else array for name, array in conditions.items()}


def _goes_on(session: Session, tokens: list[Array], conditions: Arrays) -> bool:
    """Whether outputs are finite up to the next token. Some networks drive their own tokens to infinity.

    Near the largest number of float32 the order of a sum decides whether it is finite.
    """
    x = np.stack([*tokens, np.zeros_like(tokens[0])], axis=-1)
    if np.abs(x).max() > _BRINK:
        return False
    given = _up_to(conditions, session._opened.local, x.shape[-1])
    try:
        session.forward(x, given or None)
    except BackendError:
        return False
    return True


def _require(
    head: ops.AnyHead, given: tuple[Array, Array, np.float32], session: Session, came: Array, where: str, measure: Measure
) -> None:
    """Raise ContractError unless a token is that of the definition; where a scale is learnt, with exp off by its bound."""
    assert session.manifest.sampler is not None
    y, n, temperature = given
    expected = exact.drawn(head, y, n, temperature, session.manifest.sampler.top_k)
    match head:
        case ops.Categorical() | ops.Gaussian():
            right = np.array_equal(expected, came)
        case ops.MixtureLogistics():
            scaled = [y + np.float32(off) * (np.arange(len(y)) >= 2 * head.components) for off in (-1e-6, 1e-6)]
            right = any(came == each for each in (expected, *(exact.drawn(head, each, n, temperature) for each in scaled)))
        case ops.LearntGaussian() | ops.MixtureGaussians():
            normal = np.arange(len(n)) >= len(n) - len(expected)
            mean = exact.drawn(head, y, np.where(normal, np.float32(0), n), temperature)
            right = bool((np.abs(came.astype(np.float64) - expected) <= _off_by_exp(mean, expected)).all())
        case _:
            assert_never(head)
    measure.statements += 1
    if not right:
        raise ContractError(f"sampler.onnx: {where}: expected token {expected} of this output and noise, got {came}")


def _off_by_exp(mean: Array, x: Array) -> Array:
    """Bound how far two computations of mean + T·n·exp(λ) in float32 may lie apart, with exp off by its bound in each."""
    sizes = [np.abs(each.astype(np.float64)) for each in (mean, x)]
    return np.asarray(2 * bound.FLOAT32 * ((bound.EXP + 3) * (sizes[0] + sizes[1]) + sizes[1]))
