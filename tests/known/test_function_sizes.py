"""check_function at sizes beyond the golden cases: a few by itself, those that are asked for, and cases that are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import refuses
from kit_functions import Function, conv, failure, reference

from refar.errors import InputError
from refar.golden import OPERATORS
from refar.golden.case import UNITS
from refar.golden.check import compute
from refar.golden.compare import as_dtype, difference
from refar.mistakes.of_operators import names_of, wrong
from refar.mistakes.size_mistakes import SIZED
from refar.testing import check_function, golden_cases
from refar.testing.known.drawn import large_cases
from refar.testing.known.large import PLANS

UNSTRICT = {"strict": False}


def test_every_operator_has_large_cases() -> None:
    assert PLANS.keys() == OPERATORS.keys()


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_expected_is_right_in_both_dtypes(operator: str, seed: int) -> None:
    """No class stands so near an edge that the rounding of float32 moves it, and every bound holds."""
    for case in large_cases(OPERATORS[operator], None, seed, {}):
        for dtype, unit in UNITS.items():
            found = compute(case, np.dtype(dtype))
            assert found.keys() >= case.expected.keys()
            for name in case.expected:
                assert difference(case, name, found[name], unit) is None, case.id


def test_the_same_seed_draws_the_same() -> None:
    first, again = (large_cases(OPERATORS["gate"], [{"t": 70}], 4, {})[0] for _ in range(2))
    np.testing.assert_array_equal(first.arrays["x"], again.arrays["x"])
    other = large_cases(OPERATORS["gate"], [{"t": 70}], 5, {})[0]
    assert (first.arrays["x"] != other.arrays["x"]).any()


def four_taps(x: Any, w: Any, b: Any = None, **a: Any) -> Any:
    return conv(x, w[..., -4:], b, **a)


def tiled(x: Any, w: Any, b: Any = None, *, size: int = 64, **a: Any) -> Any:
    return torch.cat([conv(each, w, b, **a) for each in x.split(size, -1)], -1)


def few_channels(x: Any, w: Any, b: Any = None, *, groups: int = 1, **a: Any) -> Any:
    return conv(x[:, :32], w[:, :32], b, **a) if groups == 1 else conv(x, w, b, groups=groups, **a)


def few_rows(x: Any, w: Any, b: Any = None, **a: Any) -> Any:
    y = conv(x, w, b, **a)
    return torch.cat([y[:32], 0 * y[32:]])


def wrong_from_256(x: Any, w: Any, b: Any = None, **a: Any) -> Any:
    y = conv(x, w, b, **a)
    return torch.cat([y[..., :256], 0 * y[..., 256:]], -1)


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (four_taps, "looks like: only the last 4 taps"),
        (tiled, "looks like: every 64 positions begin with zeros before them"),
        (few_channels, "looks like: only the first 32 input channels of a group"),
        (few_rows, "wrong only at rows from 32 on"),
        (wrong_from_256, "wrong only at positions from 256 on"),
    ],
)
def test_what_only_shows_at_larger_sizes(f: Function, said: str) -> None:
    def g(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
        return f(x, w, b, dilation=dilation, groups=groups)

    check_function(g, "causal_conv1d", convert=torch.from_numpy, only=UNSTRICT, sizes=())
    message = failure(g, "causal_conv1d", only=UNSTRICT)
    assert message.startswith("law 'values': causal_conv1d, case 'drawn(")
    assert said in message


@pytest.mark.parametrize("length", [63, 64, 65, 127, 128, 129, 257])
def test_one_length_alone(length: int) -> None:
    def g(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
        y = conv(x, w, b, dilation=dilation, groups=groups)
        return y if x.shape[2] != length else y + 1

    assert f"t={length}" in failure(g, "causal_conv1d", only=UNSTRICT).replace("i=65, k=3, bias=False", "t=129")


def shifted(x: Any, steps: int) -> Any:
    length = x.shape[2]
    if abs(steps) >= length:
        return 0 * x
    return F.pad(x, (steps, 0))[..., :length] if steps >= 0 else F.pad(x, (0, -steps))[..., -steps:]


OTHERS: list[tuple[str, Function]] = [
    ("softmax", lambda x: F.softmax(x[:, :1024], 1) if x.shape[1] == 65536 else F.softmax(x, 1)),
    ("softmax", lambda x: torch.cat([F.softmax(each, 1) for each in x.split(256, 1)], 1)),
    ("log_softmax", lambda x: F.log_softmax(x.half(), 1).to(x.dtype) if x.shape[1] > 1024 else F.log_softmax(x, 1)),
    ("cross_entropy", lambda y, x: F.cross_entropy(y, x % 32768, reduction="none")),
    ("embedding", lambda x, w: F.embedding(x % 32768, w).movedim(-1, 1)),
    ("one_hot", lambda x, *, classes: F.one_hot(x % 256, classes).movedim(-1, 1).double()),
    ("sample_categorical", lambda y, n, *, temperature: (y / temperature + n)[:, :32768].argmax(1)),
    ("inverse_cdf", lambda p, u: ((p.cumsum(1) <= u[:, None]).sum(1).to(torch.int16).long()).clamp(max=p.shape[1] - 1)),
    (
        "activation",
        lambda x, *, kind, slope: (
            F.leaky_relu(x, slope) if kind == "leaky_relu" else getattr(torch, kind)(x) * (x.shape[2] < 128)
        ),
    ),
    ("shift1d", lambda x, *, steps: torch.cat([shifted(each, steps) for each in x.split(64, 2)], 2)),
]


@pytest.mark.parametrize(("operator", "f"), OTHERS, ids=[f"{name}{n}" for n, (name, _) in enumerate(OTHERS)])
def test_other_operators_that_are_wrong_at_larger_sizes(operator: str, f: Function) -> None:
    only = {"sample_categorical": {"top_k": None, "temperature": 1.0}}.get(operator)
    message = failure(f, operator, only=only, skip=["probability-0", "sums-to-less-than-1"] if operator == "inverse_cdf" else ())
    assert f"{operator}, case 'drawn(" in message


TABLE = [(operator, name) for operator, table in SIZED.items() for name in table]


@pytest.mark.parametrize(("operator", "mistake"), TABLE)
def test_every_known_mistake_of_size_is_caught_and_named(operator: str, mistake: str) -> None:
    """As far as the default cases are large enough for it."""
    known = OPERATORS[operator]
    shown = [
        case
        for case in large_cases(known, None, 0, {})
        if any(difference(case, name, array, UNITS["float64"]) for name, array in wrong(mistake, case, known.signature).items())
    ]
    assert shown
    assert mistake in names_of(operator, large=True)
    assert mistake not in names_of(operator)


def test_sizes_of_ones_own() -> None:
    def g(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1, strict: bool = False) -> Any:
        y = conv(x, w, b, dilation=dilation, groups=groups, strict=strict)
        return y if x.shape[2] != 300 else -y

    def check(sizes: Any, **options: Any) -> Any:
        return check_function(g, "causal_conv1d", convert=torch.from_numpy, sizes=sizes, **options)

    assert "and 10 drawn" in str(check(None))
    assert "drawn" not in str(check(()))
    assert "21 cases and 2 drawn" in str(check([{"t": 301, "k": 11, "i": 6, "groups": 2}, 70], seed=3))
    message = failure(g, "causal_conv1d", sizes=[{"t": 300, "k": 2}], seed=3)
    assert "causal_conv1d, case 'drawn(t=300, k=2, seed=3)' (dilation=1, groups=1, strict=False), float32: y at" in message
    assert "all numbers are -1 times the right ones" in message
    for sizes, said in [
        (5, "sizes: expected a list of sizes, such as [{'t': 1000}], or (), got 5"),
        ({"t": 5}, "sizes: expected a list of sizes"),
        (["t"], "sizes: expected a mapping like {'t': 1000} or a length, got 't'"),
        ([{"T": 5}], "sizes: causal_conv1d has no 'T'"),
        ([{"t": 0}], "sizes: t: expected a number from 1 on, got 0"),
        ([{"i": 5, "groups": 2}], "sizes: causal_conv1d cannot be computed with i=5, groups=2"),
    ]:
        with refuses(InputError, said):
            check(sizes)


def test_only_holds_of_what_is_drawn_too() -> None:
    for only in ({"dilation": 3}, {"groups": 3}, {"b": None}, {"strict": True}):
        for case in large_cases(OPERATORS["causal_conv1d"], None, 0, only):
            assert all(case.attributes.get(name, case.arrays.get(name)) == value for name, value in only.items())
    for case in large_cases(OPERATORS["masked_conv2d"], None, 0, {"dilation": (1, 1), "mask": "B"}):
        assert (case.attributes["dilation"], case.attributes["mask"]) == ([1, 1], "B")


def plain_sampler(y: Any, noise: Any, *, temperature: float) -> Any:
    return (y if temperature == 0 else y / temperature + noise).argmax(1)


def test_single_cases_can_be_left_out_and_the_report_says_so() -> None:
    only = {"top_k": None}
    assert "case 'temperature-tiny'" in failure(plain_sampler, "sample_categorical", only=only)
    for name in (["temperature-tiny"], "temperature-tiny", ("sample_categorical/temperature-tiny",)):
        report = check_function(plain_sampler, "sample_categorical", convert=torch.from_numpy, only=only, skip=name)
        assert "7 cases with top_k=None, without 'temperature-tiny' and 3 drawn" in report.lines[0].figure
    with refuses(InputError, "skip: softmax has no case 'lagre', did you mean 'large'?; its cases are 2-classes, 5-classes"):
        check_function(lambda x: F.softmax(x, 1), "softmax", convert=torch.from_numpy, skip=["lagre"])
    with refuses(InputError, "skip: leaves no golden case of shift1d"):
        golden_cases("shift1d", {"steps": 3}, ["delay-3"])
    with refuses(InputError, "skip: expected the names of cases, like ['temperature-tiny'], got 3"):
        mistaken: Any = golden_cases
        mistaken("shift1d", None, 3)
    assert len(golden_cases("softmax", skip=["large"])) == len(golden_cases("softmax")) - 1


def test_large_cases_are_cheap() -> None:
    """refar's own NumPy over all cases of the dearest operators calls far fewer numbers than a user would wait for."""
    for operator in OPERATORS:
        cases = large_cases(OPERATORS[operator], None, 0, {})
        assert sum(a.size for case in cases for a in (*case.arrays.values(), *case.expected.values())) < 3_000_000
        f, _ = reference(OPERATORS[operator])
        for case in cases[:1]:
            names = [as_dtype(case.arrays, "float32").get(name) for name in OPERATORS[operator].signature.arguments]
            assert np.asarray(f(*names, **case.attributes)).shape == case.expected[OPERATORS[operator].signature.result].shape
