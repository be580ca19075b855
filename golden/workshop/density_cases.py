"""Golden cases of densities: log p(x), the marginal over classes, and the class by Bayes' rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np

from refar import models, ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays, in_order
from refar.building.builder import Builder
from refar.exact import literal_heads
from refar.golden.case import Case
from refar.golden.compare import differs
from refar.golden.graph_families import network_arrays
from refar.graph.graph import Graph
from refar.oracle import pointwise
from refar.rounding import loss_bounds
from workshop import exact_graph, network_bounds
from workshop.draw import Draw, float32
from workshop.making import FamilyMaker, rounded_up
from workshop.network_cases import draw_inputs, draw_parameters

OBSERVED = (0, 1, 4, 7)
PRIOR = float32([0.25, 0.625, 0.125])


def classed() -> Graph:
    """Make a strict graph with a class for the whole sequence; R = 4."""
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=4)), 3, kernel=2, strict=True, name="front")
    h = g.add(h, g.embedding(g.condition(classes=3), 3, name="class"), name="conditioned")
    h = g.tanh(g.conv1d(h, 3, kernel=2, dilation=2, name="conv"))
    return g.build(g.conv1d(h, 4, name="logits"), ops.Categorical())


def _colours() -> Graph:
    return models.masked_pixelcnn(3, channels=2, layers=1, hidden=2, kernel=3, first_kernel=3, residual=False, mean=1.0, std=1.0)


def _nats(graph: Graph, params: Arrays, given: Arrays) -> tuple[Array, Array]:
    """-log p of every value, (B, N), from the exact logits, and how far each may be off."""
    kind = facts(graph).types[facts(graph).sequence]
    x = given[facts(graph).sequence]
    logits, values = in_order(kind, exact_graph.values(graph, params, given)[graph.output], x)
    slack, _ = in_order(kind, network_bounds.outputs(graph, params, given), x)
    y = logits.astype(np.float64)
    target = values[:, None] == np.arange(y.shape[1])[:, None]
    from_logits = (np.abs(pointwise.softmax(y) - target) * slack).sum(axis=1)
    own = np.take_along_axis(loss_bounds.log_softmax(y), values[:, None], axis=1)[:, 0]
    return literal_heads.cross_entropy(logits, values), from_logits + own


def _total(nats: Array) -> Array:
    """-Σ nats of each row, rounded once."""
    return np.array([-float(sum(map(Fraction, row.tolist()))) for row in nats])


def _summed(nats: Array, off: Array) -> Array:
    """The errors of the terms, and of their sum and its rounding."""
    return np.asarray((off + (nats.shape[-1] + 1) * np.abs(nats)).sum(axis=-1))


def _log_prob() -> Iterator[Case]:
    for id, graph, batch, extent in (("sequence", classed(), 3, (8,)), ("image-of-two-colours", _colours(), 2, (3, 4))):
        draw = Draw(f"log_prob/{id}")
        params, given = draw_parameters(graph, draw), draw_inputs(graph, draw, batch, extent)
        nats, off = _nats(graph, params, given)
        case = _case(f"log_prob/{id}", draw, graph, params, given, {"log_p": _total(nats)}, {"log_p": _summed(nats, off)})
        yield _with_catches(case, {"x_0 left out": -nats[:, 1:].sum(axis=1), "averaged over the values": -nats.mean(axis=1)})


def _joint(params: Arrays, x: Array, prior: Array) -> tuple[Array, Array]:
    """log p(x_0..x_{h-1}, y) for h = 0..T, (B, T+1, classes), and how far each may be off."""
    graph, each, slack = classed(), [], []
    for y in range(3):
        nats, off = _nats(graph, params, {"x": x, "condition": np.full(len(x), y)})
        seen = [nats[:, :h] for h in range(x.shape[1] + 1)]
        log_prior = _log(float(prior[y]))
        each.append(np.stack([_total(part) + log_prior for part in seen], axis=1))
        slack.append(np.stack([_summed(part, off[:, : part.shape[1]]) for part in seen], axis=1) + 4 * abs(log_prior))
    joint = np.stack(each, axis=2)
    return joint, np.stack(slack, axis=2) + 2 * np.abs(joint)


def _marginals(operator: str) -> Iterator[Case]:
    draw, graph = Draw(f"{operator}/sequence"), classed()
    params, x = draw_parameters(graph, draw), draw.classes(3, 7, classes=4)
    joint, off = _joint(params, x, PRIOR)
    top = np.abs(joint - joint.max(axis=2, keepdims=True))
    posterior = pointwise.softmax(joint.swapaxes(1, 2)).swapaxes(1, 2)
    relative = off + top + (posterior * (off + top)).sum(axis=2, keepdims=True) + 16
    if operator == "log_marginal":
        log_p = np.array([_logsumexp(row) for row in joint[:, -1]])
        off_p = (posterior * (off + top))[:, -1].sum(axis=1) + 8 + 8 * np.abs(log_p)
        expected, bound = {"log_p": log_p}, {"log_p": off_p}
        attributes = {}
        given_y = joint[:, -1] - np.log(PRIOR)
        wrong = {
            "log p · p(y) for log p + log p(y)": np.log(np.exp(given_y * PRIOR).sum(axis=1)),
            "prior left out": np.log(np.exp(given_y).sum(axis=1)),
            "equal prior": np.log(np.exp(given_y).mean(axis=1)),
            "the most probable class alone": joint[:, -1].max(axis=1),
        }
    else:
        exact = [[_normalised(joint[b, h]) for h in OBSERVED] for b in range(len(x))]
        expected, bound = {"p": np.array(exact)}, {"p": (posterior * relative)[:, OBSERVED]}
        attributes = {"observed": list(OBSERVED)}
        late = [min(h + 1, joint.shape[1] - 1) for h in OBSERVED]
        wrong = {
            "horizon off by one": pointwise.softmax(joint[:, late].swapaxes(1, 2)).swapaxes(1, 2),
            "equal prior": pointwise.softmax((joint[:, OBSERVED] - np.log(PRIOR)).swapaxes(1, 2)).swapaxes(1, 2),
            "the whole sequence whatever is observed": np.repeat(posterior[:, -1:], len(OBSERVED), axis=1),
        }
    case = _case(f"{operator}/sequence", draw, graph, params, {"x": x}, expected, bound, attributes, prior=PRIOR)
    yield _with_catches(case, wrong)


def _with_catches(case: Case, wrong: Arrays) -> Case:
    (name,) = case.expected
    return replace(case, catches=tuple(mistake for mistake, found in wrong.items() if differs(case, {name: found})))


def _case(
    id: str, draw: Draw, graph: Graph, params: Arrays, given: Arrays, expected: Arrays, bound: Arrays,
    attributes: dict[str, list[int]] | None = None, **more: Array,
) -> Case:  # fmt: skip
    return Case(
        id=id,
        kind="density",
        operator=id.partition("/")[0],
        seed=draw.seed,
        source="the chain rule; log p(x) = log Σ_y p(x | y)·p(y); p(y | x) = p(x | y)·p(y) / p(x)",
        attributes=attributes or {},
        arrays=network_arrays(params, given, **more),
        expected=expected,
        bound={name: rounded_up(bound[name], array) for name, array in expected.items()},
        graph=graph,
    )


def _log(p: float) -> float:
    with localcontext(prec=60):
        return float(Decimal(p).ln())


def _logsumexp(values: Array) -> float:
    with localcontext(prec=60):
        return float(sum((Decimal(v).exp() for v in values.tolist()), Decimal(0)).ln())


def _normalised(values: Array) -> list[float]:
    with localcontext(prec=60):
        e = [Decimal(v).exp() for v in values.tolist()]
        return [float(v / sum(e)) for v in e]


DENSITIES = (
    FamilyMaker("log_prob", "density", _log_prob),
    FamilyMaker("log_marginal", "density", lambda: _marginals("log_marginal")),
    FamilyMaker("posterior", "density", lambda: _marginals("posterior")),
)
