"""The oracle: forward, backward and step in plain NumPy, written to be read."""

from refar.spec.run import forward

__all__ = ["forward"]
