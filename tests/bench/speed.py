"""Times in a page: `refar bench --json FILE`, then `python tests/bench/speed.py docs/figures.md FILE` writes its tables there."""

from __future__ import annotations

import argparse
from pathlib import Path

from pages import publish

from refar.bench.render import markdown
from refar.bench.results import from_json

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", help="where to write the tables")
    parser.add_argument("file", type=Path, help="what `refar bench --json` wrote")
    arguments = parser.parse_args()
    publish("speed", markdown(from_json(arguments.file.read_bytes(), str(arguments.file))), [arguments.page])
