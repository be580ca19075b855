"""How many known mistakes the kit kills, and how much right code it takes, by family: `python tests/bench/power.py [PAGE]`.

With docs/mistakes.md both tables are written between its markers. Each case of the tests of `FAMILIES` is correct code with one
mistake in it, and passes only if what a user calls finds it; for those of `OWN` it passes if refar's own tests do. Each case of
the tests of `RIGHT` is code without a mistake, and passes if what a user calls takes it.
"""

from __future__ import annotations

import pytest
from pages import publish_tests

MUTANTS = "tests/mutants/test_"
FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    # family: what finds them, and the tests
    "NumPy: convolution, padding, masks of time, queues, gradients": (
        "check_contract", (f"{MUTANTS}mutants.py::test_every_mistake",)
    ),
    "NumPy: pooling, groups, shifts, local conditions": (
        "check_contract", (f"{MUTANTS}operator_mutants.py::test_every_mistake",)
    ),
    "NumPy: images: masks, kernels, colours, positions, pixel by pixel": (
        "check_contract", (f"{MUTANTS}plane_mutants.py::test_every_mistake",)
    ),
    "NumPy: precision lost on the way": ("check_contract", ("tests/contract/test_bounds.py::test_less_precision",)),
    "PyTorch modules": (
        "check_contract",
        (
            f"{MUTANTS}backend_mutants.py::test_mistakes_in_pytorch", f"{MUTANTS}backend_mutants.py::test_gate",
            f"{MUTANTS}backend_operator_mutants.py::test_mistakes_in_pytorch",
            f"{MUTANTS}plane_backend_mutants.py::test_masks_in_pytorch",
            f"{MUTANTS}plane_backend_mutants.py::test_mistakes_in_pytorch",
            f"{MUTANTS}plane_backend_mutants.py::test_a_",
        ),
    ),
    "ONNX graphs and bundles": (
        "check_contract, check_bundle",
        (
            f"{MUTANTS}backend_mutants.py::test_mistakes_in_the_exporter", f"{MUTANTS}backend_mutants.py::test_weights",
            f"{MUTANTS}backend_operator_mutants.py::test_mistakes_in_the_exporter",
            f"{MUTANTS}backend_operator_mutants.py::test_a_local",
            f"{MUTANTS}plane_backend_mutants.py::test_mistakes_in_the_exporter",
            f"{MUTANTS}plane_backend_mutants.py::test_the_mask",
            "tests/export/test_visit_graphs.py::test_every_mistake", "tests/export/test_visit_graphs.py::test_a_state",
            "tests/export/test_visit_graphs.py::test_conditions",
        ),
    ),
    "anybody's operator": ("check_function", ("tests/known/test_function.py::test_every_known_mistake",)),
    "anybody's module": (
        "check_module",
        (
            *(
                f"tests/known/test_module_kit_mistakes.py::test_{name}"
                for name in ("the_likely_cause", "other_operators", "masks", "operators_over", "values_that")
            ),
            *(
                f"tests/known/test_module_kit_gradients.py::test_{name}"
                for name in ("the_likely_cause", "a_gradient_that", "masked_weights")
            ),
        ),
    ),
    "anybody's function, no graph": (
        "check_causality",
        tuple(f"tests/probe/test_causality_kit.py::test_{name}" for name in ("the_future", "another_set", "masks")),
    ),
    "anybody's step function": ("check_streaming", ("tests/probe/test_streaming_mistakes.py::test_mistakes_in",)),
}  # fmt: skip
OWN = {
    "quantisers, samplers, heads, densities of refar itself": (
        "refar's own tests, by nothing that a user calls", (f"{MUTANTS}output_mutants.py::test_every_mistake",)
    )
}  # fmt: skip
RIGHT: dict[str, tuple[str, tuple[str, ...]]] = {
    "causal convolutions in PyTorch, NumPy and TorchScript": (
        "check_function", ("tests/accepted/test_right_convolutions.py::test_",)
    ),
    "pooling, activations, gates, losses": ("check_function", ("tests/accepted/test_right_operators.py::test_",)),
    "modules": ("check_module", ("tests/accepted/test_right_modules.py::test_",)),
    "functions of which only the dependence is measured": (
        "check_causality", ("tests/accepted/test_right_functions.py::test_",)
    ),
    "step functions and chunks": ("check_streaming", ("tests/accepted/test_right_streams.py::test_",)),
    "training losses": ("check_loss", ("tests/known/test_loss_kit.py::test_right_losses",)),
}  # fmt: skip


class Kills:
    """A pytest plugin: runs the cases of the families alone, and keeps which passed."""

    def __init__(self) -> None:
        self.cases: dict[str, list[str]] = {
            prefix: [] for _, prefixes in [*FAMILIES.values(), *OWN.values(), *RIGHT.values()] for prefix in prefixes
        }
        self.passed: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for prefix, cases in self.cases.items():
            cases += [item.nodeid for item in items if item.nodeid.startswith(prefix)]
        chosen = {case for cases in self.cases.values() for case in cases}
        items[:] = [item for item in items if item.nodeid in chosen]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def count(self, prefixes: tuple[str, ...]) -> tuple[int, int]:
        """How many are killed, and how many there are. Exits where a prefix names no test."""
        for prefix in prefixes:
            if not self.cases[prefix]:
                raise SystemExit(f"{prefix!r} names no test; has it another name or file now?")
        cases = {case for prefix in prefixes for case in self.cases[prefix]}
        return len(cases & self.passed), len(cases)


def table(kills: Kills) -> str:
    """A line for each family of mistakes, their sum, and what the kit has no part in; then the same of right code."""
    lines, total = ["| mistakes in | found by | killed |", "|---|---|---|"], [0, 0]
    for family, (finder, prefixes) in FAMILIES.items():
        killed, count = kills.count(prefixes)
        total = [total[0] + killed, total[1] + count]
        lines.append(f"| {family} | {finder} | {killed} of {count} |")
    lines.append(f"| all | | {total[0]} of {total[1]} |")
    for family, (finder, prefixes) in OWN.items():
        lines.append("| {} (not counted above) | {} | {} of {} |".format(family, finder, *kills.count(prefixes)))
    lines += ["", "| right code | given to | accepted |", "|---|---|---|"]
    counts = {family: kills.count(prefixes) for family, (_, prefixes) in RIGHT.items()}
    lines += [f"| {family} | {RIGHT[family][0]} | {taken} of {count} |" for family, (taken, count) in counts.items()]
    taken, count = (sum(each) for each in zip(*counts.values(), strict=True))
    lines.append(f"| all | | {taken} of {count} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(publish_tests("power", Kills(), table))
