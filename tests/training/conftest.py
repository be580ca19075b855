"""A training run of a second, its data beside it."""

import numpy as np
import pytest
from small_run import TEXT

from refar.training.config import parse_config


@pytest.fixture
def config(tmp_path):
    """Sequences that count upwards or downwards, as the condition says."""
    condition = np.arange(40) % 2
    x = (np.arange(40)[:, None] // 2 + np.arange(12) * (1 - 2 * condition[:, None])) % 4
    np.savez(tmp_path / "my.npz", x=x, condition=condition)
    return parse_config(TEXT, tmp_path)
