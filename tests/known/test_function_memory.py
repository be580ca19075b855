"""check_function on functions that read memory wrongly, share buffers between threads, print, or change their mind."""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import refuses
from kit_functions import Function, conv, failure

from refar.errors import InputError
from refar.testing import ContractError, check_function
from refar.testing.layouts import LAYOUTS, READ_ONLY

OPTIONS: dict[str, Any] = {"only": {"strict": False, "groups": 1}}


def in_order(a: Any) -> Any:
    """What lies in memory from the first number on, whatever the strides say."""
    kind = {4: ctypes.c_float, 8: ctypes.c_double}[a.itemsize]
    return np.frombuffer((kind * a.size).from_address(a.ctypes.data), a.dtype).reshape(a.shape).copy()


@pytest.mark.parametrize("layout", [*LAYOUTS, *READ_ONLY])
def test_a_layout_has_the_same_numbers(layout: str) -> None:
    lay_out = {**LAYOUTS, **READ_ONLY}[layout]
    for shape in ((3,), (2, 3), (2, 3, 4), (2, 3, 4, 5)):
        a = np.random.default_rng(0).normal(size=shape)
        np.testing.assert_array_equal(lay_out(a), a, strict=True)
    assert not (lay_out(a).flags.c_contiguous and lay_out(a).flags.writeable)


@pytest.mark.parametrize("read", ["x", "w", "b"])
def test_code_that_ignores_strides(read: str) -> None:
    def f(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
        x, w, b = (a if a is None or name != read else in_order(a) for name, a in (("x", x), ("w", w), ("b", b)))
        given = (None if a is None else torch.from_numpy(np.ascontiguousarray(a)) for a in (x, w, b))
        return conv(*given, dilation=dilation).numpy()

    with pytest.raises(ContractError, match=r"law 'call': .*: arrays .* give another y than fresh ones of the same numbers: at "):
        check_function(f, "causal_conv1d", **OPTIONS)


def test_tensors_without_their_strides() -> None:
    def f(x: Any) -> Any:
        return F.softmax(x.as_strided(x.shape, (x.shape[1] * x.shape[2], x.shape[2], 1)), 1)

    assert "give another y than fresh ones of the same numbers" in failure(f, "softmax")


def test_a_gradient_without_the_strides_of_dy() -> None:
    def gradient(dy: Any, x: Any) -> Any:
        dy = dy.as_strided(dy.shape, (dy.shape[1] * dy.shape[2], dy.shape[2], 1))
        y = F.softmax(x, 1)
        return y * (dy - (dy * y).sum(1, keepdim=True))

    assert "law 'gradient'" in (message := failure(lambda x: F.softmax(x, 1), "softmax", gradient=gradient))
    assert "give another gradient.x than fresh ones" in message


def test_code_that_refuses_a_layout_is_right_and_the_report_says_which() -> None:
    def f(x: Any) -> Any:
        return F.softmax(x.view(len(x), -1).view(x.shape), 1)

    report = check_function(f, "softmax", convert=torch.from_numpy)
    assert "refuses arrays that are transposed views: it raises RuntimeError: view size is not" in report.lines[0].figure


def softmax_in(buffers: Any) -> Function:
    """Works in a buffer of its own, and returns a copy."""

    there: dict[Any, Any] = {}

    def f(x: Any) -> Any:
        kept = there.setdefault((x.shape, x.dtype, buffers()), torch.empty(x.shape, dtype=x.dtype))
        kept.copy_(x)
        kept.sub_(kept.amax(1, keepdim=True))
        kept.exp_()
        return kept / kept.sum(1, keepdim=True)

    return f


def test_a_buffer_that_two_threads_share() -> None:
    message = failure(softmax_in(lambda: 0), "softmax")
    assert "law 'call'" in message
    assert "called from two threads at once with other data, it gives another y than when called twice in turn" in message


def test_a_buffer_for_each_thread_is_right() -> None:
    check_function(softmax_in(threading.get_ident), "softmax", convert=torch.from_numpy)


def test_a_buffer_behind_a_lock_is_right() -> None:
    lock, inside = threading.Lock(), softmax_in(lambda: 0)

    def f(x: Any) -> Any:
        with lock:
            return inside(x)

    check_function(f, "softmax", convert=torch.from_numpy)
    assert sys.gettrace() is None or "coverage" in repr(sys.gettrace())


def test_what_raises_in_a_thread_alone() -> None:
    main = threading.get_ident()

    def f(x: Any) -> Any:
        if threading.get_ident() != main:
            raise RuntimeError("only in the main thread\nand more of it")
        return F.softmax(x, 1)

    assert "called from two threads at once, it raises RuntimeError: only in the main thread" in failure(f, "softmax")


def test_another_dtype_now_and_then() -> None:
    calls: list[int] = []

    def f(x: Any) -> Any:
        calls.append(1)
        return F.softmax(x, 1).to(torch.float64 if len(calls) % 7 == 0 else x.dtype)

    assert "gives y now in float32 and now in float64, for arguments of one dtype" in failure(f, "softmax", dtypes=("float32",))


def test_what_is_printed_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def f(x: Any) -> Any:
        print("shape", x.shape)
        return F.softmax(x, 1)

    report = check_function(f, "softmax", convert=torch.from_numpy)
    lines = capsys.readouterr().out.count("shape")
    assert f"prints {lines} lines" in report.lines[0].figure
    assert lines > 20


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_exceptions_come_in_one_sentence() -> None:
    def leaves(x: Any) -> Any:
        raise SystemExit("no licence")

    assert "raises SystemExit: no licence" in failure(leaves, "softmax")

    @torch.jit.script
    def scripted(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(7, 7)

    message = failure(scripted, "softmax")
    assert "\n" not in message
    assert "Traceback" not in message
    assert "is invalid for input of size" in message

    class Odd:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise OverflowError("too odd")

    assert "y returned a Odd that is no array: OverflowError: too odd" in failure(lambda x: Odd(), "softmax")
    listed = failure(lambda x: [F.softmax(x.requires_grad_(), 1)], "softmax")
    assert "law 'call'" in listed
    mistaken: Any = "torch"
    with refuses(InputError, "convert: expected a function of an array, like torch.from_numpy, got str"):
        check_function(lambda x: x, "softmax", convert=mistaken)


def test_sparse_gradients_are_filled() -> None:
    def embedding(x: Any, w: Any) -> Any:
        return F.embedding(x, w, sparse=True).movedim(-1, 1)

    assert check_function(embedding, "embedding", gradient="torch").lines[-1].applies

    def padding(x: Any, w: Any) -> Any:
        return F.embedding(x, w, padding_idx=0, sparse=True).movedim(-1, 1)

    assert "looks like: gradient of w: class 0 is padding, none" in failure(padding, "embedding", gradient="torch")


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_precision_inside_is_named(name: str) -> None:
    half = getattr(torch, name)

    def rounded(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
        return conv(x, w, b, dilation=dilation).to(half).to(x.dtype)

    assert f"looks like: rounded to {name}" in failure(rounded, "causal_conv1d", sizes=[{"i": 65, "k": 9}], **OPTIONS)

    def given(x: Any) -> Any:
        return F.softmax(x.to(half).to(x.dtype), 1)

    assert f"looks like: arguments rounded to {name}" in failure(given, "softmax")
