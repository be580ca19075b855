"""Tests of the tests: the oracle with one mistake put in. The contract must break on each, by the laws that stand beside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import planted as mistakes
import pytest
from planted import (
    Mutant,
    backward_conv,
    backward_of,
    forward_of,
    offsets_become,
    offsets_of,
    queues,
    state_becomes,
    wrap,
    wrap_in,
)

from refar import Builder, Graph, models, ops
from refar.oracle import bound_graph, convolution, elementwise, pointwise, stream, windows
from refar.testing import run_laws
from refar.testing.contract import numbers


def signal() -> Graph:
    """A biased layer before the strict one, kernels and dilations that are not symmetric."""
    g = Builder()
    h = g.relu(g.conv1d(g.input(channels=2), 3, kernel=3, dilation=2, name="below"))
    h = g.leaky_relu(g.conv1d(h, 4, kernel=2, dilation=3, strict=True, name="strict"), 0.3)
    return g.build(g.conv1d(h, 2, name="above"))


def tokens() -> Graph:
    """Every lookup, constants, products, slices."""
    g = Builder()
    x, c = g.input(classes=5), g.condition(channels=3)
    h = g.concat(g.embedding(x, 2), g.standardize(x, 2.0, 1.5), g.one_hot(x), c)
    h = g.multiply(g.conv1d(g.delay(h, 2), 4, kernel=2), g.conv1d(c, 4, name="dense"))
    return g.build(g.softmax(g.conv1d(g.concat(g.slice(h, 1, 4), g.affine(h, 0.7, 0.2)), 5, name="out")))


def wavenet() -> Graph:
    return models.wavenet(5, [1, 2, 4], residual=3, gate=4, skip=6, condition="class:3")


MUTANTS = [
    Mutant("kernel flipped", signal, offsets_become(lambda o, op: o[::-1]), ("exact",)),
    Mutant(
        "dilation ignored",
        signal,
        offsets_of("dilation ignored"),
        ("reach", "exact"),
    ),
    Mutant(
        "left pad D·K instead of D·(K-1)",
        signal,
        offsets_become(lambda o, op: [d + op.dilation for d in o]),
        ("step", "reach", "exact"),
    ),
    Mutant("shifted by one too many", signal, offsets_become(lambda o, op: [d + op.strict for d in o]), ("reach", "exact")),
    Mutant("shifted by two too many", wavenet, offsets_become(lambda o, op: [d + 2 * op.strict for d in o]), ("reach", "exact")),
    Mutant(
        "strict ignored: sees the present",
        signal,
        offsets_of("strict ignored: sees the present"),
        ("step", "causality", "reach", "exact"),
    ),
    Mutant("one future sample visible", wavenet, mistakes.shifted_window(1), ("step", "block", "causality", "reach", "exact")),
    Mutant("two future samples visible", signal, mistakes.shifted_window(2), ("causality", "reach", "exact")),
    Mutant(
        "past wraps around",
        signal,
        wrap(windows, "windows_of", lambda _, x, offsets, *before: np.stack([np.roll(x, o, axis=2) for o in offsets], axis=2)),
        ("step", "causality", "exact"),
    ),
    Mutant(
        "x[..., :-0] at offset 0",
        wavenet,
        wrap(windows, "windows_of", lambda f, x, offsets, *before: f(x, offsets, *before) * (np.array(offsets) != 0)[:, None]),
        ("step", "exact"),
    ),
    Mutant(
        "input gradient ignores dilation",
        signal,
        wrap(windows, "windows_backward", lambda f, d, offsets: f(d, [min(o, 1) for o in offsets])),
        ("reach", "adjoint", "exact"),
    ),
    Mutant(
        "input gradient forgets the remainder",
        signal,
        wrap(windows, "windows_backward", lambda f, d, o: (f(d, o)[0] * (np.arange(d.shape[3]) != 3), f(d, o)[1])),
        ("adjoint", "exact"),
    ),
    Mutant("bias dropped", signal, wrap(convolution, "convolve", lambda f, x, w, b, g: f(x, w, None, g)), ("adjoint", "exact")),
    Mutant(
        "bias added twice in a stream",
        signal,
        wrap_in(stream, "forward", mistakes.biased_twice),
        ("step", "block"),
    ),
    Mutant(
        "one bias of a gate dropped",
        wavenet,
        wrap(
            convolution, "convolve", lambda f, x, w, b, g: f(x, w, b if b is None or len(b) != 8 else b * (np.arange(8) < 4), g)
        ),
        ("adjoint",),
    ),
    Mutant(
        "upstream gradient assumed to be ones",
        signal,
        backward_conv(lambda dx, dw, db, dy: (dx, dw, 0 * db + dy[:, 0].size)),
        ("adjoint", "exact"),
    ),
    Mutant(
        "weight gradient in the order of time",
        signal,
        backward_conv(lambda dx, dw, db, dy: (dx, dw[..., ::-1], db)),
        ("adjoint", "exact"),
    ),
    Mutant(
        "weight gradient averaged over the batch",
        signal,
        backward_conv(lambda dx, dw, db, dy: (dx, dw / len(dy), db)),
        ("adjoint", "exact"),
    ),
    Mutant(
        "normalised over time",
        signal,
        wrap(convolution, "convolve", lambda f, *a: (y := f(*a)) - (y.mean(axis=2, keepdims=True) if y.shape[2] else 0)),
        ("step", "causality"),
    ),
    Mutant("gate halves swapped, forward and backward", wavenet, mistakes.gate_swapped, ("rounding",)),
    Mutant(
        "gate halves swapped in forward",
        wavenet,
        forward_of(ops.Gate, lambda op, args, y: pointwise.sigmoid(args[0][:, : y.shape[1]]) * np.tanh(args[0][:, y.shape[1] :])),
        ("adjoint", "rounding"),
    ),
    Mutant(
        "one convolution feeds both gates",
        wavenet,
        forward_of(ops.Gate, lambda op, args, y: np.tanh(a := args[0][:, : y.shape[1]]) * pointwise.sigmoid(a)),
        ("adjoint", "rounding"),
    ),
    Mutant(
        "gate gradient without the slope of tanh",
        wavenet,
        backward_of(
            ops.Gate,
            lambda op, args, dy, dargs: [
                np.concatenate([dy * pointwise.sigmoid(args[0][:, dy.shape[1] :]), dargs[0][:, dy.shape[1] :]], axis=1)
            ],
        ),
        ("adjoint", "rounding"),
    ),
    Mutant(
        "relu passes the gradient where it is off",
        signal,
        wrap(elementwise, "activation_slope", lambda f, op, x, y: f(op, x, y) if op.kind != "relu" else np.ones_like(x)),
        ("adjoint", "exact"),
    ),
    Mutant(
        "relu has slope 1 at 0",
        signal,
        wrap(
            elementwise,
            "activation_slope",
            lambda f, op, x, y: f(op, x, y) if op.kind != "relu" else (x.real >= 0).astype(x.dtype),
        ),
        ("exact",),
    ),
    Mutant(
        "leaky slope on the wrong side",
        signal,
        wrap(elementwise, "activation", lambda f, op, x: f(op, x) if op.kind == "relu" else -f(op, -x)),
        ("adjoint", "exact", "rounding"),
    ),
    Mutant(
        "embedding gradient overwrites",
        tokens,
        wrap(pointwise, "lookup_backward", mistakes.embedding_overwrites),
        ("adjoint", "exact"),
    ),
    Mutant(
        "classes counted from one",
        tokens,
        wrap(pointwise, "lookup", lambda f, table, x: f(np.roll(table, 1, axis=0), x)),
        ("exact",),
    ),
    Mutant(
        "standardized by the variance",
        tokens,
        forward_of(ops.Standardize, lambda op, args, y: y / op.std),
        ("exact", "rounding"),
    ),
    Mutant(
        "softmax over time",
        tokens,
        wrap(pointwise, "softmax", lambda _, x: (e := np.exp(x)) / e.sum(axis=-1, keepdims=True)),
        ("step", "causality", "adjoint", "rounding"),
    ),
    Mutant(
        "softmax gradient without its sum",
        tokens,
        backward_of(ops.Softmax, lambda op, args, dy, dargs: [dy * pointwise.softmax(args[0])]),
        ("adjoint", "rounding"),
    ),
    Mutant(
        "channels centred over the batch", tokens, forward_of(ops.Affine, mistakes.unequal_rows), ("batch", "exact", "rounding")
    ),
    Mutant(
        "concatenated in reverse",
        tokens,
        forward_of(ops.Concat, lambda op, args, y: np.concatenate(pointwise.repeated(args)[::-1], axis=1)),
        ("adjoint", "exact"),
    ),
    Mutant(
        "slice off by one",
        tokens,
        forward_of(ops.Slice, lambda op, args, y: args[0][:, op.start - 1 : op.stop - 1]),
        ("adjoint", "exact"),
    ),
    Mutant(
        "condition added at the first step only",
        wavenet,
        forward_of(
            ops.Add,
            lambda op, args, y: (
                y if args[-1].ndim == args[0].ndim or y.ndim < 3 else args[0] + args[1][:, :, None] * (np.arange(y.shape[2]) == 0)
            ),
        ),
        ("step", "adjoint", "exact"),
    ),
    Mutant(
        "condition's gradient not summed over time",
        wavenet,
        wrap(pointwise, "like", lambda f, dy, arg: dy[:, :, -1] if dy.ndim == 3 and arg.ndim == 2 else dy),
        ("adjoint", "exact"),
    ),
    Mutant(
        "product's gradient with its own factor",
        tokens,
        backward_of(ops.Multiply, lambda op, args, dy, dargs: [dargs[0] * args[0], *dargs[1:]]),
        ("adjoint", "exact"),
    ),
    Mutant("one place too few in the queues", signal, queues(lambda kept: kept - 1), ("types", "step", "block")),
    Mutant("one place too many in the queues", wavenet, queues(lambda kept: kept + 1), ("types",)),
    Mutant(
        "queue read after the push",
        wavenet,
        mistakes.stream_offsets(lambda o, op: [max(d - 1, 0) for d in o]),
        ("step", "block", "exact"),
    ),
    Mutant(
        "queue read before the push",
        signal,
        mistakes.stream_offsets(lambda o, op: [min(d + 1, max(o)) for d in o]),
        ("step", "block", "exact"),
    ),
    Mutant("state never fed back", signal, state_becomes(lambda new, old: old), ("step", "block", "exact")),
    Mutant("state stored after an activation", signal, state_becomes(lambda new, old: np.tanh(new)), ("step", "block", "exact")),
    Mutant(
        "state in reverse order of time", wavenet, state_becomes(lambda new, old: new[:, :, ::-1]), ("step", "block", "exact")
    ),
    Mutant(
        "zero token fed where a biased layer stands first",
        signal,
        wrap(stream, "advance", mistakes.zero_token_at_start),
        ("step", "block"),
    ),
    Mutant(
        "float32 computed in float64",
        signal,
        wrap(bound_graph, "bound_graph", mistakes.float32_in_float64),
        ("types",),
    ),
    Mutant(
        "inferred offsets ignore dilation",
        signal,
        mistakes.wrong_taps(lambda taps, op: {int(op.strict) + k for k in range(op.kernel)}),
        ("reach",),
    ),
    Mutant(
        "holes presented as used",
        signal,
        mistakes.wrong_taps(lambda taps, op: {*range(min(taps), max(taps) + 1)} if op.dilation > 1 else {*taps}),
        ("reach",),
    ),
    Mutant("receptive field off by one", signal, mistakes.wrong_taps(lambda taps, op: {*taps, max(taps) + 1}), ("reach",)),
    Mutant(
        "JSON forgets strictness", signal, lambda patch: patch.setattr(numbers, "from_json", lambda text: tokens()), ("text",)
    ),
]


@pytest.mark.parametrize("graph", [signal, tokens, wavenet])
def test_without_a_mistake_every_law_holds(graph: Callable[[], Graph]) -> None:
    run_laws(graph(), backends=("numpy",)).require()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_every_mistake_breaks_the_contract(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.breaks(monkeypatch)
