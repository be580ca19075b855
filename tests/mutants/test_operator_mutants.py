"""Mistakes of pooling, groups, signed shifts and local conditions, put into the oracle one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import planted as mistakes
import pytest
from planted import Mutant, backward_of, both, forward_of, offsets_become, offsets_of, wrap

from refar import Builder, Graph, ops
from refar.analysis import offsets, types
from refar.oracle import convolution, norm, pooling, stream, whole, windows
from refar.testing import run_laws

KINDS: tuple[Literal["avg", "max"], ...] = ("avg", "max")


def pools() -> Graph:
    """Every kind and pad, on values of both signs, over kernels and dilations that are not symmetric."""
    g = Builder()
    h = g.conv1d(g.input(channels=2), 3, kernel=2, name="below")
    zero = g.concat(*(g.pool1d(h, kind, 3, pad="zero", dilation=2, name=f"{kind}_zero") for kind in KINDS))
    none = g.concat(*(g.pool1d(h, kind, 2, pad="exclude", dilation=3, name=f"{kind}_exclude") for kind in KINDS))
    return g.build(g.conv1d(g.concat(zero, none), 2, strict=True))


def groups() -> Graph:
    """Groups of which the first sees other offsets than the second."""
    g = Builder()
    x = g.input(channels=3)
    h = g.conv1d(g.concat(x, g.delay(x, 4)), 4, kernel=2, dilation=3, groups=2, name="grouped")
    return g.build(g.conv1d(h, 6, groups=2, name="out"))


def looking_ahead() -> Graph:
    g = Builder()
    return g.build(g.conv1d(g.pad_channels(g.delay(g.input(channels=2), -2), 2, 1), 3, kernel=2))


def dropping() -> Graph:
    g = Builder()
    return g.build(g.conv1d(g.dropout(g.input(channels=2), 0.25), 3, kernel=2))


def normed() -> Graph:
    """Norms of channels that see different offsets, slopes, and a scale and shift."""
    g = Builder()
    x = g.input(channels=2)
    h = g.prelu(g.conv1d(g.concat(x, g.delay(x, 4)), 4, groups=2, name="apart"))
    both = g.concat(g.layer_norm(h, 0.1), g.rms_norm(g.scale_shift(h), 0.1))
    return g.build(g.conv1d(both, 8, groups=8, strict=True, name="out"))


def local() -> Graph:
    """A local condition before the strict node, and one after it."""
    g = Builder()
    x, c, d = g.input(channels=2), g.condition("c", channels=2, local=True), g.condition("d", classes=4, local=True)
    h = g.conv1d(g.concat(x, c), 3, kernel=2, strict=True)
    return g.build(g.add(g.conv1d(h, 2, kernel=2), g.conv1d(g.embedding(d, 2), 2, kernel=2, dilation=3)))


MUTANTS = [
    Mutant(
        "ring of K places instead of D·(K-1)+1",
        pools,
        mistakes.stream_offsets(lambda o, op: [d % op.kernel for d in o], ops.Pool1d),
        ("step", "block"),
    ),
    Mutant(
        "dilation ignored",
        pools,
        offsets_of("dilation ignored"),
        ("reach", "exact"),
    ),
    Mutant("pooling around the present", pools, offsets_become(mistakes.centred, ops.Pool1d), ("causality", "reach", "exact")),
    Mutant("padding left out where it is zero", pools, wrap(pooling, "pool", mistakes.without_zeros), ("exact",)),
    Mutant(
        "zeros in a maximum that leaves padding out",
        pools,
        wrap(pooling, "pool", lambda f, kind, w, there: f(kind, w, there if kind == "avg" else None)),
        ("exact",),
    ),
    Mutant(
        "padding counted in the average",
        pools,
        wrap(pooling, "pool", lambda f, kind, w, there: f(kind, w, there if kind == "max" else None)),
        ("adjoint", "exact"),
    ),
    Mutant(
        "padding counted in the gradient of the average",
        pools,
        wrap(pooling, "pool_backward", lambda f, kind, w, there, dy: f(kind, w, there if kind == "max" else None, dy)),
        ("adjoint", "exact"),
    ),
    Mutant(
        "gradient of a maximum lost in the padding",
        pools,
        wrap(pooling, "pool_backward", lambda f, kind, w, there, dy: f(kind, w, there if kind == "avg" else None, dy)),
        ("adjoint", "exact"),
    ),
    Mutant("gradient of a tie to the oldest", pools, wrap(pooling, "pool_backward", mistakes.oldest_of_equals), ("exact",)),
    Mutant("gradient of a tie to all", pools, wrap(pooling, "pool_backward", mistakes.all_of_equals), ("exact",)),
    Mutant(
        "padding counted in a stream",
        pools,
        wrap(stream, "empty", lambda f, *a, **k: {n: np.ones_like(s) if "ones" in n else s for n, s in f(*a, **k).items()}),
        ("step", "block"),
    ),
    Mutant(
        "inputs of the groups interleaved",
        groups,
        both(
            wrap(convolution, "convolve", lambda f, x, w, b, g: f(mistakes.interleaved(x, g), w, b, g)),
            wrap(convolution, "convolve_backward", mistakes.inputs_interleaved),
        ),
        ("reach", "exact"),
    ),
    Mutant(
        "gradient of the groups interleaved",
        groups,
        wrap(
            convolution,
            "convolve_backward",
            lambda f, x, w, dy, g: (*f(x, w, mistakes.interleaved(dy, g), g)[:2], f(x, w, dy, g)[2]),
        ),
        ("adjoint", "reach", "exact"),
    ),
    Mutant(
        "outputs of the groups interleaved",
        groups,
        wrap(convolution, "convolve", lambda f, x, w, b, g: mistakes.shuffled(f(x, w, b, g), g)),
        ("adjoint", "reach", "exact"),
    ),
    Mutant("inference forgets the groups", groups, wrap(offsets, "offsets_of", mistakes.without_groups), ("reach",)),
    Mutant(
        "shifted to the wrong side",
        looking_ahead,
        offsets_of("shifted to the wrong side"),
        ("reach", "exact"),
    ),
    Mutant(
        "what is shifted out on the left comes in on the right",
        looking_ahead,
        wrap(
            windows,
            "windows_of",
            lambda f, x, offsets, *before: (
                np.roll(x, offsets[0], axis=2)[:, :, None] if offsets[0] < 0 else f(x, offsets, *before)
            ),
        ),
        ("adjoint", "exact"),
    ),
    Mutant(
        "zero channels on the other side",
        looking_ahead,
        forward_of(ops.PadChannels, lambda op, args, y: np.roll(y, op.after - op.before, axis=1)),
        ("adjoint", "exact"),
    ),
    Mutant(
        "dropout scales what it leaves alone",
        dropping,
        forward_of(ops.Dropout, lambda op, args, y: (1 - op.rate) * y),
        ("adjoint", "exact"),
    ),
    Mutant(
        "channels of a norm taken to see themselves", normed, wrap(types, "_every", lambda f, source: types._same), ("reach",)
    ),
    Mutant(
        "variance divided by one channel less",
        normed,
        wrap(norm, "deviations", lambda f, op, x: (f(op, x)[0], f(op, (x.shape[1] / (x.shape[1] - 1)) ** 0.5 * x)[1])),
        ("rounding",),
    ),
    Mutant(
        "gradient that takes mean and variance of a norm for constants",
        normed,
        backward_of(ops.Norm, lambda op, args, dy, dargs: [dy / norm.deviations(op, args[0])[1]]),
        ("adjoint", "rounding"),
    ),
    Mutant(
        "the slope at 0 is 1",
        normed,
        backward_of(ops.PRelu, lambda op, args, dy, dargs: [np.where(args[0] == 0, dy, dargs[0])]),
        ("exact",),
    ),
    Mutant(
        "scale of one more",
        normed,
        forward_of(ops.ScaleShift, lambda op, args, y: y + args[0]),
        ("adjoint", "exact"),
    ),
    Mutant("local conditions one position late", local, wrap(whole, "forward_nodes", mistakes.local_late), ("step", "block")),
    Mutant("local conditions held over a block", local, wrap(stream, "advance", mistakes.local_held), ("block",)),
]


@pytest.mark.parametrize("graph", [pools, groups, looking_ahead, dropping, normed, local])
def test_without_a_mistake_every_law_holds(graph: Callable[[], Graph]) -> None:
    run_laws(graph(), backends=("numpy",)).require()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_every_mistake_breaks_the_contract(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.breaks(monkeypatch)
