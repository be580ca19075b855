"""python -m refar: the same as the command refar."""

from __future__ import annotations

from refar.cli import main

if __name__ == "__main__":
    main()
