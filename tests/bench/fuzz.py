"""Random networks through every law on every backend: `python tests/bench/fuzz.py [--graphs N] [--seed S]`.

A failing graph is shrunk by hypothesis to a small one, and printed as JSON that `refar check` reads.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from rich.progress import Progress

from refar import Graph, to_json
from refar.testing import check_contract, strategies

KINDS = {
    "over time, strict": strategies.graphs(strict=True),
    "over time": strategies.graphs(),
    "over time, exact": strategies.graphs(exact=True),
    "over a plane": strategies.plane_graphs(),
}


def run(kind: str, graphs: int, start: int, advance: Callable[[], None]) -> None:
    """So many graphs of a kind. Raises ContractError for the smallest that does not keep the contract."""

    @seed(start)
    @settings(
        max_examples=graphs, deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(KINDS[kind], st.integers(0, 1000))
    def contract(graph: Graph, draw: int) -> None:
        try:
            check_contract(graph, seed=draw)
        except Exception:
            print(to_json(graph).decode(), f"seed {draw}", file=sys.stderr)
            raise
        advance()

    contract()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin, each = time.perf_counter(), options.graphs // len(KINDS)
    with Progress(disable=not sys.stderr.isatty()) as bar:
        for kind in KINDS:
            task = bar.add_task(kind, total=each)
            run(kind, each, options.seed, partial(bar.advance, task))
            print(f"{each} random graphs {kind} kept the contract, {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
