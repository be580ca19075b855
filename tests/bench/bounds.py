"""How near every operator comes to its error bound: `python tests/bench/bounds.py`. All ratios are to be at most 1."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from refar import Builder, Graph, models
from refar.analysis.facts import facts
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import network as rounding
from refar.testing.contract.cases import generic_parameters
from refar.testing.contract.exposed import LEVELS, expose

COLUMNS = ("numpy float32", "torch float32", "onnxruntime", "numpy float64", "torch float64")


def pools() -> Graph:
    """The operators that no built-in network has."""
    g = Builder()
    x = g.tanh(g.conv1d(g.concat(g.standardize(s := g.input(classes=7), 2.3, 1.7), g.embedding(s, 5)), 8, kernel=2))
    kept = g.concat(g.pool1d(x, "avg", 3, pad="zero", dilation=2), g.pool1d(x, "avg", 4, pad="exclude"), g.sigmoid(x))
    h = g.affine(g.multiply(kept, g.conv1d(g.leaky_relu(kept, 0.3), 24, kernel=2, groups=4)), 0.7, -0.3)
    return g.build(g.softmax(g.concat(h, g.pool1d(g.slice(h, 2, 9), "max", 3, pad="zero"), g.pad_channels(g.delay(h), 1, 2))))


GRAPHS = {
    "operators": pools(),
    "nettoy1d": models.nettoy1d(16),
    "wavenet": models.wavenet(32, [1, 2, 4, 8] * 2, residual=32, gate=32, skip=64, condition="class:10"),
    "tcn": models.tcn(16, [16, 16, 24]),
    "pixelcnn": models.pixelcnn(8, position=3),
    "gated_pixelcnn": models.gated_pixelcnn(4, channels=3, hidden=24, layers=3),
}


def measure() -> tuple[dict[tuple[str, str], float], list[float]]:
    """{(operator, backend): largest observed / bound}, and by how much exposing the nodes changes each ONNX output."""
    worst: dict[tuple[str, str], float] = defaultdict(float)
    changes = []
    for graph in GRAPHS.values():
        rng, found = np.random.default_rng(0), facts(graph)
        params = {name: array.astype(np.float32).astype(float) for name, array in generic_parameters(graph, rng).items()}
        inputs = {}
        for name in (found.sequence, *found.conditions):
            kind = found.types[name]
            shape = [{"b": 4, "c": kind.channels, "t": 300, "h": 14, "w": 15}[axis] for axis in kind.axes]
            inputs[name] = rng.integers(0, kind.size, shape)
        y = forward_nodes(unchecked(graph, params, np.float64), inputs)[graph.output]
        dy = rng.normal(size=y.shape).astype(np.float32).astype(float)
        for backend in ("numpy", "torch", "onnx"):
            for exposed in expose(graph, params, backend, inputs, dy, LEVELS):
                column = "onnxruntime" if backend == "onnx" else exposed.name
                errors = rounding.node_errors(graph, params, exposed.values, exposed.unit)
                if exposed.dvalues:
                    back = rounding.gradient_errors(graph, params, exposed.values, exposed.dvalues, exposed.dparams, exposed.unit)
                    for each in back:
                        worst["gradients", column] = max(worst["gradients", column], each.worst)
                for each in errors:
                    worst[each.operator, column] = max(worst[each.operator, column], each.worst)
                if exposed.y is not None:
                    changes.append(float(np.abs(exposed.y - exposed.values[graph.output]).max()))
    return worst, changes


def table() -> str:
    """Markdown."""
    worst, changes = measure()
    operators = sorted({operator for operator, _ in worst if operator != "gradients"})
    rounding_ones = [o for o in operators if any(worst.get((o, column), 0) > 0 for column in COLUMNS)]
    exact = [o for o in operators if o not in rounding_ones]
    lines = [f"| largest error / its bound | {' | '.join(COLUMNS)} |", "|---|" + "---|" * len(COLUMNS)]
    for operator in [*rounding_ones, "gradients"]:
        cells = [f"{worst[operator, column]:.2f}" if (operator, column) in worst else "" for column in COLUMNS]
        lines.append(f"| {operator} | {' | '.join(cells)} |")
    assert max(worst.values()) <= 1, {key: ratio for key, ratio in worst.items() if ratio > 1}
    lines += [
        "",
        f"Exact, as they must be: {', '.join(exact)}. onnxruntime runs full, prefill, step and block at its four optimisation "
        f"levels; making every node an output changes the output by {max(changes):.1g}. The oracle's own float64 is judged by "
        "itself there, so only what gradients add up in another order shows.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
