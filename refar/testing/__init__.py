"""What a user's own tests import: every law of the contract in one call.

    from refar.testing import check_contract
    def test_my_network():
        check_contract(my_graph, my_params)

And code that knows nothing of refar: `check_function` holds an operator against golden cases, `check_module` an nn.Module
against a graph, `check_loss` a training loss; `check_causality` and `check_streaming` need no graph at all.

Needs the backends that are asked for; `refar.testing.strategies` needs hypothesis. Each name is imported when it is first used,
so that the pytest plugin, which every pytest loads, costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refar.testing.contract.laws import LAWS, check_bundle, check_contract, run_bundle_laws, run_laws
    from refar.testing.known.function import check_case, check_function, golden_cases
    from refar.testing.known.loss import check_loss
    from refar.testing.known.module import check_module
    from refar.testing.probe.causality import check_causality
    from refar.testing.probe.stepwise import check_streaming
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
    "check_loss",
    "check_module",
    "check_streaming",
    "golden_cases",
    "run_bundle_laws",
    "run_laws",
]

_HOMES = {
    "probe.causality": ("check_causality",),
    "probe.stepwise": ("check_streaming",),
    "known.function": ("check_case", "check_function", "golden_cases"),
    "contract.laws": ("LAWS", "check_bundle", "check_contract", "run_bundle_laws", "run_laws"),
    "known.loss": ("check_loss",),
    "known.module": ("check_module",),
    "report": ("ContractError", "Line", "Report"),
}


if not TYPE_CHECKING:  # a type checker would take every misspelt name for one that is there

    def __getattr__(name: str) -> Any:
        """What the modules here pass on."""
        for module, names in _HOMES.items():
            if name in names:
                value = globals()[name] = getattr(importlib.import_module(f"refar.testing.{module}"), name)
                return value
        raise AttributeError(f"module 'refar.testing' has no attribute {name!r}")
