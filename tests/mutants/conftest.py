from __future__ import annotations

from collections.abc import Iterator

import planted as mistakes
import pytest


@pytest.fixture(autouse=True)
def _fresh_inference() -> Iterator[None]:
    """Inference is cached by graph; mistakes put into it must not outlive their test."""
    mistakes.forget()
    yield
    mistakes.forget()
