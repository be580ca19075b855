"""Random networks under random actions on their streams: `python tests/bench/streams.py [--graphs N] [--seed S]`.

Push, step, take back, fork, take rows, join, begin anew, save and load, in place, at all optimisation levels of onnxruntime,
beside the oracle's whole pass. The suite does the same with fewer networks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from stream_actions import Trial

from refar import Graph
from refar.analysis.facts import facts
from refar.testing import strategies


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin, done, left_out, worst = time.perf_counter(), 0, 0, 0.0

    @seeded(options.seed)
    @settings(
        max_examples=options.graphs,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategies.graphs(paddings=("layer", "input")))
    def one(graph: Graph) -> None:
        nonlocal done, left_out, worst
        if facts(graph).looks_ahead is not None:
            left_out += 1
            return
        with tempfile.TemporaryDirectory() as folder:
            worst = max(worst, Trial(graph, Path(folder), options.seed + done).run(15))
        done += 1
        if done % 50 == 0:
            print(f"{done} networks, {time.perf_counter() - begin:.0f} s, at most {worst:.2g} of what is allowed", flush=True)

    one()
    print(f"{done} networks keep it, at most {worst:.2g} of what is allowed; {left_out} that look ahead are left out")


if __name__ == "__main__":
    main()
