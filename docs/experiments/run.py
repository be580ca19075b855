"""Run an experiment from its data to its page: `python docs/experiments/run.py NAME`; without a name, list them.

The runs, their bundles and the data go into runs/experiments/NAME. Ctrl-C loses nothing: the same command goes on from there.
`--weights` leaves the training out and takes the weights that are kept beside the page. `--page` writes the page anew from
results.json and pictures that are there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab import announce, book, course, pages
from refar.errors import RefarError

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Do what the command line says. Returns 1 where something is missing."""
    options = _parse()
    if options.name is None:
        announce.list_all(book.all_of(HERE))
        return 0
    experiment = book.load(HERE, options.name)
    if options.measure is not None:
        course.write_measures(experiment, options.measure)
        return 0
    work = options.work or Path("runs", "experiments", experiment.name)
    if options.page:
        pages.write(experiment)
        return 0
    if not announce.ready(experiment, work, trains=not options.weights):
        return 1
    try:
        course.run(experiment, work, trains=not options.weights)
    except RefarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    pages.write(experiment)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=book.names(HERE), metavar="NAME", help="which experiment")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="where runs, bundles and data go")
    parser.add_argument("--weights", action="store_true", help="do not train: take the weights beside the page")
    parser.add_argument("--page", action="store_true", help="write the page anew, nothing else")
    parser.add_argument("--measure", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
