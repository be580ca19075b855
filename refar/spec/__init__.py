"""The oracle: forward, backward and step in plain NumPy, written to be read."""
