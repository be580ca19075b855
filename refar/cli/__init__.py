"""The refar command. Every subcommand is a function in a module of its own; what is heavy it imports itself."""

from __future__ import annotations

from refar.cli.app import main

__all__ = ["main"]
