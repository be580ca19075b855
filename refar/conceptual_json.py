"""Conceptual networks as JSON, under their public name."""

from refar.conceptual.text import FORMAT, find, from_json, load, save, to_json

__all__ = ["FORMAT", "find", "from_json", "load", "save", "to_json"]
