"""`check_function`: anybody's operator, in any framework, over the golden cases of its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.errors import InputError
from refar.golden.case import UNITS, Case
from refar.golden.compare import as_dtype, difference
from refar.golden.families import OPERATORS, known
from refar.golden.families import golden_cases as all_cases
from refar.golden.operator import Operator
from refar.testing.closeness import allowed
from refar.testing.known.caller import Caller
from refar.testing.known.failures import Failure, Failures
from refar.testing.report import ContractError, Report
from refar.testing.under_test import as_array, require_unchanged

LAWS = {
    "call": "takes the arguments of its signature, gives one array, and leaves its arguments and earlier results alone",
    "shape": "of the expected shape",
    "dtype": "in the dtype of its arguments",
    "values": "equal where all is exact, within the derived bound elsewhere",
    "gradient": "the gradient of Σ dy·y for every argument that has one in the cases",
}

Dtype = Literal["float32", "float64"]
BOTH: tuple[Dtype, ...] = ("float32", "float64")


def golden_cases(operator: str, only: Mapping[str, Any] | None = None) -> tuple[Case, ...]:
    """Return the golden cases of an operator, or of "network", "step", "next", "log_prob", …: see `refar.golden.Case`.

    `only` restricts those of an operator as in `check_function`. Raises InputError for an unknown name, listing all.
    """
    if only is None:
        return all_cases(operator)
    return tuple(_chosen(OPERATORS[known(operator, OPERATORS)], all_cases(operator), only))


def check_function(
    f: Callable[..., Any],
    operator: str,
    *,
    gradient: Callable[..., Any] | Literal["torch"] | None = None,
    dtypes: Sequence[Dtype] = BOTH,
    convert: Callable[[Array], Any] | None = None,
    only: Mapping[str, Any] | None = None,
) -> Report:
    """Run a function over all golden cases of an operator; the one line that a user's test needs.

        check_function(my_conv, "causal_conv1d")        # my_conv(x_bit, w_oik, b_o=None, *, dilation, groups, strict) → y_bot

    `f` takes and gives what the signature says, `refar.golden.OPERATORS[operator].signature`: arrays of NumPy by position, None
    for an optional one that is missing, attributes by keyword (pairs as tuples). Attributes that `f` does not take are left out
    where they have their default. `convert` makes each array into what `f` wants, such as `torch.from_numpy`; what it gives is
    taken with `np.asarray`, tensors detached.

    `gradient(dy, *arrays, **attributes)` gives the gradients of Σ dy·y: a mapping {name: array}, or in the order of the arguments
    a tuple of those that the cases expect, or of one for every argument given in floats. Those of targets and noise are not
    expected, and not looked at. "torch" takes them from autograd. `only` restricts the cases: {"strict": False, "b": None}
    to those with this attribute and without this argument.

    Cases of small integers are compared by ==, all others within the bound of `refar.rounding.bound`, for direct convolutions and
    matrix products; not for Winograd or FFT.
    Raises ContractError naming operator, case, position, both values, the bound and the likely cause; InputError for an unknown
    operator, listing all.
    """
    found = OPERATORS[known(operator, OPERATORS)]
    cases = _chosen(found, all_cases(operator), only or {})
    said = "" if only is None else f" with {', '.join(f'{name}={value!r}' for name, value in only.items())}"
    scope = f"{len(cases)} case{'s' if len(cases) > 1 else ''}{said}"
    return _run(found, cases, f, gradient, dtypes, convert, scope).require()


def check_case(
    f: Callable[..., Any],
    case: Case,
    *,
    gradient: Callable[..., Any] | Literal["torch"] | None = None,
    dtypes: Sequence[Dtype] = BOTH,
    convert: Callable[[Array], Any] | None = None,
) -> Report:
    """Run `check_function` on a single case."""
    found = OPERATORS[known(case.operator, OPERATORS)]
    return _run(found, [case], f, gradient, dtypes, convert, f"case {case.id!r}").require()


def _run(
    operator: Operator,
    cases: Iterable[Case],
    f: Callable[..., Any],
    gradient: Callable[..., Any] | Literal["torch"] | None,
    dtypes: Sequence[Dtype],
    convert: Callable[[Array], Any] | None,
    scope: str,
) -> Report:
    if not callable(f):
        raise InputError(f"f: expected a function, got {type(f).__name__}")
    if not dtypes or isinstance(dtypes, str) or not set(dtypes) <= UNITS.keys():
        raise InputError(f"dtypes: expected some of {', '.join(UNITS)}, got {dtypes!r}")
    failures = Failures(operator, LAWS, scope)
    caller = Caller(operator.signature, f, gradient, convert)
    for case in cases:
        real = any(array.dtype != np.int64 for array in case.arrays.values())
        for dtype in dtypes if real else dtypes[-1:]:  # without numbers to take, a function cannot know of any dtype
            _run_case(failures, caller, case, dtype, real)
    if gradient is None:
        failures.leave_out("gradient", "no gradient was given")
    elif not any(name.startswith("gradient.") for case in cases for name in case.expected):
        failures.leave_out("gradient", "the operator has none")
    return failures.report()


def _run_case(failures: Failures, caller: Caller, case: Case, dtype: Dtype, real: bool) -> None:
    """Judge the result, and where there is one to be had the gradient, of one case in one dtype."""
    arrays, name = as_dtype(case.arrays, dtype), caller.signature.result
    try:
        y = _called(caller, case, arrays, lambda given: {name: caller.result(case, given)})[name]
    except ContractError as error:
        return failures.add("call", Failure(case, dtype, str(error)))
    _judge_dtype(failures, case, dtype, y, real)
    _judge(failures, case, dtype, name, y, "values")
    if caller.gradient is None or caller.signature.upstream not in arrays:
        return None
    try:
        gradients = _called(caller, case, arrays, lambda given: caller.gradients(case, given))
    except ContractError as error:
        return failures.add("gradient", Failure(case, dtype, str(error)))
    for key in (key for key in case.expected if key != name):
        if key not in gradients:
            came = ", ".join(each.removeprefix("gradient.") for each in gradients) or "none"
            said = f"expected a gradient of {key.removeprefix('gradient.')}, got those of {came}"
            failures.add("gradient", Failure(case, dtype, said))
        else:
            _judge(failures, case, dtype, key, gradients[key], "gradient")
    return None


def _called(caller: Caller, case: Case, arrays: Arrays, call: Callable[[Arrays], Mapping[str, Any]]) -> Arrays:
    """Return the results as arrays of their own, after calls with other data and with the same have shown that they are.

    Raises ContractError if an argument changes, or what was given back does, or if the same arguments give something else.
    """
    given = {name: array.copy() for name, array in arrays.items()}
    raw = call(given)
    for name, array in arrays.items():
        require_unchanged(f"changed its argument {name}", "it must leave its arguments alone", given[name], array)
    kept = {name: np.array(as_array(f"{caller.name}: {name}", value), copy=True) for name, value in raw.items()}
    call({name: np.flip(array).copy() for name, array in arrays.items()})
    for name, value in raw.items():
        what = f"a later call with other data changed {name}, which an earlier call had given"
        require_unchanged(what, "it gives away a view of its own buffer; return a copy", as_array(caller.name, value), kept[name])
    again = {name: as_array(caller.name, value) for name, value in call({n: a.copy() for n, a in arrays.items()}).items()}
    for name, value in kept.items():
        same = name in again and again[name].shape == value.shape
        if not (same and np.allclose(again[name], value, rtol=0, atol=allowed(value, value), equal_nan=True)):
            raise ContractError(
                f"the same arguments give another {name} the second time: does it draw random numbers, or keep a state?"
            )
    return kept


def _judge_dtype(failures: Failures, case: Case, dtype: Dtype, y: Array, real: bool) -> None:
    (expected,) = (case.expected[name] for name in case.expected if not name.startswith("gradient."))
    if expected.dtype == np.int64:
        fits, wanted = y.dtype.kind in "iu", "an integer dtype for class indices"
    elif real:
        fits, wanted = y.dtype == dtype, f"{dtype}, that of the arguments"
    else:
        fits, wanted = y.dtype.kind == "f", "a dtype of numbers"
    if not fits:
        failures.add("dtype", Failure(case, dtype, f"expected {wanted}, got {y.dtype}"))


def _judge(failures: Failures, case: Case, dtype: Dtype, name: str, came: Array, law: str) -> None:
    """Judge shape and numbers of one array. In a coarser dtype than asked for, which is said elsewhere, it is judged as such."""
    expected = case.expected[name]
    if came.shape != expected.shape:
        said = f"{name}: expected shape {expected.shape}, got {came.shape}"
        return failures.add("shape" if law == "values" else law, Failure(case, dtype, said, name, came))
    unit = max(UNITS[dtype], float(np.finfo(came.dtype).eps) / 2 if came.dtype.kind == "f" else 0.0)
    axes = failures.operator.signature.axes_of(name)
    wrong = difference(case, name, came, unit, axes)
    if wrong is not None:
        return failures.add(law, Failure(case, dtype, str(wrong), name, came, wrong.where, axes))
    return failures.right(law, case, name)


def _chosen(operator: Operator, cases: tuple[Case, ...], only: Mapping[str, Any]) -> list[Case]:
    """Return the cases with these attributes. Raises InputError for a name that the operator has not, or where none is left."""
    names = (*operator.signature.attributes, *sorted(operator.signature.optional))
    for name in only:
        if name not in names:
            raise InputError(f"only: {operator.name} has no {name!r}, but {', '.join(names)}")

    def fits(case: Case) -> bool:
        return all(
            _plain(case.attributes[n] if n in case.attributes else case.arrays.get(n)) == _plain(v) for n, v in only.items()
        )

    chosen = [case for case in cases if fits(case)]
    if not chosen:
        raise InputError(f"only: {operator.name} has no golden case with {dict(only)}")
    return chosen


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else "an array" if isinstance(value, np.ndarray) else value
