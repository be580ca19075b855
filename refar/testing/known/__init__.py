"""Code that is meant to be a known operator or graph, held against it."""
