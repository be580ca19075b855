"""What refar's NumPy makes of the golden cases that hold a graph: networks, streams, densities, generated tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refar import noise, ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.golden.case import Case
from refar.golden.compare import as_dtype
from refar.graph.graph import Graph
from refar.oracle import functions
from refar.oracle.program import bind

Change = Callable[[list[Arrays], int], Arrays]
"""Make the state that is fed to step t from the states so far, of which the first is the initial one."""


def network_arrays(params: Arrays, inputs: Arrays, **more: Array) -> Arrays:
    """Name the arrays of a case with a graph: "param.<name>", "input.<node>", and others."""
    return {f"param.{n}": a for n, a in params.items()} | {f"input.{n}": a for n, a in inputs.items()} | more


def parameters(case: Case) -> Arrays:
    """Return {name: array} of the case's graph."""
    return _below("param", case)


def inputs(case: Case) -> Arrays:
    """Return {node: array}, the sequence first."""
    found = _below("input", case)
    order = (facts(graph_of(case)).sequence, *facts(graph_of(case)).conditions)
    return {name: found[name] for name in order if name in found}


def graph_of(case: Case) -> Graph:
    """Return the graph of a case that has one."""
    assert case.graph is not None
    return case.graph


def _below(prefix: str, case: Case) -> Arrays:
    return {name.removeprefix(f"{prefix}."): a for name, a in case.arrays.items() if name.startswith(f"{prefix}.")}


def gradient_name(name: str, params: Arrays) -> str:
    """Name the gradient of a parameter or an input as in `Case.expected`."""
    return f"gradient.{'param' if name in params else 'input'}.{name}"


def network(case: Case, dtype: np.dtype) -> Arrays:
    """Compute the output and all gradients."""
    graph, params = graph_of(case), as_dtype(parameters(case), dtype)
    given = as_dtype(inputs(case), dtype)
    y: Array = functions.forward(graph, params, given, dtype=dtype)
    found = functions.backward(graph, params, given, case.arrays["dy"].astype(dtype), dtype=dtype)
    gradients = {**found["params"], **found["inputs"]}
    return {"y": y} | {gradient_name(name, params): array for name, array in gradients.items()}


def stepwise(case: Case, dtype: np.dtype, fed: Change | None = None) -> Arrays:
    """Compute y position by position, with every state. `fed` gives the state that goes into a step, by default the last."""
    graph, params = graph_of(case), as_dtype(parameters(case), dtype)
    given, found = as_dtype(inputs(case), dtype), facts(graph_of(case))
    x = given[found.sequence]
    timed = {name for name in found.conditions if found.types[name].timed}
    ahead = case.operator == "next"
    step = functions.next if ahead else functions.step

    def at(t: int) -> Arrays | None:
        return {name: given[name][..., t] if name in timed else given[name] for name in found.conditions} or None

    outputs: list[Array] = []
    state: Any
    y: Any
    if ahead:
        y, state = functions.start(graph, params, len(x), at(0), dtype=dtype)
        outputs.append(y)
    else:
        constant = {name: given[name] for name in found.conditions if name not in timed}
        state = functions.initial_state(graph, params, len(x), constant or None, dtype=dtype)
    states = [state]
    for t in range(x.shape[-1]):
        state = states[t] if fed is None else fed(states, t)
        y, after = step(graph, params, state, x[..., t], at(t + ahead), dtype=dtype)
        outputs.append(y)
        states.append(after)
    return {"y": np.stack(outputs, axis=-1)} | {f"state.{n}": np.stack([state[n] for state in states]) for n in states[0]}


def log_prob(case: Case, dtype: np.dtype) -> Arrays:
    """Compute log p(x)."""
    params, given = as_dtype(parameters(case), dtype), as_dtype(inputs(case), dtype)
    return {"log_p": functions.log_prob(graph_of(case), params, given, dtype=dtype)}


def log_marginal(case: Case, dtype: np.dtype) -> Arrays:
    """Compute log p(x) with the class summed out."""
    params, x = as_dtype(parameters(case), dtype), inputs(case)["x"]
    return {"log_p": functions.log_marginal(graph_of(case), params, x, case.arrays["prior"], dtype=dtype)}


def posterior(case: Case, dtype: np.dtype) -> Arrays:
    """Compute p(class | the first values)."""
    params, x, observed = as_dtype(parameters(case), dtype), inputs(case)["x"], case.attributes["observed"]
    return {"p": functions.posterior(graph_of(case), params, x, case.arrays["prior"], observed=observed, dtype=dtype)}


def generated(case: Case, dtype: np.dtype) -> Arrays:
    """Draw the tokens, and compute the logits and the noise that they come from."""
    graph, params, a = graph_of(case), as_dtype(parameters(case), dtype), case.attributes
    prompt, condition = case.arrays["prompt"], inputs(case)["condition"]
    options = {name: a[name] for name in ("seed", "temperature", "top_k")}
    x = bind(graph, params, dtype=dtype).generate(a["n"], prompt=prompt, condition=condition, **options)
    whole = np.concatenate([prompt, x[:, -a["n"] :]], axis=1)
    y = functions.forward(graph, params, whole, condition, dtype=dtype)[:, :, prompt.shape[1] :]
    classes = facts(graph).types[facts(graph).sequence].size
    drawn = noise.draw(ops.Categorical(), a["seed"], range(len(prompt)), prompt.shape[1], a["n"], classes)
    return {"x": x[:, -a["n"] :], "y": y, "noise": drawn.astype(dtype)}


COMPUTE: dict[str, Callable[[Case, np.dtype], Arrays]] = {
    "network": network,
    "step": stepwise,
    "next": stepwise,
    "log_prob": log_prob,
    "log_marginal": log_marginal,
    "posterior": posterior,
    "generate": generated,
}
"""What refar's NumPy makes of a case in a dtype, {name: array} as in `Case.expected`."""
