"""The heads: what the output of a network means, as frozen data. Each is a distribution of the next value, given the past.

`refar.ops` passes them on beside the operators, and the whole numbers that attributes of both are. Axes are named as there.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

LARGEST = 2**20
"""No attribute may be larger, and no node may have more channels or classes."""

Positive = Annotated[int, Meta(ge=1, le=LARGEST)]
Natural = Annotated[int, Meta(ge=0, le=LARGEST)]
Classes = Annotated[int, Meta(ge=2, le=LARGEST)]


class Categorical(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="categorical"):
    """The output holds logits: p(x_t = q) = softmax(y[:, :, t])_q. y_bqt with Q = the classes of the sequence input.

    As for every head, number k of the parameters of colour c of an image is channel k·C + c: here the logit of class q of
    colour c is y[:, q·C + c, r, s].
    """


class Gaussian(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="gaussian"):
    """The output holds means: x_t ~ N(y[:, :, t], std²) with a fixed std; maximum likelihood is least squares."""

    std: Annotated[float, Meta(gt=0)] = 1.0


class MixtureLogistics(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="mixture_logistics"
):
    """The output holds K mixture logits l, K means μ and K log-scales λ, in this order: a discretised mixture of logistics.

    p(x_t = q) = Σ_k softmax(l)_k · [F((v_q + h - μ_k)/s_k) - F((v_q - h - μ_k)/s_k)],   F(z) = 1/(1 + exp(-z)), s_k = exp(λ_k).

    Class q of Q has its centre at v_q = 2q/(Q-1) - 1 and half-width h = 1/(Q-1); class 0 reaches down to -∞ and class Q-1 up
    to +∞, so that the probabilities sum to 1. Scales have no floor. y_bct with 3K channels; K = `components`,
    Q = `classes` = the classes of the sequence input: stated here so that a head and an output are all that sampling needs.
    Source: Salimans et al. 2017 (PixelCNN++), section 2.1, equations 1 and 2.
    """

    components: Positive
    classes: Classes


LogScale = Annotated[float, Meta(ge=-30, le=30)]
"""A logarithm of a standard deviation that leaves squares of deviations within float32."""


class LearntGaussian(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="learnt_gaussian"
):
    """The output holds a mean μ and a log-scale λ for each channel of a signal: x_t ~ N(μ, σ²), σ = exp(max(λ, floor)).

    -log p(x_t) = Σ_c [(x_c - μ_c)²/(2·σ_c²) + log σ_c + ½·log 2π],   μ_c = y[:, c],   λ_c = y[:, C + c].

    y_bct with 2C channels, in the order of every head. λ is the logarithm of the standard deviation, not of the variance. Without
    a floor a value that can be predicted exactly would make p infinite. Below the floor λ has no effect: its gradient is 0.
    Source: Ping, Peng and Chen 2019 (ClariNet), section 3.1, which has the floor of -7 too.
    """

    floor: LogScale = -7.0


class MixtureGaussians(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="mixture_gaussians"
):
    """The output holds K logits l, K means μ and K log-scales λ, in this order, for each channel of a signal: a mixture density.

    -log p(x_t) = Σ_c -log Σ_k softmax(l_c)_k · N(x_c; μ_ck, σ_ck²),   σ_ck = exp(max(λ_ck, floor)).

    y_bct with 3K·C channels: of channel c, l_k is y[:, k·C + c], μ_k is y[:, (K + k)·C + c], λ_k is y[:, (2K + k)·C + c]. K =
    `components`; the `floor` is that of `LearntGaussian`, which is the mixture of one component without its logit. Channels are
    independent of each other, given the past.
    Source: Bishop 1994, "Mixture density networks", equations 22 to 26; Graves 2013, "Generating sequences with recurrent
    neural networks", section 4.
    """

    components: Positive
    floor: LogScale = -7.0


SignalHead = Gaussian | LearntGaussian | MixtureGaussians
"""The heads of a signal; those of `AnyHead` that are not among them are of class indices."""

AnyHead = Categorical | Gaussian | MixtureLogistics | LearntGaussian | MixtureGaussians
