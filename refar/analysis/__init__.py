"""Derive types, offsets, masks and the order of computation from a graph, without running it."""
