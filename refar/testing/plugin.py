"""The pytest plugin that comes with refar: a function of one's own over all golden cases of an operator.

    def test_mine(refar_case):
        refar_case(my_conv, "causal_conv1d", convert=torch.from_numpy, only={"strict": False})

    @pytest.mark.refar("causal_conv1d", only={"strict": False})          # the same as one test for each case
    def test_mine_case_by_case(refar_case):
        refar_case(my_conv, convert=torch.from_numpy)

The arguments are those of `refar.testing.check_function`; the function and the name of its operator in either order. Under the
marker what restricts the cases, `only` and `skip`, belongs to it, and all other keywords to the fixture. Nothing is imported
before a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from refar.testing.report import Report

RefarCase = Callable[..., "Report"]
"""What the fixture gives: (function, operator, **options), or under the marker (function, **options)."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    said = "refar(operator, only=None, skip=()): one test for each golden case of the operator that is left; takes refar_case"
    config.addinivalue_line("markers", said)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the marker becomes one for each case."""
    marker = metafunc.definition.get_closest_marker("refar")
    if marker is None or "refar_case" not in metafunc.fixturenames:
        return
    from refar.errors import InputError
    from refar.testing.known.function import golden_cases

    if len(marker.args) != 1 or marker.kwargs.keys() - {"only", "skip"}:
        expected = (
            "the name of an operator, and at most `only` and `skip`, "
            'like @pytest.mark.refar("causal_conv1d", only={"strict": False})'
        )
        rest = "; other keywords go to refar_case" if marker.kwargs else ""
        pytest.fail(f"refar: expected {expected}, got {marker}{rest}", pytrace=False)
    cases: tuple[Any, ...] = ()
    said = ""
    try:
        cases = golden_cases(marker.args[0], marker.kwargs.get("only"), marker.kwargs.get("skip", ()))
    except InputError as error:
        said = str(error)
    if said:
        pytest.fail(f"refar: {said}", pytrace=False)
    metafunc.parametrize("refar_case", cases, ids=[case.id.partition("/")[2] for case in cases], indirect=True)


@pytest.fixture
def refar_case(request: pytest.FixtureRequest) -> RefarCase:
    """Runs a function over all golden cases of an operator, or under `@pytest.mark.refar` over the one of this test."""
    from refar.testing.known.function import check_case, check_function
    from refar.testing.report import ContractError

    case = getattr(request, "param", None)

    def run(*arguments: Any, **options: Any) -> Report:
        __tracebackhide__ = True
        try:
            function, operator = _given(arguments, options, case.operator if case else None)
            return check_case(function, case, **options) if case else check_function(function, operator, **options)
        except ContractError as error:
            message = str(error)
        raise ContractError(message)  # from here, so that the traceback ends in the test

    return run


def _given(arguments: tuple[Any, ...], options: dict[str, Any], marked: str | None) -> tuple[Any, str]:
    """Function and operator, in whichever order they came. Raises InputError for anything else."""
    from refar.errors import InputError

    names = [argument for argument in arguments if isinstance(argument, str)]
    functions = [argument for argument in arguments if not isinstance(argument, str)]
    for name in ("only", "skip"):
        if marked is not None and name in options:
            mark = f"@pytest.mark.refar({marked!r}, {name}={options[name]!r})"
            raise InputError(f"refar_case: expected `{name}` in the marker, {mark}")
    for name in ("sizes", "seed"):
        if marked is not None and name in options:
            raise InputError(f"refar_case: {name}: under the marker of {marked!r} there are golden cases alone, none to draw")
    if marked is not None and not names:
        names = [marked]
    if len(functions) != 1 or len(names) != 1 or names[0] != (marked or names[0]):
        expected = f"refar_case(f) under the marker of {marked!r}" if marked else "refar_case(f, operator)"
        came = ", ".join(argument if isinstance(argument, str) else type(argument).__name__ for argument in arguments)
        raise InputError(f"refar_case: expected a function and the name of its operator, {expected}, got ({came})")
    return functions[0], names[0]
