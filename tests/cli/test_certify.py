"""refar generate --certify, and the parameters of a bundle that it reads."""

import numpy as np

import refar
from refar import Builder, ops
from refar_export import export
from refar_export.parameters import parameters


def test_generate_certifies(refar, here):
    said = refar("generate", "bundle", "-n", 30, "--seed", 7, "--condition", "3,1", "--certify", "-o", "x.npy")
    assert said.code == 0, said
    assert "certified: all 60 tokens are those of exact arithmetic; the smallest gap is" in said.out
    assert "wrote x.npy" in said.out


def test_a_prompt_a_temperature_and_top_k_are_taken_into_account(refar, here):
    np.save("prompt.npy", np.arange(6).reshape(2, 3))
    options = ["--prompt", "prompt.npy", "--temperature", 0.5, "--top-k", 4, "--condition", 3, "--certify"]
    said = refar("generate", "bundle", "-n", 10, *options, "-o", "x.npy")
    assert said.code == 0, said
    assert "all 20 tokens" in said.out


def test_uncertain_steps_are_named_and_fail_the_command(refar, here):
    """Of equal logits, as zeros give them, rounding may draw any."""
    graph = Builder()
    graph = graph.build(graph.conv1d(graph.one_hot(graph.input(classes=4)), 4, strict=True, name="front"), ops.Categorical())
    export(graph, {"front.weight": np.zeros((4, 4, 1)), "front.bias": np.zeros(4)}, here / "equal")
    said = refar("generate", "equal", "-n", 5, "--temperature", 0, "--certify", "-o", "x.npy")
    assert said.code == 1, said
    assert "5 of 5 steps are uncertain" in said.out
    assert np.load("x.npy").shape == (1, 5)


def test_the_parameters_of_a_bundle(model, tmp_path):
    params = refar.init(model, seed=3)
    read = parameters(export(model, params, tmp_path / "bundle"))
    assert list(read) == list(params)
    assert all((read[key] == params[key]).all() and read[key].dtype == np.float32 for key in params)
