"""Random networks through every law on every backend: `python tests/bench/fuzz.py [--graphs N] [--kind KIND] [--seed S]`.

Of each kind so many that are all different. A failing graph is shrunk by hypothesis to a small one, and printed as JSON that
`refar check` reads.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

from hypothesis import HealthCheck, Phase, given, seed, settings
from rich.progress import Progress

from refar import Graph, to_json
from refar.graph.graph import digest
from refar.testing import check_contract, strategies

KINDS = {
    "strict": ("over time, strict", strategies.graphs(strict=True)),
    "time": ("over time", strategies.graphs()),
    "exact": ("over time, exact", strategies.graphs(exact=True)),
    "plane": ("over an image", strategies.plane_graphs()),
}


def run(kind: str, distinct: int, start: int, advance: Callable[[], None]) -> tuple[int, int]:
    """How many graphs were drawn until so many `distinct` ones had been, and how many of them were.

    Raises ContractError for the smallest that does not keep the contract. Each has data of its own, but while one is shrunk
    they stay what they were.
    """
    drawn, seen, shrinking = 0, set[str](), False

    @seed(start)
    @settings(
        max_examples=2 * distinct, deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(KINDS[kind][1])
    def contract(graph: Graph) -> None:
        nonlocal drawn, shrinking
        if not shrinking:
            if len(seen) == distinct:
                return
            drawn += 1
            if (name := digest(graph)) in seen:
                return
            seen.add(name)
            advance()
        try:
            check_contract(graph, seed=start + drawn)
        except Exception:
            shrinking = True
            print(to_json(graph).decode(), f"seed {start + drawn}", file=sys.stderr)
            raise

    contract()
    return drawn, len(seen)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=1000, help="distinct ones, of all kinds together")
    parser.add_argument("--kind", choices=KINDS, action="append", help="one or more; all if left out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kinds = options.kind or list(KINDS)
    begin, each = time.perf_counter(), options.graphs // len(kinds)
    with Progress(disable=not sys.stderr.isatty()) as bar:
        for kind in kinds:
            drawn, distinct = run(kind, each, options.seed, partial(bar.advance, bar.add_task(kind, total=each)))
            spent = f"{time.perf_counter() - begin:.0f} s"
            print(f"{drawn} random graphs {KINDS[kind][0]}, {distinct} of them distinct, kept the contract, {spent}", flush=True)


if __name__ == "__main__":
    main()
