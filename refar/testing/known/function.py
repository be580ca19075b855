"""`check_function`: anybody's operator, in any framework, over the golden cases of its name and over large ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import InputError, check_integer, near
from refar.golden.case import UNITS, Case
from refar.golden.compare import as_dtype, difference
from refar.golden.families import OPERATORS, known
from refar.golden.families import golden_cases as all_cases
from refar.golden.operator import Operator
from refar.testing.known.caller import Caller
from refar.testing.known.calls import Calls
from refar.testing.known.drawn import large_cases
from refar.testing.known.elsewhere import Elsewhere
from refar.testing.known.failures import Failure, Failures
from refar.testing.known.printing import counted_lines
from refar.testing.known.transformed import Transforms, as_by_transform
from refar.testing.report import ContractError, Report
from refar.testing.told import told

LAWS = {
    "call": "takes the arguments of its signature, gives one array, and leaves its arguments and earlier results alone",
    "shape": "of the expected shape",
    "dtype": "in the dtype of its arguments",
    "values": "equal where all is exact, within the derived bound elsewhere",
    "gradient": "the gradient of Σ dy·y for every argument that has one in the cases",
}

Dtype = Literal["float32", "float64"]
BOTH: tuple[Dtype, ...] = ("float32", "float64")
Gradient = Callable[..., Any] | Literal["torch"] | None


def golden_cases(operator: str, only: Mapping[str, Any] | None = None, skip: Sequence[str] = ()) -> tuple[Case, ...]:
    """Return the golden cases of an operator, or of "network", "step", "next", "log_prob", …: see `refar.golden.Case`.

    `only` restricts those of an operator, and `skip` leaves some out, as in `check_function`. Raises InputError for an unknown
    name, listing all.
    """
    if only is None and not skip:
        return all_cases(operator)
    return tuple(_chosen(OPERATORS[known(operator, OPERATORS)], all_cases(operator), only or {}, skip))


@told
def check_function(
    f: Callable[..., Any],
    operator: str,
    *,
    gradient: Gradient = None,
    dtypes: Sequence[Dtype] = BOTH,
    convert: Callable[[Array], Any] | None = None,
    only: Mapping[str, Any] | None = None,
    skip: Sequence[str] = (),
    sizes: Sequence[Mapping[str, Any] | int] | None = None,
    seed: int = 0,
) -> Report:
    """Run a function over all golden cases of an operator, then over large ones; the one line that a user's test needs.

        check_function(my_conv, "causal_conv1d")        # my_conv(x_bit, w_oik, b_o=None, *, dilation, groups, strict) → y_bot

    `f` takes and gives what the signature says, `refar.golden.OPERATORS[operator].signature`: arrays of NumPy by position, None
    for an optional one that is missing, attributes by keyword (pairs as tuples). Attributes that `f` does not take are left out
    where they have their default. `convert` makes each array into what `f` wants, such as `torch.from_numpy`; what it gives is
    taken with `np.asarray`, tensors detached, sparse ones filled.

    `gradient(dy, *arrays, **attributes)` gives the gradients of Σ dy·y: a mapping {name: array}, or in the order of the arguments
    a tuple of those that the cases expect, or of one for every argument given in floats. Those of targets and noise are not
    expected, and not looked at. "torch" takes them from autograd. `only` restricts the cases: {"strict": False, "b": None}
    to those with this attribute and without this argument. `skip` leaves out cases by their names, like "temperature-tiny".

    `sizes` are the large cases, drawn from `seed` and run where the golden ones hold: by default a few, at the sizes where other
    people's kernels have failed; () for none; or your own, {axis or attribute: value}, like [{"t": 1000, "k": 9}], or lengths.

    Cases of small integers are compared by ==, all others within the bound of `refar.rounding.bound` for sums of products in any
    order. A convolution may instead be within the bound of an FFT, if its errors scatter as rounding does; the report says so.
    Where values are equal, every subgradient is right. Arrays come fresh, with strides, in Fortran's order, as parts of others,
    and from two threads at once. Raises ContractError naming operator, case, position, both values, the bound and a known mistake
    that gives these values, if there is one; InputError for an unknown operator, case or size, listing all.
    """
    found = OPERATORS[known(operator, OPERATORS)]
    seed = check_integer("seed", seed, 0)
    cases = _chosen(found, all_cases(operator), only or {}, skip)
    more = large_cases(found, sizes, seed, only or {})
    said = "" if only is None else f" with {', '.join(f'{name}={value!r}' for name, value in only.items())}"
    said += f", without {', '.join(map(repr, _names(skip)))}" if skip else ""
    scope = f"{len(cases)} case{'s' if len(cases) > 1 else ''}{said}{f' and {len(more)} drawn' if more else ''}"
    return _run(found, [cases, more], f, gradient, dtypes, convert, scope, only or {}, seed).require()


def check_case(
    f: Callable[..., Any],
    case: Case,
    *,
    gradient: Gradient = None,
    dtypes: Sequence[Dtype] = BOTH,
    convert: Callable[[Array], Any] | None = None,
) -> Report:
    """Run `check_function` on a single case."""
    found = OPERATORS[known(case.operator, OPERATORS)]
    return _run(found, [[case]], f, gradient, dtypes, convert, f"case {case.id!r}", {}, 0).require()


def _run(
    operator: Operator,
    stages: Sequence[Sequence[Case]],
    f: Callable[..., Any],
    gradient: Gradient,
    dtypes: Sequence[Dtype],
    convert: Callable[[Array], Any] | None,
    scope: str,
    only: Mapping[str, Any],
    seed: int,
) -> Report:
    """Judge the cases of each stage, as long as those of the stages before hold."""
    if not callable(f):
        raise InputError(f"f: expected a function, got {type(f).__name__}")
    if not isinstance(dtypes, Collection) or isinstance(dtypes, str) or not dtypes or any(d not in tuple(UNITS) for d in dtypes):
        raise InputError(f"dtypes: expected some of {', '.join(UNITS)}, got {dtypes!r}")
    transforms = Transforms()
    caller = Caller(operator.signature, f, gradient, convert)
    failures = Failures(operator, LAWS, scope, Elsewhere(operator, caller, only, seed))
    calls = Calls(caller)
    with counted_lines() as printed:
        for cases in stages:
            if failures.none:
                _run_cases(failures, transforms, caller, calls, cases, dtypes)
        if failures.none:
            _run_at_once(failures, calls, stages[0], dtypes[-1])
    for law, failure in transforms.systematic():
        failures.add(law, failure)
    failures.remark("call", *(f"refuses arrays {layout}: it {said}" for layout, said in calls.refused.items()), *printed.said)
    if gradient is None:
        failures.leave_out("gradient", "no gradient was given")
    elif not any(name.startswith("gradient.") for cases in stages for case in cases for name in case.expected):
        failures.leave_out("gradient", "the operator has none")
    return failures.report()


def _run_cases(
    failures: Failures, transforms: Transforms, caller: Caller, calls: Calls, cases: Iterable[Case], dtypes: Sequence[Dtype]
) -> None:
    for case in cases:
        real = any(array.dtype != np.int64 for array in case.arrays.values())
        for dtype in dtypes if real else dtypes[-1:]:  # without numbers to take, a function cannot know of any dtype
            _run_case(failures, transforms, caller, calls, case, dtype, real)


def _run_at_once(failures: Failures, calls: Calls, cases: Sequence[Case], dtype: Dtype) -> None:
    """Call from two threads, with the case whose arrays are largest."""
    case = max(cases, key=lambda case: sum(array.size for array in case.arrays.values()))
    try:
        calls.at_once(case, dtype)
    except ContractError as error:
        failures.add("call", Failure(case, dtype, str(error)))


def _run_case(
    failures: Failures, transforms: Transforms, caller: Caller, calls: Calls, case: Case, dtype: Dtype, real: bool
) -> None:
    """Judge the result, and where there is one to be had the gradient, of one case in one dtype."""
    arrays, name = as_dtype(case.arrays, dtype), caller.signature.result
    try:
        y = calls(arrays, lambda given: {name: caller.result(case, given)})[name]
    except ContractError as error:
        return failures.add("call", Failure(case, dtype, str(error)))
    _judge_dtype(failures, case, dtype, y, real)
    _judge(failures, transforms, case, dtype, name, y, "values")
    if caller.gradient is None or caller.signature.upstream not in arrays:
        return None
    try:
        gradients = calls(arrays, lambda given: caller.gradients(case, given))
    except ContractError as error:
        return failures.add("gradient", Failure(case, dtype, str(error)))
    for key in (key for key in case.expected if key != name):
        if key not in gradients:
            came = ", ".join(each.removeprefix("gradient.") for each in gradients) or "none"
            said = f"expected a gradient of {key.removeprefix('gradient.')}, got those of {came}"
            failures.add("gradient", Failure(case, dtype, said))
        else:
            _judge(failures, transforms, case, dtype, key, gradients[key], "gradient")
    return None


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


def _judge(failures: Failures, transforms: Transforms, case: Case, dtype: Dtype, name: str, came: Array, law: str) -> None:
    """Judge shape and numbers of one array. In a coarser dtype than asked for, which is said elsewhere, it is judged as such."""
    expected = case.expected[name]
    if came.shape != expected.shape:
        said = f"{name}: expected shape {expected.shape}, got {came.shape}"
        return failures.add("shape" if law == "values" else law, Failure(case, dtype, said, name, came))
    unit = max(UNITS[dtype], float(np.finfo(came.dtype).eps) / 2 if came.dtype.kind == "f" else 0.0)
    axes = failures.operator.signature.axes_of(name)
    wrong = difference(case, name, came, unit, axes)
    if wrong is None:
        transforms.note_right(law, case, dtype, name)
        return failures.right(law, case, name, dtype)
    failure = Failure(case, dtype, str(wrong), name, came, wrong.where, axes)
    if as_by_transform(failures.operator, case, name, came, unit):
        transforms.note(law, failure)
        return failures.right(law, case, name, dtype, by_transform=True)
    return failures.add(law, failure)


def _chosen(operator: Operator, cases: tuple[Case, ...], only: Mapping[str, Any], skip: Sequence[str]) -> list[Case]:
    """Return the cases with these attributes, but those of `skip`. Raises InputError for unknown names, or if none is left."""
    if not isinstance(only, Mapping):
        raise InputError(f"only: expected a mapping like {{'strict': False}}, got {only!r}")
    names = (*operator.signature.attributes, *sorted(operator.signature.optional))
    for name in only:
        if name not in names:
            raise InputError(f"only: {operator.name} has no {name!r}, but {', '.join(names)}")
    there, left_out = [_short(case.id) for case in cases], _names(skip)
    for name in left_out:
        if name not in there:
            raise InputError(f"skip: {operator.name} has no case {name!r}{near(name, there)}; its cases are {', '.join(there)}")

    def fits(case: Case) -> bool:
        return all(
            _plain(case.attributes[n] if n in case.attributes else case.arrays.get(n)) == _plain(v) for n, v in only.items()
        )

    chosen = [case for case in cases if fits(case)]
    if not chosen:
        raise InputError(f"only: {operator.name} has no golden case with {dict(only)}")
    kept = [case for case in chosen if _short(case.id) not in left_out]
    if not kept:
        raise InputError(f"skip: leaves no golden case of {operator.name}")
    return kept


def _names(skip: Sequence[str]) -> list[str]:
    """Return the names of cases without that of their operator. Raises InputError for what is no list of names."""
    given: list[Any] = list(skip) if isinstance(skip, Iterable) and not isinstance(skip, str) else [skip]
    for name in given:
        if not isinstance(name, str):
            raise InputError(f"skip: expected the names of cases, like ['temperature-tiny'], got {name!r}")
    return [_short(name) for name in given]


def _short(id: str) -> str:
    return id.rpartition("/")[2]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else "an array" if isinstance(value, np.ndarray) else value
