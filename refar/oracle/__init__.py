"""The oracle: forward, backward, step and generation in plain NumPy, written to be read."""
