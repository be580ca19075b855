"""The error of a module that cannot be taken, and what is said of operations that are known and refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from refar.errors import RefarError


class ImportRefused(RefarError):
    """A module that refar cannot take as it is: which call, what it is, why not, and what to do."""


@dataclass(frozen=True)
class Place:
    """Where a call stands in the user's code: its name in the trace, the module that makes it, and the line."""

    call: str
    module: str = ""
    line: str = ""

    def __str__(self) -> str:
        module = f" in {self.module}" if self.module else ""
        return f"{self.call}{module}{f' ({self.line})' if self.line else ''}"


NOWHERE = Place("")
"""The place of what the user did not write."""

_STRIDE = (
    "a change of rate",
    "it does not give one position for each that it takes",
    "import what stands before it and what stands behind it, each at its own rate",
)
_POOL = (
    "a pooling of images",
    "there is none in refar, and most look ahead or give fewer pixels than they take",
    "use a masked convolution",
)
_PLACES = ("numbers made from the length", "they depend on the position, which a stream does not know", "leave it out")
_SPREAD = (
    "attention or a product of two computed values",
    "every position may read every other, so no fixed number of past values suffices",
    "import the convolutional part alone",
)
_MASK = (
    "a mask over pairs of positions, as attention has",
    "it depends on the length, which a stream does not know",
    "import the convolutional part alone",
)
_RECURRENT = ("a recurrent layer", "its state is not a window of past values", "import the convolutional part alone")
_SPECTRAL = ("a Fourier transform", "each of its values reads all positions", "import the part behind it")
_NORM = (
    "a normalisation that takes its mean and variance over time",
    "a position then depends on later ones",
    "normalise with the running statistics (BatchNorm1d), or train without it",
)
_MIRROR = ("padding by values of the signal", "before the first position stand values of later ones", "pad with zeros")
_SCAN = ("a sum over all past positions", "it has no fixed receptive field", "use a convolution")

REFUSED: dict[str, tuple[str, str, str]] = {
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "upsample_nearest1d", "upsample_linear1d"), _STRIDE),
    **dict.fromkeys(("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "pixel_unshuffle"), _STRIDE),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"), _POOL),
    **dict.fromkeys(("repeat_interleave", "pixel_shuffle", "adaptive_avg_pool1d", "adaptive_max_pool1d"), _STRIDE),
    **dict.fromkeys(("scaled_dot_product_attention", "bmm", "baddbmm", "_native_multi_head_attention"), _SPREAD),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "mkldnn_rnn_layer"), _RECURRENT),
    **dict.fromkeys(("fft_fft", "fft_rfft", "fft_ifft", "fft_irfft", "stft", "istft"), _SPECTRAL),
    **dict.fromkeys(("group_norm", "instance_norm"), _NORM),
    **dict.fromkeys(("reflection_pad1d", "replication_pad1d", "reflection_pad2d", "replication_pad2d"), _MIRROR),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "logcumsumexp"), _SCAN),
    **dict.fromkeys(("triu", "tril", "masked_fill"), _MASK),
    "unfold": ("a window made by hand", "its axes are not those of a convolution", "write conv1d"),
    "im2col": ("a window made by hand", "its axes are not those of a convolution", "write conv1d or conv2d"),
    "einsum": ("a product over named axes", "which of them is time is not read", "write conv1d or linear"),
    "matmul": ("a product of matrices", "which of the axes is time is not read", "write conv1d or linear"),
    **dict.fromkeys(("arange", "linspace", "meshgrid"), _PLACES),
    "flip": ("a reversal", "the first position would need the last", "leave it out, or reverse the data beforehand"),
    "roll": ("a rotation", "what leaves at the end comes in at the start", "shift with zeros: F.pad(x, (1, -1))"),
    "rand": ("random numbers", "two runs would differ", "give the noise as an input"),
    "randn": ("random numbers", "two runs would differ", "give the noise as an input"),
    "randn_like": ("random numbers", "two runs would differ", "give the noise as an input"),
    "rand_like": ("random numbers", "two runs would differ", "give the noise as an input"),
    "cond": ("control flow", "the branch depends on the data", "decide before the import which branch is meant"),
    "while_loop": ("control flow", "the number of rounds depends on the data", "unroll the loop"),
    "log_softmax": ("a logarithm of probabilities", "refar's heads take the logits themselves", "return the logits"),
}
"""Of calls that are known and not taken: what each is, why not, and what to do."""


def refuse(place: Place, what: str, do: str = "") -> ImportRefused:
    """Make the error of a call: `what` is wrong with it, and what to `do`."""
    return ImportRefused(f"{place}: {what}{f'; {do}' if do else ''}")


def refuse_call(place: Place, name: str, known: Mapping[str, tuple[str, str, str]] = REFUSED) -> ImportRefused:
    """Make the error of a call that no table has, or that is `known` and refused."""
    if name in known:
        what, why, do = known[name]
        return refuse(place, f"{name}, {what}: {why}", do)
    return refuse(place, f"refar has no operator for {name}", "docs/networks.md lists those that there are")
