"""Golden vectors: cases with exact results, as data that any framework in any language can read.

`golden_cases` reads them, `refar.testing.check_function` runs a function over the cases of its operator. golden/README.md in
the repository says how to read the files themselves, and golden/workshop there computes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refar.golden.case import SPEC_VERSION, Case, Signature

if TYPE_CHECKING:
    from refar.golden.families import FAMILIES, OPERATORS, catalogue, golden_cases

__all__ = ["FAMILIES", "OPERATORS", "SPEC_VERSION", "Case", "Signature", "catalogue", "golden_cases"]

if not TYPE_CHECKING:  # a type checker would take every misspelt name for one that is there

    def __getattr__(name: str) -> Any:
        """Read the manifest when one of these is first asked for, so that what writes it need not have one."""
        if name in __all__:
            from refar.golden import families

            value = globals()[name] = getattr(families, name)
            return value
        raise AttributeError(f"module 'refar.golden' has no attribute {name!r}")
