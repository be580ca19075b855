"""A program: a graph bound to parameters once. Its methods are the functions of `refar`, and it is never stale."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import refuses

import refar
from refar import Graph, ops
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
    with pytest.raises(TypeError, match="missing 3 required positional arguments: 'params', 'state', and 'x_t'"):
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


def test_a_graph_that_equals_another_is_not_taken_for_it() -> None:
    def scaled(scale: float) -> Graph:
        g = refar.Builder()
        return g.build(g.affine(g.input(channels=1), scale, shift=-0.0))

    plus, minus = scaled(0.0), scaled(-0.0)
    assert plus == minus
    assert facts(plus) is not facts(minus)
    assert refar.to_json(plus) != refar.to_json(minus)
    assert refar.to_json(refar.from_json(refar.to_json(minus))) == refar.to_json(minus)
    one = np.ones((1, 1, 1))
    assert [bool(np.signbit(refar.forward(graph, {}, one))[0, 0, 0]) for graph in (plus, minus)] == [False, True]


def test_numbers_of_numpy_in_one_graph_do_not_reach_another() -> None:
    nodes = (Node("x", ops.Input(channels=1)), Node("y", ops.Conv1d(np.int64(2), 2), ("x",)))  # type: ignore[arg-type]
    refar.receptive_field(Graph(format="refar-graph", version=1, nodes=nodes, output="y"))
    g = refar.Builder()
    graph = g.build(g.conv1d(g.input("x", channels=1), 2, kernel=2, name="y"))
    assert refar.from_json(refar.to_json(graph)) == graph


def test_nodes_in_a_list_are_refused() -> None:
    with pytest.raises(GraphError, match="nodes: expected a tuple of refar nodes, got list"):
        Graph(format="refar-graph", version=1, nodes=[Node("x", ops.Input(channels=1))], output="x")  # type: ignore[arg-type]


def test_no_argument_takes_the_place_of_another(model: Graph) -> None:
    params = refar.init(model, seed=2)
    program, state = refar.bind(model, params), refar.initial_state(model, params)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x_t'"):
        refar.step(model, params, state, condition=np.array([1]))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x_t'"):
        refar.step(program, state, condition=np.array([1]))  # type: ignore[call-overload]
    for option in ({"sead": 4}, {"certify": True}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            program.generate(3, **option)  # type: ignore[arg-type]


def test_outputs_share_no_memory_with_states_and_inputs() -> None:
    g = refar.Builder()
    image = g.build(g.conv2d(g.image(), 2, kernel=3, mask="A"))
    params, pixel = refar.init(image, seed=2), np.ones((1, 1))
    y, state = refar.start(image, params, shape=(2, 2))
    expected = refar.next(image, params, state, pixel)[0]
    y[:] = 7
    np.testing.assert_array_equal(refar.next(image, params, state, pixel)[0], expected)

    g = refar.Builder()
    x = g.input(channels=2)
    same = g.build(g.slice(x, 0, 1))
    x_bc = np.ones((1, 2))
    y, _ = refar.step(same, {}, refar.initial_state(same, {}), x_bc)
    assert not np.may_share_memory(y, x_bc)


def test_the_state_of_an_image_keeps_its_own_conditions() -> None:
    g = refar.Builder()
    x, c = g.image(), g.condition(channels=1, local=True, axes="hw")
    graph = g.build(g.add(g.conv2d(x, 1, kernel=3, mask="A"), c))
    params, c_bchw, pixel = refar.init(graph, seed=2), np.ones((1, 1, 2, 2)), np.ones((1, 1))
    _, state = refar.start(graph, params, condition=c_bchw, shape=(2, 2))
    expected = refar.next(graph, params, state, pixel)[0]
    c_bchw[:] = 7
    np.testing.assert_array_equal(refar.next(graph, params, state, pixel)[0], expected)
