"""A program: a graph bound to parameters once. Its methods are the functions of `refar`, and it is never stale."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import refuses

import refar
from refar import Graph
from refar.analysis.facts import facts
from refar.errors import GraphError, InputError, ParameterError
from refar.graph.graph import Node
from refar.testing.contract.cases import generic_inputs


def inputs_of(graph: Graph, image: bool) -> dict[str, np.ndarray]:
    return generic_inputs(graph, np.random.default_rng(0), 2, *((4, 5) if image else (9,)))


def test_methods_are_the_functions(streamed: Graph) -> None:
    params, inputs = refar.init(streamed, seed=2), inputs_of(streamed, False)
    program = refar.bind(streamed, params)
    y = refar.forward(streamed, params, inputs)
    np.testing.assert_array_equal(program.forward(inputs), y)
    mine, others = program.backward(inputs, y), refar.backward(streamed, params, inputs, y)
    for part in ("params", "inputs"):
        assert mine[part].keys() == others[part].keys()
        for name, gradient in mine[part].items():
            np.testing.assert_array_equal(gradient, others[part][name])


def test_step_and_next_take_a_program(model: Graph) -> None:
    params, inputs = refar.init(model, seed=2), inputs_of(model, False)
    program, found = refar.bind(model, params), facts(model)
    now = {name: array[..., 0] if found.types[name].timed else array for name, array in inputs.items()}
    conditions = {name: array for name, array in now.items() if name != found.sequence} or None
    state = refar.initial_state(model, params, 2, conditions)
    for name, function in (("step", refar.step), ("next", refar.next)):
        if name == "next":
            _, state = program.start(2, conditions)
        expected, after = function(model, params, state, now)
        for y, same in (function(program, state, now), getattr(program, name)(state, now)):
            np.testing.assert_array_equal(y, expected)
            for key, array in after.items():
                np.testing.assert_array_equal(same[key], array)


def test_images_have_states_of_their_own(image_model: Graph) -> None:
    params, inputs = refar.init(image_model, seed=2), inputs_of(image_model, True)
    program, found = refar.bind(image_model, params), facts(image_model)
    conditions = {name: inputs[name] for name in found.conditions} or None
    state = program.initial_state(2, conditions, shape=(4, 5))
    assert not isinstance(state, dict)
    y, _ = refar.step(program, state, inputs[found.sequence][:, :, 0, 0])
    np.testing.assert_allclose(y, program.forward(inputs)[:, :, 0, 0], rtol=1e-12, atol=1e-12)


def test_parameters_changed_in_place_are_never_stale(model: Graph) -> None:
    params, inputs = refar.init(model, seed=2), inputs_of(model, False)
    program, before = refar.bind(model, params), refar.forward(model, params, inputs)
    for array in params.values():
        array *= 2
    np.testing.assert_array_equal(program.forward(inputs), before)  # it has copies of its own
    assert (refar.forward(model, params, inputs) != before).any()  # the function sees the change
    name = next(iter(params))
    params[name][...] = np.nan
    with refuses(ParameterError, repr(name), "expected finite numbers, got nan"):
        refar.forward(model, params, inputs)


def test_a_dtype_belongs_to_the_program(model: Graph) -> None:
    params = refar.init(model)
    program = refar.bind(model, params, dtype="float32")
    assert program.forward(inputs_of(model, False)).dtype == program.dtype == np.float32
    with refuses(InputError, "dtype: expected float32, that of the program", "'float64'"):
        refar.step(program, {}, np.zeros(2, int), dtype="float64")
    assert repr(program) == f"Program({model!r}, float32)"


def test_parameters_are_checked_when_they_are_bound(model: Graph) -> None:
    with refuses(ParameterError, "missing"):
        refar.bind(model, {})
    with pytest.raises(TypeError, match="expected graph and params, or a program"):
        refar.step(model)


def by_hand() -> Graph:
    """A convolution on class indices, which has no meaning: names and order are right."""
    nodes = (Node("x", refar.ops.Input(classes=4)), Node("y", refar.ops.Conv1d(2), ("x",)))
    return Graph(format="refar-graph", version=1, nodes=nodes, output="y")


@pytest.mark.parametrize(
    "call",
    [
        lambda g: refar.forward(g, {}, np.zeros((1, 3), int)),
        lambda g: refar.bind(g, {}),
        lambda g: refar.init(g),
        lambda g: refar.offsets(g),
        lambda g: refar.receptive_field(g),
        lambda g: refar.is_strict(g),
        lambda g: refar.strictify(g),
        lambda g: refar.blind_spot(g),
        lambda g: refar.generate(g, {}, 3),
        lambda g: refar.certify(g, {}, np.zeros((1, 3), int)),
        lambda g: refar.start(g, {}),
        lambda g: refar.step(g, {}, {}, np.zeros(1, int)),
        lambda g: refar.save(g, "never.json"),
        lambda g: refar.to_json(g),
    ],
)
def test_a_graph_without_a_meaning_is_refused_by_every_function(call: object) -> None:
    with refuses(GraphError, "node 'y' (conv1d): expected real values", "got 4 classes over time"):
        call(by_hand())  # type: ignore[operator]
