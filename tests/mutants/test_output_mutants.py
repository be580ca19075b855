"""Tests of the tests: quantisers, samplers, heads and densities with one mistake put in. The test beside it must fail."""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import other_tests
from torch import float32, float64

import refar
import refar.torch
from refar import noise, ops, quantize
from refar.errors import RefarError
from refar.oracle import gaussians, gumbel, losses, mixture, program
from refar.runtime import density as runtime_density
from refar.runtime import load
from refar.runtime import session as runtime_session
from refar.torch import losses as torch_losses

test_noise, test_quantize = other_tests("test_noise.py"), other_tests("test_quantize.py")
in_runtime = other_tests("runtime/test_outputs.py")
test_density, test_gumbel, test_heads, test_learnt, test_top_k = (
    other_tests(f"oracle/test_{name}.py") for name in ("density", "gumbel", "heads", "learnt_scales", "top_k")
)

FAILS = (AssertionError, RefarError, ArithmeticError, IndexError, RuntimeWarning, pytest.fail.Exception)


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in the source of `owner.name`; `killed_by` must fail then."""

    mistake: str
    owner: Any
    name: str
    old: str
    new: str
    killed_by: Callable[[], None]

    def put_in(self, patch: pytest.MonkeyPatch) -> None:
        right = getattr(self.owner, self.name)
        source = textwrap.dedent(inspect.getsource(right))
        assert source.count(self.old) == 1, f"{self.old!r} stands {source.count(self.old)} times in {self.name}"
        local: dict[str, Any] = {}
        flags = __future__.annotations.compiler_flag
        exec(compile(source.replace(self.old, self.new), self.mistake, "exec", flags), right.__globals__, local)
        patch.setattr(self.owner, self.name, local[self.name])


def linear(classes: int) -> Callable[[], None]:
    return partial(test_quantize.test_every_class_comes_back_and_the_ends_are_the_ends, "linear", classes)


def mu_law(classes: int) -> Callable[[], None]:
    return partial(test_quantize.test_every_class_comes_back_and_the_ends_are_the_ends, "mu_law", classes)


samples = partial(test_heads.test_samples_follow_the_mixture, 2.0)
bins = test_heads.test_every_class_is_reached_exactly_between_its_edges
sums = partial(test_heads.test_probabilities_sum_to_one_at_every_scale, 256, 0.0)
definition = partial(test_heads.test_mixture_is_its_definition, 256, (-6, 2))
relaxed = partial(test_gumbel.test_value_and_gradient_are_the_definitions, 0.7)
top_k = partial(test_top_k.test_the_k_largest_are_drawn_by_their_softmax, 2, 0.5)
equals = test_top_k.test_of_equals_the_lower_classes_stay
bayes = partial(test_density.test_marginal_and_posterior_are_brute_force, "categorical", test_density.PRIOR)
horizons = partial(test_density.test_progressive_posterior_sees_the_first_h_positions, "categorical")
runtime_mixture = partial(in_runtime.test_log_probabilities_are_the_oracles, ops.MixtureLogistics(2, 6))
runtime_learnt = partial(in_runtime.test_log_probabilities_are_the_oracles, ops.LearntGaussian(0.0))
runtime_gaussians = partial(in_runtime.test_log_probabilities_are_the_oracles, ops.MixtureGaussians(2, -0.5))
learnt = partial(test_learnt.test_nats_and_gradient_are_the_definitions, ops.LearntGaussian(-1.0), 1.0)
mixed = partial(test_learnt.test_nats_and_gradient_are_the_definitions, ops.MixtureGaussians(3, -1.0), 1.0)
floor = partial(test_learnt.test_below_the_floor_the_scale_is_the_floor_and_has_no_gradient, ops.LearntGaussian(-2.0))
drawn = partial(test_learnt.test_samples_follow_the_mixture_channel_by_channel, 2.0)
gaussian_drawn = test_learnt.test_gaussian_samples_follow_the_gaussian
largest = test_learnt.test_a_scale_beyond_all_numbers_draws_the_largest_number
runtime_sums = partial(in_runtime.test_mixture_probabilities_sum_to_one, 256, 0.0)


torch_outputs = other_tests("pytorch/test_outputs.py")


def in_torch(name: str, *arguments: Any) -> Callable[[], None]:
    return partial(getattr(torch_outputs, name), *arguments)


torch_mixture = in_torch("test_mixture_nats_and_gradient", 256, (-5, 2), float64)
torch_finite = in_torch("test_float32_stays_finite_at_every_scale", -30.0)
torch_wide = in_torch("test_mixture_nats_and_gradient", 256, (10, 80), float32)
torch_gaussians = in_torch("test_learnt_scales_nats_and_gradient", ops.MixtureGaussians(3, -1.0), 1.0, float64)
torch_learnt = in_torch("test_learnt_scales_nats_and_gradient", ops.LearntGaussian(-1.0), 1.0, float64)
torch_images = in_torch("test_learnt_scales_over_images", ops.LearntGaussian(-1.0))
torch_tails = in_torch("test_learnt_scales_stay_finite_in_float32", ops.MixtureGaussians(2), -7.0, 1e6)
torch_relaxed = in_torch("test_gumbel_softmax_and_gradient", 0.3, False)
torch_straight = in_torch("test_gumbel_softmax_and_gradient", 0.3, True)

MUTANTS = [
    Mutant("μ = 256 for 256 classes", quantize, "_expand", "math.log(classes)", "math.log(classes + 1)",
           test_quantize.test_mu_law_is_its_equation_with_255_for_256_classes),
    Mutant("μ-law whose ends are not ±1", quantize, "mu_law", "classes) / (classes - 1)\n", "classes) / classes\n",
           test_quantize.test_mu_law_is_its_equation_with_255_for_256_classes),
    Mutant("μ-law that rounds down", quantize, "mu_law", "2 * i - classes)", "2 * i - classes - 1)", mu_law(16)),
    Mutant("encode(+1) = Q", quantize.Quantizer, "encode", "self.edges[1:-1]", "self.edges[1:]", linear(4)),
    Mutant("an edge belongs to the class below", quantize.Quantizer, "encode", '"right"', '"left"', linear(4)),
    Mutant("mid-tread for an even count", quantize, "linear", "2 * i[:-1] + 1 - classes", "2 * i[:-1] - classes", linear(4)),
    Mutant("linear steps of 2/(Q-1)", quantize, "linear", "(2 * i - classes) / classes", "(2 * i - classes) / (classes - 1)",
           linear(5)),
    Mutant("NaN is a class", quantize.Quantizer, "encode", "(array >= -1) & (array <= 1)", "~((array < -1) | (array > 1))",
           partial(test_quantize.test_what_is_no_number_from_minus_one_to_one_is_refused, [0.0, np.nan], ["got nan"])),
    Mutant("temperature 0 divides by zero", noise, "_gumbel_max", "temperature == 0", "temperature < 0",
           test_heads.test_temperature_zero_is_the_heaviest_mean),
    Mutant("a tiny temperature overflows", noise, "_gumbel_max", "y_bq.max(axis=1, keepdims=True)", "0",
           test_heads.test_a_temperature_next_to_zero_takes_the_most_probable),
    Mutant("Gumbel with the wrong sign", noise, "_gumbel", 'np.negative(np.log(u, out=u), out=out, casting="same_kind")',
           "np.copyto(out, np.log(u, out=u))", partial(test_noise.test_gumbel_maximum_samples_the_softmax, 1.0)),
    Mutant("temperature multiplies", noise, "_gumbel_max", "scores /= temperature", "scores *= temperature", samples),
    Mutant("temperature leaves the scale", noise, "sample", "x + temperature * np.exp", "x + np.exp", samples),
    Mutant("scale taken as its logarithm", noise, "sample", "np.exp(np.take_along_axis(log_scales, k, axis=1)[:, 0])",
           "np.take_along_axis(log_scales, k, axis=1)[:, 0]", samples),
    Mutant("uniform noise without the inverse CDF", noise, "_transform", "np.arctanh(2 * u[:, :, -1:] - 1)", "u[:, :, -1:]",
           samples),
    Mutant("one number for two purposes", noise, "_transform", "_gumbel(u[:, :, :-1], ", "_gumbel(u[:, :, 1:], ", samples),
    Mutant("classes rounded down", noise, "sample", " + 0.5)", ")", bins),
    Mutant("a class beyond the last", noise, "sample", "np.fmin(nearest, head.classes - 1)", "nearest", bins),
    Mutant("Q steps instead of Q-1", noise, "sample", "* (head.classes - 1) + 0.5", "* head.classes + 0.5", bins),
    Mutant("k+1 classes", noise, "_largest", "[:, :k]", "[:, : k + 1]", top_k),
    Mutant("the k smallest", noise, "_largest", "np.argsort(-y_bq", "np.argsort(y_bq", top_k),
    Mutant("logits outside the k are 0", noise, "_largest", "-np.inf", "0.0", top_k),
    Mutant("of equals the higher classes", noise, "_largest", 'np.argsort(-y_bq, axis=1, kind="stable")',
           'np.argsort(y_bq, axis=1, kind="stable")[:, ::-1]', equals),
    Mutant("top-k of the first row for all", noise, "_largest", "np.argsort(-y_bq", "np.argsort(0 * y_bq - y_bq[:1]",
           test_top_k.test_rows_have_their_own_largest),
    Mutant("the last class closed", mixture, "_terms", "np.where(q == last, 0, _log_sigmoid(upper))", "_log_sigmoid(upper)",
           sums),
    Mutant("the first class closed", mixture, "_terms", "np.where(q == 0, 0, _log_sigmoid(-lower))", "_log_sigmoid(-lower)",
           sums),
    Mutant("half-width 1/Q", mixture, "_terms", "math.log(2 / last)", "math.log(2 / head.classes)", sums),
    Mutant("centres 2q/Q - 1", mixture, "_terms", "(2 * i - head.classes) / last", "(2 * i - head.classes) / head.classes",
           definition),
    Mutant("log-scales with a floor", mixture, "_terms", "np.split(y_bct, 3, axis=1)",
           "(lambda l, m, s: (l, m, np.maximum(s, -4)))(*np.split(y_bct, 3, axis=1))", definition),
    Mutant("probabilities with a floor", mixture, "_terms", "- _logsumexp(logits)[:, None] + log_p",
           "- _logsumexp(logits)[:, None] + np.maximum(log_p, np.log(1e-12))",
           test_heads.test_a_class_deep_in_the_tail_costs_its_distance),
    Mutant("mixture logits not normalised", mixture, "_terms", "logits - _logsumexp(logits)[:, None] + log_p", "logits + log_p",
           sums),
    Mutant("means and scales swapped", mixture, "_terms", "logits, means, log_scales =", "logits, log_scales, means =",
           definition),
    Mutant("gradient of the mean with the wrong sign", losses, "mixture_nats_backward", "above - below", "below - above",
           definition),
    Mutant("gradient without the width", losses, "mixture_nats_backward", " + narrowing", "", definition),
    Mutant("gradient of the mean without 1/s", losses, "mixture_nats_backward", " * np.exp(-log_scales)", "", definition),
    Mutant("gradient by weights, not responsibilities", losses, "mixture_nats_backward", "softmax(logits) - responsibility",
           "softmax(logits)", definition),
    Mutant("upstream gradient assumed to be ones", losses, "mixture_nats_backward", "d_bt[:, None] * ", "", definition),
    Mutant("Gaussian without its std", losses, "nats", "(2 * head.std**2) + constant", "2 + constant",
           test_heads.test_gaussian_is_its_definition),
    Mutant("Gaussian gradient twice too large", losses, "nats_backward", "d_bt / (2 * head.std**2)", "d_bt / head.std**2",
           test_heads.test_gaussian_is_its_definition),
    Mutant("log-variance for log-scale", gaussians, "_terms", "np.exp(-log_scales)", "np.exp(-log_scales / 2)", learnt),
    Mutant("log of the scale left out", gaussians, "_terms", "-0.5 * z**2 - log_scales", "-0.5 * z**2", learnt),
    Mutant("half left out", gaussians, "_terms", "-0.5 * z**2", "-1.0 * z**2", learnt),
    Mutant("constant of the density left out", gaussians, "_terms", " - math.log(2 * math.pi) / 2", "", learnt),
    Mutant("floor ignored", gaussians, "_terms", "np.where(free, log_scales, np.asarray(head.floor, log_scales.dtype))",
           "log_scales", learnt),
    Mutant("no gradient at the floor", gaussians, "_terms", ">= head.floor", "> head.floor", floor),
    Mutant("channels of a component side by side", gaussians, "_terms",
           "y_bct.reshape(batch, y_bct.shape[1] // channels, channels, length)",
           "y_bct.reshape(batch, channels, y_bct.shape[1] // channels, length).swapaxes(1, 2)", mixed),
    Mutant("means and scales of Gaussians swapped", gaussians, "_terms", "*logits, means, log_scales =",
           "*logits, log_scales, means =", learnt),
    Mutant("weights of Gaussians not normalised", gaussians, "_terms", "logits[0] - _logsumexp(logits[0])[:, None] + log_p",
           "logits[0] + log_p", mixed),
    Mutant("channels averaged", losses, "gaussians_nats", ".sum(axis=1)", ".mean(axis=1)", learnt),
    Mutant("channels joined before the mixture", losses, "gaussians_nats",
           "-_logsumexp(_terms(head, y_bct, x_bct).log_joint).sum(axis=1)",
           "-_logsumexp(_terms(head, y_bct, x_bct).log_joint.sum(axis=2))", mixed),
    Mutant("components that underflow", gaussians, "_logsumexp", "top = v_bkct.real.max(axis=1)",
           "top = 0 * v_bkct.real.max(axis=1)",
           partial(test_learnt.test_values_and_gradients_are_finite_in_the_tails, 1e6, -7.0)),
    Mutant("gradient through the floor", losses, "gaussians_nats_backward",
           "np.where(terms.free, responsibility * (1 - terms.z**2), 0)", "responsibility * (1 - terms.z**2)", learnt),
    Mutant("gradient of a mean with the wrong sign", losses, "gaussians_nats_backward", "-responsibility * terms.z",
           "responsibility * terms.z", learnt),
    Mutant("gradient of a mean by z alone", losses, "gaussians_nats_backward", "terms.z * terms.inverse", "terms.z", learnt),
    Mutant("gradient of a log-scale without the 1", losses, "gaussians_nats_backward", "(1 - terms.z**2)",
           "(-(terms.z**2))", learnt),
    Mutant("gradient of Gaussians by weights", losses, "gaussians_nats_backward",
           "np.exp(terms.log_joint - _logsumexp(terms.log_joint)[:, None])",
           "np.exp(terms.log_joint - _logsumexp(terms.log_joint)[:, None]) ** 0 / terms.z.shape[1]", mixed),
    Mutant("upstream gradient of Gaussians assumed to be ones", losses, "gaussians_nats_backward", "d_bt[:, None] * ", "",
           learnt),
    Mutant("log-variance drawn", noise, "_scaled", "np.exp(np.maximum(log_scales, floor))",
           "np.exp(np.maximum(log_scales, floor) / 2)", gaussian_drawn),
    Mutant("floor ignored in drawing", noise, "_scaled", "np.maximum(log_scales, floor)", "log_scales", drawn),
    Mutant("temperature leaves the scale of a Gaussian", noise, "_scaled", "temperature * noise", "noise", gaussian_drawn),
    Mutant("temperature on the mean", noise, "_scaled", "means + temperature * noise * scales",
           "temperature * (means + noise * scales)", gaussian_drawn),
    Mutant("a number beyond all numbers", noise, "_scaled", "np.clip(means + temperature * noise * scales, -_LARGEST, _LARGEST)",
           "means + temperature * noise * scales", largest),
    Mutant("one component for all channels", noise, "sample", "noise[:, :of_logits].reshape(shape), temperature)[:, None]",
           "noise[:, :of_logits].reshape(shape), temperature)[:, None] * 0", drawn),
    Mutant("noise of the value first", noise, "sample", "noise[:, of_logits:], temperature, head.floor",
           "noise[:, : shape[2]], temperature, head.floor", drawn),
    Mutant("normal noise of one number", noise, "_normal", "np.split(u, 2, axis=-1)", "(u[..., : u.shape[-1] // 2],) * 2",
           gaussian_drawn),
    Mutant("floor ignored in PyTorch", torch_outputs, "nats", "_log_normal(x, means, log_scales.clamp(min=head.floor))",
           "_log_normal(x, means, log_scales)", torch_learnt),
    Mutant("log of the scale left out in PyTorch", torch_losses, "_log_normal", " - log_scales", "", torch_learnt),
    Mutant("channels joined before the mixture in PyTorch", torch_outputs, "nats",
           "-torch.logsumexp(torch.log_softmax(logits, dim=1) + log_p, dim=1).sum(dim=1)",
           "-torch.logsumexp((torch.log_softmax(logits, dim=1) + log_p).sum(dim=2), dim=1)", torch_gaussians),
    Mutant("colours of a signal taken for channels in PyTorch", torch_outputs, "nats", "isinstance(head, ops.SignalHead)",
           "isinstance(head, ops.Gaussian)", torch_images),
    Mutant("densities that underflow in PyTorch", torch_outputs, "nats",
           "torch.logsumexp(torch.log_softmax(logits, dim=1) + log_p, dim=1)",
           "torch.log((torch.softmax(logits, dim=1) * torch.exp(log_p)).sum(dim=1))", torch_tails),
    Mutant("floor ignored in the runtime", runtime_density, "_log_normal", "np.fmax(log_scale, floor)", "log_scale",
           runtime_learnt),
    Mutant("log of the scale left out in the runtime", runtime_density, "_log_normal", " - log_std", "", runtime_learnt),
    Mutant("weights of Gaussians not normalised in the runtime", runtime_density, "log_prob",
           "logsumexp(each, axis=1) - logsumexp(weight, axis=1)", "logsumexp(each, axis=1)", runtime_gaussians),
    Mutant("the last class closed in PyTorch", torch_losses, "_mixture_nats", ".masked_fill(at_last, 0)", "", torch_mixture),
    Mutant("edges in single precision", torch_losses, "_mixture_nats", "(2 * i - 1 - last).to(y_bct.dtype) / last",
           "((2 * i - 1 - last) / last).to(y_bct.dtype)", torch_mixture),
    Mutant("a difference of sigmoids in PyTorch", torch_losses, "_mixture_nats", "torch.log_softmax(logits, dim=1) + log_p",
           "torch.log_softmax(logits, dim=1) + torch.log(torch.sigmoid(above.masked_fill(at_last, 1e9)) "
           "- torch.sigmoid(below.masked_fill(at_first, -1e9)))", torch_finite),
    Mutant("a width that vanishes in float32", torch_losses, "_mixture_nats",
           "torch.where(log_width < -40, log_width, log_inside)",
           "torch.log(1 - torch.exp(-torch.exp(log_width)))", torch_wide),
    Mutant("the first class closed in the runtime", runtime_density, "_mixture", "np.where(x_b1t > 0, np.logaddexp(0, a), 0)",
           "np.logaddexp(0, a)", runtime_sums),
    Mutant("weights not normalised in the runtime", runtime_density, "_mixture", " - logsumexp(weight, axis=1)", "",
           runtime_mixture),
    Mutant("means and scales swapped in the runtime", runtime_density, "_mixture", "weight, mean, log_scale",
           "weight, log_scale, mean", runtime_mixture),
    Mutant("temperature divides the noise only", gumbel, "gumbel_softmax", "softmax(scores / temperature)",
           "softmax(logits_bqt + noise_bqt / temperature)", relaxed),
    Mutant("relaxed gradient without 1/τ", gumbel, "gumbel_softmax_backward", "keepdims=True)) / temperature", "keepdims=True))",
           relaxed),
    Mutant("relaxed gradient without its sum", gumbel, "gumbel_softmax_backward",
           "dy_bqt - (s * dy_bqt).sum(axis=1, keepdims=True)", "dy_bqt", relaxed),
    Mutant("straight-through of the logits alone", gumbel, "gumbel_softmax", "np.argmax(scores", "np.argmax(logits_bqt",
           partial(test_gumbel.test_straight_through_is_the_token_that_generation_draws, 0.1)),
    Mutant("softmax over time in PyTorch", refar.torch, "gumbel_softmax", "temperature, dim=1", "temperature, dim=2",
           torch_relaxed),
    Mutant("straight-through without a gradient", refar.torch, "gumbel_softmax", "(soft - soft.detach())", "0 * soft",
           torch_straight),
    Mutant("soft value where one-hot was asked for", refar.torch, "gumbel_softmax", "one_hot + (soft - soft.detach())", "soft",
           torch_straight),
    Mutant("density without p(x_0)", program, "log_joint", "np.cumsum(np.stack(conditionals, axis=2), axis=1)",
           "np.cumsum(np.stack(conditionals, axis=2) * (np.arange(tokens.shape[1]) > 0)[:, None], axis=1)",
           partial(test_density.test_the_first_position_counts, "categorical")),
    Mutant("log p · p(y)", program, "log_joint", "log_prior + np.concatenate", "np.exp(log_prior) * np.concatenate", bayes),
    Mutant("prior left out", program, "log_joint", "return log_prior + ", "return 0 * log_prior + ", bayes),
    Mutant("prior counted at every position", program, "log_joint", "first = np.zeros((len(tokens), 1, classes))",
           "first, conditionals = np.zeros((len(tokens), 1, classes)), [c + log_prior[y] for y, c in enumerate(conditionals)]",
           bayes),
    Mutant("the best class alone", program, "logsumexp", "np.asarray(top + np.log(np.exp(v - top[..., None]).sum(axis=-1)))",
           "top", bayes),
    Mutant("probabilities that underflow", program, "logsumexp", "top = v.max(axis=-1)", "top = 0 * v.max(axis=-1)",
           test_density.test_a_long_sequence_does_not_underflow),
    Mutant("horizon off by one", program.Program, "posterior", "check_observed(observed, joint.shape[1] - 1)",
           "np.minimum(check_observed(observed, joint.shape[1] - 1) + 1, joint.shape[1] - 1)", horizons),
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_every_mistake_fails_its_test(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.killed_by()
    mutant.put_in(monkeypatch)
    with pytest.raises(FAILS):
        mutant.killed_by()


SESSION_MUTANTS = [
    Mutant("density without p(x_0)", runtime_session.Session, "_log_joint", "cumsum(axis=1)", "cumsum(axis=1) * 0 + 1", bayes),
    Mutant("log p · p(y)", runtime_session.Session, "_log_joint", "joint + np.log(p)", "joint * p", bayes),
    Mutant("horizon off by one", runtime_session.Session, "_log_joint", "(1, 0), (0, 0)", "(0, 1), (0, 0)", bayes),
]


@pytest.mark.parametrize("mutant", SESSION_MUTANTS, ids=lambda mutant: mutant.mistake)
def test_every_mistake_of_a_session_fails_its_test(mutant: Mutant, wavenet_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = load(wavenet_bundle)
    pair = session, refar.init(session.graph, seed=1)
    in_runtime.test_score_marginal_and_posterior_are_the_oracles(pair)
    mutant.put_in(monkeypatch)
    with pytest.raises(FAILS):
        in_runtime.test_score_marginal_and_posterior_are_the_oracles(pair)
