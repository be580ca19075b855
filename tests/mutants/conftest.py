from __future__ import annotations

from collections.abc import Iterator

import pytest
from mutants import mistakes


@pytest.fixture(autouse=True)
def _fresh_inference() -> Iterator[None]:
    """Inference is cached by graph; mistakes put into it must not outlive their test."""
    mistakes.forget()
    yield
    mistakes.forget()
