"""The pytest plugin that comes with refar: a function of one's own over all golden cases of an operator.

    def test_mine(refar_case):
        refar_case("causal_conv1d", my_conv)

    @pytest.mark.refar("causal_conv1d")          # the same as one test for each case
    def test_mine_case_by_case(refar_case):
        refar_case(my_conv)

What comes after the function goes to `refar.testing.check_function`. Nothing is imported before a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from refar.testing.report import Report

RefarCase = Callable[..., "Report"]
"""What the fixture gives: (operator, function, **options), or under the marker (function, **options)."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "refar(operator): one test for each golden case of the operator; takes refar_case")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the marker becomes one for each case."""
    marker = metafunc.definition.get_closest_marker("refar")
    if marker is None or "refar_case" not in metafunc.fixturenames:
        return
    from refar.errors import InputError
    from refar.testing.function import golden_cases

    if len(marker.args) != 1 or marker.kwargs:
        pytest.fail(f'refar: expected the name of an operator, @pytest.mark.refar("causal_conv1d"), got {marker}', pytrace=False)
    cases: tuple[Any, ...] = ()
    said = ""
    try:
        cases = golden_cases(marker.args[0])
    except InputError as error:
        said = str(error)
    if said:
        pytest.fail(f"refar: {said}", pytrace=False)
    metafunc.parametrize("refar_case", cases, ids=[case.id.partition("/")[2] for case in cases], indirect=True)


@pytest.fixture
def refar_case(request: pytest.FixtureRequest) -> RefarCase:
    """Runs a function over all golden cases of an operator, or under `@pytest.mark.refar` over the one of this test."""
    from refar.testing.function import check_case, check_function
    from refar.testing.report import ContractError

    case = getattr(request, "param", None)

    def run(*arguments: Any, **options: Any) -> Report:
        __tracebackhide__ = True
        try:
            if case is not None:
                (function,) = arguments
                return check_case(function, case, **options)
            operator, function = arguments
            return check_function(function, operator, **options)
        except ContractError as error:
            message = str(error)
        raise ContractError(message)  # from here, so that the traceback ends in the test

    return run
