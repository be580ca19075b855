"""Golden vectors: cases with exact results, as data that any framework in any language can read.

`refar golden write` puts them into files, golden/README.md says how to read those; `refar.testing.check_function` runs a
function over the cases of its operator.
"""

from __future__ import annotations

from refar.golden.case import SPEC_VERSION, Case, Signature
from refar.golden.catalogue import FAMILIES, OPERATORS, catalogue, golden_cases

__all__ = ["FAMILIES", "OPERATORS", "SPEC_VERSION", "Case", "Signature", "catalogue", "golden_cases"]
