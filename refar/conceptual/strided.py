"""Conceptual networks, which see one window of inputs, and the practical graphs that compute them at every position at once.

A conceptual network has strides: each layer halves, say, what the layer below hands on, until one value is left. Applied to
the next window it would compute most of its values anew. The *practical* graph has the same parameters, no strides, and
dilations in their place: D'_l = D_l · Π_{j<l} S_j with D_l the layer's own dilation and S_j the strides of all layers before.
Its output at t is that of the conceptual network on the window x[t-R+1..t], for every t ≥ R-1, with R = 1 + Σ_l (K_l - 1)·D'_l.

Source: Theblog 2019, "Convolutions in autoregressive neural networks".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Annotated, Any, Literal, NamedTuple, assert_never

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import ArrayLike, NDArray

from refar.analysis.facts import facts
from refar.arguments.arrays import check_parameters
from refar.building.builder import Builder
from refar.errors import GraphError, InputError, ParameterError
from refar.graph.graph import Graph

Array = NDArray[Any]
Positive = Annotated[int, Meta(ge=1)]
ActivationKind = Literal["relu", "tanh", "sigmoid", "softmax"]


class Layer(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag=str.lower):
    """The base of all layers. A layer maps h_bcj, the feature maps of one window, to y_boj with fewer positions j."""


class Conv(Layer, frozen=True):
    """y[b,o,j] = a(bias[o] + Σ_{i,k} weight[o,i,k] · h[b,i, j·S + k·D]); weight_oik, bias_o.

    `skip` joins y to the most recent position of its field, h[b,:, j·S + (K-1)·D]: "add" needs equal channels; "project" adds
    it through a 1×1 convolution without bias, project.weight; "concat" puts its channels after those of y.
    """

    channels: Positive
    kernel: Positive = 1
    stride: Positive = 1
    dilation: Positive = 1
    activation: ActivationKind | None = None
    skip: Literal["add", "project", "concat"] | None = None
    padding: Literal["valid"] = "valid"


class Pool(Layer, frozen=True):
    """The maximum or the average over k of h[b,c, j·S + k·D].

    `pad` is what the practical graph takes at t < 0, see `ops.Pool1d`; a whole window has none.
    """

    kind: Literal["avg", "max"]
    kernel: Positive
    stride: Positive = 1
    dilation: Positive = 1
    pad: Literal["zero", "exclude"] = "zero"
    padding: Literal["valid"] = "valid"


class Flatten(Layer, frozen=True):
    """The last `steps` positions, which must be all that are left, as channels: y[b, t·C + c, 0] = h[b,c,t]."""

    steps: Positive


class Dense(Layer, frozen=True):
    """y[b,o,j] = a(bias[o] + Σ_r weight[r,o] · h[b,r,j]); weight_ro, bias_o. After a Flatten r = t·C + c."""

    units: Positive
    activation: ActivationKind | None = None


AnyLayer = Conv | Pool | Flatten | Dense


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """A signal of `channels` channels, and the layers above it. One window of R positions gives one value y_bo.

    Raises GraphError, naming the layer, for "same" padding, numbers out of range, a skip that adds unequal channels, and
    anything but dense layers after a Flatten.
    """

    channels: Positive
    layers: tuple[AnyLayer, ...]

    def __post_init__(self) -> None:
        if not self.layers or self.channels < 1:
            raise GraphError(f"expected channels ≥ 1 and at least one layer, got {self.channels} and {len(self.layers)}")
        for name, layer, below in zip(names(self), self.layers, (None, *self.layers), strict=False):
            _check_layer(name, layer, below)
        if isinstance(self.layers[-1], Flatten):
            raise GraphError(f"layer {names(self)[-1]!r}: expected a dense layer after a flatten, got nothing")
        for name, layer, width in zip(names(self), self.layers, channels(self), strict=False):
            if isinstance(layer, Conv) and layer.skip == "add" and layer.channels != width:
                raise GraphError(
                    f"layer {name!r}: expected equal channels to add, got {width} below and {layer.channels} here. "
                    'Use skip="project", a 1×1 convolution, or skip="concat"'
                )


def _check_layer(name: str, layer: AnyLayer, below: AnyLayer | None) -> None:
    if isinstance(layer, Conv | Pool) and str(layer.padding) == "same":
        raise refuse_same(name)
    try:
        msgspec.convert(msgspec.to_builtins(layer), type(layer))
    except msgspec.ValidationError as error:
        raise GraphError(f"layer {name!r}: {error}") from None
    if isinstance(below, Flatten) and not isinstance(layer, Dense):
        raise GraphError(f"layer {name!r}: expected a dense layer after a flatten, got {layer}")


def refuse_same(name: str) -> GraphError:
    """Why no layer has "same" padding."""
    return GraphError(
        f'layer {name!r}: padding="same" cannot be trained in one pass: it puts zeros at both ends of every window, and '
        "in a whole sequence those places hold the inputs of other time steps, so no value could be shared between "
        'windows. Use padding="valid": the practical graph pads zeros on the left of the sequence alone, and every '
        "output has a full window from t = R-1 on"
    )


def names(net: Network) -> list[str]:
    """conv0, pool1, …: the names of the practical graph's nodes and parameters, too."""
    return [f"{type(layer).__name__.lower()}{i}" for i, layer in enumerate(net.layers)]


def geometry(layer: AnyLayer) -> tuple[int, int, int]:
    """Kernel, stride and dilation."""
    match layer:
        case Conv() | Pool():
            return layer.kernel, layer.stride, layer.dilation
        case Flatten():
            return layer.steps, 1, 1
        case Dense():
            return 1, 1, 1
        case _:
            assert_never(layer)


def dilations(net: Network) -> tuple[int, ...]:
    """The practical dilation of every layer: its own times the strides of all layers before it."""
    shapes = [geometry(layer) for layer in net.layers]
    return tuple(dilation * prod(stride for _, stride, _ in shapes[:i]) for i, (_, _, dilation) in enumerate(shapes))


def receptive_field(net: Network) -> int:
    """R = 1 + Σ_l (K_l - 1)·D'_l: the positions of one window."""
    return 1 + sum((geometry(layer)[0] - 1) * d for layer, d in zip(net.layers, dilations(net), strict=True))


def widths(net: Network) -> tuple[int, ...]:
    """How many positions one window has below every layer, and above the last: R, …, 1."""
    found = [1]
    for kernel, stride, dilation in (geometry(layer) for layer in reversed(net.layers)):
        found.append((found[-1] - 1) * stride + (kernel - 1) * dilation + 1)
    return tuple(reversed(found))


def channels(net: Network) -> tuple[int, ...]:
    """The channels below every layer, and above the last."""
    found = [net.channels]
    for layer in net.layers:
        match layer:
            case Conv():
                found.append(layer.channels + (found[-1] if layer.skip == "concat" else 0))
            case Pool():
                found.append(found[-1])
            case Flatten():
                found.append(found[-1] * layer.steps)
            case Dense():
                found.append(layer.units)
            case _:
                assert_never(layer)
    return tuple(found)


def parameters(net: Network) -> dict[str, tuple[int, ...]]:
    """The parameters by name, with their shapes: weight_oik of a convolution, weight_ro of a dense layer."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer, below in zip(names(net), net.layers, channels(net), strict=False):
        match layer:
            case Conv():
                shapes |= {f"{name}.weight": (layer.channels, below, layer.kernel), f"{name}.bias": (layer.channels,)}
                if layer.skip == "project":
                    shapes[f"{name}.project.weight"] = (layer.channels, below, 1)
            case Dense():
                shapes |= {f"{name}.weight": (below, layer.units), f"{name}.bias": (layer.units,)}
            case _:
                pass
    return shapes


def evaluate(net: Network, params: Mapping[str, ArrayLike], windows: ArrayLike) -> Array:
    """The definition: windows_bcr of R positions → y_bo, with strides that stride and dense layers that are dense.

    Raises InputError for windows of another shape, ParameterError for what is missing, surplus or misshapen.
    """
    h_bcj = np.asarray(windows)
    expected = (net.channels, receptive_field(net))
    if h_bcj.ndim != 3 or h_bcj.shape[1:] != expected:
        raise InputError(f"windows: expected shape (B, {expected[0]}, R = {expected[1]}), got {h_bcj.shape}")
    own = _check(net, params)
    for name, layer in zip(names(net), net.layers, strict=True):
        match layer:
            case Conv():
                fields_bijk = _fields(h_bcj, layer)
                y_boj = np.einsum("oik,bijk->boj", own[f"{name}.weight"], fields_bijk) + own[f"{name}.bias"][:, None]
                recent_bij = fields_bijk[..., -1]
                y_boj = _ACTIVATIONS[layer.activation](y_boj)
                if layer.skip == "add":
                    y_boj = y_boj + recent_bij
                elif layer.skip == "project":
                    y_boj = y_boj + np.einsum("oi,bij->boj", own[f"{name}.project.weight"][..., 0], recent_bij)
                elif layer.skip == "concat":
                    y_boj = np.concatenate([y_boj, recent_bij], axis=1)
                h_bcj = y_boj
            case Pool():
                fields_bcjk = _fields(h_bcj, layer)
                h_bcj = fields_bcjk.max(-1) if layer.kind == "max" else fields_bcjk.sum(-1) / layer.kernel
            case Flatten():
                h_bcj = h_bcj.swapaxes(1, 2).reshape(len(h_bcj), -1, 1)
            case Dense():
                y_boj = np.einsum("ro,brj->boj", own[f"{name}.weight"], h_bcj) + own[f"{name}.bias"][:, None]
                h_bcj = _ACTIVATIONS[layer.activation](y_boj)
            case _:
                assert_never(layer)
    return h_bcj[..., 0]


def _fields(h_bcj: Array, layer: Conv | Pool) -> Array:
    """What each position of the output sees, oldest first: fields[b,c,j,k] = h[b,c, j·S + k·D]."""
    reach = (layer.kernel - 1) * layer.dilation
    starts = range(0, h_bcj.shape[2] - reach, layer.stride)
    return np.stack([h_bcj[:, :, start : start + reach + 1 : layer.dilation] for start in starts], axis=2)


def _softmax(y_boj: Array) -> Array:
    powers = np.exp(y_boj - y_boj.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


_ACTIVATIONS: dict[str | None, Callable[[Array], Array]] = {
    None: lambda y: y,
    "relu": lambda y: np.where(y > 0, y, 0),
    "tanh": np.tanh,
    "sigmoid": lambda y: 1 / (1 + np.exp(-y)),
    "softmax": _softmax,
}


def practical(net: Network, *, padding: Literal["layer", "input"] = "layer") -> Graph:
    """The graph without strides that has the network's parameters, and its value at every t ≥ R-1.

    With input padding it has it at every t, as if R-1 zeros stood before the sequence. y_t sees x_t: it models x_{t+1}.
    """
    g = Builder()
    h = g.input(channels=net.channels)
    kernel = 1
    for name, layer, dilation in zip(names(net), net.layers, dilations(net), strict=True):
        match layer:
            case Conv():
                y = g.conv1d(h, layer.channels, kernel=layer.kernel, dilation=dilation, name=name)
                y = _activate(g, y, layer.activation, name)
                if layer.skip == "concat":
                    y = g.concat(y, h, name=f"{name}.concat")
                elif layer.skip is not None:
                    recent = h if layer.skip == "add" else g.conv1d(h, layer.channels, bias=False, name=f"{name}.project")
                    y = g.add(y, recent, name=f"{name}.add")
                h = y
            case Pool():
                h = g.pool1d(h, layer.kind, layer.kernel, dilation=dilation, pad=layer.pad, name=name)
            case Flatten():
                kernel = layer.steps
            case Dense():
                h = g.conv1d(h, layer.units, kernel=kernel, dilation=dilation, name=name)
                h, kernel = _activate(g, h, layer.activation, name), 1
            case _:
                assert_never(layer)
    return g.build(h, padding=padding)


def _activate(g: Builder, h: str, kind: ActivationKind | None, name: str) -> str:
    if kind is None:
        return h
    return {"relu": g.relu, "tanh": g.tanh, "sigmoid": g.sigmoid, "softmax": g.softmax}[kind](h, name=f"{name}.{kind}")


def practical_parameters(net: Network, params: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The parameters of `practical(net)`: a dense weight as a kernel, w[o,c,t] = weight[t·C + c, o]; all others as they are."""
    graph_params = _check(net, params)
    for name, steps in _dense(net).items():
        weight_ro = graph_params[name]
        graph_params[name] = weight_ro.reshape(steps, -1, weight_ro.shape[1]).transpose(2, 1, 0)
    return graph_params


def conceptual_parameters(net: Network, graph_params: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The way back: the network's parameters, out of those of `practical(net)`, trained or fresh. Gradients go the same way."""
    params = check_parameters(facts(practical(net)), graph_params)
    for name in _dense(net):
        params[name] = params[name].transpose(2, 1, 0).reshape(-1, len(params[name]))
    return params


def _dense(net: Network) -> dict[str, int]:
    """The weights of dense layers, and how many positions each sees."""
    stacked = zip(names(net), net.layers, (None, *net.layers), strict=False)
    return {
        f"{name}.weight": below.steps if isinstance(below, Flatten) else 1
        for name, layer, below in stacked
        if isinstance(layer, Dense)
    }


def _check(net: Network, params: Mapping[str, ArrayLike]) -> dict[str, Array]:
    shapes = parameters(net)
    if params.keys() != shapes.keys():
        raise ParameterError(f"expected the parameters {', '.join(shapes)}; got {', '.join(params) or 'none'}")
    arrays = {name: np.asarray(params[name]) for name in shapes}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ParameterError(f"parameter {name!r}: expected shape {shape}, got {arrays[name].shape}")
    return arrays


def batched(net: Network, params: Mapping[str, ArrayLike], x: ArrayLike) -> Array:
    """The network on every window of a series x_bct, arranged as a batch of samples: y_bot for t = R-1..T-1.

    The same as the practical graph, for much more memory (`memory`). Raises InputError for a series shorter than R.
    Source: Stack Exchange, the question whether WaveNet's dilated convolutions are strided ones, second answer.
    """
    x_bct = np.asarray(x)
    r = receptive_field(net)
    if x_bct.ndim != 3 or x_bct.shape[1] != net.channels or x_bct.shape[2] < r:
        raise InputError(f"x: expected shape (B, {net.channels}, T ≥ R = {r}), got {x_bct.shape}")
    windows_btcr = np.lib.stride_tricks.sliding_window_view(x_bct, r, axis=2).swapaxes(1, 2)
    batch, count = windows_btcr.shape[:2]
    y_no = evaluate(net, params, windows_btcr.reshape(batch * count, net.channels, r))
    return y_no.reshape(batch, count, -1).swapaxes(1, 2)


class Memory(NamedTuple):
    """Numbers held for one series: its input and the output of every layer."""

    batched: int
    dilated: int


def memory(net: Network, length: int) -> Memory:
    """What `batched` holds for a series of `length` positions, (T-R+1)·Σ_l C_l·n_l, and the practical graph, T·Σ_l C_l.

    n_l: the positions of layer l in one window (`widths`). Flatten holds nothing of its own. Raises InputError if T < R.
    """
    r = receptive_field(net)
    if length < r:
        raise InputError(f"length: expected at least R = {r} positions, got {length}")
    flat = [False, *(isinstance(layer, Flatten) for layer in net.layers)]
    held = [(c, n) for c, n, skip in zip(channels(net), widths(net), flat, strict=True) if not skip]
    return Memory((length - r + 1) * sum(c * n for c, n in held), length * sum(c for c, _ in held))
