"""check_function: the oracle passes, its known mistakes are named, functions that misbehave are reported for what they are."""

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
from refar.golden.operator import Operator
from refar.mistakes.of_operators import MISTAKES
from refar.testing import ContractError, check_case, check_function, golden_cases


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_oracle_itself_passes(operator: str) -> None:
    f, gradient = reference(OPERATORS[operator])
    has_gradient = any(OPERATORS[operator].signature.upstream in case.arrays for case in golden_cases(operator))
    report = check_function(f, operator, gradient=gradient if has_gradient else None)
    assert [line.applies for line in report.lines] == [True, True, True, True, has_gradient]
    assert "numbers equal" in str(report) or "within their bound" in str(report)


def wrong(operator: Operator, mistake: str) -> tuple[Function, Function]:
    """The reference with one mistake of the table put in, result and gradient."""
    right, right_gradient = reference(operator)
    names, upstream = list(operator.signature.arguments), operator.signature.upstream

    def change(arrays: tuple[Any, ...], attributes: dict[str, Any], **more: Any) -> dict[str, Any]:
        given = {name: array for name, array in zip(names, arrays, strict=False) if array is not None} | more
        with np.errstate(all="ignore"):
            return dict(MISTAKES[operator.name][mistake](given, operator.signature.complete(attributes)))

    def f(*arrays: Any, **attributes: Any) -> Any:
        y = right(*arrays, **attributes)
        changed = change(arrays, attributes).get(operator.signature.result, y)
        return changed.astype(y.dtype)

    def gradient(dy: Any, *arrays: Any, **attributes: Any) -> Any:
        found = right_gradient(dy, *arrays, **attributes)
        changed = change(arrays, attributes, **{upstream: dy})
        return {name: np.asarray(changed.get(f"gradient.{name}", array), dy.dtype) for name, array in found.items()}

    return f, gradient


TABLE = [(name, mistake) for name in OPERATORS for mistake in MISTAKES[name]]


@pytest.mark.parametrize(("operator", "mistake"), TABLE)
def test_every_known_mistake_is_caught_and_named(operator: str, mistake: str) -> None:
    f, gradient = wrong(OPERATORS[operator], mistake)
    has_gradient = any(OPERATORS[operator].signature.upstream in case.arrays for case in golden_cases(operator))
    with pytest.raises(ContractError) as caught:
        check_function(f, operator, gradient=gradient if has_gradient else None)
    assert f"{operator}, case " in str(caught.value)
    assert mistake in str(caught.value).partition("looks like: ")[2]


def test_the_message_names_everything() -> None:
    message = failure(lambda x, w, b=None, **a: conv(x, w.flip(2), b, **a), "causal_conv1d", dtypes=("float32",))
    expected = (
        "law 'values': causal_conv1d, case 'k2' (dilation=1, groups=1, strict=False), float32: y at [b=0, o=0, t=0]: expected 7, "
        "got 10 (80 of 84 differ; must be equal); one of 17 such; looks like: kernel flipped (17 of them)"
    )
    assert message == expected


def test_a_wrong_shape_dtype_and_nan() -> None:
    def right(x: Any) -> Any:
        return F.softmax(x, 1)

    assert "law 'shape': softmax" in failure(lambda x: right(x)[..., :-1], "softmax")
    assert "y: expected shape (3, 2, 4), got (3, 2, 3)" in failure(lambda x: right(x)[..., :-1], "softmax")
    message = failure(lambda x: right(x).float(), "softmax")
    assert message == (
        "law 'dtype': softmax, case '2-classes', float64: expected float64, that of the arguments, got float32; one of 5 such"
    )
    assert "an integer dtype for class indices, got float32" in failure(
        lambda p, u: (p.cumsum(1) <= u[:, None]).sum(1).clip(max=p.shape[1] - 1).float(), "inverse_cdf"
    )
    message = failure(lambda x: torch.where(x > 2, torch.nan, right(x)), "softmax")
    assert "got nan" in message
    assert "numbers are NaN" in message


def test_a_view_that_a_later_call_changes() -> None:
    buffers: dict[Any, Any] = {}

    def f(x: Any) -> Any:
        kept = buffers.setdefault((x.shape, x.dtype), torch.empty_like(x))
        return kept.copy_(F.softmax(x, 1))

    message = failure(f, "softmax")
    assert "law 'call': softmax, case '2-classes', float32: a later call with other data changed y, which an earlier" in message
    assert "it gives away a view of its own buffer; return a copy" in message


def test_a_function_that_draws_or_counts() -> None:
    assert "the same arguments give another y the second time: at [0, 0, " in failure(
        lambda x: F.dropout(F.softmax(x, 1)), "softmax"
    )
    calls: list[int] = []

    def counts(x: Any) -> Any:
        calls.append(1)
        return F.softmax(x, 1) + len(calls)

    assert "the same arguments give another y the second time: at [0, 0, 0] first " in failure(counts, "softmax")


def test_infinite_numbers_are_no_nan() -> None:
    assert "infinite" in (message := failure(lambda x: F.softmax(x, 1) / 0, "softmax"))
    assert "NaN" not in message


def test_changed_arguments() -> None:
    message = failure(lambda x: F.softmax(x.sub_(x.amax(1, keepdim=True)), 1), "softmax")
    assert "law 'call': softmax, case '2-classes', float32: changed its argument x: at [0, 0, 0]" in message

    def gradient(dy: Any, x: Any) -> Any:
        return dy.mul_(0)

    message = failure(lambda x: F.softmax(x, 1), "softmax", gradient=gradient)
    assert "law 'gradient': softmax, case '2-classes', float32: changed its argument dy" in message


def test_exceptions_and_what_is_no_array() -> None:
    def f(x: Any) -> Any:
        raise RuntimeError("no kernel")

    assert "float32: raises RuntimeError: no kernel; one of 10 such" in failure(f, "softmax")
    assert "y returned the wrong kind: expected one array, got None" in failure(lambda x: None, "softmax")
    assert "got a tuple of 2" in failure(lambda x: (x, x), "softmax")
    message = failure(lambda x: F.softmax(x, 1), "softmax", gradient=lambda dy, x: (dy, dy))
    assert "the gradient: expected 1 arrays, for x, got 2" in message
    right, full = reference(OPERATORS["causal_conv1d"])

    def without_b(*arrays: Any, **attributes: Any) -> Any:
        return {name: d for name, d in full(*arrays, **attributes).items() if name != "b"}

    with pytest.raises(ContractError, match=r"case 'k1' .*: expected a gradient of b, got those of x, w; one of 38 such"):
        check_function(right, "causal_conv1d", gradient=without_b)


def test_attributes_that_a_function_does_not_take() -> None:
    def f(x: Any, w: Any, *, dilation: int) -> Any:
        return conv(x, w, None, dilation=dilation)

    message = failure(f, "causal_conv1d")
    assert "law 'call': causal_conv1d" in message
    assert "takes no 'strict', but is asked for strict=True; see `only` for cases without" in failure(
        lambda x, w, b: conv(x, w, b), "causal_conv1d", only={"dilation": 1, "groups": 1}
    )
    report = check_function(f, "causal_conv1d", convert=torch.from_numpy, only={"strict": False, "groups": 1, "b": None})
    assert report.lines[0].figure == "1 case with strict=False, groups=1, b=None and 10 drawn"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: 2 * y, "all numbers are 2 times the right ones"),
        (lambda y: y + torch.arange(y.shape[1])[:, None] + 5, "in every channel all numbers are off by one constant"),
        (lambda y: y.flip(0), "y at [b=0, o=0, t=0]"),
        (lambda y: torch.cat([y[:1], 0 * y[1:]]), "wrong only at rows from 1 on"),
        (lambda y: torch.cat([y[:, :1], 0.5 * y[:, 1:]], 1), "wrong only at output channels from 1 on"),
        (lambda y: F.pad(y, (2, 0))[..., :-2], "the right numbers, 2 positions late"),
    ],
)
def test_unknown_mistakes_are_described(change: Function, said: str) -> None:
    case = next(case for case in golden_cases("causal_conv1d") if case.id.endswith("/k4-long"))
    with pytest.raises(ContractError) as caught:
        check_case(lambda x, w, b, **a: change(conv(x, w, b, **a)), case, convert=torch.from_numpy)
    assert said in str(caught.value)


def by_fft(x: Any, w: Any, b: Any = None, *, dilation: int = 1, inside: Any = None) -> Any:
    """A convolution by FFT, computed in the dtype of x or in another."""
    wide = torch.zeros(*w.shape[:2], (w.shape[2] - 1) * dilation + 1, dtype=x.dtype)
    wide[:, :, ::dilation] = w.flip(2)
    length = x.shape[2] + wide.shape[2]
    spectrum = torch.fft.rfft(x.to(inside or x.dtype), length)[:, None] * torch.fft.rfft(wide.to(inside or x.dtype), length)
    y = torch.fft.irfft(spectrum.sum(2), length)[:, :, : x.shape[2]].to(x.dtype)
    return y if b is None else y + b[:, None]


def test_a_convolution_by_fft_is_right_and_the_report_says_so() -> None:
    report = check_function(
        by_fft, "causal_conv1d", convert=torch.from_numpy, gradient="torch", only={"strict": False, "groups": 1}
    )
    assert report.passed
    assert "within that of an FFT" in report.lines[3].figure
    assert "within that of an FFT" in report.lines[4].figure


def padded_fft(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
    """Padded to a power of two, as many do."""
    wide = torch.zeros(*w.shape[:2], (w.shape[2] - 1) * dilation + 1, dtype=x.dtype)
    wide[:, :, ::dilation] = w.flip(2)
    length = 1 << (x.shape[2] + wide.shape[2] - 1).bit_length()
    y = torch.fft.irfft(torch.einsum("bif,oif->bof", torch.fft.rfft(x, length), torch.fft.rfft(wide, length)), length)
    return y[:, :, : x.shape[2]] if b is None else y[:, :, : x.shape[2]] + b[:, None]


SINGLE: dict[str, Any] = {
    "operator": "causal_conv1d", "only": {"strict": False, "groups": 1}, "dtypes": ["float32"], "convert": torch.from_numpy
}  # fmt: skip


def test_errors_of_an_fft_scatter() -> None:
    for seed in range(2):
        for right in (by_fft, padded_fft):
            assert "within that of an FFT" in check_function(right, **SINGLE, seed=seed).lines[3].figure
    assert check_function(padded_fft, **SINGLE, sizes=[{"t": 300, "k": 40}, {"t": 129, "i": 9}]).passed


SAME = r"numbers are off by [\d.e-]+ on average, of which \d\d% is the same for all"
EXACT = r"\d+ cases of small integers that are as large are exact"


@pytest.mark.parametrize(
    ("said", "change"),
    [
        (SAME, lambda x, w, *b, **a: conv(x, w, *b, **a) + 1e-5),
        (SAME, lambda x, w, *b, **a: conv(x, w, *b, **a) - 1e-6),
        (SAME, lambda x, w, *b, dilation=1: by_fft(x, w, *b, dilation=dilation) + 1e-5),
        ("of which 100% is a multiple of the value", lambda x, w, *b, **a: conv(x, w, *b, **a) * (1 + 1e-6)),
        (EXACT, lambda x, w, *b, **a: conv(x, rounded(w, 16), *b, **a)),
        (EXACT, lambda x, w, *b, **a: conv(rounded(x, 17), w, *b, **a)),
    ],
)
def test_what_is_added_is_no_rounding_of_an_fft(said: str, change: Function) -> None:
    for seed in range(2):
        with pytest.raises(ContractError, match=said):
            check_function(change, **SINGLE, seed=seed)


def rounded(w: Any, bits: int) -> Any:
    return torch.round(w * 2**bits) / 2**bits


def test_an_fft_in_float32_is_none_in_float64_and_nothing_else_is_said() -> None:
    """What changes nothing on a case is no cause, nor is a factor of 1."""

    def f(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
        return by_fft(x, w, b, dilation=dilation, inside=torch.float32)

    check_function(f, "causal_conv1d", only={"strict": False, "groups": 1}, dtypes=("float32",), convert=torch.from_numpy)
    message = failure(f, "causal_conv1d", only={"strict": False, "groups": 1}, dtypes=("float64",))
    assert "off by at most " in message
    for guess in ("looks like", "times the right ones", "float32", "FFT", "?"):
        assert guess not in message


def test_what_cannot_be_asked_for() -> None:
    with refuses(InputError, "operator 'casual_conv1d' has no golden cases, did you mean 'causal_conv1d'?", "masked_conv2d, "):
        check_function(conv, "casual_conv1d")
    with refuses(InputError, "operator 'network' has no golden cases"):
        check_function(conv, "network")
    with refuses(InputError, "operator 'wavenet' has no golden cases; those that have are causal_conv1d", "network, step, next"):
        golden_cases("wavenet")
    mistaken: Any = check_function
    with refuses(InputError, "f: expected a function, got int"):
        mistaken(3, "softmax")
    for dtypes in (("float16",), (), "float32"):
        with refuses(InputError, "dtypes: expected some of float32, float64, got"):
            mistaken(conv, "causal_conv1d", dtypes=dtypes)
    with refuses(InputError, "gradient: expected a function or 'torch', got 'jax'"):
        mistaken(conv, "causal_conv1d", gradient="jax")
    with refuses(InputError, "only: causal_conv1d has no 'kernel', but dilation, groups, strict, b"):
        check_function(conv, "causal_conv1d", only={"kernel": 2})
    with refuses(InputError, "only: causal_conv1d has no golden case with {'dilation': 77}"):
        check_function(conv, "causal_conv1d", only={"dilation": 77})


def test_a_report_has_a_line_for_each_law() -> None:
    report = check_function(lambda x, w, b, **a: conv(x, w, b, **a), "causal_conv1d", convert=torch.from_numpy)
    assert [line.law for line in report.lines] == ["call", "shape", "dtype", "values", "gradient"]
    assert report.passed
    assert not report.lines[-1].applies
