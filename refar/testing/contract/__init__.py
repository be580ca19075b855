"""The laws: what makes all backends of a graph one network."""
