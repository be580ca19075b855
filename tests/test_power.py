"""The table of killed mistakes counts tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from power import FAMILIES, OWN, Kills, table

ROOT = Path(__file__).parents[1]
PREFIXES = [prefix for _, prefixes in [*FAMILIES.values(), *OWN.values()] for prefix in prefixes]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_prefix_names_a_test(prefix: str) -> None:
    file, _, name = prefix.partition("::")
    assert re.search(rf"^def {name}", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_table_refuses_a_prefix_without_tests_and_sums_only_what_the_kit_finds() -> None:
    kills = Kills()
    for prefix in PREFIXES:
        kills.cases[prefix] = [f"{prefix}[{n}]" for n in range(2)]
        kills.passed.add(f"{prefix}[0]")
    *_, total, own = table(kills).splitlines()
    kit = sum(len(prefixes) for _, prefixes in FAMILIES.values())
    assert total == f"| all | | {kit} of {2 * kit} |"
    assert "(not counted above)" in own
    kills.cases[PREFIXES[-2]] = []
    with pytest.raises(SystemExit, match="names no test; has it another name or file now"):
        table(kills)
