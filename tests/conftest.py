"""Fixtures that several parts share."""

from __future__ import annotations

import os
from pathlib import Path

# Many small computations, on which several threads only wait for each other; several workers share the cores besides.
# It is said before PyTorch and NumPy are loaded, so that workers and the processes that tests start hear of it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings
from small_models import IMAGE_MODELS, MODELS
from stream_graphs import GRAPHS
from tiers import is_slow, slow_lines

import refar
from refar import Graph

# No test depends on how fast the machine is. In CI hypothesis draws the same examples every time; older versions have to be told.
settings.register_profile(
    "refar", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("refar")

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it for its workers, and a console made under it keeps that width


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The marker slow, before `-m` is looked at."""
    lines = slow_lines()
    slow = {name: is_slow(name, lines) for name in {item.nodeid.partition("[")[0] for item in items}}
    for item in items:
        if slow[item.nodeid.partition("[")[0]]:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=MODELS, scope="session")
def model(request: pytest.FixtureRequest) -> Graph:
    """Every built-in model over time, small."""
    return MODELS[request.param]


@pytest.fixture(params=[*MODELS, *GRAPHS], scope="session")
def streamed(request: pytest.FixtureRequest) -> Graph:
    """Every built-in model over time, and networks that a stream must get right."""
    return {**MODELS, **GRAPHS}[request.param]


@pytest.fixture(params=IMAGE_MODELS, scope="session")
def image_model(request: pytest.FixtureRequest) -> Graph:
    """Every built-in model over images, small."""
    return IMAGE_MODELS[request.param]


@pytest.fixture(scope="session")
def wavenet_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small class-conditional WaveNet, exported once."""
    from refar_export import export

    graph = MODELS["wavenet_class"]
    return export(graph, refar.init(graph, seed=1), tmp_path_factory.mktemp("bundles") / "wavenet")
