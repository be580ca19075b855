"""What a user's own tests import: every law of the contract in one call.

    from refar.testing import check_contract
    def test_my_network():
        check_contract(my_graph, my_params)

Needs the backends that are asked for; `refar.testing.strategies` needs hypothesis.
"""

from __future__ import annotations

from refar.testing.causality import check_causality
from refar.testing.driving import check_streaming
from refar.testing.function import check_case, check_function, golden_cases
from refar.testing.laws import LAWS, check_bundle, check_contract, run_bundle_laws, run_laws
from refar.testing.module import check_module
from refar.testing.report import ContractError, Line, Report

__all__ = [
    "LAWS",
    "ContractError",
    "Line",
    "Report",
    "check_bundle",
    "check_case",
    "check_causality",
    "check_contract",
    "check_function",
    "check_module",
    "check_streaming",
    "golden_cases",
    "run_bundle_laws",
    "run_laws",
]
