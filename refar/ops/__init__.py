"""The vocabulary: every operator a network may consist of, as frozen data.

Arrays are channels-first: `x_bct` has axes batch, channel, time; a value that does not change over time is `c_bc`.
Class indices are `x_bt`, or `c_b` when constant. Images are `x_bchw`: row h from the top, column w from the left; class indices
of an image have a channel axis too, one channel for each colour. Equations that name only t hold at every pixel just as well.

An operator has no behaviour here: each table over operators (NumPy, PyTorch, ONNX, types, bounds) is one `match` over `AnyOp`
that ends in `assert_never`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from refar.ops.heads import LARGEST as LARGEST
from refar.ops.heads import AnyHead as AnyHead
from refar.ops.heads import Categorical as Categorical
from refar.ops.heads import Classes as Classes
from refar.ops.heads import Gaussian as Gaussian
from refar.ops.heads import LearntGaussian as LearntGaussian
from refar.ops.heads import MixtureGaussians as MixtureGaussians
from refar.ops.heads import MixtureLogistics as MixtureLogistics
from refar.ops.heads import Natural as Natural
from refar.ops.heads import Positive as Positive
from refar.ops.heads import SignalHead as SignalHead

__all__ = [
    "FURTHEST",
    "FURTHEST_2D",
    "LARGEST",
    "MOST_PARAMETERS",
    "SELU_ALPHA",
    "SELU_SCALE",
    "Activation",
    "Add",
    "Affine",
    "AnyHead",
    "AnyOp",
    "Categorical",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Dropout",
    "Embedding",
    "FunctionName",
    "Gate",
    "Gaussian",
    "Input",
    "LearntGaussian",
    "MixtureGaussians",
    "MixtureLogistics",
    "Multiply",
    "Norm",
    "OneHot",
    "Ones",
    "Op",
    "PRelu",
    "PadChannels",
    "Pool1d",
    "Position",
    "ScaleShift",
    "Shift",
    "Shift2d",
    "SignalHead",
    "Slice",
    "Softmax",
    "Standardize",
]

FURTHEST = 2**16
"""No node may look back by more positions, all layers on its longest path together; no shift may look ahead by more."""

FURTHEST_2D = 2**9
"""The same over an image: how far up or down, left or right."""

MOST_PARAMETERS = 2**28
"""No graph may have more parameters: 1 GiB in float32, half of what an ONNX file can hold."""


class Op(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"):
    """The base of all operators."""


class Input(Op, frozen=True, tag="input"):
    """A value that the caller gives.

    `role="sequence"` is the modelled sequence: indices x_bt in 0..classes-1, or a signal x_bct with `channels` channels.
    `role="global"` is a condition that holds for the whole sequence: an index c_b, or a vector c_bc.
    `role="local"` is a condition over time, c_bt or c_bct: y_t may use c_t, which must be known before x_t.
    Exactly one of `classes` and `channels` is set.

    With `axes="hw"` it lies over an image: signals x_bchw, or with `classes` too indices x_bchw of `channels` colours. The
    sequence then runs through the pixels from left to right, top to bottom, and within a pixel through the colours.
    """

    role: Literal["sequence", "global", "local"] = "sequence"
    classes: Natural = 0
    channels: Natural = 0
    axes: Literal["t", "hw"] = "t"


class Conv1d(Op, frozen=True, tag="conv1d"):
    """Causal dilated convolution (cross-correlation; the last weight sees the most recent sample).

    y[b,o,t] = bias[o] + Σ_{i,k} weight[o,i,k] · x[b,i, t - s - (K-1-k)·D],   x = 0 at t < 0, s = 1 if strict else 0.

    x_bit → y_bot; weight_oik, bias_o. With `strict` the present is hidden: the offsets are 1 + (K-1-k)·D.
    With G groups, output channel o sees only the input channels of its group, ⌊o·G/C_out⌋; weight has C_in/G input channels.
    On a constant value c_bi only K = 1, s = 0 has a meaning: a dense layer.
    Source: van den Oord et al. 2016 (WaveNet), section 2.1.
    """

    channels: Positive
    kernel: Positive = 1
    dilation: Positive = 1
    strict: bool = False
    bias: bool = True
    groups: Positive = 1


class Shift(Op, frozen=True, tag="shift"):
    """Signed padding of time: y[b,c,t] = x[b,c,t-steps], 0 outside the sequence. x_bct → y_bct.

    steps > 0 delays: zeros come in on the left, and as many values are dropped on the right. steps < 0 looks ahead; such a
    graph can be evaluated as a whole, but not step by step.
    Source: Fleuret, Deep learning 10.2, "shift the input by one entry to hide the present", F.pad(x, (1, -1)).
    """

    steps: Annotated[int, Meta(ge=-FURTHEST, le=FURTHEST)] = 1


class Conv2d(Op, frozen=True, tag="conv2d"):
    """Masked dilated convolution of images (cross-correlation); the tap at `anchor` sees the pixel itself.

    y[b,o,r,s] = bias[o] + Σ_{i,u,v} mask[o,i,u,v] · weight[o,i,u,v] · x[b,i, r + (u-a)·D_h, s + (v-e)·D_w],   x = 0 outside,

    with (a, e) = `anchor`, by default the centre of a kernel with odd sides; one with an even side has none and must say.
    `mask="none"` lets every weight see. "A" and "B" hide what comes after the pixel in raster order: all rows below and, in
    its own row, all columns to the right. Of the pixel itself, output channel o sees input channel i if colour(i) < colour(o)
    ("A") or colour(i) ≤ colour(o) ("B"), where channel j, counted through all groups, belongs to colour j mod n, n = `colours`.
    So with one colour A hides the pixel and B shows it. Masked weights have no effect, and their gradient is exactly 0.

    x_bihw → y_bohw; weight_oihw with C_in/G input channels as in `Conv1d`, bias_o. kernel, anchor, dilation: (rows, columns).
    Source: van den Oord et al. 2016, "Pixel recurrent neural networks", section 3.4 and figure 2.
    """

    channels: Positive
    kernel: tuple[Positive, Positive] = (1, 1)
    mask: Literal["none", "A", "B"] = "none"
    anchor: tuple[Natural, Natural] | None = None
    dilation: tuple[Positive, Positive] = (1, 1)
    colours: Positive = 1
    bias: bool = True
    groups: Positive = 1


class Shift2d(Op, frozen=True, tag="shift2d"):
    """Signed padding of an image: y[b,c,r,s] = x[b,c,r-down,s-right], 0 outside the image. x_bchw → y_bchw.

    down > 0 hides the present row and all below, right > 0 the present column and what lies to the right.
    Source: Fleuret, Deep learning 10.2, "PixelCNN", F.pad(x, (0, 0, 1, -1)) and F.pad(x, (1, -1, 0, 0)).
    """

    down: Annotated[int, Meta(ge=-FURTHEST_2D, le=FURTHEST_2D)] = 0
    right: Annotated[int, Meta(ge=-FURTHEST_2D, le=FURTHEST_2D)] = 0


class Position(Op, frozen=True, tag="position"):
    """Where a pixel is, as bits, whatever the value of x: y[b,i,r,s] = bit i of r, y[b,N+i,r,s] = bit i of s, i = 0..N-1.

    Bit i of n is ⌊n/2^i⌋ mod 2; N = `bits`. x_bchw → y_bchw with 2N channels. Rows 2^N apart look alike.
    Source: Fleuret, Deep learning 10.2, "positional encoding", with five channels per coordinate for 28 x 28.
    """

    bits: Annotated[int, Meta(ge=1, le=16)]


class PadChannels(Op, frozen=True, tag="pad_channels"):
    """Zero channels before and after those of x: y[b,before+c,t] = x[b,c,t], all else 0.

    Source: Fleuret, Deep learning 10.2, F.pad(x, (0, 0, 2, 0)).
    """

    before: Natural = 0
    after: Natural = 0


class Ones(Op, frozen=True, tag="ones"):
    """y[b,0,t] = 1 at every position of x, whatever its value; 0 at t < 0, like all values: it marks the positions that exist."""


class Pool1d(Op, frozen=True, tag="pool1d"):
    """Causal dilated pooling: the maximum or the average of x[b,c, t - k·D], k = 0..K-1.

    At t < 0: `pad="zero"` takes zeros into the maximum and into the average, which divides by K, as in the
    source; `pad="exclude"` leaves it out (-∞ in the maximum; the average divides by the positions that exist) and takes a
    second input, the `Ones` of the first. The gradient of a maximum goes to the most recent of equal values.
    x_bct → y_bct. Source: Theblog 2019, "Convolutions in autoregressive neural networks", DilatedPooling1D.
    """

    kind: Literal["avg", "max"]
    kernel: Positive
    pad: Literal["zero", "exclude"]
    dilation: Positive = 1


class OneHot(Op, frozen=True, tag="one_hot"):
    """Class to unit vector: y[b,q,t] = 1 if x[b,t] = q else 0. x_bt (classes Q) → y_bqt; c_b → c_bq.

    As for every lookup, channel k of colour c of an image becomes channel k·C + c: y[b, q·C + c, r, s] = 1 if x[b,c,r,s] = q.
    """


class Embedding(Op, frozen=True, tag="embedding"):
    """Class to learnt vector: y[b,c,t] = weight[x[b,t], c]. x_bt (classes Q) → y_bct; weight_qc; c_b → c_bc."""

    channels: Positive


class Standardize(Op, frozen=True, tag="standardize"):
    """Class to number: y[b,0,t] = (x[b,t] - mean) / std. x_bt → y_bct with one channel; c_b → c_bc.

    Source: Fleuret, Deep learning 10.2, "Training loop".
    """

    mean: float = 0.0
    std: Annotated[float, Meta(gt=0)] = 1.0


FunctionName = Literal[
    "relu", "leaky_relu", "tanh", "sigmoid", "elu", "selu", "gelu", "gelu_tanh", "silu", "softplus", "softsign", "clip",
    "hard_sigmoid", "hard_swish", "mish", "sin", "snake",
]  # fmt: skip
"""The functions that an `Activation` may be."""

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
"""The α and the scale of selu."""


class Activation(Op, frozen=True, tag="activation"):
    """A function of each element, y = f(x). Shape is kept.

    relu: max(x, 0). leaky_relu: x if x > 0 else slope·x. tanh: tanh(x). sigmoid: σ(x) = 1 / (1 + exp(-x)).
    elu: x if x > 0 else α·(exp(x) - 1). selu: 1.0507…·elu(x) with α = 1.6732….
    gelu: x·Φ(x), Φ(x) = ½·(1 + erf(x/√2)). gelu_tanh: ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), which is near it.
    silu: x·σ(x). softplus: log(1 + exp(x)). softsign: x / (1 + |x|). mish: x·tanh(softplus(x)).
    clip: min(max(x, low), high), as hardtanh and relu6. hard_sigmoid: min(max(x/6 + ½, 0), 1). hard_swish: x·hard_sigmoid(x).
    sin: sin(x). snake: x + sin²(α·x)/α.

    The numbers are attributes, not learnt: `slope`, `alpha` (α of elu and snake), `low` < `high`; each function takes its own.
    Derivatives at kinks are 0 for relu, and `slope`, `alpha` and the product of both of selu for leaky_relu, elu and selu.
    clip and hard_sigmoid have 0 at both of their ends, hard_swish 0 at -3 and 1 at 3.
    Sources: Clevert et al. 2016 (elu); Klambauer et al. 2017 (selu); Hendrycks and Gimpel 2016 (gelu); Elfwing et al. 2018
    (silu); Misra 2020 (mish); Howard et al. 2019 (hard_sigmoid, hard_swish); Ziyin et al. 2020 (snake).
    """

    kind: FunctionName
    slope: Annotated[float, Meta(ge=0)] = 0.01
    alpha: Annotated[float, Meta(gt=0)] = 1.0
    low: float = -1.0
    high: float = 1.0


class Gate(Op, frozen=True, tag="gate"):
    """Gated activation: y[b,c,t] = tanh(x[b,c,t]) · σ(x[b,C+c,t]). x has 2C channels, y has C.

    Source: van den Oord et al. 2016 (WaveNet), equation 2.
    """


class Add(Op, frozen=True, tag="add"):
    """Sum of two or more values with equal channels; a constant c_bc is added at every t."""


class Multiply(Op, frozen=True, tag="multiply"):
    """Product of two or more values with equal channels; a constant c_bc multiplies at every t."""


class Affine(Op, frozen=True, tag="affine"):
    """y = scale · x + shift with fixed numbers (not learnt). Shape is kept."""

    scale: float = 1.0
    shift: float = 0.0


class ScaleShift(Op, frozen=True, tag="scale_shift"):
    """A learnt scale and shift of each channel: y[b,c,t] = weight[c] · x[b,c,t] + bias[c]. Shape is kept; weight_c, bias_c.

    Source: Ioffe and Szegedy 2015 (batch normalization), section 3, algorithm 1, which it is after training.
    """

    bias: bool = True


class PRelu(Op, frozen=True, tag="prelu"):
    """A leaky relu with a learnt slope for each channel: y[b,c,t] = x[b,c,t] if x[b,c,t] > 0 else weight[c] · x[b,c,t].

    Shape is kept; weight_c, of any sign. The derivative at 0 is weight[c].
    Source: He et al. 2015, "Delving deep into rectifiers", section 2.1.
    """


LEAST_EPS = 1e-30
"""The smallest eps of a norm: its root is a normal number in float32, and squares that underflow are small against it."""


class Norm(Op, frozen=True, tag="norm"):
    """A normalisation over the C channels of each position, with a learnt scale and shift. Shape is kept; weight_c, bias_c.

    layer: y[b,c,t] = weight[c] · (x[b,c,t] - m) / √(v + eps) + bias[c],   m = Σ_c x[b,c,t]/C,   v = Σ_c (x[b,c,t] - m)²/C.
    rms: the same with m = 0, so that v is the mean of the squares.

    Every channel of y reads all channels of x; over images, those of all colours. `eps` keeps the root from 0.
    Sources: Ba, Kiros and Hinton 2016, "Layer normalization", section 3; Zhang and Sennrich 2019, "Root mean square layer
    normalization", section 4, to which eps is added as frameworks have it.
    """

    kind: Literal["layer", "rms"]
    eps: Annotated[float, Meta(ge=LEAST_EPS)] = 1e-5
    bias: bool = True


class Dropout(Op, frozen=True, tag="dropout"):
    """y = x. Shape is kept.

    Training in PyTorch alone multiplies by a mask: y = x · m / (1 - rate), m being 0 with probability `rate`, else 1, for each
    number by itself. The mask depends on (seed, step, node, row of the batch) alone.
    Source: Srivastava et al. 2014, with the scaling moved from use to training.
    """

    rate: Annotated[float, Meta(ge=0, lt=1)]


class Concat(Op, frozen=True, tag="concat"):
    """Channels of all inputs, one after the other; a constant c_bc is repeated at every t."""


class Slice(Op, frozen=True, tag="slice"):
    """Channels start..stop-1: y[b,c,t] = x[b,start+c,t]."""

    start: Natural
    stop: Positive


class Softmax(Op, frozen=True, tag="softmax"):
    """y[b,c,t] = exp(x[b,c,t]) / Σ_j exp(x[b,j,t]): a distribution over channels at every t."""


WindowedOp = Conv1d | Shift | Pool1d
"""The operators that read other positions than their own, over time."""

ImageOp = Conv2d | Shift2d
"""The operators that read other pixels than their own."""

PointwiseOp = (
    PadChannels | Ones | Position | OneHot | Embedding | Standardize | Activation | Gate | Add | Multiply | Affine | ScaleShift
    | PRelu | Norm | Concat | Slice | Softmax | Dropout
)  # fmt: skip
"""The operators that look at one position only."""

AnyOp = Input | WindowedOp | ImageOp | PointwiseOp
