"""The table of killed mistakes counts tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from power import FAMILIES, OWN, RIGHT, Kills, table

ROOT = Path(__file__).parents[1]
PREFIXES = [prefix for _, prefixes in [*FAMILIES.values(), *OWN.values(), *RIGHT.values()] for prefix in prefixes]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_prefix_names_a_test(prefix: str) -> None:
    file, _, name = prefix.partition("::")
    assert re.search(rf"^def {name}", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_table_refuses_a_prefix_without_tests_and_sums_only_what_the_kit_finds() -> None:
    kills = Kills()
    for prefix in PREFIXES:
        kills.cases[prefix] = [f"{prefix}[{n}]" for n in range(2)]
        kills.passed.add(f"{prefix}[0]")
    wrong, right = (part.splitlines() for part in table(kills).split("\n\n"))
    kit, taken = (sum(len(prefixes) for _, prefixes in families.values()) for families in (FAMILIES, RIGHT))
    assert wrong[-2] == f"| all | | {kit} of {2 * kit} |"
    assert "(not counted above)" in wrong[-1]
    assert right[-1] == f"| all | | {taken} of {2 * taken} |"
    kills.cases[PREFIXES[-2]] = []
    with pytest.raises(SystemExit, match="names no test; has it another name or file now"):
        table(kills)


def test_the_readme_says_both_totals() -> None:
    page = (ROOT / "docs" / "mistakes.md").read_text(encoding="utf-8").partition("<!-- power -->")[2]
    killed, accepted = re.findall(r"^\| all \| \| (\d+ of \d+) \|$", page, re.MULTILINE)[:2]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{killed} known mistakes" in readme
    assert f"{accepted} right" in readme
