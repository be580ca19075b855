"""Tests of the tests: unrolling, pairs of signals, and what counts, with one mistake put in. The test beside it must fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from helpers import other_tests

import refar
from refar.oracle import feedback, pairs
from refar.oracle import unroll as unrolled
from refar.torch import coupled, objective, validate, work
from refar.torch import feedback as torch_feedback
from refar.torch import pairs as torch_pairs
from refar.torch import unroll as torch_unroll

outputs = other_tests("mutants/test_output_mutants.py")
oracle, pairs_tests = other_tests("oracle/test_unroll.py"), other_tests("oracle/test_pairs.py")
in_torch, training = other_tests("pytorch/test_unrolled.py"), other_tests("training/test_objectives.py")
Mutant: Callable[..., Any] = outputs.Mutant

by_hand = oracle.test_relaxed_tokens_by_hand
same = oracle.test_the_signal_of_unit_vectors_gives_what_the_classes_give
drawn = oracle.test_noise_and_origins_are_functions_of_seed_step_and_row
straight = oracle.test_straight_through_has_the_gradient_of_the_soft_sample


def tokens(name: str) -> Callable[[], None]:
    return partial(oracle.test_tokens_fed_back_one_by_one, name)


def differences(name: str) -> Callable[[], None]:
    return partial(oracle.test_gradient_through_three_steps_against_central_differences, name)


def torchs(name: str, padding: str = "layer") -> Callable[[], None]:
    return partial(in_torch.test_values_and_gradients_equal_the_oracle, name, padding, torch.float64)


def trained(name: str) -> Callable[[], None]:
    return partial(training.test_value_and_gradient_equal_the_oracle, name)


ratio, ratio_gradient = (
    partial(pairs_tests.test_the_ratio_in_loops, pairs_tests.OPTIONS[3]),
    partial(pairs_tests.test_gradients_by_a_complex_step_and_in_pytorch, pairs_tests.OPTIONS[3]),
)
squares = partial(pairs_tests.test_gradients_by_a_complex_step_and_in_pytorch, None)
torch_ratio = ratio_gradient

MUTANTS = [
    # the definition
    Mutant("the truth is fed back", unrolled, "_run", "fed_back(head, y, noise_rnk[:, k, :, None], unrolling)[:, :, 0]",
           "_at(signal, place)[:, :, 0]", tokens("mean")),
    Mutant("fed back one position late", unrolled, "_run", "fed[np.arange(len(fed)), :, place] =",
           "fed[np.arange(len(fed)), :, np.minimum(place + 1, fed.shape[2] - 1)] =", tokens("mean")),
    Mutant("noise of the first step in all", unrolled, "_run", "noise_rnk[:, k, :, None], unrolling",
           "noise_rnk[:, 0, :, None], unrolling", tokens("straight-through")),
    Mutant("no gradient through tokens", refar, "unroll_backward", "dy = dy + fed_back_backward",
           "dy = dy + 0 * fed_back_backward", differences("gumbel-softmax")),
    Mutant("only the last token has a gradient", refar, "unroll_backward", "dz = _at(dinputs[found.sequence], place)",
           "dz = _at(more_inputs[found.sequence] if k < unrolling.horizon - 1 else dinputs[found.sequence], place)",
           differences("mean")),
    Mutant("gradient of conditions of one origin", refar, "unroll_backward", ".sum(axis=1) for name", "[:, 0] for name",
           differences("gumbel-softmax")),
    Mutant("temperature in the mean of a signal", unrolled, "fed_back", "y_bct + unrolling.temperature * head.std",
           "unrolling.temperature * (y_bct + head.std)", tokens("sample")),
    Mutant("std of the sample left out", unrolled, "fed_back", "unrolling.temperature * head.std * noise_bkt",
           "unrolling.temperature * noise_bkt", tokens("sample")),
    Mutant("soft where hard was asked for", unrolled, "fed_back",
           "gumbel_softmax(y_bct, noise_bkt, unrolling.temperature, hard=unrolling.feedback == \"straight-through\")",
           "gumbel_softmax(y_bct, noise_bkt, unrolling.temperature)", tokens("straight-through")),
    Mutant("probabilities as the logits of a mixture", feedback, "_log_p", "-mixture_nats(head, y_bct, np.full(shape, q))",
           "np.exp(-mixture_nats(head, y_bct, np.full(shape, q)))", tokens("mixture, hard")),
    Mutant("gradient of a mixture's logits with the wrong sign", unrolled, "fed_back_backward", "-dlogits[:, q]", "dlogits[:, q]",
           differences("mixture, soft")),
    Mutant("no gradient by the scale of a sample", unrolled, "fed_back_backward",
           "np.where(log_scales >= head.floor, dz_bkt * slope, 0)", "np.zeros_like(dz_bkt)", differences("learnt, sample")),
    Mutant("mean of a mixture held still in its weights", unrolled, "fed_back_backward", "np.concatenate([dlogits,",
           "np.concatenate([0 * dlogits,", differences("mixture of Gaussians")),
    # the rewriting
    Mutant("table not turned", oracle, "relaxed_parameters", ".T[:, :, None]", "[:, ::-1].T[:, :, None]", same),
    Mutant("mean of standardize left out", unrolled, "relaxed_parameters", " - node.op.mean", "", by_hand),
    Mutant("gradient of a table not turned back", unrolled, "unrelaxed_gradients", "[:, :, 0].T", "[::-1, :, 0].T",
           differences("gumbel-softmax")),
    # noise and origins
    Mutant("noise of all rows the same", oracle, "draw_noise", "_NOISE + row for", "_NOISE for", drawn),
    Mutant("origins beyond the last", oracle, "draw_origins", "lengths - horizon - first + 1", "lengths - horizon - first + 2",
           drawn),
    Mutant("origins of no step", oracle, "draw_origins", "rows], step, 1, count)", "rows], 0, 1, count)", drawn),
    # PyTorch, position by position
    Mutant("taps the other way round", torch_unroll._Run, "_window", "for offset in offsets]", "for offset in offsets[::-1]]",
           torchs("mean")),
    Mutant("zeros before the start under input padding", torch_unroll, "_gathered", "before if before is not None else",
           "0 * before if before is not None else", torchs("straight-through", "input")),
    Mutant("values before the start wrap around", torch_unroll, "_gathered", "torch.where(flat < 0,", "torch.where(flat < -99,",
           torchs("mean")),
    Mutant("tokens detached", torch_unroll, "fed_back", "return y_bct if noise_bkt is None",
           "return y_bct.detach() if noise_bkt is None", torchs("mean")),
    Mutant("log p of classes in another order", torch_feedback, "_log_p", "torch.arange(head.classes, device=y_bct.device)",
           "torch.arange(head.classes, device=y_bct.device).flip(0)", torchs("mixture, soft")),
    Mutant("groups of a convolution ignored", torch_unroll, "windowed", "groups=op.groups", "groups=1", torchs("pools")),
    Mutant("truth of the origin at every step", torch_unroll.Unrolled, "__call__", "_at(truth, origins_bm + k)",
           "_at(truth, origins_bm)", torchs("mean")),
    # pairs of signals
    Mutant("emphasis with the wrong sign", pairs, "_emphasis", "-= a *", "+= a *", ratio),
    Mutant("emphasis backwards the wrong way", pairs, "_emphasis_backward", "filtered[:, :, :-1] -= a * d_bct[:, :, 1:]",
           "filtered[:, :, 1:] -= a * d_bct[:, :, :-1]", ratio_gradient),
    Mutant("the ratio of what is not emphasised", pairs, "error_to_signal", "_mean(_emphasis(v_bct, pre_emphasis) ** 2, mask_bt)",
           "_mean(v_bct ** 2, mask_bt)", ratio),
    Mutant("DC of all channels together", pairs, "error_to_signal", "(means_bc**2).mean(axis=1)",
           "means_bc.mean(axis=1) ** 2", ratio),
    Mutant("mean over all positions", pairs, "_share", "np.maximum(counted.sum(axis=(1, 2), keepdims=True), 1)",
           "counted[0].size", ratio),
    Mutant("gradient of the square halved", pairs, "mean_square_backward", "2 * (y_bct", "(y_bct", squares),
    Mutant("emphasis in PyTorch the other way round", torch_pairs, "_emphasis", "- a *", "+ a *", torch_ratio),
    Mutant("masked errors count in PyTorch", torch_pairs, "_mean", "torch.where(mask_bt[:, None], s_bct, 0)", "s_bct",
           torch_ratio),
    # what counts
    Mutant("context one too short", training, "plan", "first_counted(graph, loss)", "first_counted(graph, loss) - 1",
           trained("unrolled alone, no context")),
    Mutant("padding counts", work, "_mask", "(places < behind)", "(places < np.inf)", trained("nats, lengths")),
    Mutant("divided by all positions", work, "_counted", "int(mask.sum())", "mask.size", trained("nats, lengths")),
    Mutant("sequences without an origin count", objective.Objective, "forward", "torch.where(origins[:, :, None] >= 0, each, 0)",
           "each", trained("unrolled alone, no context")),
    Mutant("the weights of the terms swapped", objective.Objective, "total", "self._loss.terms.values()",
           "list(self._loss.terms.values())[::-1]", trained("unrolled")),
    Mutant("mask of a loss ignored", objective.Objective, "_each", "each if mask is None else torch.where(mask, each, 0)", "each",
           trained("nats, no context")),
    Mutant("context of a piece counts twice", validate, "pieces", "counted[:, :context] = False", "pass",
           partial(training.test_validation_in_pieces, "nats, lengths")),
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_every_mistake_fails_its_test(mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.killed_by()
    mutant.put_in(monkeypatch)
    with pytest.raises((*outputs.FAILS, RuntimeError)):
        mutant.killed_by()


def test_an_encoder_without_gradient_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the encoder says which of two constant sequences comes."""
    from refar import models
    from refar.arguments.encoder import Encoder
    from refar.torch import Module

    graph = models.wavenet(2, [1], residual=4, gate=4, skip=4, condition="vector:2")

    def moved() -> bool:
        encoder = torch.nn.Linear(3, 2)
        network = coupled.Coupled(Module(graph), encoder, Encoder("condition", "face", "float32", (3,)))
        x, face = torch.tensor([[0] * 4, [1] * 4]), torch.tensor(np.eye(2, 3))
        network(x, {"face": face}).sum().backward()
        return encoder.weight.grad is not None and bool(encoder.weight.grad.abs().sum() > 0)

    assert moved()
    still = outputs.Mutant("", coupled.Coupled, "_encoded", "self.encoder(given)", "self.encoder(given).detach()", moved)
    still.put_in(monkeypatch)
    assert not moved()
